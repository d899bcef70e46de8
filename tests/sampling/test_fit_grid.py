"""Fitted grids: exact dynamic programming, the costs it sums, and searches that reach known optima."""

from __future__ import annotations

import math
from functools import partial
from itertools import combinations

import pytest
import torch

from audiogen.sampling import grids
from audiogen.sampling.fit_grid import (
    cheapest_steps,
    endpoint_error,
    fit_grid,
    learn_grid,
    search,
    step_costs,
    teacher_states,
)
from audiogen.sampling.loop import run
from audiogen.sampling.oracles import Gaussian, Mixture
from audiogen.sampling.paths import StraightLine, VPLinear
from audiogen.sampling.plans import ddim, exponential_rk, multistep, unipc

PATH = VPLinear()
ORACLE = Mixture(PATH)


@pytest.fixture
def starts(randn):
    """Two sets of starts of the flow, to fit on and to test on."""
    return randn(32, 1), randn(32, 1)


def truth(x, oracle=ORACLE, start=1.0, end=1e-3):
    """End of the flow: UniPC-3 in 150 steps."""
    times = grids.uniform_lambda(oracle.path, 150, start=start, end=end)
    return run(unipc(oracle.path, times, order=3), oracle.denoise, x)


@pytest.mark.parametrize("gamma", [0.8, 1.0, 1.3])
@pytest.mark.parametrize("num_steps", [1, 2, 3, 5, 8])
def test_dynamic_programming_is_exact(num_steps, gamma, randn):
    """Against every subset of nine points; what lies on and below the diagonal is not read."""
    costs = randn(9, 9).abs()
    costs[torch.ones(9, 9, dtype=torch.bool).tril()] = -7.0

    def total(indices):
        return sum(
            gamma**n * float(costs[i, j]) for n, (i, j) in enumerate(zip(indices, indices[1:], strict=False))
        )

    every = [[0, *inner, 8] for inner in combinations(range(1, 8), num_steps - 1)]
    assert cheapest_steps(costs, num_steps, gamma=gamma) == min(every, key=total)


def test_step_costs_are_errors_of_one_step(mean_path, randn):
    """Against one-step plans, on a path with a mean; steps that are the teacher's own cost nothing."""
    oracle = Gaussian(mean_path, 0.2, 0.6)
    times = [0.9, 0.6, 0.35, 0.1]
    x, y = randn(3, 2, 4), randn(3, 2, 4)
    states = torch.stack([oracle.flow(x, *(torch.full((3,), t) for t in (0.9, to)), y=y) for to in times])
    costs = step_costs(mean_path, partial(oracle.denoise, y=y), states, times, y=y)
    assert costs.dtype == torch.float64
    for i in range(4):
        for j in range(4):
            if j <= i:
                assert costs[i, j] == math.inf
                continue
            plan = ddim(mean_path, [times[i], times[j]])
            error = run(plan, partial(oracle.denoise, y=y), states[i], y=y) - states[j]
            by_item = [math.sqrt(float((e**2).mean())) for e in error]
            assert float(costs[i, j]) == pytest.approx(sum(by_item) / 3, rel=1e-9)

    own = teacher_states(ddim(mean_path, times), partial(oracle.denoise, y=y), x, times, y=y)
    costs = step_costs(mean_path, partial(oracle.denoise, y=y), own, times, y=y)
    assert float(costs.diagonal(1).max()) < 1e-12


def test_teacher_states_are_those_at_the_ends_of_steps(randn):
    """Also of a teacher with several rows a step; equal to runs that stop there."""
    times = grids.uniform_lambda(PATH, 6, start=0.9, end=0.05)
    x = randn(4, 3)
    states = teacher_states(exponential_rk(PATH, times, method="heun"), ORACLE.denoise, x, times)
    assert torch.equal(states[0], x)
    for n in range(1, 7):
        plan = exponential_rk(PATH, times[: n + 1], method="heun")
        assert torch.allclose(states[n], run(plan, ORACLE.denoise, x), rtol=1e-12)
    with pytest.raises(ValueError, match=r"ends at \[0.5\]"):
        teacher_states(ddim(PATH, times), ORACLE.denoise, x, [0.9, 0.5])


def test_fitted_grid_is_a_subset_that_helps(starts):
    """Two thirds of the end error of DDIM on uniform lambda, for starts it was not fitted on."""
    fit, test = starts
    fine = grids.uniform_lambda(PATH, 40, start=1.0, end=1e-3)
    error = endpoint_error(ORACLE.denoise, test, truth(test))
    for num_steps in (4, 6, 8):
        times = fit_grid(PATH, ORACLE.denoise, fit, fine, num_steps)
        assert len(times) == num_steps + 1
        assert (float(times[0]), float(times[-1])) == (float(fine[0]), float(fine[-1]))
        assert torch.isin(times, fine).all()
        plain = grids.uniform_lambda(PATH, num_steps, start=1.0, end=1e-3)
        assert float(error(ddim(PATH, times))) < 0.65 * float(error(ddim(PATH, plain)))


def best_middle(error, build, start, end):
    """Optimum of a grid with one inner time by a fine scan."""
    scan = torch.linspace(start, end, 402, dtype=torch.float64)[1:-1].tolist()
    return min((float(error(build([start, t, end]))), t) for t in scan)


@pytest.mark.parametrize("num_steps", [4, 6, 8])
def test_gradient_of_the_loss_in_the_times(num_steps, starts):
    """Through weights, labels and the network, from pure noise to the data, against finite differences."""
    path = StraightLine()
    oracle = Mixture(path)
    error = endpoint_error(oracle.denoise, starts[0], starts[1])
    times = grids.uniform_t(num_steps).requires_grad_()
    (gradient,) = torch.autograd.grad(error(multistep(path, times)), times)
    for i in range(1, num_steps):
        moved = [times.detach().clone() for _ in range(2)]
        moved[0][i] -= 1e-6
        moved[1][i] += 1e-6
        low, high = (float(error(multistep(path, t))) for t in moved)
        assert float(gradient[i]) == pytest.approx((high - low) / 2e-6, rel=1e-5, abs=1e-8)
    losses = learn_grid(partial(multistep, path), times.detach(), error, steps=6, lr=0.02).losses
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("find", ["learn_grid", "search"])
def test_one_inner_time_is_found(find, starts):
    """The optimum of a two-step grid, as a scan of all of them finds it."""
    error = endpoint_error(ORACLE.denoise, starts[0], truth(starts[0]))
    build = partial(multistep, PATH, order=2)
    lowest, where = best_middle(error, build, 1.0, 1e-3)
    first = [1.0, 0.5, 1e-3]
    if find == "learn_grid":
        fit = learn_grid(build, first, error, steps=40, lr=0.1)
    else:
        fit = search([(build, first)], error, evaluations=80, seed=3)
    assert fit.loss <= lowest * 1.001
    assert float(fit.times[1]) == pytest.approx(where, abs=5e-3)
    assert fit.loss == float(error(fit.plan)) == min(fit.losses)
    assert fit.plan == build(fit.times)


def test_fits_gain_on_starts_they_have_not_seen(starts):
    """UniPC-2 in 6 calls on a mixture: half the error of the best of three usual grids, or less."""
    fit, test = starts
    build = partial(unipc, PATH, order=2)
    train_error, test_error = (endpoint_error(ORACLE.denoise, x, truth(x)) for x in (fit, test))
    ends = {"start": 1.0, "end": 1e-3}
    usual = [grids.uniform_t(6, **ends), grids.uniform_lambda(PATH, 6, **ends), grids.karras(PATH, 6, **ends)]
    found = search([(build, times) for times in usual], train_error, evaluations=50, seed=0)
    found = learn_grid(build, found.times, train_error, steps=25)
    assert float(test_error(found.plan)) < min(float(test_error(build(times))) for times in usual) / 2


def test_search_chooses_the_solver(starts):
    """From three solvers of which only one can win, started on its worst grid; two have equal lengths."""
    error = endpoint_error(ORACLE.denoise, starts[0], truth(starts[0]))
    uniform = grids.uniform_t(6, start=1.0, end=1e-3)
    candidates = [
        (partial(ddim, PATH), uniform),
        (partial(exponential_rk, PATH), grids.uniform_t(3, start=1.0, end=1e-3)),
        (partial(unipc, PATH), uniform),
    ]
    fit = search(candidates, error, evaluations=60, seed=1)
    assert fit.plan.spec["solver"] == "unipc"
    assert fit.plan.nfe == 6
    assert fit.loss < 0.7 * min(fit.losses[:3])


def test_search_keeps_the_cost_of_every_candidate():
    """Grids of unlike lengths do not mix, and a builder is not put on a grid of another length."""
    nfes = []
    candidates = [
        (partial(ddim, PATH), grids.uniform_t(6)),
        (partial(exponential_rk, PATH), grids.uniform_t(3, end=0.1)),
        (partial(multistep, PATH), grids.quadratic(6)),
    ]
    search(candidates, lambda plan: nfes.append(plan.nfe) or 0.0, evaluations=60, seed=0)
    assert nfes == [6] * 60


def test_search_exchanges_builders_between_grids():
    """A builder that comes with a hopeless grid meets the good grid of another."""
    good, bad = [1.0, 0.4, 0.1], [1.0, 0.999, 0.1]

    def objective(plan):
        return 10 * abs(float(plan.ends[0]) - 0.4) + (plan.spec["solver"] == "ddim")

    fit = search(
        [(partial(ddim, PATH), good), (partial(multistep, PATH), bad)], objective, evaluations=60, seed=0
    )
    assert fit.plan.spec["solver"] == "multistep"
    assert fit.loss < 0.5


def test_searches_repeat_report_and_stop(starts):
    error = endpoint_error(ORACLE.denoise, starts[0], truth(starts[0]))
    candidates = [(partial(ddim, PATH), [1.0, 0.5, 0.01])]
    first, again = (search(candidates, error, evaluations=20, seed=5) for _ in range(2))
    assert first.losses == again.losses
    assert first.plan == again.plan
    assert search(candidates, error, evaluations=20, seed=6).losses != first.losses

    seen = []
    stopped = search(
        candidates,
        error,
        evaluations=20,
        seed=5,
        on_evaluation=lambda *row: seen.append(row),
        stop=lambda: len(seen) == 3,
    )
    assert stopped.losses == first.losses[:3]
    assert seen == [(n, 20, loss) for n, loss in enumerate(first.losses[:3])]

    seen.clear()
    build = partial(multistep, PATH)
    learned = learn_grid(
        build,
        [1.0, 0.5, 0.01],
        error,
        steps=20,
        on_step=lambda *row: seen.append(row),
        stop=lambda: len(seen) == 4,
    )
    assert [n for n, _, _ in seen] == [0, 1, 2, 3]
    assert tuple(loss for _, _, loss in seen) == learned.losses
    assert learned.losses[0] == pytest.approx(float(error(build([1.0, 0.5, 0.01]))), rel=1e-9)


def test_losses_that_are_not_finite_lose():
    values = iter([math.nan, math.inf, 3.0, -math.inf, math.nan])
    fit = search([(partial(ddim, PATH), [1.0, 0.5, 0.01])], lambda plan: next(values), evaluations=5)
    assert fit.loss == 3.0
    assert fit.losses == (math.inf, math.inf, 3.0, math.inf, math.inf)
    with pytest.raises(ValueError, match="no plan had a finite objective"):
        search([(partial(ddim, PATH), [1.0, 0.01])], lambda plan: math.nan, evaluations=3)
    with pytest.raises(ValueError, match="loss nan"):
        learn_grid(partial(multistep, PATH), [1.0, 0.5, 0.01], lambda plan: plan.weights.sum() * math.nan)


def test_bad_arguments_are_refused(randn):
    with pytest.raises(ValueError, match="between 1 and the teacher's 3, got 4"):
        cheapest_steps(torch.ones(4, 4), 4)
    with pytest.raises(ValueError, match="gamma must be positive, got 0"):
        cheapest_steps(torch.ones(4, 4), 2, gamma=0.0)
    with pytest.raises(ValueError, match="got 2 for 3 times"):
        step_costs(PATH, ORACLE.denoise, randn(2, 1, 1), [0.9, 0.5, 0.1])
    with pytest.raises(ValueError, match="0 candidates"):
        search([], lambda plan: 0.0)
    with pytest.raises(ValueError, match="at least 1, got 0"):
        learn_grid(partial(ddim, PATH), [1.0, 0.1], lambda plan: plan.weights.sum(), steps=0)
