"""The oracles are themselves checked: Tweedie's formula, and the flow they describe."""

from __future__ import annotations

import pytest
import torch

from audiogen.sampling.oracles import Gaussian, Mixture
from audiogen.sampling.paths import StraightLine, VPCosine
from audiogen.sampling.prediction import Velocity, from_x0

TIMES = torch.tensor([0.1, 0.5, 0.95], dtype=torch.float64)


def test_mixture_denoiser_obeys_tweedie(randn, mean_path):
    """alpha E[x0 | x] = x - mu y + sigma^2 grad log p(x), with the gradient by autograd."""
    oracle, y = Mixture(mean_path), randn(3, 2, 7)
    x = randn(3, 2, 7).requires_grad_()
    (score,) = torch.autograd.grad(oracle.log_density(x, TIMES, y=y).sum(), x)
    c = [v[:, None, None] for v in mean_path.at(TIMES)]
    tweedie = (x - c[1] * y + c[2] ** 2 * score) / c[0]
    assert torch.allclose(oracle.denoise(x, TIMES, y=y), tweedie, rtol=1e-11, atol=1e-11)


def test_mixture_density_integrates_to_one(mean_path):
    x = torch.linspace(-12, 12, 20001, dtype=torch.float64).expand(3, -1)
    density = Mixture(mean_path).log_density(x, TIMES).exp()
    assert torch.allclose(torch.trapezoid(density, x), torch.ones(3, dtype=torch.float64), rtol=1e-9)


def test_one_component_mixture_is_the_gaussian(randn, mean_path):
    x, y = randn(3, 2, 7), randn(3, 2, 7)
    mixture = Mixture(mean_path, weights=(1.0,), means=(0.4,), stds=(0.3,))
    gaussian = Gaussian(mean_path, 0.4, 0.3)
    assert torch.allclose(mixture.denoise(x, TIMES, y=y), gaussian.denoise(x, TIMES, y=y), rtol=0, atol=1e-13)


@pytest.mark.parametrize("path", [VPCosine(), StraightLine()], ids=str)
def test_gaussian_flow_follows_the_velocity(path, randn):
    """The derivative of the flow map in its end time is the velocity of its denoiser."""
    oracle, x, step = Gaussian(path, 0.4, 0.3), randn(3, 2, 7), 1e-6
    after, before = (oracle.flow(x, TIMES, TIMES + s) for s in (step, -step))
    velocity = from_x0(Velocity(), oracle.denoise(x, TIMES), x, TIMES, path)
    assert torch.allclose((after - before) / (2 * step), velocity, rtol=1e-7, atol=1e-7)


def test_gaussian_flow_composes_and_ends_in_the_data(randn, mean_path):
    oracle, y = Gaussian(mean_path, randn(2, 1), 0.3), randn(3, 2, 7)
    noise, data = torch.ones(3), torch.zeros(3)
    x = randn(3, 2, 7)
    there = oracle.flow(oracle.flow(x, noise, TIMES, y=y), TIMES, data, y=y)
    assert torch.allclose(there, oracle.flow(x, noise, data, y=y), rtol=0, atol=1e-13)
    centre = mean_path.alpha(1.0) * oracle.mean + mean_path.mu(1.0) * y
    assert torch.allclose(
        oracle.flow(centre, noise, data, y=y), oracle.mean.expand(3, 2, 7), rtol=0, atol=1e-13
    )
