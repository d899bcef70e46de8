"""benchmarks/quality_enhance.py with systems that halve everything."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from fake_enhancer import FakeEnhancer, fake_pesq, register
from noisy_corpus import write_pairs

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import quality_enhance  # noqa: E402
import speed_enhance  # noqa: E402

from audiogen import hub  # noqa: E402
from audiogen.metrics.enhancement_evaluation import EnhanceEvaluation, EnhanceScore  # noqa: E402


def test_means_at_each_level_and_gains_over_the_noisy_ones():
    values = [{"pesq_wb": p, "estoi": None, "si_sdr_db": 2 * p} for p in (1.0, 2.0, 3.0)]
    better = [{**v, "pesq_wb": v["pesq_wb"] + 0.5} for v in values]
    scores = {
        name: [EnhanceScore(item, v) for item, v in zip("abc", listed, strict=True)]
        for name, listed in (("noisy", values), ("StoRM, 1 step", better))
    }
    result = EnhanceEvaluation(scores, {"noisy": 0, "StoRM, 1 step": 2})
    found = quality_enhance.account(result, {"by_snr_db": {"a": "0", "b": "0", "c": "5"}})
    noisy, storm = found["conditions"]
    assert noisy["by_snr_db"]["0"] == {"pesq_wb": 1.5, "estoi": None, "si_sdr_db": 3.0}
    assert storm["by_snr_db"]["5"]["pesq_wb"] == 3.5
    assert storm["nfe"] == 2
    gain = found["gains"]["StoRM, 1 step"]["pesq_wb"]
    assert (gain["value"], gain["low"], gain["items"]) == (pytest.approx(0.5), pytest.approx(0.5), 3)
    assert list(found["gains"]) == ["StoRM, 1 step"]


def test_the_script_writes_the_table(tmp_path, monkeypatch, capsys):
    register(monkeypatch)
    fake_pesq(monkeypatch)
    write_pairs(tmp_path / "clean", tmp_path / "noisy", ["a", "b"])
    lines = [json.dumps({"id": name, "snr_db": snr}) for name, snr in (("a", 5.0), ("b", -5.0))]
    (tmp_path / "manifest.jsonl").write_text("\n".join(lines) + "\n")
    for name in ("storm", "sgmse"):
        hub.save(FakeEnhancer(0.5), tmp_path / f"{name}.safetensors")
    words = [f"--{name}={tmp_path}/{name}.safetensors" for name in ("storm", "sgmse")]
    out = tmp_path / "results" / "quality_enhance.json"
    words += ["--test", str(tmp_path), "--out", str(out), "--threads", "1"]
    words += ["--steps", "1,30", "--sgmse-steps", "8", "--sgmse-quality", "best"]
    quality_enhance.main(words)
    content = json.loads(out.read_text())
    names = [entry["condition"] for entry in content["conditions"]]
    ways = ("StoRM, predictor only", "StoRM, 1 step", "StoRM, 30 steps", "SGMSE+, predictor only")
    assert names == ["noisy", *ways, "SGMSE+, 8 steps"]
    assert [entry["nfe"] for entry in content["conditions"]] == [0, 1, 2, 31, 1, 9]
    assert content["context"]["models"]["SGMSE+"]["quality"] == "best"
    assert set(content["conditions"][0]["by_snr_db"]) == {"-5", "5"}
    ratio = content["conditions"][0]["summary"]["si_sdr_db"]["value"]
    assert ratio == pytest.approx(6.02, abs=0.3)
    assert np.isclose(content["gains"]["StoRM, 1 step"]["si_sdr_db"]["value"], 0, atol=0.01)
    assert content["context"]["models"]["SGMSE+"]["model"] == "sgmse.safetensors"
    assert "StoRM, 30 steps" in capsys.readouterr().out


def test_speeds_of_networks_presets_and_a_long_file(tmp_path, monkeypatch, capsys):
    out = tmp_path / "speed.json"
    words = ["--seconds", "0.5", "--runs", "1", "--threads", "1", "--long-minutes", "0.05", "--no-peer"]
    speed_enhance.main([*words, "--out", str(out)])
    content = json.loads(out.read_text())
    evaluations = {row["name"]: row["evaluations"] for row in content["runs"]}
    assert evaluations["predictor"] == evaluations["score network"] == 1
    assert evaluations["storm, as shipped"] == evaluations["StoRM, balanced"] > evaluations["StoRM, fast"]
    for row in content["runs"]:
        assert 0 < row["rtf_least"] <= row["rtf"] <= row["rtf_most"]
    assert content["long"]["rtf"] == pytest.approx(content["long"]["seconds"] / 3)
    assert content["long"]["peak_mb"] > 100  # of the process that worked, not of a shell
    assert "0.05 minutes" in capsys.readouterr().out


def test_a_command_that_fails_says_why():
    with pytest.raises(RuntimeError, match="no such luck"):
        speed_enhance.watched([sys.executable, "-c", "raise SystemExit('no such luck')"], 0.01)
