"""Complex spectra with compressed amplitudes."""

import numpy as np
import pytest
import torch

from audiogen.spectral import StftSpec, as_channels, as_complex

SPECS = [StftSpec(), StftSpec(exponent=1.0, scale=1.0), StftSpec(1534, 384, 0.667, 0.065)]


def noise(*shape):
    return 0.1 * torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("spec", SPECS, ids=str)
@pytest.mark.parametrize("length", [1, 255, 256, 257, 384, 385, 5000])
def test_synthesis_inverts_analysis_at_any_length(spec, length):
    wav = noise(2, length)
    found = spec.analyse(wav)
    assert found.shape == (2, spec.n_freqs, spec.frames(length))
    back = spec.synthesise(found, length)
    assert back.shape == wav.shape
    assert torch.allclose(back, wav, atol=1e-5)


def test_amplitudes_are_compressed_and_angles_kept():
    """c -> scale |c|^a e^{j angle c}, of numpy's transform of windowed frames."""
    spec, wav = StftSpec(), noise(1, 4000)
    found = spec.analyse(wav)[0].numpy()
    padded = np.pad(wav[0].double().numpy(), 255, mode="reflect")
    window = np.sin(np.pi * np.arange(510) / 510) ** 2
    for n in range(found.shape[1]):
        c = np.fft.rfft(window * padded[n * 128 : n * 128 + 510])
        assert np.allclose(found[:, n], 0.15 * np.abs(c) ** 0.5 * np.exp(1j * np.angle(c)), atol=1e-5)


def test_silence_has_a_finite_gradient():
    wav = torch.zeros(1, 1000, requires_grad=True)
    spec = StftSpec()
    found = spec.analyse(wav)
    (found.abs().sum() + spec.synthesise(found, 1000).square().sum()).backward()
    assert found.abs().max() == 0
    assert torch.isfinite(wav.grad).all()


def test_a_spectrum_of_another_length_is_refused():
    spec = StftSpec()
    with pytest.raises(ValueError, match="2000 samples have 16 frames, but the spectrum has 8"):
        spec.synthesise(spec.analyse(noise(1, 1000)), 2000)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"hop_length": 256}, "hop_length 256"),
        ({"hop_length": 0}, "hop_length 0"),
        ({"exponent": 0.0}, "exponent"),
        ({"scale": -1.0}, "scale"),
    ],
)
def test_what_cannot_be_inverted_is_refused(values, message):
    with pytest.raises(ValueError, match=message):
        StftSpec(**values)


def test_planes_become_channels_and_back():
    planes = list(torch.randn(2, 3, 4, 5, dtype=torch.complex64))
    channels = as_channels(planes)
    assert channels.shape == (3, 4, 4, 5)
    assert torch.equal(as_complex(channels[:, :2]), planes[0])
    assert torch.equal(as_complex(channels[:, 2:]), planes[1])
