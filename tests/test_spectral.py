import librosa
import numpy as np
import pytest
import torch

from audiogen.spectral import MelSpec, magnitude, mel_filters, mel_spectrogram

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
