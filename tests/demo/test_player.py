"""What the player gets: the samples of a WAV file, chunk by chunk."""

import base64

import numpy as np
import pytest
import soundfile
import torch

from audiogen.audio import write_audio
from audiogen.demo.highlight import Mark
from audiogen.demo.player import Playback, samples


def test_samples_are_those_of_a_wav_file(tmp_path):
    """Also where they leave full scale, where a careless conversion wraps."""
    wav = 1.2 * torch.sin(torch.arange(4000) / 7)[None]
    write_audio(tmp_path / "a.wav", wav, 16000)
    expected, _ = soundfile.read(tmp_path / "a.wav", dtype="int16")
    assert np.array_equal(np.frombuffer(samples(wav, 16000), dtype="<i2"), expected)


def test_chunks_joined_are_the_whole():
    wav = 0.3 * torch.randn(1, 1000, generator=torch.manual_seed(0))
    playback = Playback(16000, "speech")
    seen = []
    for chunk in wav.split(300, dim=-1):
        playback.add(chunk)
        seen.append(playback.value())
    assert torch.equal(playback.wav, wav)
    assert playback.seconds == pytest.approx(1000 / 16000)
    assert [len(value["chunks"]) for value in seen] == [1, 2, 3, 4]
    assert len({value["run"] for value in seen}) == 1
    joined = b"".join(base64.b64decode(chunk) for chunk in seen[-1]["chunks"])
    assert joined == samples(wav, 16000)


def test_a_value_says_all_that_the_page_needs():
    value = Playback(24000, "music-seed3", autoplay=False).value([Mark("Hi", 0, 0.0, 0.5)], done=True)
    assert (value["rate"], value["name"], value["autoplay"], value["done"]) == (
        24000,
        "music-seed3",
        False,
        True,
    )
    assert value["marks"] == [{"text": "Hi", "sentence": 0, "start_s": 0.0, "end_s": 0.5}]
    assert Playback(16000).value()["run"] != Playback(16000).value()["run"]
