"""The oracles are themselves checked: Tweedie's formula, the flow they describe, and their likelihoods."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.integrate import quad
from scipy.stats import multivariate_normal, norm

from audiogen.sampling.mean_paths import OUVE, SBVE
from audiogen.sampling.oracles import CorrelatedGaussian, Gaussian, Mixture
from audiogen.sampling.paths import StraightLine, VarianceExploding, VPCosine
from audiogen.sampling.prediction import Velocity, from_x0

TIMES = torch.tensor([0.1, 0.5, 0.95], dtype=torch.float64)


def correlated(path, n=6):
    """Oracle with a random covariance, one eigenvalue of which is 0; its mean, and its covariance."""
    generator = torch.Generator().manual_seed(3)
    root = torch.randn(n, n - 1, dtype=torch.float64, generator=generator)
    mean = torch.randn(n, dtype=torch.float64, generator=generator)
    covariance = root @ root.mT / n
    return CorrelatedGaussian.from_covariance(path, mean, covariance), mean, covariance


def test_mixture_denoiser_obeys_tweedie(randn, mean_path):
    """alpha E[x0 | x] = x - mu y + sigma^2 grad log p(x), with the gradient by autograd."""
    oracle, y = Mixture(mean_path), randn(3, 2, 7)
    x = randn(3, 2, 7).requires_grad_()
    (score,) = torch.autograd.grad(oracle.log_density(x, TIMES, y=y).sum(), x)
    c = [v[:, None, None] for v in mean_path.at(TIMES)]
    tweedie = (x - c[1] * y + c[2] ** 2 * score) / c[0]
    assert torch.allclose(oracle.denoise(x, TIMES, y=y), tweedie, rtol=1e-11, atol=1e-11)


def test_mixture_density_integrates_to_one_and_to_its_law(mean_path):
    x = torch.linspace(-12, 12, 20001, dtype=torch.float64).expand(3, -1)
    y = torch.full((3, 1), 0.7, dtype=torch.float64)
    density = Mixture(mean_path).log_density(x, TIMES, y=y).exp()
    assert torch.allclose(torch.trapezoid(density, x), torch.ones(3, dtype=torch.float64), rtol=1e-9)
    mean, std = Mixture(mean_path).law(TIMES, 2, y=y)
    assert torch.allclose(torch.trapezoid(density * x, x), mean[:, 0], rtol=1e-9)
    assert torch.allclose(torch.trapezoid(density * (x - mean) ** 2, x), std[:, 0] ** 2, rtol=1e-9)


def test_default_mixture_is_the_reference_target():
    """0.3 N(-1.2, 0.25^2) + 0.5 N(0.4, 0.35^2) + 0.2 N(1.5, 0.2^2)."""
    x = torch.linspace(-3, 3, 41, dtype=torch.float64)[None]
    parts = zip((0.3, 0.5, 0.2), (-1.2, 0.4, 1.5), (0.25, 0.35, 0.2), strict=True)
    density = sum(w * norm(m, s).pdf(x.numpy()) for w, m, s in parts)
    log_density = Mixture(VPCosine()).log_density(x, torch.zeros(1))
    assert torch.allclose(log_density.exp(), torch.from_numpy(density), rtol=1e-12)


def test_one_component_mixture_is_the_gaussian(randn, mean_path):
    x, y = randn(3, 2, 7), randn(3, 2, 7)
    mixture = Mixture(mean_path, weights=(1.0,), means=(0.4,), stds=(0.3,))
    gaussian = Gaussian(mean_path, 0.4, 0.3)
    for name in ("denoise", "log_density"):
        one, other = (getattr(oracle, name)(x, TIMES, y=y) for oracle in (mixture, gaussian))
        assert torch.allclose(one, other, rtol=0, atol=1e-13)


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


def test_gaussian_log_density_is_that_of_its_law(randn, mean_path):
    oracle, x, y = Gaussian(mean_path, 0.4, 0.3), randn(3, 4), randn(3, 4)
    for i, t in enumerate(TIMES.tolist()):
        c = mean_path.at(t)
        std = math.sqrt(float(c.alpha * 0.3) ** 2 + float(c.sigma) ** 2)
        expected = norm(float(c.alpha) * 0.4 + float(c.mu) * y[i].numpy(), std).logpdf(x[i].numpy())
        assert torch.allclose(oracle.log_density(x, TIMES, y=y)[i], torch.tensor(expected), rtol=1e-12)


def test_correlated_denoiser_is_the_conditional_mean(randn, mean_path):
    """m + alpha C (alpha^2 C + sigma^2)^{-1} (x - mu y - alpha m), by a linear solve."""
    oracle, mean, covariance = correlated(mean_path)
    x, y = randn(3, 2, 6), randn(3, 2, 6)
    d = oracle.denoise(x, TIMES, y=y)
    for i, t in enumerate(TIMES.tolist()):
        c = mean_path.at(t)
        noisy = c.alpha**2 * covariance + c.sigma**2 * torch.eye(6, dtype=torch.float64)
        residual = x[i] - c.mu * y[i] - c.alpha * mean
        expected = mean + c.alpha * torch.linalg.solve(noisy, residual.mT).mT @ covariance
        assert torch.allclose(d[i], expected, rtol=0, atol=1e-11)


def test_correlated_law_is_that_of_noised_data(mean_path):
    oracle, mean, covariance = correlated(mean_path)
    law_mean, law_covariance = oracle.law(TIMES)
    alpha, sigma = mean_path.alpha(TIMES)[:, None, None], mean_path.sigma(TIMES)[:, None, None]
    assert torch.allclose(law_mean, alpha[:, 0] * mean, rtol=1e-14)
    expected = alpha**2 * covariance + sigma**2 * torch.eye(6, dtype=torch.float64)
    assert torch.allclose(law_covariance, expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("path", [VPCosine(), OUVE(), VarianceExploding()], ids=str)
def test_correlated_flow_follows_the_velocity_and_composes(path, randn):
    oracle, _, _ = correlated(path)
    x, y, step = randn(3, 6), randn(3, 6), 1e-6
    after, before = (oracle.flow(x, TIMES, TIMES + s, y=y) for s in (step, -step))
    velocity = from_x0(Velocity(), oracle.denoise(x, TIMES, y=y), x, TIMES, path, y=y)
    assert torch.allclose((after - before) / (2 * step), velocity, rtol=1e-6, atol=1e-6)
    end = torch.full((3,), 0.05, dtype=torch.float64)
    there = oracle.flow(oracle.flow(x, TIMES, TIMES / 2, y=y), TIMES / 2, end, y=y)
    assert torch.allclose(there, oracle.flow(x, TIMES, end, y=y), rtol=0, atol=1e-12)


def test_correlated_law_covers_a_whole_item_or_its_last_dimension(randn, mean_path):
    oracle, _, _ = correlated(mean_path)
    x, y = randn(3, 6), randn(3, 6)
    d, p = oracle.denoise(x, TIMES, y=y), oracle.log_density(x, TIMES, y=y)
    assert p.shape == (3,)
    folded = x.reshape(3, 2, 3), y.reshape(3, 2, 3)
    assert torch.equal(oracle.denoise(folded[0], TIMES, y=folded[1]), d.reshape(3, 2, 3))
    assert torch.equal(oracle.log_density(folded[0], TIMES, y=folded[1]), p)
    rows = x[:, None].expand(3, 4, 6), y[:, None].expand(3, 4, 6)
    assert torch.allclose(oracle.denoise(rows[0], TIMES, y=rows[1]), d[:, None].expand(3, 4, 6), rtol=1e-13)
    assert torch.allclose(oracle.log_density(rows[0], TIMES, y=rows[1]), p[:, None].expand(3, 4), rtol=1e-13)
    volume = oracle.flow_log_det(x, TIMES, TIMES / 2)
    assert torch.equal(oracle.flow_log_det(rows[0], TIMES, TIMES / 2), volume[:, None].expand(3, 4))


def test_diagonal_covariance_is_the_independent_oracle(randn, mean_path):
    stds = torch.tensor([0.2, 0.5, 1.0, 2.0], dtype=torch.float64)
    x, y, mean = randn(3, 4), randn(3, 4), randn(4)
    joint = CorrelatedGaussian.from_covariance(mean_path, mean, torch.diag(stds**2))
    single = Gaussian(mean_path, mean, stds)
    assert torch.allclose(joint.denoise(x, TIMES, y=y), single.denoise(x, TIMES, y=y), rtol=0, atol=1e-13)
    summed = single.log_density(x, TIMES, y=y).sum(-1)
    assert torch.allclose(joint.log_density(x, TIMES, y=y), summed, rtol=1e-12)


@pytest.mark.parametrize("path", [VPCosine(), StraightLine(), OUVE()], ids=str)
def test_likelihoods_by_density_by_flow_and_by_divergence_agree(path, randn):
    """log p(x_s) = log p(x_t) + log |det d x_t / d x_s|, and the log-determinant is Int_s^t div v du.

    The flow's Jacobian is taken by autograd, the divergence from the velocity of the denoiser.
    """
    oracle, _, _ = correlated(path)
    s, t = 0.05, 0.9
    early, late = (torch.tensor([v], dtype=torch.float64) for v in (s, t))
    x, y = randn(1, 6), randn(1, 6)
    end = oracle.flow(x, early, late, y=y)
    change = oracle.log_density(x, early, y=y) - oracle.log_density(end, late, y=y)

    jacobian = torch.autograd.functional.jacobian(lambda x: oracle.flow(x, early, late, y=y)[0], x)[:, 0]
    assert torch.linalg.slogdet(jacobian).logabsdet.item() == pytest.approx(change.item(), abs=1e-10)
    assert oracle.flow_log_det(x, early, late).item() == pytest.approx(change.item(), abs=1e-10)

    def divergence(u: float) -> float:
        when = torch.tensor([u], dtype=torch.float64)
        here = oracle.flow(x, early, when, y=y)

        def velocity(x: torch.Tensor) -> torch.Tensor:
            return from_x0(Velocity(), oracle.denoise(x, when, y=y), x, when, path, y=y)[0]

        return float(torch.autograd.functional.jacobian(velocity, here)[:, 0].trace())

    assert quad(divergence, s, t, epsabs=1e-9, epsrel=1e-9)[0] == pytest.approx(change.item(), abs=1e-8)


def test_correlated_log_density_is_that_of_its_law(randn):
    oracle, mean, covariance = correlated(VPCosine())
    x, t = randn(1, 6), torch.tensor([0.4], dtype=torch.float64)
    c = VPCosine().at(0.4)
    noisy = c.alpha**2 * covariance + c.sigma**2 * torch.eye(6, dtype=torch.float64)
    expected = multivariate_normal((c.alpha * mean).numpy(), noisy.numpy()).logpdf(x[0].numpy())
    assert oracle.log_density(x, t).item() == pytest.approx(expected, rel=1e-12)


def test_gaussian_log_determinant_of_the_flow(randn):
    oracle, x = Gaussian(StraightLine(), 0.4, 0.3), randn(3, 5).requires_grad_()
    end = torch.full((3,), 0.2, dtype=torch.float64)
    (slope,) = torch.autograd.grad(oracle.flow(x, TIMES, end).sum(), x)
    assert torch.allclose(oracle.flow_log_det(x, TIMES, end), slope.log(), rtol=1e-13)


@pytest.mark.parametrize("build", [lambda p: Gaussian(p, 0.4, 0.3), lambda p: correlated(p, 5)[0]])
def test_complex_states_are_denoised_by_parts(build, randn, mean_path):
    """With a real law of the same kind for both parts: D is affine with real weights."""
    oracle = build(mean_path)
    x, y = (torch.complex(randn(3, 5), randn(3, 5)) for _ in range(2))
    d, zero = oracle.denoise(x, TIMES, y=y), oracle.denoise(torch.zeros(3, 5), TIMES)
    assert torch.allclose(d.real, oracle.denoise(x.real, TIMES, y=y.real), rtol=0, atol=1e-13)
    assert torch.allclose(d.imag, oracle.denoise(x.imag, TIMES, y=y.imag) - zero, rtol=0, atol=1e-13)


def test_at_the_far_end_of_a_bridge_only_the_mean_is_known(randn):
    """There the state is y whatever the data were."""
    y, t = randn(2, 6), torch.ones(2, dtype=torch.float64)
    path = SBVE()
    assert torch.equal(Gaussian(path, 0.4, 0.3).denoise(y, t, y=y), torch.full_like(y, 0.4))
    oracle, mean, _ = correlated(path)
    assert torch.allclose(oracle.denoise(y, t, y=y), mean.expand(2, 6), rtol=0, atol=1e-13)
    mixture = Mixture(path)
    expected = sum(w * m for w, m in zip(mixture.weights, mixture.means, strict=True))
    assert torch.allclose(mixture.denoise(y, t, y=y), torch.full_like(y, expected), rtol=1e-12)


@pytest.mark.parametrize(
    "covariance", [[[1.0, 0.5], [0.0, 1.0]], [[1.0, 2.0], [2.0, 1.0]]], ids=["not symmetric", "indefinite"]
)
def test_matrices_that_are_no_covariance_are_refused(covariance):
    with pytest.raises(ValueError, match="symmetric with eigenvalues >= 0"):
        CorrelatedGaussian.from_covariance(VPCosine(), torch.zeros(2), torch.tensor(covariance))
