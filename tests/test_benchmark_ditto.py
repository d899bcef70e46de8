"""benchmarks/quality_ditto.py on a tiny system of random weights."""

import json
import random
import sys
from pathlib import Path

import pytest
import torch
from fake_generator import RATE, GaussianSystem, Wanted, target
from fake_music import music_system, register, write_waveforms

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import quality_ditto  # noqa: E402

from audiogen import hub  # noqa: E402
from audiogen.steering import SteerOptions  # noqa: E402


def test_a_course_is_heard_on_its_way_off_the_clock():
    """Errors fall from the unsteered one to the final one; the time to a level is that of its first sight."""
    options = SteerOptions(steps=21, lr=0.1, shell=False)
    course = quality_ditto.watched(GaussianSystem(), "piano", Wanted(target()), options, 5)
    assert len(course.errors) == len(course.seconds) == 6
    assert course.errors[0] == course.before
    assert course.after == course.errors[-1] <= min(course.errors)
    assert course.seconds == sorted(course.seconds)
    assert course.time_to(course.errors[2]) == course.seconds[2]
    assert course.time_to(course.before) == course.seconds[0]
    assert course.time_to(-1.0) is None
    assert course.audio.shape == (2 * RATE,)


def test_a_course_may_end_early():
    options = SteerOptions(steps=150, lr=0.1, shell=False, early_stop=True)
    course = quality_ditto.watched(GaussianSystem(), "piano", Wanted(target()), options, 5)
    assert len(course.errors) < 30
    assert course.after <= 1.1 * Wanted.enough


def test_time_to_the_same_error_is_to_the_larger_of_the_best():
    slow = quality_ditto.Course([10.0, 20.0, 30.0], [9.0, 4.0, 1.0])
    fast = quality_ditto.Course([1.0, 2.0, 3.0], [9.0, 4.0, 3.0])
    for course in (slow, fast):
        course.unsteered = course.audio = torch.rand(3000)
    coder = music_coder()
    reference = quality_ditto.points(coder, [torch.rand(3000) for _ in range(3)])
    courses = {"ditto2": [fast, fast], "ditto1": [slow, slow]}
    row = quality_ditto.compared(courses, coder, reference, "dB^2")
    assert row["same_error"]["ditto1_seconds"]["value"] == 30
    assert row["same_error"]["ditto2_seconds"]["value"] == 3
    assert row["same_error"]["times_as_fast"]["value"] == pytest.approx(10)


def music_coder():
    with pytest.MonkeyPatch.context() as patch:
        register(patch)
        return music_system().coder


def test_every_target_can_be_made():
    generator = torch.Generator().manual_seed(0)
    wav = 0.1 * torch.randn(1, 24000, generator=generator)
    given = quality_ditto.Given(wav, 24000, "slow piano", random.Random(0))
    for name, build in quality_ditto.TARGETS.items():
        if name != "melody":
            assert build(given).name == name
    tone = torch.sin(torch.arange(24000) * 0.12)[None]
    melody = quality_ditto.Given(tone, 24000, "slow piano", random.Random(0))
    assert quality_ditto.TARGETS["melody"](melody).name == "melody"


def test_the_script_measures_its_controls(tmp_path, monkeypatch, capsys):
    register(monkeypatch)
    hub.save(music_system(), tmp_path / "model.safetensors")
    write_waveforms(tmp_path, ["train"] * 2 + ["test"] * 5, 0.3)
    out = tmp_path / "results" / "quality_ditto.json"
    model = str(tmp_path / "model.safetensors")
    words = ["--model", model, "--teacher", model, "--music", str(tmp_path), "--targets", "2"]
    words += ["--seconds", "0.25", "--search-steps", "2", "--baseline-search-steps", "2", "--every", "1"]
    words += [
        "--controls",
        "intensity,inpaint,text",
        "--baseline-steps",
        "2",
        "--decode-steps",
        "1",
        "--threads",
        "1",
        "--out",
        str(out),
    ]
    quality_ditto.main(words)
    content = json.loads(out.read_text())
    assert list(content["controls"]) == ["intensity", "inpaint", "text"]
    for row in content["controls"].values():
        assert set(row["methods"]) == {"ditto1", "ditto2"}
        for found in row["methods"].values():
            assert found["error"]["items"] == 2
            assert found["frechet"] >= 0
        assert row["same_error"]["times_as_fast"]["value"] > 0
    assert content["context"]["decode_steps"] == 1
    assert "Frechet" in capsys.readouterr().out
    more = ["--controls", "text", "--targets", "3", "--baseline-targets", "2", "--add"]
    quality_ditto.main([*words, *more])
    joined = json.loads(out.read_text())["controls"]
    assert joined["text"]["baseline_targets"] == joined["text"]["methods"]["ditto1"]["error"]["items"] == 2
    assert joined["text"]["same_error"]["ditto2_seconds"]["items"] <= 2
    assert joined["inpaint"] == content["controls"]["inpaint"]
    assert {name: row["targets"] for name, row in joined.items()} == {"intensity": 2, "inpaint": 2, "text": 3}
    with pytest.raises(SystemExit):
        quality_ditto.parse(["--controls", "colour"])
