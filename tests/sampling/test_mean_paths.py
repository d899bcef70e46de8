"""Paths towards a mean: published closed forms, independent quadrature and the samplers of their papers."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.integrate import quad
from scipy.special import expi

from audiogen.sampling.mean_paths import BBED, OUVE, SBVE, GradTTS, ShiftedPrior
from audiogen.sampling.paths import VPLinear
from audiogen.sampling.prediction import Velocity, from_x0

TIMES = torch.linspace(0.01, 0.99, 50, dtype=torch.float64)


@pytest.mark.parametrize(
    ("path", "pull"),
    [
        (OUVE(), lambda t: torch.full_like(t, 1.5)),
        (BBED(), lambda t: 1 / (1 - t)),
        (GradTTS(), lambda t: (0.05 + 19.95 * t) / 2),
        (SBVE(), lambda t: -SBVE().drift(t)),
    ],
    ids=lambda value: None if callable(value) else str(value),
)
def test_forward_process_is_pulled_towards_the_mean(path, pull):
    """Drift f x + (mu' - f mu) y = pull (y - x), as their papers write it."""
    c = path.at(TIMES)
    assert torch.allclose(path.drift(TIMES), -pull(TIMES), rtol=1e-12)
    assert torch.allclose(c.dmu - path.drift(TIMES) * c.mu, pull(TIMES), rtol=1e-12)


def test_ouve_matches_the_published_variance():
    """Richter et al. 2023: the exponentials written out, without expm1."""
    theta, low, log_ratio = 1.5, 0.05, math.log(10.0)
    published = (
        low**2
        * (torch.exp(2 * log_ratio * TIMES) - torch.exp(-2 * theta * TIMES))
        * log_ratio
        / (theta + log_ratio)
    )
    assert torch.allclose(OUVE().sigma(TIMES) ** 2, published, rtol=1e-12)
    assert torch.allclose(OUVE().alpha(TIMES), torch.exp(-theta * TIMES), rtol=1e-15)


def test_ouve_stops_short_of_its_mean():
    assert 1 - float(OUVE().mu(1.0)) == pytest.approx(math.exp(-1.5), rel=1e-14)
    assert float(OUVE().lam(1.0)) == pytest.approx(-0.55, abs=0.01)


@pytest.mark.parametrize("path", [BBED(), BBED(10.0, 0.3)], ids=str)
def test_bbed_matches_the_published_exponential_integral(path):
    """Lay et al. 2023, in the exponential integral Ei; its terms cancel near t = 0."""
    log_k, t = math.log(path.k), TIMES.numpy()
    ei = expi(2 * (t - 1) * log_k) - expi(-2 * log_k)
    inner = path.k ** (2 * t) - 1 + t + 2 * path.k**2 * log_k * (1 - t) * ei
    published = torch.tensor((1 - t) * path.c * inner)
    assert torch.allclose(path.sigma(TIMES) ** 2, published, rtol=1e-11)


@pytest.mark.parametrize("k", [1.0, 2.6, 10.0])
def test_bbed_variance_is_accurate_at_both_ends(k):
    """Leading terms: sigma^2 -> c t at the data, c k^2 (1 - t) at the mean."""
    path = BBED(k, 0.5)
    assert float(path.sigma(1e-12)) ** 2 == pytest.approx(0.5e-12, rel=1e-10)
    gap = 2.0**-50
    assert float(path.sigma(1 - gap)) ** 2 == pytest.approx(0.5 * k**2 * gap, rel=1e-11)
    assert float(path.sigma(1.0)) == 0.0
    assert float(path.lam(1.0)) == -math.inf


def test_bbed_with_constant_diffusion_is_the_brownian_bridge():
    assert torch.allclose(BBED(1.0, 0.3).sigma(TIMES) ** 2, 0.3 * TIMES * (1 - TIMES), rtol=1e-13)


def test_bbed_lambda_inverts_for_every_growth():
    t = torch.cat([torch.logspace(-10, -1, 40, dtype=torch.float64), TIMES, 1 - torch.logspace(-2, -9, 20)])
    for k in (1.0, 2.6, 30.0, 1000.0):
        back = BBED(k).t_of_lam(BBED(k).lam(t))
        assert (back / t - 1).abs().max() < 1e-12


@pytest.mark.parametrize("path", [SBVE(), SBVE(10.0, 1.1)], ids=str)
def test_bridge_is_the_process_conditioned_on_both_ends(path):
    """Gaussian conditioning: dx = sqrt(c) k^t dw from x0, of variance r_t^2, given that x_1 = y."""

    def variance(t):
        return quad(lambda s: path.c * path.k ** (2 * s), 0, t, epsabs=0, epsrel=1e-13)[0]

    for t in (0.1, 0.5, 0.93):
        gain = variance(t) / variance(1.0)  # Cov(x_t, x_1) / Var(x_1)
        c = path.at(t)
        assert float(c.mu) == pytest.approx(gain, rel=1e-12)
        assert float(c.alpha) == pytest.approx(1 - gain, rel=1e-12)
        assert float(c.sigma) ** 2 == pytest.approx(variance(t) * (1 - gain), rel=1e-12)


def test_bridge_ends_in_data_and_mean():
    c = SBVE().at(torch.tensor([0.0, 1.0]))
    assert c.alpha.tolist() == [1.0, 0.0]
    assert c.mu.tolist() == [0.0, 1.0]
    assert c.sigma.tolist() == [0.0, 0.0]
    assert float(SBVE().sigma(1 - 2.0**-50)) ** 2 == pytest.approx(0.4 * 2.6**2 * 2.0**-50, rel=1e-11)


@pytest.mark.parametrize(("start", "end"), [(0.9, 0.5), (0.3, 0.02), (0.999, 0.998)])
def test_bridge_samplers_are_first_order_steps_on_the_path(start, end):
    """Jukic et al. 2024: their updates, with r_t^2 the free variance and bar r_t^2 = r_1^2 - r_t^2."""
    path = SBVE()

    def free(t):
        return 0.4 * (2.6 ** (2 * t) - 1) / (2 * math.log(2.6))

    r_s, r_t, r_1 = (math.sqrt(free(t)) for t in (start, end, 1.0))
    bar_s, bar_t = (math.sqrt(free(1.0) - free(t)) for t in (start, end))
    c_s, c_t = path.at(start), path.at(end)
    log_snr_step = float(path.lam(end) - path.lam(start))

    # stochastic: keeps sigma_t / sigma_s e^{-h}
    keep = float(c_t.sigma / c_s.sigma) * math.exp(-log_snr_step)
    fresh = float(c_t.sigma) ** 2 * -math.expm1(-2 * log_snr_step)
    assert keep == pytest.approx(r_t**2 / r_s**2, rel=1e-11)
    assert float(c_t.alpha - keep * c_s.alpha) == pytest.approx(1 - r_t**2 / r_s**2, rel=1e-10)
    assert float(c_t.mu - keep * c_s.mu) == pytest.approx(0.0, abs=1e-12)
    assert fresh == pytest.approx(r_t**2 * (1 - r_t**2 / r_s**2), rel=1e-9)

    # deterministic: keeps sigma_t / sigma_s
    keep = float(c_t.sigma / c_s.sigma)
    assert keep == pytest.approx(r_t * bar_t / (r_s * bar_s), rel=1e-11)
    published = (
        (bar_t**2 - bar_s * r_t * bar_t / r_s) / r_1**2,
        (r_t**2 - r_s * r_t * bar_t / bar_s) / r_1**2,
    )
    assert float(c_t.alpha - keep * c_s.alpha) == pytest.approx(published[0], abs=1e-13)
    assert float(c_t.mu - keep * c_s.mu) == pytest.approx(published[1], abs=1e-13)


def test_shifted_prior_flow_is_that_of_the_paper(randn):
    """CoMoSpeech follows dx/dt = (x - D) / t on x0 + t (noise + y) itself."""
    x, d, y = randn(3, 2, 5), randn(3, 2, 5), randn(3, 2, 5)
    t = torch.tensor([0.1, 3.0, 80.0], dtype=torch.float64)
    velocity = from_x0(Velocity(), d, x, t, ShiftedPrior(), y=y)
    assert torch.allclose(velocity, (x - d) / t[:, None, None], rtol=1e-12, atol=1e-14)


def test_grad_tts_differs_from_its_variance_preserving_path_by_the_mean_alone():
    path, plain = GradTTS(), VPLinear(0.05, 20.0)
    assert torch.equal(path.alpha(TIMES), plain.alpha(TIMES))
    assert torch.equal(path.sigma(TIMES), plain.sigma(TIMES))
    assert torch.allclose(path.mu(TIMES), 1 - plain.alpha(TIMES), rtol=1e-12)
