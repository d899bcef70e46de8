"""The path of a DDPM table against the table itself."""

from __future__ import annotations

import math

import pytest
import torch

from audiogen.sampling.paths import VPLinear
from audiogen.sampling.tabulated import Tabulated

BETAS = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)  # Ho et al. 2020
KEPT = (1 - BETAS).cumprod(0)
KNOTS = torch.arange(1, 1001, dtype=torch.float64) / 1000


def posterior(path: Tabulated, start: float, end: float) -> tuple[float, float, float]:
    """Weights of x_start and x0 in the mean of q(x_end | x_start, x0), and its variance, from the path."""
    a, b = path.at(start), path.at(end)
    keep = float(b.sigma**2 / a.sigma**2 * a.alpha / b.alpha)
    return keep, float(b.alpha) - keep * float(a.alpha), float(b.sigma**2) - keep**2 * float(a.sigma**2)


def test_knots_are_the_cumulative_product_of_the_table():
    path = Tabulated.from_betas(BETAS)
    assert torch.allclose(path.alpha(KNOTS), KEPT.sqrt(), rtol=1e-13)
    assert torch.allclose(path.sigma(KNOTS) ** 2, 1 - KEPT, rtol=1e-11)
    assert float(path.t_of_lam(path.lam(KNOTS[123]))) == float(KNOTS[123])
    assert path.t_max == 1.0


@pytest.mark.parametrize("step", [2, 3, 500, 1000])
def test_posterior_between_neighbours_is_that_of_ddpm(step):
    """Ho et al. 2020, equations 6 and 7."""
    beta, kept, kept_before = BETAS[step - 1], KEPT[step - 1], KEPT[step - 2]
    keep, data, variance = posterior(Tabulated.from_betas(BETAS), step / 1000, (step - 1) / 1000)
    assert keep == pytest.approx(float((1 - beta).sqrt() * (1 - kept_before) / (1 - kept)), rel=1e-9)
    assert data == pytest.approx(float(kept_before.sqrt() * beta / (1 - kept)), rel=1e-9)
    assert variance == pytest.approx(float((1 - kept_before) / (1 - kept) * beta), rel=1e-8)


def test_last_posterior_is_the_data():
    assert posterior(Tabulated.from_betas(BETAS), 0.001, 0.0) == (0.0, 1.0, 0.0)


def test_strided_posterior_needs_no_respaced_table():
    """Between steps 400 and 700 it is the posterior of one step with beta = 1 - kept_700 / kept_400."""
    beta, kept, kept_before = 1 - KEPT[699] / KEPT[399], KEPT[699], KEPT[399]
    keep, data, variance = posterior(Tabulated.from_betas(BETAS), 0.7, 0.4)
    assert keep == pytest.approx(float((1 - beta).sqrt() * (1 - kept_before) / (1 - kept)), rel=1e-12)
    assert data == pytest.approx(float(kept_before.sqrt() * beta / (1 - kept)), rel=1e-12)
    assert variance == pytest.approx(float((1 - kept_before) / (1 - kept) * beta), rel=1e-12)


def test_both_constructors_agree_and_show_what_float32_costs():
    exact = Tabulated.from_betas(BETAS)
    lams = torch.tensor(exact.lams)
    assert torch.allclose(torch.tensor(Tabulated.from_alphas_cumprod(KEPT).lams), lams, rtol=0, atol=1e-9)
    rounded = Tabulated.from_alphas_cumprod((1 - BETAS.float()).cumprod(0))
    assert 1e-5 < (torch.tensor(rounded.lams) - lams).abs().max() < 1e-3
    assert exact.lams[0] == pytest.approx(math.log((1 - 1e-4) / 1e-4) / 2, rel=1e-14)


def test_table_of_a_continuous_path_has_its_values():
    """With beta_n = 1 - e^{-Int beta dt} the knots lie on the VP-linear path."""
    path = VPLinear()
    kept = path.alpha(torch.linspace(0, 1, 41, dtype=torch.float64)) ** 2
    table = Tabulated.from_betas(1 - kept[1:] / kept[:-1])
    knots = torch.arange(1, 41, dtype=torch.float64) / 40
    assert torch.allclose(table.lam(knots), path.lam(knots), rtol=0, atol=1e-12)
    # chords of a curve: their largest distance from it is (1/8) step^2 max |lam''|
    middle = knots[4:-1] + 1 / 80
    gap = (table.lam(middle) - path.lam(middle)).abs().max()
    assert 1e-4 < gap < 1 / 8 / 1600 * 1 / (2 * 0.1**2)


def test_lambda_is_linear_between_knots_and_noise_is_linear_before_the_first():
    table = Tabulated((0.2, 0.5, 1.0), (2.0, 0.5, -3.0))
    assert table.lam(torch.tensor([0.2, 0.35, 0.5, 0.6, 1.0])).tolist() == pytest.approx(
        [2, 1.25, 0.5, -0.2, -3]
    )
    assert table.lam(1.1).item() == pytest.approx(-3.7)
    t = torch.tensor([0.0, 0.05, 0.1, 0.2], dtype=torch.float64)
    assert torch.allclose(table.sigma(t) / table.alpha(t), math.exp(-2) * t / 0.2, rtol=1e-14)
    lams = torch.tensor([5.0, 2.0, 1.25, -0.2, -3.0, -3.7], dtype=torch.float64)
    expected = torch.tensor([0.2 * math.exp(-3), 0.2, 0.35, 0.6, 1.0, 1.1], dtype=torch.float64)
    assert torch.allclose(table.t_of_lam(lams), expected, rtol=1e-14)


def test_derivatives_at_a_knot_are_those_of_the_datas_side():
    table, step = Tabulated((0.2, 0.5, 1.0), (2.0, 0.5, -3.0)), 1e-7
    for knot in (0.2, 0.5, 1.0):
        for f, exact in ((table.alpha, table.derivs(knot)[0]), (table.sigma, table.derivs(knot)[2])):
            assert float((f(knot) - f(knot - step)) / step) == pytest.approx(float(exact), rel=1e-5)
    assert float(table.derivs(0.0)[2]) == pytest.approx(math.exp(-2) / 0.2, rel=1e-15)
    assert float(table.diffusion(0.0)) == 0.0
    assert float(table.drift(0.0)) == 0.0


def test_sequences_are_kept_as_tuples():
    table = Tabulated([0.2, 1], [2.0, -3])
    assert table == Tabulated((0.2, 1.0), (2.0, -3.0))
    assert {table: "found"}[Tabulated((0.2, 1.0), (2.0, -3.0))] == "found"
    assert str(Tabulated.from_betas(BETAS)) == "Tabulated(1000 knots, t = 0.001 to 1)"


def test_times_that_are_not_contiguous():
    path = Tabulated.from_betas(BETAS)
    t = torch.rand(3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert torch.equal(path.lam(t.T), path.lam(t).T)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Tabulated((1.0,), (0.0,)), "two or more knots"),
        (lambda: Tabulated((0.5, 1.0), (1.0, 0.0, -1.0)), "got 2 times and 3"),
        (lambda: Tabulated((0.0, 1.0), (1.0, 0.0)), "above 0"),
        (lambda: Tabulated((0.5, 0.5), (1.0, 0.0)), "increase"),
        (lambda: Tabulated((0.5, 1.0), (0.0, 0.1)), "decrease"),
        (lambda: Tabulated((0.5, 1.0), (0.0, 0.0)), "decrease"),
        (lambda: Tabulated.from_alphas_cumprod([0.9, 0.5, 0.0]), "zero terminal SNR"),
        (lambda: Tabulated.from_betas([0.1, 1.0]), "finite"),
        (lambda: Tabulated.from_betas([0.1, -0.2, 0.1]), "beta must lie"),
        (lambda: Tabulated.from_betas(torch.full((2, 2), 0.1)), "one-dimensional"),
    ],
)
def test_impossible_tables_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()
