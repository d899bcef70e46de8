"""Time grids: end points, spacing and refusals."""

from __future__ import annotations

import math

import pytest
import torch

from audiogen.sampling import grids
from audiogen.sampling.paths import StraightLine, VarianceExploding, VPCosine, VPLinear


@pytest.mark.parametrize("num_steps", [1, 2, 3, 50])
def test_every_grid_has_its_steps_and_exact_ends(num_steps):
    path = VPCosine()
    made = [
        (grids.uniform_t(num_steps), 1.0, 0.0),
        (grids.quadratic(num_steps), 1.0, 0.0),
        (grids.uniform_lambda(path, num_steps, start=0.99, end=0.01), 0.99, 0.01),
        (grids.karras(path, num_steps, start=0.99, end=0.01), 0.99, 0.01),
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
    with pytest.raises(ValueError, match="starts at 80"):
        grids.shift([80.0, 0.0], 3.0)


def test_check_grid_copies():
    times = torch.tensor([1.0, 0.5, 0.0], dtype=torch.float64)
    grids.check_grid(times)[0] = 7.0
    assert float(times[0]) == 1.0
