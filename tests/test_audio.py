import numpy as np
import pytest
import soundfile
import torch

from audiogen.audio import Audio, AudioError, AudioWriter, Timing, read_audio, resample, write_audio


def tone(rate, seconds=0.5, frequency=440.0):
    return 0.5 * torch.sin(2 * torch.pi * frequency * torch.arange(round(rate * seconds)) / rate)[None]


@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_lossless_formats_come_back_within_one_16_bit_step(tmp_path, suffix):
    wav = torch.cat([tone(16000), -tone(16000)])
    Audio(wav, 16000).save(tmp_path / f"a.{suffix}")
    assert (read_audio(tmp_path / f"a.{suffix}") - wav).abs().max() <= 1 / 32768


@pytest.mark.parametrize("suffix", ["mp3", "ogg"])
def test_lossy_formats_keep_the_tone(tmp_path, suffix):
    write_audio(tmp_path / f"a.{suffix}", tone(16000, 2.0), 16000)
    wav = read_audio(tmp_path / f"a.{suffix}", 16000)[0]
    assert wav[8000:24000].square().mean() == pytest.approx(0.125, rel=0.05)
    spectrum = torch.fft.rfft(wav[8000:24000]).abs()
    assert int(spectrum.argmax()) == 440


def test_an_overshoot_is_clamped_and_does_not_wrap(tmp_path):
    write_audio(tmp_path / "a.wav", torch.tensor([[1.5, -1.5, 0.0]]), 16000)
    samples, _ = soundfile.read(tmp_path / "a.wav", dtype="int16")
    assert samples.tolist() == [32767, -32768, 0]


def test_nan_is_refused_and_leaves_no_file(tmp_path):
    with pytest.raises(AudioError, match="NaN"):
        write_audio(tmp_path / "a.wav", torch.tensor([[float("nan")]]), 16000)
    assert list(tmp_path.iterdir()) == []


def test_an_error_half_way_keeps_the_old_file_and_no_part(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"old")

    def interrupted():
        with AudioWriter(tmp_path / "a.wav", 16000) as writer:
            writer.write(tone(16000))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert (tmp_path / "a.wav").read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1


def test_blocks_join_to_one_file(tmp_path):
    wav = tone(16000)
    with AudioWriter(tmp_path / "a.wav", 16000) as writer:
        for block in wav.split(999, dim=1):
            writer.write(block)
    write_audio(tmp_path / "b.wav", wav, 16000)
    assert (tmp_path / "a.wav").read_bytes() == (tmp_path / "b.wav").read_bytes()


def test_a_finished_file_has_the_usual_permissions(tmp_path):
    (tmp_path / "usual").touch()
    write_audio(tmp_path / "a.wav", tone(16000), 16000)
    assert (tmp_path / "a.wav").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_resampling_keeps_a_tone():
    resampled = resample(tone(44100, 1.0, 1000.0), 44100, 16000)
    exact = tone(16000, 1.0, 1000.0)
    assert resampled.shape == exact.shape
    assert (resampled - exact)[:, 200:-200].abs().max() < 1e-3


def test_what_is_no_audio_is_named(tmp_path):
    (tmp_path / "a.wav").write_text("hello")
    with pytest.raises(AudioError, match=r"a\.wav"):
        read_audio(tmp_path / "a.wav")
    with pytest.raises(FileNotFoundError, match=r"b\.wav"):
        read_audio(tmp_path / "b.wav")
    with pytest.raises(AudioError, match="aac"):
        write_audio(tmp_path / "a.aac", tone(16000), 16000)


def test_timings_shift_and_seconds_count():
    assert Timing("a", 0.5, 1.0, "phone").shifted(2.0) == Timing("a", 2.5, 3.0, "phone")
    assert Audio(torch.zeros(1, 8000), 16000).seconds == 0.5


def test_reading_gives_channels_first(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros((100, 3)), 8000)
    assert read_audio(tmp_path / "a.wav").shape == (3, 100)
