import pytest
import torch

from audiogen.spectral import MelSpec, mel_spectrogram
from audiogen.vocoders import MelSpecMismatch, require_same_spec
from audiogen.vocoders.griffin_lim import GriffinLim
from audiogen.vocoders.vocos import Vocos

SPEC = MelSpec()


@pytest.mark.parametrize("vocoder", [Vocos(SPEC, 16, 24, 2), GriffinLim(SPEC, 2)])
@pytest.mark.parametrize("frames", [4, 5, 33])
def test_frames_minus_one_hops_of_audio_come_out(vocoder, frames):
    assert vocoder.decode(torch.randn(2, 80, frames)).shape == (2, 1, (frames - 1) * 256)


def test_griffin_lim_brings_the_spectrogram_back():
    generator = torch.Generator().manual_seed(0)
    t = torch.arange(16000) / 16000
    wav = sum(torch.sin(2 * torch.pi * 150 * k * t) / k for k in range(1, 20)) * 0.1
    wav = (wav + 0.003 * torch.randn(16000, generator=generator))[None]
    mel = mel_spectrogram(wav, SPEC)
    again = mel_spectrogram(GriffinLim(SPEC).decode(mel)[:, 0], SPEC)
    frames = min(mel.shape[-1], again.shape[-1])
    loud = mel[..., :frames] > -4
    assert (mel[..., :frames] - again[..., :frames])[loud].abs().mean() < 0.25
    assert torch.equal(GriffinLim(SPEC).decode(mel), GriffinLim(SPEC).decode(mel))


def test_vocos_inverts_a_spectrum_its_head_predicts():
    """With the stack cut short to a constant head, the waveform is the inverse STFT of that constant."""
    vocos = Vocos(SPEC, 8, 8, 1, n_fft=512)
    torch.nn.init.zeros_(vocos.head.weight)
    torch.nn.init.zeros_(vocos.head.bias)
    spectrum = torch.ones(1, 257, 9, dtype=torch.complex64)
    assert torch.allclose(vocos.spectrum(torch.randn(1, 80, 9)), spectrum)
    expected = torch.istft(spectrum, 512, 256, window=torch.hann_window(512))
    assert torch.allclose(vocos.decode(torch.randn(1, 80, 9))[:, 0], expected)


def test_magnitudes_are_bounded():
    vocos = Vocos(SPEC, 8, 8, 1)
    torch.nn.init.constant_(vocos.head.bias, 1000.0)
    assert torch.isfinite(vocos.decode(torch.randn(1, 80, 9))).all()


def test_unlike_front_ends_are_refused_by_name():
    require_same_spec(SPEC, MelSpec())
    with pytest.raises(MelSpecMismatch, match=r"hop_length: 256 != 200.*MelSpec.*MelSpec"):
        require_same_spec(SPEC, MelSpec(hop_length=200))
