"""Brownian noise: one path for every grid, exact laws, and runs that converge path by path."""

from __future__ import annotations

import math

import pytest
import torch

from audiogen.sampling import grids
from audiogen.sampling.brownian import Brownian
from audiogen.sampling.loop import run
from audiogen.sampling.noise import ItemNoise
from audiogen.sampling.oracles import Gaussian
from audiogen.sampling.paths import StraightLine, VarianceExploding, VPCosine, VPLinear
from audiogen.sampling.plans import ddim, runge_kutta, sde_multistep
from audiogen.sampling.plans.single_step import Churn

X = torch.empty(2, 3, 5, dtype=torch.float64)
DEPTH = 6


def at(path, lams):
    """Times of these values of log(alpha / sigma)."""
    return path.t_of_lam(torch.tensor(lams, dtype=torch.float64))


def dot(a, b):
    return sum(weight * b.get(draw, 0.0) for draw, weight in a.items())


@pytest.mark.parametrize("kappa", [0.05, 0.5, 1.0, 3.0])
def test_rows_are_standard_and_independent(kappa):
    """Exactly, as linear forms of independent draws: unit length, and orthogonal in disjoint steps."""
    path = VPCosine()
    times = [1.0, 0.97, 0.8, 0.79, 0.5, 0.4999, 0.3, 0.02, 0.0]
    draws = Brownian([1], path, times, kappa=kappa, depth=14).draws
    assert all(draws)
    for i, a in enumerate(draws):
        for j, b in enumerate(draws):
            assert dot(a, b) == pytest.approx(float(i == j), abs=1e-9), (i, j)


@pytest.mark.parametrize("kappa", [0.3, 1.0, 2.0])
def test_increments_add_up(kappa):
    """In the clock e^{2 kappa lam} the path over [a, c] is that over [a, b] and that over [b, c].

    Lattice points inside one cell, on its border, several cells apart, and beyond both ends.
    """
    path, marks = VarianceExploding(), [-2.5, -1.203125, -1.1875, -1.0, -0.375, 2.0, 2.015625, 4.5]
    clock = [math.exp(2 * kappa * lam) for lam in marks]

    def increment(i, j):
        noise = Brownian([7, 8], path, at(path, [marks[i], marks[j]]), kappa=kappa, depth=DEPTH)(0, X)
        return noise * math.sqrt(clock[j] - clock[i])

    for i in range(len(marks)):
        for k in range(i + 2, len(marks)):
            for j in range(i + 1, k):
                apart = increment(i, j) + increment(j, k)
                assert torch.allclose(apart, increment(i, k), rtol=1e-9, atol=1e-9 * math.sqrt(clock[k])), (
                    i,
                    j,
                    k,
                )


@pytest.mark.parametrize("depth", [2, 5, 12])
def test_path_has_the_law_of_brownian_motion_inside_a_cell(depth):
    """Cov(W(b), W(c)) = W's variance at the earlier, from forms that share their start."""
    path = VarianceExploding()
    lams = [k / 2**depth for k in (0, 1, 2**depth // 2, 2**depth - 1, 2**depth)]
    forms = [Brownian([1], path, at(path, [-1.0, lam]), depth=depth).draws[0] for lam in lams]
    sizes = [math.exp(2 * lam) - math.exp(-2) for lam in lams]
    for i, a in enumerate(forms):
        for j, b in enumerate(forms):
            assert dot(a, b) == pytest.approx(
                math.sqrt(min(sizes[i], sizes[j]) / max(sizes[i], sizes[j])), rel=1e-9
            )


def test_values_are_normal_and_uncorrelated():
    """Two rows of 60,000 values, within five standard deviations: moments, and neighbours of every kind."""
    source = Brownian(range(4), VPCosine(), [0.9, 0.61, 0.2])
    first, second = (source(row, torch.empty(4, 30, 500, dtype=torch.float64)) for row in (0, 1))
    n = first.numel()
    for noise in (first, second):
        assert abs(float(noise.mean())) < 5 / math.sqrt(n)
        assert abs(float(noise.var()) - 1) < 5 * math.sqrt(2 / n)
        assert abs(float((noise**4).mean()) - 3) < 5 * math.sqrt(96 / n)
    for a, b in [
        (first, second),
        (first[:-1], first[1:]),
        (first[:, 1:], first[:, :-1]),
        (first[..., 1:], first[..., :-1]),
    ]:
        assert abs(float((a * b).mean())) < 5 / math.sqrt(a.numel())
    # nor is the noise that of a row, or of the start, of the same seeds
    lowest = Brownian(range(4), VarianceExploding(), at(VarianceExploding(), [-16.0, -15.0]))(0, first)
    assert not torch.allclose(lowest, ItemNoise(range(4)).start(30, 500, dtype=torch.float64))
    for other in (ItemNoise(range(4))(0, first), ItemNoise(range(4)).start(30, 500, dtype=torch.float64)):
        assert abs(float((first * other).mean())) < 5 / math.sqrt(n)


def test_an_items_noise_depends_on_its_seed_and_frames_alone():
    path, times = VPLinear(), [1.0, 0.6, 0.1]
    whole = Brownian([3, -7, 11], path, times)(1, torch.empty(3, 6, 40))
    for i, seed in enumerate([3, -7, 11]):
        alone = Brownian([seed], path, times, first_frame=13)(1, torch.empty(1, 6, 20))
        assert torch.equal(alone[0], whole[i, :, 13:33])
    assert len(whole.unique()) == whole.numel()
    z = Brownian([3], path, times)(1, torch.empty(1, 6, 40, dtype=torch.complex64))
    assert torch.allclose(z.real * math.sqrt(2), whole[:1], rtol=1e-5)


@pytest.mark.parametrize("path", [VPLinear(), VPCosine(), StraightLine(), VarianceExploding()])
def test_ends_may_be_touched_and_passed(path):
    """Pure noise, clean data, one rounding error beyond either, and levels beyond any range."""
    above, below = math.nextafter(1.0, 2.0), -math.ulp(0.0)
    if isinstance(path, VarianceExploding):
        above = 1e30
    inside = Brownian([1, 2], path, [1.0, 0.5, 0.0])
    outside = Brownian([1, 2], path, [above, 0.5, below])
    for row in (0, 1):
        noise = outside(row, X)
        assert bool(noise.isfinite().all())
        if not isinstance(path, VarianceExploding):
            assert torch.equal(noise, inside(row, X))
    tiny = Brownian([1, 2], path, [0.5, 1e-17, 1e-18, 0.0])
    assert torch.equal(tiny(2, X), ItemNoise([1, 2])(2, X))  # all of it lies beyond the range


def test_rows_that_do_not_advance_draw_independent_noise():
    """Standing still, going back, and walking again what was walked before."""
    path = VarianceExploding()
    source = Brownian([1, 2], path, [8.0, 4.0, 4.0, 6.0, 3.0], depth=DEPTH)
    assert [bool(draws) for draws in source.draws] == [True, False, False, True]
    for row in (1, 2):
        assert torch.equal(source(row, X), ItemNoise([1, 2])(row, X))
    assert source.draws[3] == Brownian([1], path, [4.0, 3.0], depth=DEPTH).draws[0]


def test_plan_decides_which_rows_advance():
    """A step of several rows draws once, for all of it; with churn for the step before it."""
    path, times = VarianceExploding(), [8.0, 4.0, 2.0, 1.0]
    plan = ddim(path, times, eta=1.0)
    by_hand = Brownian([5], path, times)
    assert Brownian.of_plan([5], path, plan).draws == by_hand.draws
    assert Brownian.of_plan([5], path, plan, start=16.0).draws[1:] == by_hand.draws[1:]
    assert Brownian.of_plan([5], path, plan, start=16.0).draws[0] == Brownian([5], path, [16.0, 4.0]).draws[0]

    heun = runge_kutta(path, times, method="heun", churn=Churn(amount=0.6))
    noisy = [bool((row != 0).any()) for row in heun.weights[:, :, -1]]
    assert 0 < sum(noisy) < len(heun)
    stops = [8.0, *(end for end, draws in zip(heun.ends.tolist(), noisy, strict=True) if draws)]
    made = Brownian.of_plan([5], path, heun, start=8.0).draws
    assert [draws for draws, used in zip(made, noisy, strict=True) if used] == list(
        Brownian([5], path, stops).draws
    )
    assert not any(draws for draws, used in zip(made, noisy, strict=True) if not used)
    assert made[-1] == {}  # the last row draws nothing
    assert sum(map(bool, made)) == len(times) - 2  # the first churn goes back, as its row does


@pytest.mark.parametrize("kappa", [0.5, 1.0])
def test_with_a_constant_denoiser_the_grid_makes_no_difference(kappa, mean_path, randn):
    """The end of a stochastic run, also on a path with a mean, is that of one step."""
    lams = [-2.0, -1.75, 0.125, 0.5, 1.0, 3.0]
    x, y, data = randn(2, 3, 5), randn(2, 3, 5), randn(2, 3, 5)

    def end(steps):
        plan = sde_multistep(mean_path, at(mean_path, steps), order=1, kappa=kappa)
        noise = Brownian.of_plan([1, 2], mean_path, plan, kappa=kappa, depth=DEPTH)
        return run(plan, lambda x, t: data, x, y=y, noise=noise)

    assert torch.allclose(end(lams), end([lams[0], lams[-1]]), rtol=1e-9)
    assert torch.allclose(end(lams[:3] + lams[-1:]), end([lams[0], lams[-1]]), rtol=1e-9)
    assert not torch.allclose(end(lams)[0], end(lams)[1])


def test_runs_converge_path_by_path():
    """Order 1 in the end of a DDPM run from grids of any times; with independent noise none at all."""
    path = VPLinear()
    oracle = Gaussian(path, 0.3, 0.5)
    x = ItemNoise([1, 2]).start(4, 20, dtype=torch.float64)

    def distances(source):
        ends = []
        for num_steps in (16, 32, 64, 128):
            plan = ddim(path, grids.uniform_lambda(path, num_steps, start=1.0, end=1e-3), eta=1.0)
            ends.append(run(plan, oracle.denoise, x, noise=source(plan)))
        return [float((a - b).square().mean().sqrt()) for a, b in zip(ends, ends[1:], strict=False)]

    brownian = distances(lambda plan: Brownian.of_plan([1, 2], path, plan))
    assert all(0.35 < b / a < 0.65 for a, b in zip(brownian, brownian[1:], strict=False)), brownian
    assert brownian[-1] < 0.035
    independent = distances(lambda plan: ItemNoise([1, 2]))
    assert min(independent) > 0.3


def test_nearby_times_are_one_lattice_point():
    """The exactness does not depend on where times fall: they count as the nearest of 2^depth points."""
    path = VarianceExploding()
    exact = Brownian([1], path, at(path, [-1.0, 0.25, 2.0]), depth=DEPTH)
    near = Brownian([1], path, at(path, [-1.0 + 0.005, 0.25 - 0.005, 2.0 + 0.005]), depth=DEPTH)
    assert near.draws == exact.draws


def test_bad_arguments_are_refused():
    path, times = VPCosine(), [1.0, 0.5]
    for kappa in (0.0, -1.0, math.inf):
        with pytest.raises(ValueError, match="kappa must lie"):
            Brownian([1], path, times, kappa=kappa)
    for depth in (0, 25):
        with pytest.raises(ValueError, match=f"between 1 and 24, got {depth}"):
            Brownian([1], path, times, depth=depth)
    for bad in ([1.0], [1.0, math.nan], [[1.0, 0.5]]):
        with pytest.raises(ValueError, match="finite times"):
            Brownian([1], path, bad)
    with pytest.raises(ValueError, match="noise for 1 items"):
        Brownian([1], path, times)(0, X)
