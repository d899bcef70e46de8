"""phi functions, exponential weights and the first-order step, against rationals and identities."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch

from audiogen.sampling.coefficients import (
    clock_weights,
    ddim_weights,
    exponential_weights,
    gauss_legendre,
    phi,
    polynomial_weights,
)
from audiogen.sampling.paths import StraightLine, VarianceExploding, VPCosine, VPLinear

STEPS = [
    Fraction(1, 10**6),
    Fraction(1, 100),
    Fraction(1, 2),
    Fraction(99, 100),
    Fraction(101, 100),
    Fraction(5),
]
STEPS += [Fraction(40)]


def exact_phi(k: int, z: Fraction) -> Fraction:
    """The series sum_n z^n / (n + k)! summed in rational arithmetic until its tail is below 1e-40."""
    term = Fraction(1, math.factorial(k))
    total, n = term, 0
    while abs(term) > Fraction(1, 10**40) or n < 2 * abs(z):
        n += 1
        term *= z / (n + k)
        total += term
    return total


@pytest.mark.parametrize("k", range(6))
def test_phi_against_exact_series(k):
    for step in STEPS:
        for z in (step, -step):
            exact = float(exact_phi(k, z))
            assert float(phi(k, float(z))) == pytest.approx(exact, rel=1e-13)


def test_phi_at_zero_and_its_gradient():
    """phi_k(0) = 1 / k! and phi_k'(0) = k! ... = 1 / (k + 1)!, also where both branches are evaluated."""
    for k in range(5):
        z = torch.zeros((), dtype=torch.float64, requires_grad=True)
        value = phi(k, z)
        (slope,) = torch.autograd.grad(value, z)
        assert float(value.detach()) == pytest.approx(1 / math.factorial(k), rel=1e-15)
        assert float(slope) == pytest.approx(1 / math.factorial(k + 1) if k else 1, rel=1e-15)
    with pytest.raises(ValueError, match="k = -1"):
        phi(-1, 0.5)


@pytest.mark.parametrize(
    "nodes", [[0.0], [0.0, -1.3], [0.0, -0.7, -2.1], [1.0, 0.0, -0.7], [0.0, -1.0, -2.0, -3.0]]
)
def test_exponential_weights_integrate_polynomials(nodes):
    """Exact for every power below the number of nodes; the sum is 1 - e^-h."""
    for step in STEPS:
        h = float(step)
        weights = exponential_weights(torch.tensor(nodes, dtype=torch.float64), h)
        assert float(weights.sum()) == pytest.approx(-math.expm1(-h), rel=1e-12)
        for j in range(len(nodes)):
            exact = float(step * math.factorial(j) * exact_phi(j + 1, -step))
            measured = sum(w * node**j for w, node in zip(weights.tolist(), nodes, strict=True))
            assert measured == pytest.approx(exact, rel=1e-12, abs=1e-13)


def test_exponential_weights_batch():
    nodes, h = torch.tensor([[0.0, -1.0], [0.0, -2.0]]), torch.tensor([0.5, 3.0])
    both = exponential_weights(nodes, h)
    for i in range(2):
        assert torch.allclose(both[i], exponential_weights(nodes[i], h[i]), rtol=1e-14)


@pytest.mark.parametrize("path", [VPLinear(), VPCosine(), StraightLine(), VarianceExploding()], ids=str)
def test_ddim_weights_carry_the_noise(path, randn):
    """With the true data as D, the deterministic step moves x_s to x_t with the same noise."""
    start, end = (torch.tensor(v, dtype=torch.float64) for v in ([0.9, 0.5, 0.02], [0.3, 0.49, 0.01]))
    data, noise = randn(3), randn(3)
    step = ddim_weights(path, start, end)
    moved = step.x * path.add_noise(data, noise, start) + step.data * data
    assert torch.allclose(moved, path.add_noise(data, noise, end), rtol=0, atol=1e-14)
    assert (step.noise == 0).all()


@pytest.mark.parametrize("eta", [0.0, 0.3, 0.8, 1.0])
def test_ddim_weights_keep_the_marginal(eta, mean_path):
    """For any eta the step maps q(x_s | x0, y) to q(x_t | x0, y): mean and variance agree."""
    start, end = (torch.tensor(v, dtype=torch.float64) for v in ([1.0, 0.5], [0.6, 0.001]))
    s, t, step = mean_path.at(start), mean_path.at(end), ddim_weights(mean_path, start, end, eta=eta)
    assert torch.allclose(step.x * s.alpha + step.data, t.alpha, rtol=0, atol=1e-14)
    assert torch.allclose(step.x * s.mu + step.y, t.mu, rtol=0, atol=1e-14)
    assert torch.allclose((step.x * s.sigma) ** 2 + step.noise**2, t.sigma**2, rtol=1e-12)


def test_ddim_weights_at_both_ends():
    """Pure noise to data in one step: nothing of the state, all of the output; eta does not matter."""
    for eta in (0.0, 0.5, 1.0):
        step = ddim_weights(VPCosine(), torch.tensor(1.0), torch.tensor(0.0), eta=eta)
        assert [float(w) for w in step] == [0.0, 0.0, 1.0, 0.0]
    half = ddim_weights(VPCosine(), torch.tensor(1.0), torch.tensor(0.5))
    assert float(half.x) == pytest.approx(math.sqrt(0.5), rel=1e-15)
    assert float(half.data) == pytest.approx(math.sqrt(0.5), rel=1e-15)


def test_posterior_variance_is_never_negative():
    """Neighbouring times down to one part in 1e9 apart."""
    start = torch.linspace(0.01, 1, 1000, dtype=torch.float64)
    for gap in (1e-9, 1e-4, 1e-2):
        for path in (VPLinear(), VPCosine(), StraightLine()):
            noise = ddim_weights(path, start, start * (1 - gap), eta=1.0).noise
            assert (noise > 0).all()


def test_polynomial_weights_are_adams_bashforths_and_simpsons():
    """Equal steps back give Adams-Bashforth's, 0, 1/2, 1 Simpson's weights."""
    known = {
        (0, -1): (3 / 2, -1 / 2),
        (0, -1, -2): (23 / 12, -16 / 12, 5 / 12),
        (0, 0.5, 1): (1 / 6, 4 / 6, 1 / 6),
    }
    for nodes, weights in known.items():
        found = polynomial_weights(torch.tensor(nodes, dtype=torch.float64))
        assert found.tolist() == pytest.approx(weights, rel=1e-13)


def test_gauss_legendre_is_exact_to_degree_two_n_minus_one():
    for points in (1, 2, 5, 24):
        nodes, weights = gauss_legendre(points)
        for degree in range(2 * points):
            exact = 2 / (degree + 1) if degree % 2 == 0 else 0.0
            assert float((weights * nodes**degree).sum()) == pytest.approx(exact, abs=1e-13)


def test_clock_weights_in_the_noise_level_and_in_log_snr():
    """In sigma / alpha they are the polynomial weights, in log-SNR those of the noise form."""
    lams = torch.tensor([-0.3, -0.9, -1.1], dtype=torch.float64)
    start, end = lams[0], torch.tensor(0.4, dtype=torch.float64)
    levels, h = torch.exp(-lams), end - start
    span = torch.exp(-end) - levels[0]
    by_level = span * polynomial_weights((levels - levels[0]) / span)
    found = clock_weights(list(lams), start, end, lambda lam: torch.exp(-lam))
    assert torch.allclose(found, by_level, rtol=1e-11, atol=0)
    # Int e_j d(sigma / alpha) = -(sigma_t / alpha_t) Int_0^1 h e^{h (1 - u)} l_j du
    by_log = torch.exp(-end) * exponential_weights((lams - start) / h, -h)
    assert torch.allclose(clock_weights(list(lams), start, end, lambda lam: lam), by_log, rtol=1e-11, atol=0)
