"""Search for the grid, and the solver, that serve one model best at a given cost, without training the model.

`fit_grid` picks from a fine grid by dynamic programming, `search` tries plans against any objective, and
`learn_grid` follows the gradient of a loss in the times. The first is the start for the other two.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from audiogen.sampling.coefficients import ddim_weights
from audiogen.sampling.grids import check_grid
from audiogen.sampling.loop import Denoiser, run
from audiogen.sampling.paths import Path, expand
from audiogen.sampling.plans import multistep
from audiogen.sampling.table import Plan

Build: TypeAlias = Callable[[Tensor], Plan]
"""Builder of a plan from a grid, such as partial(unipc, path, order=2)."""

_POOL = 6  # candidates that have offspring
_STEP_SIZE = 0.3  # first standard deviation of a mutation of the logarithm of a step


class Fit(NamedTuple):
    """What a search found; losses: that of every evaluation, in order."""

    plan: Plan
    times: Tensor
    loss: float
    losses: tuple[float, ...]


def fit_grid(
    path: Path,
    denoise: Denoiser,
    x: Tensor,
    times: Sequence[float] | Tensor,
    num_steps: int,
    *,
    teacher: Plan | None = None,
    y: Tensor | None = None,
    gamma: float = 1.0,
) -> Tensor:
    """Subset of a fine grid with the least sum of one-step errors (GITS, Chen et al. 2024, section 3.3).

    x: (B, ...) states at times[0], some hundred trajectories' worth. times: fine grid, 20 to 100 steps.
    teacher: deterministic plan that passes through all of them, by default `multistep` of order 2.
    gamma: see `cheapest_steps`. Calls the denoiser 2 len(times) times. Returns (num_steps + 1,).
    """
    grid = check_grid(times).detach()
    teacher = multistep(path, grid) if teacher is None else teacher
    states = teacher_states(teacher, denoise, x, grid, y=y)
    costs = step_costs(path, denoise, states, grid, y=y)
    return grid[torch.tensor(cheapest_steps(costs, num_steps, gamma=gamma))]


@torch.no_grad()
def teacher_states(
    plan: Plan, denoise: Denoiser, x: Tensor, times: Sequence[float] | Tensor, *, y: Tensor | None = None
) -> Tensor:
    """States (M + 1, B, ...) of a run of `plan` from x at times[0]; after the first, times are ends of rows.

    Where several rows end at one time the last counts. Raises ValueError for a time that no row ends at.
    """
    wanted = {t: i for i, t in enumerate(check_grid(times).tolist())}
    ends = plan.ends.tolist()
    missing = [t for t in list(wanted)[1:] if t not in ends]
    if missing:
        raise ValueError(f"no row of the teacher ends at {missing}: build it on this grid")
    states = x.new_empty((len(wanted), *x.shape))
    states[0] = x

    def keep(x: Tensor, row: int) -> Tensor:
        if ends[row] in wanted:
            states[wanted[ends[row]]] = x
        return x

    run(plan, denoise, x, y=y, x_hook=keep)
    return states


@torch.no_grad()
def step_costs(
    path: Path,
    denoise: Denoiser,
    states: Tensor,
    times: Sequence[float] | Tensor,
    *,
    y: Tensor | None = None,
) -> Tensor:
    """Error costs[i, j] of one DDIM step from the teacher's state i to its state j > i; infinite elsewhere.

    states: (M + 1, B, ...) at the times (M + 1,). An item's error is the root mean square over its elements;
    the cost is the mean over items, whatever their sizes. Returns float64 (M + 1, M + 1) on the CPU.
    """
    grid = check_grid(times).detach()
    if len(states) != len(grid):
        raise ValueError(f"one state for each time is needed, got {len(states)} for {len(grid)} times")
    dtype = torch.promote_types(states.dtype.to_real(), torch.float32)
    costs = torch.full((len(grid), len(grid)), torch.inf, dtype=torch.float64)
    for i, x in enumerate(states[:-1]):
        d = denoise(x, torch.full(x.shape[:1], float(grid[i]), dtype=dtype, device=x.device)).to(x.dtype)
        step = ddim_weights(path, grid[i].expand(len(grid) - i - 1), grid[i + 1 :])
        for j in range(i + 1, len(grid)):
            on_x, on_y, on_d = (expand(w[j - i - 1].to(x.device), x) for w in (step.x, step.y, step.data))
            error = on_x * x + on_d * d - states[j]
            if y is not None:
                error += on_y * y
            costs[i, j] = error.abs().square().flatten(1).mean(1).sqrt().mean().double()
    return costs


def cheapest_steps(costs: Tensor, num_steps: int, *, gamma: float = 1.0) -> list[int]:
    """Indices 0 = i_0 < ... < i_N = M with the least sum_n gamma^n costs[i_n, i_{n+1}].

    costs: (M + 1, M + 1), read above the diagonal. gamma: above 1 weighs the late steps more, below 1 the
    early ones. Exact, by dynamic programming in O(M^2 N).
    """
    last = len(costs) - 1
    if not 1 <= num_steps <= last:
        raise ValueError(f"the number of steps must lie between 1 and the teacher's {last}, got {num_steps}")
    if not gamma > 0:
        raise ValueError(f"gamma must be positive, got {gamma}")
    costs = costs.double().where(torch.ones_like(costs, dtype=torch.bool).triu(1), torch.inf)
    rest = costs[:, last]  # cheapest way from every index to the end in the steps so far
    choices = []
    for _ in range(num_steps - 1):
        rest, choice = (costs + gamma * rest).min(dim=1)
        choices.append(choice.tolist())
    indices = [0]
    for choice in reversed(choices):
        indices.append(choice[indices[-1]])
    return [*indices, last]


def endpoint_error(
    denoise: Denoiser,
    x: Tensor,
    target: Tensor,
    *,
    y: Tensor | None = None,
    noise: Callable[[int, Tensor], Tensor] | None = None,
) -> Callable[[Plan], Tensor]:
    """Objective for `search` and `learn_grid`: root mean square distance of a plan's end from `target`.

    x, target, y: (B, ...). target: the end of a fine plan from the same x, or any other wanted end.
    """

    def error(plan: Plan) -> Tensor:
        def at_label(row: int) -> Denoiser:
            # `run` hands on times without their gradient
            return lambda x, t: denoise(x, plan.labels[row].to(t).expand(t.shape))

        end = run(plan, [at_label(row) for row in range(len(plan))], x, y=y, noise=noise)
        return (end - target).abs().square().mean().sqrt()

    return error


def search(
    candidates: Sequence[tuple[Build, Sequence[float] | Tensor]],
    objective: Callable[[Plan], float | Tensor],
    *,
    evaluations: int = 200,
    seed: int = 0,
    on_evaluation: Callable[[int, int, float], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> Fit:
    """Evolve grids and solvers towards the least objective(plan), any number that need not be smooth.

    candidates: builders with a grid to start from; a solver with more calls a step comes with fewer steps.
    Offspring mutate or mix the step lengths of the best ones, and exchange builders between grids of equal
    length; the first and the last time stay. seed: equal seeds give equal searches. on_evaluation(count,
    evaluations, loss) watches; stop() true after an evaluation ends the search early, with what it has.
    Raises ValueError if no plan had a finite objective.
    """
    if not candidates or evaluations < len(candidates):
        raise ValueError(f"{len(candidates)} candidates need at least as many evaluations, got {evaluations}")
    rng = random.Random(seed)
    pool: list[_Individual] = []
    best: tuple[float, Plan, Tensor] | None = None
    losses: list[float] = []
    for count in range(evaluations):
        if count < len(candidates):
            grid = check_grid(candidates[count][1]).detach()
            child = _Individual(math.inf, count, grid, _log_steps(grid).tolist(), _STEP_SIZE)
        else:
            child = _offspring(pool, candidates, rng)
        times = child.times
        plan = candidates[child.builder][0](times)
        with torch.no_grad():
            loss = float(objective(plan))
        loss = loss if math.isfinite(loss) else math.inf
        losses.append(loss)
        if loss < math.inf and (best is None or loss < best[0]):
            best = (loss, plan, times)
        pool.append(child._replace(loss=loss))
        if count >= len(candidates) - 1:
            pool = sorted(pool, key=lambda one: one.loss)[:_POOL]
        if on_evaluation is not None:
            on_evaluation(count, evaluations, loss)
        if stop is not None and stop():
            break
    if best is None:
        raise ValueError("no plan had a finite objective")
    return Fit(best[1], best[2], best[0], tuple(losses))


class _Individual(NamedTuple):
    """A tried plan: loss, builder, grid as times and as logarithms of steps, size of its mutations."""

    loss: float
    builder: int
    times: Tensor
    log_steps: list[float]
    size: float


def _offspring(
    pool: Sequence[_Individual], candidates: Sequence[tuple[Build, object]], rng: random.Random
) -> _Individual:
    """Mutated copy of one of the pool, mixed with another in one case of three."""
    parent = rng.choice(pool)
    mates = [one for one in pool if len(one.times) == len(parent.times)]
    log_steps, builder = parent.log_steps, parent.builder
    if rng.random() < 1 / 3:
        mate = rng.choice(mates)
        log_steps = [(a + b) / 2 for a, b in zip(log_steps, mate.log_steps, strict=True)]
        builder = rng.choice([builder, mate.builder])
    same = [b for b, (_, grid) in enumerate(candidates) if len(torch.as_tensor(grid)) == len(parent.times)]
    if rng.random() < 0.1:
        builder = rng.choice(same)
    size = parent.size * math.exp(rng.gauss(0.0, 0.4))
    share = rng.choice([1.0, 1.5 / len(log_steps)])  # all steps, or one or two
    log_steps = [v + rng.gauss(0.0, size) * (rng.random() < share) for v in log_steps]
    return _Individual(
        math.inf, builder, _grid_of_log_steps(torch.tensor(log_steps), parent.times), log_steps, size
    )


def learn_grid(
    build: Build,
    times: Sequence[float] | Tensor,
    loss: Callable[[Plan], Tensor],
    *,
    steps: int = 100,
    lr: float = 0.05,
    on_step: Callable[[int, int, float], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> Fit:
    """Descend the gradient of loss(build(times)) in the inner times; the first and the last stay.

    times: grid to start from. loss: differentiable in the plan, such as `endpoint_error`. The unknowns are
    the logarithms of the steps in time, relative to their sum (a softmax), so that every grid on the way
    decreases; optimised by Adam with learning rate lr. on_step(step, steps, loss) watches; stop() true after
    a step ends early. Returns the best grid met, which may be the first. Raises ValueError if the loss
    or its gradient is not finite.
    """
    first = check_grid(times).detach()
    if steps < 1:
        raise ValueError(f"the number of optimisation steps must be at least 1, got {steps}")
    log_steps = _log_steps(first).requires_grad_()
    optimizer = torch.optim.Adam([log_steps], lr=lr)
    best, losses = (math.inf, first), []
    for step in range(steps):
        with torch.enable_grad():
            grid = _grid_of_log_steps(log_steps, first)
            value = loss(build(grid))
            (log_steps.grad,) = torch.autograd.grad(value, log_steps)
        losses.append(float(value.detach()))
        if not math.isfinite(losses[-1]) or not bool(log_steps.grad.isfinite().all()):
            raise ValueError(
                f"the loss {losses[-1]} or its gradient {log_steps.grad.tolist()} is not finite "
                f"on the grid {grid.tolist()}: lower lr, or start from another grid"
            )
        if losses[-1] < best[0]:
            best = (losses[-1], grid.detach())
        optimizer.step()
        if on_step is not None:
            on_step(step, steps, losses[-1])
        if stop is not None and stop():
            break
    return Fit(build(best[1]), best[1], best[0], tuple(losses))


def _log_steps(grid: Tensor) -> Tensor:
    return torch.log(-grid.diff())


def _grid_of_log_steps(log_steps: Tensor, like: Tensor) -> Tensor:
    """Grid between the ends of `like` whose steps in time have these logarithms, up to a constant."""
    shares = torch.softmax(log_steps.to(like), dim=0).cumsum(0)
    return torch.cat([like[:1], like[0] + (like[-1] - like[0]) * shares[:-1], like[-1:]])
