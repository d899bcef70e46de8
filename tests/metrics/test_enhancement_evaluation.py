import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from fake_enhancer import FakeEnhancer, fake_pesq, register

from audiogen import hub
from audiogen.audio import Audio
from audiogen.cli import OK, SOME_FAILED, USAGE, main
from audiogen.enhancement import EnhanceOptions
from audiogen.metrics.enhancement_evaluation import (
    EnhanceCondition,
    EnhanceEvaluation,
    EnhanceItem,
    EnhanceScore,
    by_quality,
    by_steps,
    enhanced,
    evaluate,
    unprocessed,
)

NAMES = ("a", "sub/b", "c")


@pytest.fixture(autouse=True)
def scorers(monkeypatch, tmp_path):
    register(monkeypatch)
    monkeypatch.chdir(tmp_path)
    return fake_pesq(monkeypatch)


@pytest.fixture
def items():
    """Three pairs whose noise lies 6, 12 and 18 dB below the clean signal; the second is at 8 kHz."""
    found = []
    for number, name in enumerate(NAMES, 1):
        rng = np.random.default_rng(number)
        clean = 0.1 * rng.standard_normal(16000)
        noisy = clean + 0.1 * 0.5**number * rng.standard_normal(16000)
        pair = EnhanceItem(name, Path(f"noisy/{name}.wav"), Path(f"clean/{name}.wav"))
        for path, wav in ((pair.noisy, noisy), (pair.clean, clean)):
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, wav, 8000 if name == "sub/b" else 16000)
        found.append(pair)
    return found


class NoPredictor(FakeEnhancer):
    def nfe(self, options):
        if options.num_steps == 0:
            raise ValueError("num_steps must be 1 or more: there is no predictor")
        return super().nfe(options) - 1


def test_scores_are_those_of_the_signals(items):
    noise = EnhanceCondition("halved", lambda audio: (Audio(audio.wav / 2, audio.sample_rate), 0.25), 3)
    result = evaluate(items, [unprocessed(), noise])
    for name in ("noisy", "halved"):
        ratios = [score.values["si_sdr_db"] for score in result.scores[name]]
        assert ratios == pytest.approx([6.02, 12.04, 18.06], abs=0.15)
        assert result.summary(name)["si_sdr_db"].value == pytest.approx(np.mean(ratios))
        pesq = [score.values["pesq_wb"] for score in result.scores[name]]
        assert pesq == pytest.approx([1 + 1 / np.sqrt(1 + 0.25**n) for n in (1, 2, 3)], abs=0.01)
    assert "rtf" not in result.summary("noisy")
    assert result.summary("halved")["rtf"].value == pytest.approx(0.75 / (1 + 2 + 1))
    difference = result.difference("halved", "noisy", "si_sdr_db")
    assert (difference.value, difference.items) == (pytest.approx(0, abs=1e-3), 3)
    assert result.nfe == {"noisy": 0, "halved": 3}


def test_a_condition_with_a_network_is_warmed_up_once(items):
    calls = []

    def render(audio):
        calls.append(audio)
        return audio, 1.0

    evaluate(items, [EnhanceCondition("x", render, 2)])
    assert len(calls) == 4


def test_what_fails_is_told_and_left_out(items):
    def render(audio):
        if audio.sample_rate == 8000:
            raise RuntimeError("out of memory")
        return audio, None

    told = []
    result = evaluate(items, [EnhanceCondition("x", render)], on_score=lambda *score: told.append(score))
    assert result.failed == 1
    assert [score.error for _, score in told] == [None, "out of memory", None]
    assert result.summary("x")["pesq_wb"].items == 2
    assert result.difference("x", "x", "estoi").items == 2
    json.dumps(result.to_dict(), allow_nan=False)


def test_differences_are_paired():
    scores = {
        "one": [EnhanceScore("a", {"estoi": 0.9}), EnhanceScore("b", {"estoi": 0.1})],
        "two": [EnhanceScore("b", {"estoi": 0.0}), EnhanceScore("a", {"estoi": 0.8})],
        "none": [EnhanceScore("a", {"estoi": None})],
    }
    result = EnhanceEvaluation(scores, dict.fromkeys(scores, 1))
    gain = result.difference("one", "two", "estoi")
    assert (gain.value, gain.low, gain.high) == pytest.approx((0.1, 0.1, 0.1))
    assert result.difference("one", "none", "estoi") is None


def test_steps_and_presets_become_conditions():
    system = FakeEnhancer()
    steps = by_steps(system, [1, 8])
    assert [(c.name, c.nfe) for c in steps] == [("predictor only", 1), ("1 step", 2), ("8 steps", 9)]
    names = ["predictor only", "fast", "balanced", "best"]
    assert [(c.name, c.nfe) for c in by_quality(system)] == list(zip(names, [1, 2, 5, 13], strict=True))
    assert [c.name for c in by_steps(NoPredictor(), [2])] == ["2 steps"]
    assert [c.name for c in by_quality(NoPredictor())] == names[1:]
    with pytest.raises(ValueError, match="there is no predictor"):
        by_steps(NoPredictor(), [0, 2])
    with pytest.raises(ValueError, match="at most 100"):
        by_steps(system, [101])
    audio = Audio(torch.randn(2, 9000) * 0.1, 44100)
    made, seconds = enhanced(system, EnhanceOptions(), "x").render(audio)
    assert made.wav.shape == (2, 9000)
    assert seconds > 0


def evaluated(*words):
    paths = ["--noisy", "noisy", "--clean", "clean", "--model", "m.safetensors", "--device", "cpu"]
    return main(["evaluate", "enhance", *paths, *map(str, words)])


def test_the_command_prints_a_table_and_writes_every_number(items, capsys):
    hub.save(FakeEnhancer(0.5), "m.safetensors")
    assert evaluated("--steps", "1,4", "--report", "r.json", "--limit", 2) == OK
    out = capsys.readouterr().out
    for word in ("noisy", "predictor only", "1 step", "4 steps", "NFE", "RTF", "PESQ", "ESTOI", "SI-SDR"):
        assert word in out
    report = json.loads(Path("r.json").read_text())
    assert [entry["nfe"] for entry in report["conditions"]] == [0, 1, 2, 5]
    assert [len(entry["items"]) for entry in report["conditions"]] == [2] * 4
    assert report["context"]["model_sha256"] == hub.sha256("m.safetensors")
    assert evaluated() == OK
    assert "balanced" in capsys.readouterr().out


def test_faults_of_the_call_and_of_items_are_told(items, capsys):
    hub.save(FakeEnhancer(float(1)), "m.safetensors")
    assert evaluated("--steps", "a") == USAGE
    assert "is no list of step counts" in capsys.readouterr().err
    assert evaluated("--steps", "1", "--report", "none/r.json") == USAGE
    assert "there is no folder none" in capsys.readouterr().err
    soundfile.write("noisy/a.wav", np.zeros(100), 16000)
    assert evaluated("--steps", "1", "--threads", 1) == SOME_FAILED
    assert "error: item a, noisy: noisy/a.wav has 0.01 s" in capsys.readouterr().err
    Path("noisy/a.wav").unlink()
    assert evaluated("--steps", "1") == USAGE
    assert "have no twin, such as a" in capsys.readouterr().err
