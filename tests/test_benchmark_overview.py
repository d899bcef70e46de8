"""README's tables of systems and peers say what the results say."""

import json
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import cells  # noqa: E402
import overview  # noqa: E402

UNMEASURED = (  # at first
    *("quality_convert", "quality_ditto", "quality_music", "speed_enhance", "speed_music"),
)


@pytest.fixture
def measured(tmp_path, monkeypatch):
    """A copy of the results and of the names of models, which a test may change -> write(name, content)."""
    for path in cells.RESULTS.glob("*.json"):
        if path.stem not in UNMEASURED:
            (tmp_path / path.name).write_bytes(path.read_bytes())
    for module in (cells, overview):
        monkeypatch.setattr(module, "RESULTS", tmp_path)
    monkeypatch.setattr(overview, "MODELS", tmp_path / "models")

    def change(name, edit=lambda found: None):
        path = tmp_path / f"{name}.json"
        found = json.loads(path.read_text()) if path.is_file() else {}
        edit(found)
        path.write_text(json.dumps(found))

    return change


def row(text, name):
    """The cells of the row that begins with a name."""
    (line,) = (line for line in text.splitlines() if line.startswith(f"| {name}"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_speeds_and_errors_are_those_of_the_results(measured):
    def edit(found):
        found["warm"]["audiogen"]["rtf"] = 0.1
        found["warm"]["matcha_vocos"]["rtf"] = 0.25
        found["context"]["threads"] = 3

    measured("speed_tts", edit)
    assert row(overview.systems(), "[ProDiff]")[-1] == "10x (3 threads)"
    assert row(overview.peers(), "text to speech | prodiff")[2:] == [
        *("10x", "Matcha-TTS, 4 steps, and vocos", "4.0x", "2.5")
    ]


def test_a_system_without_weights_or_results_says_so(measured):
    assert row(overview.systems(), "[StableVC]")[-3:] == ["train it", "-", "-"]
    folder = overview.MODELS / "stablevc"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").touch()
    summaries = {
        name: {"nearer": {"value": nearer}, "rtf": {"value": 0.5}}
        for name, nearer in (("euler, 1", 0.2), ("ab2, 2", 0.9))
    }
    conditions = [{"condition": name, "summary": summary} for name, summary in summaries.items()]
    context = {"threads": 1, "default": "ab2, 2"}
    measured("quality_convert", lambda found: found.update(context=context, conditions=conditions))
    assert row(overview.systems(), "[StableVC]")[-3:] == [
        *("yes", "90 % nearer to the target's voice than to the source's", "2x (1 thread)")
    ]
    rows = [{"steps": 4, "rtf": 0.2}, {"steps": 20, "rtf": 1.0}]
    measured("speed_music", lambda found: found.update(context={"threads": 2}, speeds=rows))
    assert row(overview.systems(), "[MeLoDy]")[-2:] == ["-", "-"]  # its quality is not known yet
    heard = {
        kind: {
            measure: {"value": value}
            for measure, value in zip(("family", "tempo", "key"), values, strict=True)
        }
        for kind, values in (("fits", (0.5, 0.4, 0.7)), ("chance", (0.1, 0.2, 0.05)))
    }
    measured("quality_music", lambda found: found.update(sources={"renderings": {}, "4 steps": heard}))
    assert row(overview.systems(), "[MeLoDy]")[-2:] == [
        "the caption's instruments, tempo, key in 50, 40, 70 % (by chance 10, 20, 5 %), 4 steps",
        "5x (2 threads)",
    ]
    courses = {"unsteered": {"value": 40}, "error": {"value": 3}}
    controls = dict.fromkeys(("intensity", "melody"), {"methods": {"ditto2": courses}})
    assert row(overview.systems(), "[DITTO-2]")[-3:] == ["train it", "-", "-"]
    measured("quality_ditto", lambda found: found.update(controls=controls))
    assert row(overview.systems(), "[DITTO-2]")[-2] == (
        "40 to 3 dB^2 off a loudness curve, 40 to 3 % of frames off a tune"
    )


def test_the_published_enhancer_is_a_peer_where_it_was_measured(measured):
    runs = [{"name": "storm, as shipped", "rtf": 0.1}]
    measured("speed_enhance", lambda found: found.update(runs=runs))
    assert "enhancement" not in overview.peers()
    runs.append({"name": "NCSN++M", "rtf": 3.0})
    measured("speed_enhance", lambda found: found.update(runs=runs))
    name = "NCSN++M, one evaluation"
    assert row(overview.peers(), "speech enhancement")[1:] == [
        "storm, as shipped",
        "10x",
        name,
        "0.3x",
        "30.0",
    ]
