"""benchmarks/quality_convert.py: pairs, scores and the whole script on a tiny model."""

import json
import sys
from pathlib import Path

import fake_content
import numpy as np
import pytest
import soundfile
import torch
from test_stablevc import embed, small, speech

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import quality_convert  # noqa: E402

from audiogen import hub  # noqa: E402


def write_test_clips(folder, speakers=("x", "y", "z"), clips=4):
    """Clips of speakers that read the same sentences, the last speaker not in English."""
    rows = []
    for s, speaker in enumerate(speakers):
        for k in range(clips):
            audio = speech(0.6, seed=10 * s + k, f0=120 + 60 * s)
            path = folder / "test" / speaker / f"{k}.flac"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, audio.wav.T.numpy(), 16000)
            language = "it" if speaker == speakers[-1] else "en"
            row = {
                "id": f"{speaker}/{k}",
                "speaker": speaker,
                "language": language,
                "text": f"number {'abcd'[k]}",
            }
            rows.append({**row, "seen": False, "file": f"test/{speaker}/{k}.flac"})
    (folder / "test" / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / "test"


def test_pairs_are_all_of_two_speakers_and_share_no_words(tmp_path):
    clips = quality_convert.read_clips(write_test_clips(tmp_path), seen=False)
    assert quality_convert.read_clips(tmp_path / "test", seen=True) == []
    pairs = quality_convert.make_pairs(clips, 2)
    assert len(pairs) == 3 * 2 * 2
    for pair in pairs:
        speakers = {clip.speaker for clip in (*pair.references, *pair.others)}
        assert len(speakers) == 1
        assert speakers != {pair.source.speaker}
        assert pair.source.text not in {clip.text for clip in pair.references}
        assert pair.style.speaker not in {pair.source.speaker, *speakers}
        assert pair.source not in pair.own
    with pytest.raises(FileNotFoundError, match="prepare voices"):
        quality_convert.read_clips(tmp_path, seen=False)


def test_contours_are_compared_in_proportion():
    rise = 100 * 2 ** np.linspace(0, 1, 50)
    assert quality_convert.stretched(rise, 3 * rise[::2]) == pytest.approx(1, abs=0.01)
    assert quality_convert.stretched(rise, rise[::-1]) == pytest.approx(-1, abs=0.01)
    assert np.isnan(quality_convert.stretched(rise, np.full(30, np.nan)))


def test_the_summary_is_means_and_shares():
    rows = [
        {"to_target": t, "to_source": s, "compute_seconds": 1.0, "audio_seconds": 4.0, "stages": {}}
        | {"distance_to_target": far, "distance_to_source": 2.0}
        for t, s, far in ((0.9, 0.5, 1.0), (0.7, 0.8, 1.5), (0.8, 0.5, 3.0), (0.6, 0.2, 4.0))
    ]
    rows[0] |= {"characters": 10, "edits": 2, "source_edits": 1}
    rows[1] |= {"characters": 30, "edits": 2, "source_edits": 0}
    rows[2] |= {"f0_style": 0.5, "f0_source": None}
    rows[3] |= {"f0_style": 0.6, "f0_source": 0.1}
    found = quality_convert.summary(rows)
    assert found["nearer"]["value"] == 0.75
    assert found["cepstrum_nearer"]["value"] == 0.5
    assert found["gain"]["value"] == pytest.approx(0.25)
    assert found["rtf"] == 0.25
    assert (found["cer"]["value"], found["source_cer"]["value"]) == (pytest.approx(0.1), pytest.approx(0.025))
    assert (found["f0_style"]["value"], found["f0_style"]["items"]) == (0.6, 1)


def test_mean_cepstra_tell_colours_apart_and_not_levels():
    noise = torch.randn(16000, generator=torch.Generator().manual_seed(0))
    dark = torch.cumsum(noise, 0)
    bright, darker = (quality_convert.mean_cepstrum(wav / wav.abs().max(), 16000) for wav in (noise, dark))
    assert bright.shape == (12,)
    assert np.allclose(
        quality_convert.mean_cepstrum(0.1 * noise / noise.abs().max(), 16000), bright, atol=0.05
    )
    assert abs(bright[0]) < 0.2 < darker[0]


def test_the_script_writes_every_condition(tmp_path, monkeypatch, capsys):
    fake_content.register(monkeypatch)
    monkeypatch.setattr("audiogen.systems.stablevc.speaker_embedding", embed)
    monkeypatch.setattr(quality_convert, "speaker_embedding", embed)
    monkeypatch.setattr(quality_convert, "Recogniser", lambda: lambda wav: "number a")
    hub.save(fake_content.FakeContent(12), tmp_path / "content.safetensors")
    system = small(content=str(tmp_path / "content.safetensors"), vocoder="griffin-lim", student_steps=(1,))
    hub.save(system, tmp_path / "m.safetensors")
    test = write_test_clips(tmp_path, speakers=("x", "y"), clips=2)
    out = tmp_path / "results" / "c.json"
    words = ["--model", str(tmp_path / "m.safetensors"), "--test", str(test), "--steps", "1,2", "--each", "1"]
    quality_convert.main([*words, "--out", str(out), "--threads", "1", "--keep-duration"])
    content = json.loads(out.read_text())
    names = [entry["condition"] for entry in content["conditions"]]
    assert names == ["student, 1", "euler, 2", "ab2, 2", "style of the target", "style of another"]
    assert [entry["nfe"] for entry in content["conditions"]] == [1, 2, 2, 4, 4]
    first, *_, styled = content["conditions"]
    assert len(first["items"]) == content["context"]["pairs"] == 2
    assert first["summary"]["source_cer"]["value"] == 0  # what is heard is what is said
    assert first["summary"]["cer"]["items"] == 1
    assert "f0_style" in styled["items"][0]
    assert all(-1 <= item["to_target"] <= 1 for item in first["items"])
    assert "student, 1: to_target" in capsys.readouterr().out
