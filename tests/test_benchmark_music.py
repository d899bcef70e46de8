"""benchmarks/speed_music.py on a tiny system of random weights."""

import json
import sys
from pathlib import Path

import pytest
from fake_music import FRAMES, TOKENS, music_system, register

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import speed_music  # noqa: E402

from audiogen import hub  # noqa: E402

CHUNK = FRAMES * 128 / 24000


def test_passes_beside_the_published_ones(monkeypatch):
    """10 s: 6250 of MusicLM, 270 of MeLoDy; the paper's table counts 30 s as one window of the diffusion."""
    register(monkeypatch)
    system = music_system()
    ten, thirty = (speed_music.passes(system, seconds, [5], 1.0) for seconds in (10.0, 30.0))
    assert (ten["musiclm"], ten["published_table"], ten["published_chunkwise"]) == (6250, 270, 270)
    assert (thirty["musiclm"], thirty["published_table"], thirty["published_chunkwise"]) == (18750, 770, 930)
    assert 1 - ten["published_table"] / ten["musiclm"] == pytest.approx(0.957, abs=5e-4)
    chunks = -(-10.0 // CHUNK)
    assert ten["ours"]["5"]["lm"] == chunks * TOKENS


def test_the_script_writes_its_table(tmp_path, monkeypatch, capsys):
    register(monkeypatch)
    hub.save(music_system(), tmp_path / "model.safetensors")
    out = tmp_path / "results" / "speed_music.json"
    words = ["--model", str(tmp_path / "model.safetensors"), "--steps", "1,2", "--seconds", "0.3"]
    speed_music.main([*words, "--long", "3", "--runs", "1", "--threads", "1", "--out", str(out)])
    content = json.loads(out.read_text())
    one, two = content["speeds"]
    assert (one["steps"], two["steps"]) == (1, 2)
    assert two["diffusion_passes"] == 2 * one["diffusion_passes"]
    assert set(one["stage_ms_per_second"]) == {"lm", "diffusion", "decoder"}
    assert len(content["memory"]) == 10
    assert "T =  2: RTF" in capsys.readouterr().out
