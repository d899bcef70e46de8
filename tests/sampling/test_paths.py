"""Noising paths: their defining identities, inverses and derivatives."""

from __future__ import annotations

import math

import pytest
import torch

from audiogen.sampling.paths import (
    StraightLine,
    VarianceExploding,
    VPCosine,
    VPCosineShifted,
    VPLinear,
    append_dims,
)

PATHS = [VPLinear(), VPLinear(0.5, 10.0), VPCosine(), VPCosineShifted(), VarianceExploding(), StraightLine()]
VP_PATHS = [path for path in PATHS if isinstance(path, VPLinear | VPCosine | VPCosineShifted)]
TIMES = torch.linspace(0.01, 0.99, 50, dtype=torch.float64)


def test_derivatives_match_central_differences(mean_path):
    step = 1e-6
    for path in (*PATHS, mean_path):
        for f, exact in zip((path.alpha, path.mu, path.sigma), path.derivs(TIMES), strict=True):
            measured = (f(TIMES + step) - f(TIMES - step)) / (2 * step)
            assert torch.allclose(measured, exact, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("path", PATHS, ids=str)
def test_lambda_is_half_log_snr_and_inverts(path):
    lam = path.lam(TIMES)
    assert torch.allclose(lam, torch.log(path.alpha(TIMES) / path.sigma(TIMES)), rtol=0, atol=1e-11)
    assert (path.t_of_lam(lam) - TIMES).abs().max() < 1e-10
    assert (lam[1:] < lam[:-1]).all()


@pytest.mark.parametrize("path", VP_PATHS, ids=str)
def test_variance_preserving(path):
    assert (path.alpha(TIMES) ** 2 + path.sigma(TIMES) ** 2 - 1).abs().max() < 1e-14


@pytest.mark.parametrize(
    ("path", "diffusion"),
    [
        (VPLinear(), lambda t: 0.1 + 19.9 * t),
        (VPCosine(), lambda t: math.pi * torch.tan(math.pi * t / 2)),
        (VarianceExploding(), lambda t: 2 * t),
        (StraightLine(), lambda t: 2 * t / (1 - t)),
    ],
    ids=lambda value: None if callable(value) else str(value),
)
def test_squared_diffusion_matches_closed_form(path, diffusion):
    """g^2 = d sigma^2 / dt - 2 (alpha' / alpha) sigma^2, known for every named path."""
    c = path.at(TIMES)
    measured = 2 * c.sigma * c.dsigma - 2 * c.dalpha / c.alpha * c.sigma**2
    assert torch.allclose(measured, diffusion(TIMES), rtol=1e-11)


@pytest.mark.parametrize("path", PATHS, ids=str)
def test_data_end_is_exact(path):
    assert float(path.sigma(0.0)) == 0.0
    assert float(path.alpha(0.0)) == pytest.approx(1.0, abs=2e-16)
    assert float(path.lam(0.0)) == math.inf


@pytest.mark.parametrize("path", [VPCosine(), VPCosineShifted(), StraightLine()], ids=str)
def test_noise_end_holds_no_data(path):
    assert float(path.alpha(1.0)) == 0.0
    assert float(path.sigma(1.0)) == pytest.approx(1.0, abs=1e-15)
    assert float(path.lam(1.0)) == -math.inf


def test_shifted_cosine_is_the_published_schedule():
    """Nichol and Dhariwal 2021, equation 17: alpha^2 = f(t) / f(0), f = cos^2((t + s) / (1 + s) pi / 2)."""
    published = (
        torch.cos((TIMES + 0.008) / 1.008 * math.pi / 2) ** 2 / math.cos(0.008 / 1.008 * math.pi / 2) ** 2
    )
    assert (VPCosineShifted().alpha(TIMES) ** 2 - published).abs().max() < 1e-15


def test_results_are_float64_of_the_shape_of_the_times():
    for t in (0.3, torch.tensor(0.3), torch.full((4,), 0.3), torch.full((2, 3), 0.3, dtype=torch.bfloat16)):
        for value in VPCosine().at(t):
            assert value.dtype == torch.float64
            assert value.shape == torch.as_tensor(t).shape


@pytest.mark.parametrize("shape", [(3, 5), (3, 2, 5), (3, 2, 2, 5), (3, 2, 2, 2, 5)])
def test_add_noise_uses_each_items_time(shape, randn, mean_path):
    data, noise, y = randn(*shape), randn(*shape), randn(*shape)
    t = torch.tensor([0.1, 0.5, 1.0])
    x = mean_path.add_noise(data, noise, t, y=y)
    for i in range(3):
        c = mean_path.at(float(t[i]))
        assert torch.allclose(x[i], c.alpha * data[i] + c.mu * y[i] + c.sigma * noise[i], rtol=0, atol=1e-7)
    assert torch.equal(mean_path.add_noise(data, noise, 0.0), data)
    assert mean_path.add_noise(data.float(), noise.float(), t).dtype == torch.float32


def test_append_dims_views_per_item_values():
    assert append_dims(torch.zeros(3), 4).shape == (3, 1, 1, 1)
    assert append_dims(torch.tensor(1.0), 4).shape == ()
    with pytest.raises(ValueError, match="one value per item"):
        append_dims(torch.zeros(3, 2, 2), 2)
