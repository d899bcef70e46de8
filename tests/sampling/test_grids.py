"""Time grids: end points, spacing, published forms and refusals."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, special

from audiogen.sampling import grids
from audiogen.sampling.paths import StraightLine, VarianceExploding, VPCosine, VPLinear
from audiogen.sampling.tabulated import Tabulated


@pytest.mark.parametrize("num_steps", [1, 2, 3, 50])
def test_every_grid_has_its_steps_and_exact_ends(num_steps):
    path = VPCosine()
    made = [
        (grids.uniform_t(num_steps), 1.0, 0.0),
        (grids.quadratic(num_steps), 1.0, 0.0),
        (grids.uniform_lambda(path, num_steps, start=0.99, end=0.01), 0.99, 0.01),
        (grids.karras(path, num_steps, start=0.99, end=0.01), 0.99, 0.01),
        (grids.polyexponential(path, num_steps, start=0.99, end=0.01, rho=2.0), 0.99, 0.01),
        (grids.cosine(num_steps), 1.0, 0.0),
        (grids.falling_angles(num_steps), 1.0, 0.0),
        (grids.cosine(num_steps, start=0.9, end=0.1), 0.9, 0.1),
        (grids.sigmoid(num_steps, steepness=4.0), 1.0, 0.0),
        (grids.sigmoid(num_steps, steepness=4.0, start=0.9, end=0.1), 0.9, 0.1),
        (grids.logit_normal(num_steps), 1.0, 0.0),
        (grids.logit_normal(num_steps, start=0.9, end=0.1), 0.9, 0.1),
        (grids.beta(num_steps), 1.0, 0.0),
        (grids.beta(num_steps, start=0.9, end=0.1), 0.9, 0.1),
        (grids.sway(grids.uniform_t(num_steps)), 1.0, 0.0),
        (grids.shift(grids.uniform_t(num_steps), 1 / 3), 1.0, 0.0),
        (grids.resample_grid(path, [0.99, 0.7, 0.01], num_steps), 0.99, 0.01),
    ]
    for times, start, end in made:
        assert times.shape == (num_steps + 1,)
        assert times.dtype == torch.float64
        assert (float(times[0]), float(times[-1])) == (start, end)
        assert (times[1:] < times[:-1]).all()


def test_spacings():
    def equal_steps(values):
        return torch.allclose(values.diff(), values.diff().mean(), rtol=1e-9)

    path = VPLinear()
    assert equal_steps(grids.uniform_t(7, start=0.9, end=0.1))
    assert equal_steps(grids.quadratic(7, start=0.9, end=0.1).sqrt())
    assert equal_steps(path.lam(grids.uniform_lambda(path, 7, start=1.0, end=0.01)))
    level = torch.exp(-path.lam(grids.karras(path, 7, start=1.0, end=0.01)))
    assert equal_steps(level ** (1 / 7))
    level = torch.exp(-path.lam(grids.karras(path, 7, start=1.0, end=0.01, rho=1.0)))
    assert equal_steps(level)


def test_karras_matches_the_published_formula():
    """Karras et al. 2022, equation 5, with their sigma range."""
    steps = 18
    times = grids.append_zero(grids.karras(VarianceExploding(), steps - 1, start=80.0, end=0.002))
    for i in range(steps):
        published = (80 ** (1 / 7) + i / (steps - 1) * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7
        assert float(times[i]) == pytest.approx(published, rel=1e-12)
    assert len(times) == steps + 1
    assert float(times[-1]) == 0.0


def test_shift_moves_the_straight_line_by_log_factor():
    times = grids.uniform_t(10)
    moved = grids.shift(times, 3.0)
    inner = slice(1, -1)
    difference = StraightLine().lam(times)[inner] - StraightLine().lam(moved)[inner]
    assert torch.allclose(difference, torch.full_like(difference, math.log(3.0)), rtol=1e-12)
    assert (float(moved[0]), float(moved[-1])) == (1.0, 0.0)
    assert torch.allclose(grids.shift(grids.shift(times, 3.0), 1 / 3), times, rtol=1e-14)


def test_polyexponential_matches_the_published_formula():
    """k-diffusion: sigma = exp(r^rho (ln max - ln min) + ln min), r from 1 to 0."""
    times = grids.polyexponential(VarianceExploding(), 9, start=80.0, end=0.002, rho=1.7)
    for i in range(10):
        share = (1 - i / 9) ** 1.7
        level = math.exp(share * (math.log(80.0) - math.log(0.002)) + math.log(0.002))
        assert float(times[i]) == pytest.approx(level, rel=1e-12)
    path = VPLinear()
    exponential = grids.polyexponential(path, 9, start=1.0, end=0.01)
    assert torch.allclose(exponential, grids.uniform_lambda(path, 9, start=1.0, end=0.01), rtol=1e-12)


def test_sway_matches_the_published_formula():
    """Chen et al. 2024, equation 7, in their time u = 1 - t; with -1 it is the cosine grid."""
    times = grids.uniform_t(10)
    for s in (-1.0, -0.4, 0.5, 2 / (math.pi - 2)):
        u = 1 - times
        published = u + s * (torch.cos(math.pi / 2 * u) - 1 + u)
        assert torch.allclose(1 - grids.sway(times, s), published, atol=1e-15)
    assert torch.allclose(grids.sway(times), grids.cosine(10), atol=1e-15)
    angles = torch.arccos(grids.cosine(10, start=0.9, end=0.1))
    assert torch.allclose(angles.diff(), angles.diff().mean(), rtol=1e-12)


def test_sigmoid_is_the_scaled_logistic_curve():
    times = grids.sigmoid(8, steepness=6.0, centre=0.4, start=0.9, end=0.2)
    share = (0.9 - times) / 0.7
    for i in range(9):
        low, here, high = (1 / (1 + math.exp(-6.0 * (u - 0.4))) for u in (0.0, i / 8, 1.0))
        assert float(share[i]) == pytest.approx((here - low) / (high - low), abs=1e-14)
    nearly_uniform = grids.sigmoid(8, steepness=1e-3)
    assert torch.allclose(nearly_uniform, grids.uniform_t(8), atol=1e-6)


@pytest.mark.parametrize(
    ("a", "b"), [(0.6, 0.6), (0.05, 3.0), (2.5, 0.3), (1.0, 1.0), (50.0, 80.0), (900.0, 3.0)]
)
def test_beta_distribution_agrees_with_scipy(a, b):
    x = torch.cat(
        [torch.linspace(0, 1, 41), torch.logspace(-30, -2, 15), 1 - torch.logspace(-15, -2, 14)]
    ).double()
    assert torch.allclose(
        grids.beta_cdf(x, a, b), torch.from_numpy(special.betainc(a, b, x.numpy())), rtol=1e-12
    )
    q = torch.linspace(0, 1, 21, dtype=torch.float64)
    exact = torch.from_numpy(special.betaincinv(a, b, q.numpy()))
    assert float((grids.beta_quantile(q, a, b) - exact).abs().max()) < 1e-12


@pytest.mark.parametrize(
    ("make", "density"),
    [
        (lambda **ends: grids.beta(7, a=0.6, b=1.3, **ends), lambda t: t**-0.4 * (1 - t) ** 0.3),
        (
            lambda **ends: grids.logit_normal(7, mean=0.5, std=1.4, **ends),
            lambda t: math.exp(-(((math.log(t / (1 - t)) - 0.5) / 1.4) ** 2) / 2) / (t * (1 - t)),
        ),
    ],
)
def test_quantile_grids_have_equal_probability_in_every_step(make, density):
    """By quadrature of the density, whatever its scale."""
    for ends in ({"start": 0.95, "end": 0.02}, {"start": 0.5, "end": 0.4}):
        times = make(**ends).tolist()
        mass = [integrate.quad(density, low, high)[0] for high, low in zip(times, times[1:], strict=False)]
        assert mass == pytest.approx([mass[0]] * 7, rel=1e-8)


def test_shift_of_length_is_log_linear_between_its_ends():
    """FLUX and Stable Audio: e^0.5 for 256 frames, e^1.15 for 4096, as there for others."""
    assert grids.shift_of_length(256) == pytest.approx(math.exp(0.5), rel=1e-15)
    assert grids.shift_of_length(4096) == pytest.approx(math.exp(1.15), rel=1e-15)
    assert grids.shift_of_length((256 + 4096) / 2) == pytest.approx(math.exp((0.5 + 1.15) / 2), rel=1e-15)
    assert grids.shift_of_length(10) == grids.shift_of_length(256)
    assert grids.shift_of_length(10**6) == grids.shift_of_length(4096)
    assert grids.shift_of_length(30, lengths=(10, 50), log_factors=(-1.0, 1.0)) == pytest.approx(1.0)


def test_indices_of_tables():
    """1000 training steps in 10, by the formulas of Lin et al. 2024, table 2, and where N divides nothing."""
    assert grids.trailing_indices(1000, 10).tolist() == [999, 899, 799, 699, 599, 499, 399, 299, 199, 99]
    assert grids.leading_indices(1000, 10, offset=1).tolist() == [
        901,
        801,
        701,
        601,
        501,
        401,
        301,
        201,
        101,
        1,
    ]
    assert grids.linspace_indices(1000, 10).tolist() == [999, 888, 777, 666, 555, 444, 333, 222, 111, 0]
    assert grids.trailing_indices(1000, 7).tolist() == [round(1000 - i * 1000 / 7) - 1 for i in range(7)]
    assert grids.leading_indices(1000, 7).tolist() == [142 * i for i in reversed(range(7))]
    assert grids.linspace_indices(1000, 8).tolist() == [round(999 * (7 - i) / 7) for i in range(8)]
    for indices in (grids.trailing_indices, grids.linspace_indices):
        assert indices(1000, 1).tolist() == [999]


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 200), st.data())
def test_indices_are_distinct_steps_of_the_table(num_train_steps, data):
    num_steps = data.draw(st.integers(1, num_train_steps))
    for make in (grids.trailing_indices, grids.leading_indices, grids.linspace_indices):
        indices = make(num_train_steps, num_steps)
        assert len(indices) == num_steps
        assert (indices.diff() < 0).all()
        assert 0 <= int(indices[-1]) <= int(indices[0]) < num_train_steps
        assert indices.dtype == torch.int64


def test_indices_become_times_of_the_table():
    table = Tabulated.from_betas(torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64))
    times = grids.at_indices(table.times, grids.trailing_indices(1000, 4))
    assert times.tolist() == [1.0, 0.75, 0.5, 0.25, 0.0]
    with pytest.raises(ValueError, match="steps 0 to 3"):
        grids.at_indices([0.25, 0.5, 0.75, 1.0], torch.tensor([4, 0]))
    for make in (grids.trailing_indices, grids.leading_indices, grids.linspace_indices):
        with pytest.raises(ValueError, match="between 1 and the 10 of the table, got 11"):
            make(10, 11)
    with pytest.raises(ValueError, match="offset of 3"):
        grids.leading_indices(11, 5, offset=3)


def test_pruned_grids_are_subsets_of_32_equal_steps():
    """A subset of 1 - k / 32 with as many steps as asked, in steps that never shrink before t = 1/2."""
    for num_steps in (5, 6, 7, 10, 12, 16):
        times = grids.epss(num_steps)
        assert len(times) == num_steps + 1
        assert torch.equal(times * 32, (times * 32).round())
        early = -times[times >= 0.5].diff()
        assert (early.diff() >= 0).all()
    assert grids.epss(7).tolist() == [1, 15 / 16, 7 / 8, 13 / 16, 3 / 4, 1 / 2, 1 / 4, 0]
    with pytest.raises(ValueError, match=r"\[5, 6, 7, 10, 12, 16\] steps, got 8"):
        grids.epss(8)


def test_resampled_grid_interpolates_log_levels():
    """Against numpy's interpolation over the index; the same N gives the grid back; a step to 0 stays one."""
    path = VarianceExploding()
    times = [14.6, 6.5, 3.9, 1.9, 0.9, 0.03]
    made = grids.resample_grid(path, times, 12)
    for i in range(13):
        place = 5 * i / 12
        k = min(int(place), 4)
        log_level = math.log(times[k]) + (place - k) * (math.log(times[k + 1]) - math.log(times[k]))
        assert float(made[i]) == pytest.approx(math.exp(log_level), rel=1e-12)
    assert torch.allclose(grids.resample_grid(path, times, 5), grids.check_grid(times), rtol=1e-12)
    to_data = grids.resample_grid(path, [*times, 0.0], 13)
    assert torch.allclose(to_data, grids.append_zero(made), rtol=1e-12)
    with pytest.raises(ValueError, match="5 steps must become one of 0"):
        grids.resample_grid(path, [*times, 0.0], 1)
    with pytest.raises(ValueError, match="below pure noise"):
        grids.resample_grid(StraightLine(), [1.0, 0.5, 0.1], 4)


def test_grids_that_require_a_gradient_keep_it():
    """Through the check and through the maps of grids, by finite differences."""
    times = torch.tensor([0.9, 0.5, 0.2, 0.05], dtype=torch.float64, requires_grad=True)
    maps = (grids.check_grid, lambda t: grids.shift(t, 3.0), grids.sway, lambda t: grids.append_zero(t)[:-1])
    for function in maps:
        assert torch.autograd.gradcheck(function, times)
    with pytest.raises(ValueError, match="times 1 and 2"):
        grids.check_grid(torch.tensor([0.9, 0.2, 0.5], requires_grad=True))
    assert not grids.check_grid([0.9, 0.2]).requires_grad


@pytest.mark.parametrize(
    ("times", "message"),
    [
        ([0.0, 0.5, 1.0], "reverse it"),
        ([1.0, 0.5, 0.5, 0.0], "times 1 and 2"),
        ([1.0, float("nan"), 0.0], "finite"),
        ([1.0, -0.1], "ends at t >= 0"),
        ([1.0], "at least two"),
        ([], "at least two"),
        ([[1.0, 0.0]], "one dimension"),
    ],
)
def test_bad_grids_are_refused(times, message):
    with pytest.raises(ValueError, match=message):
        grids.check_grid(times)


def test_bad_arguments_are_refused():
    for make in (grids.uniform_t, grids.quadratic):
        with pytest.raises(ValueError, match="at least 1, got 0"):
            make(0)
        with pytest.raises(ValueError, match="0.2"):
            make(3, start=0.2, end=0.7)
    with pytest.raises(ValueError, match="append_zero"):
        grids.uniform_lambda(VPCosine(), 4, start=0.9, end=0.0)
    with pytest.raises(ValueError, match="below pure noise"):
        grids.karras(VPCosine(), 4, start=1.0, end=0.1)
    with pytest.raises(ValueError, match="rho must be positive, got 0"):
        grids.karras(VPCosine(), 4, start=0.9, end=0.1, rho=0)
    with pytest.raises(ValueError, match="factor must be positive, got -1"):
        grids.shift([1.0, 0.0], -1.0)
    for move in (lambda t: grids.shift(t, 3.0), grids.sway):
        with pytest.raises(ValueError, match="starts at 80"):
            move([80.0, 0.0])
    for coefficient in (-1.01, 1.76):
        with pytest.raises(ValueError, match="sway coefficient"):
            grids.sway([1.0, 0.0], coefficient)
    for make in (grids.cosine, grids.beta, grids.logit_normal):
        with pytest.raises(ValueError, match=r"in \[0, 1\], got a start of 1.5"):
            make(3, start=1.5)
    with pytest.raises(ValueError, match="rho must be positive, got -1"):
        grids.polyexponential(VPCosine(), 4, start=0.9, end=0.1, rho=-1)
    with pytest.raises(ValueError, match="steepness must be positive, got 0"):
        grids.sigmoid(3, steepness=0.0)
    with pytest.raises(ValueError, match="std must be positive, got 0"):
        grids.logit_normal(3, std=0.0)
    with pytest.raises(ValueError, match="Beta distribution must be positive, got 0"):
        grids.beta(3, a=0.0)
    with pytest.raises(ValueError, match="shortest, longest"):
        grids.shift_of_length(3, lengths=(5, 5))


def test_check_grid_copies():
    times = torch.tensor([1.0, 0.5, 0.0], dtype=torch.float64)
    grids.check_grid(times)[0] = 7.0
    assert float(times[0]) == 1.0
