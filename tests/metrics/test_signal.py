import pytest
import torch

from audiogen.metrics.signal import si_sdr


def test_si_sdr_of_orthogonal_noise_is_the_power_ratio():
    t = torch.arange(16000) / 16000
    clean, other = torch.sin(2 * torch.pi * 200 * t)[None], torch.cos(2 * torch.pi * 200 * t)[None]
    for share, expected in ((0.1, 20.0), (1.0, 0.0)):
        found = si_sdr(3 * (clean + share * other) + 0.5, clean)
        assert found.item() == pytest.approx(expected, abs=0.01)


def test_si_sdr_of_silence_is_a_number():
    zeros, ones = torch.zeros(1, 100), torch.randn(1, 100)
    for estimate, reference in ((zeros, ones), (ones, zeros), (zeros, zeros)):
        assert torch.isfinite(si_sdr(estimate, reference)).all()
