"""Files that sound from their first bytes on: what comes out is decoded again, early and whole."""

import io

import numpy as np
import pytest
import soundfile
import torch

from audiogen.audio import STREAM_FORMATS, AudioError, StreamEncoder, write_audio

RATE = 16000
BLOCK = 2048  # samples, 0.13 s
LOSSLESS = ("wav", "flac", "pcm")


def tone(samples=30 * BLOCK + 77, rate=RATE):
    return 0.5 * torch.sin(2 * torch.pi * 440 * torch.arange(samples) / rate)[None]


def decode(data, format, samples, rate=RATE):
    """Up to `samples` of encoded bytes; soundfile cannot read the last one of a FLAC of unknown length."""
    if format == "pcm":
        return np.frombuffer(data[: 2 * samples], "<i2") / 32768
    with soundfile.SoundFile(io.BytesIO(data)) as file:
        assert file.samplerate == rate
        return file.read(min(samples, file.frames) - (format == "flac"))


def encode(encoder, wav, block=BLOCK):
    """The bytes that each block gives."""
    blocks = list(wav.split(block, dim=1))
    return [encoder(part, last=k + 1 == len(blocks)) for k, part in enumerate(blocks)]


@pytest.mark.parametrize("format", STREAM_FORMATS)
def test_a_stream_decodes_to_the_signal(format):
    wav = tone()
    data = b"".join(encode(StreamEncoder(format, RATE), wav))
    if format in LOSSLESS:
        heard = decode(data, format, wav.shape[-1])
        assert len(heard) >= wav.shape[-1] - 1
        assert np.abs(heard - wav[0, : len(heard)].numpy()).max() <= 1 / 32768
        return
    heard = decode(data, format, 10**6)
    assert len(heard) == pytest.approx(wav.shape[-1], abs=2400)  # MP3 has silence of its codec around it
    middle = heard[8000:24000]
    assert np.mean(middle**2) == pytest.approx(0.125, rel=0.1)
    assert np.abs(np.fft.rfft(middle)).argmax() == 440


@pytest.mark.parametrize("format", STREAM_FORMATS)
def test_the_first_block_is_heard_at_once(format):
    """Some of its 128 ms, MP3 having 102 ms of silence before, and each later block brings more."""
    encoder = StreamEncoder(format, RATE)
    parts = encode(encoder, tone(20 * BLOCK))
    samples = {"flac": 1100, "mp3": 1728}.get(format, 1400)
    heard = decode(parts[0], format, samples)
    assert len(heard) >= samples - 1
    assert np.abs(heard).max() > 0.1
    assert all(parts)


@pytest.mark.parametrize("format", ["wav", "flac", "pcm"])
def test_cutting_does_not_matter(format):
    """Lossless formats have the same samples in any blocks."""
    wav = tone(3 * BLOCK)
    heard = [
        decode(b"".join(encode(StreamEncoder(format, RATE), wav, block)), format, wav.shape[-1])
        for block in (50, 700, 10**6)
    ]
    assert np.array_equal(heard[0], heard[1])
    assert np.array_equal(heard[0], heard[2])


@pytest.mark.parametrize("format", ["wav", "flac"])
def test_at_once_it_is_the_file_with_its_length(format, tmp_path):
    wav = tone(5000)
    data = StreamEncoder(format, RATE)(wav, last=True)
    write_audio(tmp_path / "a", wav, RATE, format)
    assert soundfile.info(io.BytesIO(data)).frames == 5000
    assert np.array_equal(soundfile.read(io.BytesIO(data))[0], soundfile.read(tmp_path / "a")[0])


def test_a_stream_of_wav_says_until_the_end():
    header = encode(StreamEncoder("wav", RATE), tone())[0][:44]
    assert header[4:8] == header[40:44] == b"\xff\xff\xff\xff"


@pytest.mark.parametrize(
    ("rate", "new_rate"), [(22050, 24000), (44100, 48000), (16000, 16000), (96000, 48000)]
)
def test_opus_is_of_a_rate_that_it_has(rate, new_rate):
    wav = tone(rate, rate)
    data = b"".join(encode(StreamEncoder("opus", rate), wav))
    heard = decode(data, "opus", 10**6, new_rate)
    assert len(heard) == pytest.approx(new_rate, abs=new_rate / 1000)
    assert np.abs(np.fft.rfft(heard[: new_rate // 2])).argmax() == 220


def test_another_rate_can_be_asked_for():
    data = b"".join(encode(StreamEncoder("pcm", RATE, new_rate=24000), tone(RATE)))
    heard = decode(data, "pcm", 10**6)
    assert len(heard) == pytest.approx(24000, abs=1)
    assert np.abs(np.fft.rfft(heard)).argmax() == 440


def test_an_end_without_samples_completes_the_file():
    encoder = StreamEncoder("mp3", RATE)
    data = encoder(tone()) + encoder(torch.zeros(1, 0), last=True)
    assert len(decode(data, "mp3", 10**6)) >= tone().shape[-1]


def test_overshoots_are_clamped_and_nan_is_refused():
    encoder = StreamEncoder("pcm", RATE)
    assert np.frombuffer(encoder(torch.tensor([[1.5, -1.5]])), "<i2").tolist() == [32767, -32768]
    with pytest.raises(AudioError, match="NaN"):
        encoder(torch.tensor([[float("nan")]]))


def test_other_formats_and_what_a_format_cannot_hold_are_refused():
    with pytest.raises(AudioError, match="cannot stream 'aac'; use one of mp3, opus"):
        StreamEncoder("aac", RATE)
    with pytest.raises(AudioError, match="mp3 cannot hold 1 channels of 96000 Hz"):
        StreamEncoder("mp3", 96000)


def test_memory_does_not_grow_with_the_stream():
    encoder = StreamEncoder("wav", RATE)
    for _ in range(3):
        assert len(encoder(tone(1000))) in (2000, 2044)
        assert len(encoder._outbox._waiting) == 0
