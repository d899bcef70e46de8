"""Spectra of log-magnitudes and phases."""

import pytest
import torch

from audiogen.kernels.polar import polar, polar_reference


def test_a_spectrum_has_the_magnitudes_and_phases_asked_for():
    out = torch.tensor([[0.0, 1.0, 9.0, 0.0, torch.pi / 2, torch.pi, 5.0]], dtype=torch.float64)
    expected = torch.tensor([[1.0, torch.e * 1j, -(torch.e**2)]], dtype=torch.complex128)
    torch.testing.assert_close(polar(out, 3, 2.0), expected)


def test_gradients_reach_the_head():
    out = torch.randn(2, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda out: torch.view_as_real(polar(out, 2, 3.0)), out)


@pytest.mark.parametrize(("bins", "size"), [(1, 2), (5, 12), (513, 1539)])
def test_kernel_is_the_reference(device, bins, size):
    out = 3 * torch.randn(3, size, generator=torch.Generator().manual_seed(0)).to(device)
    found, expected = (f(out, bins, 4.0) for f in (polar, polar_reference))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_a_head_that_is_too_small_is_refused():
    with pytest.raises(ValueError, match=r"need out \(B, 6\)"):
        polar(torch.zeros(1, 5), 3, 1.0)
