import librosa
import numpy as np
import pytest
import torch
import torchaudio

from audiogen.spectral import MelSpec, magnitude, mel_chunks, mel_filters, mel_spectrogram

SPEC = MelSpec()


def test_mels_equal_librosas():
    wav = np.random.default_rng(0).standard_normal(8000).astype(np.float32) * 0.1
    reference = librosa.feature.melspectrogram(
        y=wav,
        sr=16000,
        n_fft=1024,
        hop_length=256,
        power=1.0,
        n_mels=80,
        fmin=0,
        fmax=8000,
        pad_mode="reflect",
    )
    ours = mel_spectrogram(torch.from_numpy(wav)[None], SPEC)[0].exp()
    assert np.allclose(ours, reference, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("samples", [1, 255, 256, 257, 5000])
def test_frames_are_samples_over_hop_plus_one(samples):
    frames = mel_spectrogram(torch.zeros(1, samples), SPEC).shape[-1]
    assert frames == max(samples, SPEC.n_fft // 2 + 1) // SPEC.hop_length + 1


def test_a_tone_peaks_in_the_filter_that_holds_it():
    wav = torch.sin(2 * torch.pi * 1000 * torch.arange(16000) / 16000)[None]
    peak = int(mel_spectrogram(wav, SPEC)[0, :, 30].argmax())
    frequencies = torch.linspace(0, 8000, 513)
    centre = frequencies[int(mel_filters(SPEC)[peak].argmax())]
    assert abs(float(centre) - 1000) < 40


def test_silence_is_the_floor_and_has_a_finite_gradient():
    wav = torch.zeros(1, 4000, requires_grad=True)
    assert float(mel_spectrogram(wav.detach(), SPEC).max()) == pytest.approx(np.log(1e-5), abs=1e-4)
    magnitude(wav, SPEC).sum().backward()
    assert torch.isfinite(wav.grad).all()


def test_differences_name_every_field():
    assert SPEC.differences(SPEC) == ""
    assert SPEC.differences(MelSpec(n_mels=100, floor=1e-6)) == "n_mels: 80 != 100, floor: 1e-05 != 1e-06"


def hifigan_front_end(wav, spec):
    """HiFi-GAN's mels written down with numpy and librosa: padded by half of window less hop, no centring."""
    pad = (spec.n_fft - spec.hop_length) // 2
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(wav, pad, mode="reflect"), spec.n_fft)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(spec.win_length) / spec.win_length)
    window = np.pad(window, (spec.n_fft - spec.win_length) // 2)
    power = np.abs(np.fft.rfft(frames[:: spec.hop_length] * window)) ** 2
    filters = librosa.filters.mel(
        sr=spec.sample_rate, n_fft=spec.n_fft, n_mels=spec.n_mels, fmin=spec.f_min, fmax=spec.f_max
    )
    return np.log(np.maximum(filters @ np.sqrt(power + 1e-9).T, 1e-5))


@pytest.mark.parametrize(
    "spec",
    [
        MelSpec(sample_rate=22050, center=False, epsilon=1e-9),
        MelSpec(24000, 1024, 1024, 256, 100, f_max=12000.0, center=False, epsilon=1e-9),
        MelSpec(16000, 512, 400, 160, 40, center=False, epsilon=1e-9),
    ],
)
def test_uncentred_mels_are_hifigans(spec):
    wav = np.random.default_rng(0).standard_normal(9000) * np.linspace(0, 0.2, 9000)
    ours = mel_spectrogram(torch.from_numpy(wav)[None], spec)[0]
    assert ours.shape == (spec.n_mels, 9000 // spec.hop_length)
    assert np.allclose(ours, hifigan_front_end(wav, spec), atol=1e-4)


def test_htk_mels_without_norm_are_torchaudios():
    """The front end of vocos: MelSpectrogram as torchaudio makes it, with the logarithm floored at 1e-7."""
    spec = MelSpec(
        24000, 1024, 1024, 256, 100, 0.0, 12000.0, 1e-7, mel_scale="htk", mel_norm=None, epsilon=1e-20
    )
    transform = torchaudio.transforms.MelSpectrogram(24000, 1024, hop_length=256, n_mels=100, power=1)
    wav = torch.from_numpy(np.random.default_rng(0).standard_normal(9000)).float()[None] * 0.1
    wav[:, 3000:6000] = 0.0
    assert torch.allclose(
        mel_spectrogram(wav, spec), transform(wav).clamp(min=1e-7).log(), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("samples", [1, 384, 385, 511, 512, 5000])
def test_frames_are_samples_over_hop_where_frames_are_not_centred(samples):
    frames = mel_spectrogram(torch.zeros(1, samples), MelSpec(center=False)).shape[-1]
    assert frames == max(samples, 385) // 256


def test_front_ends_saved_before_there_was_a_choice_are_today_s_default():
    old = {"sample_rate": 16000, "n_fft": 1024, "win_length": 1024, "hop_length": 256, "n_mels": 80}
    old |= {"f_min": 0.0, "f_max": 8000.0, "floor": 1e-5}
    assert MelSpec(**old) == MelSpec()
    assert SPEC.differences(MelSpec(center=False)) == "center: True != False"


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("mel_scale", "bark", "'bark' is unknown; use slaney or htk"),
        ("mel_norm", "peak", "'peak' is unknown; use slaney or None"),
        ("hop_length", 255, "1024 - 255 is odd"),
    ],
)
def test_a_front_end_that_is_none_is_refused(field, value, message):
    with pytest.raises(ValueError, match=message):
        MelSpec(**{"center": False, field: value})


def test_filters_first_used_in_inference_serve_training_too():
    spec = MelSpec(n_mels=17)
    with torch.inference_mode():
        mel_spectrogram(torch.zeros(1, 2000), spec)
    wav = torch.randn(1, 2000, requires_grad=True)
    mel_spectrogram(wav, spec).sum().backward()
    assert wav.grad.any()


@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize("samples", [100, 5000, 5120])
def test_pieces_of_a_spectrogram_joined_are_the_whole(center, samples):
    spec = MelSpec(center=center)
    wav = torch.randn(2, samples)
    pieces = list(mel_chunks(wav, spec, 7))
    assert all(piece.shape[-1] <= 7 for piece in pieces)
    assert torch.allclose(torch.cat(pieces, dim=-1), mel_spectrogram(wav, spec), atol=1e-6)
