"""The arithmetic of `audiogen benchmark` against numpy, and its runs on fakes."""

import json
from pathlib import Path

import fake_enhancer
import numpy as np
import pytest
import torch
from fake_sessions import Echo, echo_blocks, write_recording
from fake_system import FakeVocoder
from fake_workplace import workplace  # noqa: F401 (a fixture)

from audiogen import hub, weights
from audiogen.cli import OK, USAGE, benchmark_run, benchmark_work, main
from audiogen.cli.benchmark_run import (
    Measurement,
    fingerprint,
    physical_cores,
    representatives,
    stage_shares,
    summary,
    to_markdown,
    typical,
)
from audiogen.report import ItemReport
from audiogen.systems import SYSTEMS


def report(name, audio, text, model, other=0.0):
    return ItemReport(name, audio, stages={"text": text, "acoustic": model, "other": other})


def rounds(count=3, items=25):
    rng = np.random.default_rng(0)
    audio = rng.uniform(1, 15, items)
    return [[report(str(k), audio[k], *rng.uniform(0.1, 1, 3)) for k in range(items)] for _ in range(count)]


def test_corpus_numbers_are_sums_over_sums_and_percentiles_those_of_numpy():
    measured = rounds()
    found = summary(measured)
    audio = sum(item.audio_seconds for item in measured[0])
    each = sorted(sum(item.compute_seconds for item in items) / audio for items in measured)
    assert found["rtf_e2e"] == pytest.approx(each[1])
    assert found["rtf_e2e_spread"] == pytest.approx((each[0], each[2]))
    model = sorted(sum(item.stages["acoustic"] for item in items) / audio for items in measured)
    assert found["rtf_model"] == pytest.approx(model[1])
    times = np.median([[item.compute_seconds for item in items] for items in measured], axis=0)
    ratios = times / [item.audio_seconds for item in measured[0]]
    for percent in (50, 90, 95):
        assert found[f"p{percent}"] == pytest.approx(np.percentile(ratios, percent))
    assert found["min"] == pytest.approx(ratios.min())
    assert found["rtf"] == pytest.approx(times.sum() / audio)
    assert found["rtf"] != pytest.approx(ratios.mean())  # short items would count too much


def test_typical_runs_keep_their_stages_together():
    runs = [[report("a", 2.0, 1, 5)], [report("a", 2.0, 3, 4)], [report("a", 2.0, 0, 9)]]
    (item,) = typical(runs)
    assert item is runs[1][0]
    assert stage_shares([item]) == {"text": 1.5, "acoustic": 2.0, "other": 0.0}
    assert typical(runs[:2])[0] is runs[0][0]


def test_no_audio_has_no_factor():
    found = summary([[report("a", 0.0, 1, 1)]])
    assert found["rtf_e2e"] is None
    assert found["rtf_e2e_spread"] is None
    assert found["p50"] is None
    assert stage_shares([report("a", 0.0, 1, 1)]) == {}


def test_items_fall_into_classes_by_length():
    items = [report(str(k), seconds, 0, 1) for k, seconds in enumerate((1, 2.9, 3, 9, 10, 11))]
    found = Measurement({"load_seconds": 1.0}, items[0], [items], {}).to_dict()
    assert {name: row["items"] for name, row in found["buckets"].items()} == {
        "under 3 s": 2,
        "3 to 10 s": 2,
        "over 10 s": 2,
    }
    assert [name for name, _ in representatives([(str(k), "x" * (9 - k)) for k in range(9)])] == [
        "7",
        "4",
        "1",
    ]


def test_what_was_worked_on_has_a_fingerprint():
    one, two = [("a", "bc")], [("ab", "c")]
    assert fingerprint(one) == fingerprint(list(one))
    assert fingerprint(one) != fingerprint(two)


def test_second_threads_are_no_cores(tmp_path):
    blocks = [f"physical id : {package}\ncore id : {core}\n" for package in (0, 1) for core in (0, 1, 0)]
    (tmp_path / "cpuinfo").write_text("\n".join(blocks))
    assert physical_cores(tmp_path / "cpuinfo") == 4
    assert physical_cores(tmp_path / "none") is None


def run(*words):
    return main(["benchmark", *map(str, words), "--device", "cpu", "--threads", "1"])


@pytest.fixture
def quiet_machine(monkeypatch):
    monkeypatch.setattr("os.getloadavg", lambda: (0.0, 0.0, 0.0))


@pytest.mark.usefixtures("workplace", "quiet_machine")
def test_a_speaking_model_is_measured(monkeypatch, capsys):
    from fake_system import front_end

    monkeypatch.setattr(benchmark_work, "TextFrontEnd", lambda language: front_end)
    Path("t.txt").write_text("# heading\n" + "\n".join("ab " * (k + 1) for k in range(20)))
    words = ["--texts", "t.txt", "--repeats", "2", "--report", "r.json", "--markdown", "m.md", "--steps", "4"]
    assert run("prodiff", *words) == OK
    captured = capsys.readouterr()
    assert captured.out.startswith("RTF ")
    assert captured.out == Path("m.md").read_text()
    assert "busy" not in captured.out + captured.err
    assert "say little" not in captured.err
    found = json.loads(Path("r.json").read_text())
    assert len(found["items"]) == 20
    seconds = [item["audio_seconds"] for item in found["items"]]
    assert seconds == pytest.approx([(2 * (k + 1) + 1) * 200 / 16000 for k in range(20)])
    assert found["streams"]["chunks"] >= 20
    context = found["context"]
    assert (context["task"], context["steps"], context["threads"], context["repeats"]) == ("speech", 4, 1, 2)
    assert (context["noisy"], context["batch_size"], len(context["items_sha256"])) == (False, 1, 64)
    assert context["model_sha256"] == hub.sha256(weights.locate("prodiff"))
    low, high = found["summary"]["rtf_e2e_spread"]
    assert low <= found["summary"]["rtf_e2e"] <= high
    assert found["summary"]["rtf_model"] < found["summary"]["rtf_e2e"]
    assert set(found["stages"]) == {"text", "acoustic", "vocoder", "other"}


@pytest.mark.usefixtures("workplace")
def test_a_busy_machine_and_few_items_are_told(monkeypatch, capsys):
    fake_enhancer.register(monkeypatch)
    monkeypatch.setattr("os.getloadavg", lambda: (50.0, 0.0, 0.0))
    hub.save(fake_enhancer.FakeEnhancer(), "e.safetensors")
    assert run("e.safetensors", "--items", "3", "--repeats", "1", "--report", "r.json") == OK
    captured = capsys.readouterr()
    assert "the load average is 50.0" in captured.err
    assert "percentiles of 3 items say little" in captured.err
    assert "The machine was busy" in captured.out
    found = json.loads(Path("r.json").read_text())
    seconds = [1 + 13 * k / 23 for k in range(3)]
    assert [item["audio_seconds"] for item in found["items"]] == pytest.approx(seconds, abs=1e-4)
    assert found["context"]["nfe"] == 5
    assert found["streams"] == {}


@pytest.mark.usefixtures("workplace", "quiet_machine")
def test_a_converter_needs_a_voice(monkeypatch, capsys):
    monkeypatch.setitem(SYSTEMS, "echo", "fake_sessions:Echo")
    monkeypatch.setattr(benchmark_work, "convert_blocks", lambda *args, **more: echo_blocks(*args, seed=0))
    monkeypatch.setattr(benchmark_work, "voice_of", lambda system, paths: None)
    hub.save(Echo(), "c.safetensors")
    write_recording(Path("in/a.wav"), 0.5)
    words = ["c.safetensors", "--recordings", "in", "--repeats", "1", "--quiet"]
    assert run(*words) == USAGE
    assert "--timbre" in capsys.readouterr().err
    assert run(*words, "--timbre", "in/a.wav", "--report", "r.json") == OK
    (item,) = json.loads(Path("r.json").read_text())["items"]
    assert (item["id"], item["audio_seconds"]) == ("a", 0.5)


class Music(torch.nn.Module):
    """Music without a network: zeros, half a second a block."""

    sample_rate = 8000

    def passes(self, seconds, options):
        from audiogen.music import Passes

        return Passes(3, 4)

    def stream(self, caption, seeds, options, *, seconds, timer=None):
        for _ in range(round(2 * seconds)):
            yield torch.zeros(1, 1, 4000)


def test_music_is_measured_by_what_is_generated():
    work = benchmark_work.music(Music(), None, 2.0, None, 0)
    item = work.measure("a", "piano", "cpu")
    assert item.audio_seconds == 2.0
    assert set(item.stages) == {"other"}
    assert len(work.play("a", "piano").gaps) == 3
    assert work.context["lm_passes"] == 3


@pytest.mark.usefixtures("workplace", "quiet_machine")
def test_what_does_nothing_is_refused(capsys):
    hub.save(FakeVocoder(), "v.safetensors")
    assert run("v.safetensors") == USAGE
    assert "neither speaks" in capsys.readouterr().err
    Path("empty.txt").write_text("# nothing\n")
    assert run("prodiff", "--texts", "empty.txt") == USAGE
    assert "holds no text" in capsys.readouterr().err


def test_tables_have_a_dash_where_there_is_no_number():
    cold = report("a", 0.0, 0.0, 0.0)
    context = {"load_seconds": 1.0, "repeats": 1, "noisy": False, "cpu": "x", "cores": 1, "threads": 1}
    context |= {"model": "m", "model_sha256": "0" * 64, "task": "speech", "steps": None, "dtype": "float32"}
    context |= {"gpu": None, "versions": {"torch": "2"}, "warmup": 1}
    text = to_markdown(Measurement(context, cold, [[cold]], {}).to_dict())
    assert "RTF - (-)" in text
    assert "| all | 1 | 0.0 | - | - |" in text
    assert benchmark_run.OUTSIDE == ("text", "io", "other")
