"""benchmarks/speed_music.py, quality_music.py and figure_music.py on a tiny system of random weights."""

import json
import sys
from pathlib import Path

import pytest
import torch
from fake_music import FRAMES, TOKENS, music_system, register, write_waveforms
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import figure_music  # noqa: E402
import quality_music  # noqa: E402
import speed_music  # noqa: E402

from audiogen import hub  # noqa: E402
from audiogen.data.coded_music import PreparedMusic  # noqa: E402

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
    assert ten["ours"]["5"]["lm"] == 2 * chunks * TOKENS  # guidance


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


def test_quality_of_renderings_is_the_ceiling(tmp_path, monkeypatch, capsys):
    """Renderings fit their captions in family and key, half of them in tempo; random music has its row."""
    register(monkeypatch)
    hub.save(music_system(), tmp_path / "model.safetensors")
    write_waveforms(tmp_path, ["train", "train"] * 4 + ["test"] * 12, 2.0)
    out = tmp_path / "quality.json"
    words = ["--model", str(tmp_path / "model.safetensors"), "--music", str(tmp_path), "--steps", "1"]
    words += ["--items", "4", "--seconds", "2", "--threads", "1", "--out", str(out)]
    words += ["--long", "1", "--long-items", "2"]
    quality_music.main(words)
    content = json.loads(out.read_text())
    assert list(content["sources"]) == [
        *("renderings", "copies by the autoencoder", "1 step", "2 steps, told beats a minute")
    ]
    real, made = content["sources"]["renderings"], content["sources"]["1 step"]
    assert real["fits"]["family"]["value"] == real["fits"]["key"]["value"] == 1
    assert real["fits"]["family"]["items"] == content["items"] == 4
    assert real["frechet"] < made["frechet"]
    assert content["reference_items"] == 8
    assert content["seams"]["borders"] > 0
    assert "Frechet" in capsys.readouterr().out


def test_pictures_are_drawn_of_held_out_captions(tmp_path, monkeypatch):
    """One an item, named by its number, with a row for each source."""
    register(monkeypatch)
    hub.save(music_system(), tmp_path / "model.safetensors")
    write_waveforms(tmp_path, ["train"] * 2 + ["test"] * 4, 2.0)
    words = ["--model", str(tmp_path / "model.safetensors"), "--music", str(tmp_path), "--items", "2"]
    figure_music.main([*words, "--seconds", "2", "--steps", "1"])
    pictures = sorted(tmp_path.glob("spectrogram_*.png"))
    assert [path.name for path in pictures] == ["spectrogram_1.png", "spectrogram_2.png"]
    width, height = Image.open(pictures[0]).size
    assert (width, height) == (640, 312)  # three rows of 104


def test_items_asked_for_are_of_one_family_and_not_in_the_reference(tmp_path):
    write_waveforms(tmp_path, ["train"] * 2 + ["test"] * 8, 0.1)
    music = PreparedMusic(tmp_path)
    music.lines[4]["about"]["family"] = "mixed"
    wanted, others = quality_music.chosen(music, 100, 0)
    assert 4 not in wanted
    assert {4} < set(others)
    assert sorted(wanted + others) == list(range(2, 10))
    assert all(music.splits()[n] == "test" for n in wanted)


def test_chance_is_against_the_captions_of_others(tmp_path):
    """A measure that all captions share cannot be missed by chance; one in which they differ is."""
    write_waveforms(tmp_path, ["train"] * 4)
    music = PreparedMusic(tmp_path)
    wavs, facts = [music.wav(n) for n in range(4)], [line["about"] for line in music.lines]
    classifier = quality_music.classifier_of(music, 2.0, 10)
    found = quality_music.account(wavs, [facts[n] for n in (0, 1, 1, 0)], 24000, classifier)
    assert found["fits"]["family"]["value"] == 0.5
    assert found["chance"]["mode"]["value"] == 1


def test_a_seam_is_noticed_and_its_absence_too():
    """Steady noise has no sudden places; clicks at the borders are the most sudden ones."""
    chunk, rounds = 61440, [4, 2, 2]
    torch.manual_seed(0)
    steady = [0.1 * torch.randn(8 * chunk) for _ in range(10)]
    found = quality_music.seams(steady, rounds, chunk)
    assert found["borders"] == 20
    assert abs(found["rank"] - 0.5) < 4 * found["error"]
    clicked = [wav.clone() for wav in steady]
    for wav in clicked:
        for border in (4 * chunk, 6 * chunk):
            wav[border : border + 20] += 1
    assert quality_music.seams(clicked, rounds, chunk)["rank"] > 0.99
