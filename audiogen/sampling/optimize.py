"""Noise optimised through a plan (DITTO), gradients with less memory, and runs undone.

What the gradient of a run of R rows keeps, in states x and in activations of one network call:

    run                                      R activations
    run(remat=checkpoint_row)                R states, 1 activation; one more pass
    run_checkpointed                         sqrt(R) times all registers, sqrt(R) activations; one more pass
    run_checkpointed(remat=checkpoint_row)   the same, but sqrt(R) states and 1 activation; two more passes
    run_reversible                           2 states, 1 activation; one more pass, for plans like `bdia`
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

from audiogen.sampling.loop import Denoiser, Registers, run
from audiogen.sampling.paths import Path
from audiogen.sampling.plans.common import check_path_grid, knots, spec
from audiogen.sampling.plans.edits import head, tail
from audiogen.sampling.plans.single_step import data_step
from audiogen.sampling.restarts import Record, check_tasks
from audiogen.sampling.table import BASE, D, Plan, Rows, X, Y

Denoisers: TypeAlias = Denoiser | Sequence[Denoiser]


class Optimised(NamedTuple):
    """What `optimise_noise` found: the start with the lowest loss of each item, and all losses (steps, B)."""

    start: Tensor
    losses: Tensor


def optimise_noise(
    plan: Plan,
    denoise: Denoisers,
    start: Tensor,
    loss: Callable[[Tensor], Tensor],
    *,
    steps: int,
    lr: float = 5e-3,
    y: Tensor | None = None,
    runner: Callable[..., Tensor] = run,
    project: Callable[[Tensor], Tensor] | None = None,
    restarts: int = 1,
    enough: float | None = None,
    seconds: float | None = None,
    on_step: Callable[[int, int, Tensor, Tensor], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> Optimised:
    """Start whose sample under a deterministic plan has the least loss, by Adam (Novack et al. 2024, DITTO).

    start, y: (B, ...). loss(sample) -> (B,): items do not mix, so a batch of seeds is a batch of restarts.
    steps: runs of the plan. runner: called as runner(plan, denoise, start, y=y); `run_checkpointed`,
    `run_reversible` or partial(run, remat=checkpoint_row) save memory. Parameters of the network should not
    require gradients. project: moves the start back to where noise lies after every step, as `on_shell` does.
    restarts: every so many items are seeds of one task, of which `best_restarts` picks. enough: loss at which
    a task is done; all done, the search ends. seconds: time for all steps; none begins that would take
    longer, judged by those before, but the first always runs. on_step(step, steps, losses, start) watches,
    after each run; stop() true before a step returns what was found so far.

    The plan need not be the one that makes the final sample: DITTO-2 optimises through one call of a
    distilled network, and decodes the start with as many as quality asks for,

        found = optimise_noise(consistency(path, [1.0, 0.0]), student, start, loss, steps=70)
        sample = run(ctm(path, times), student_of_two_times, found.start)

    Raises ValueError for a plan that draws noise, a loss that is not (B,), or items that are no whole tasks.
    """
    if plan.stochastic:
        raise ValueError(
            "a start has no one sample under a plan that draws noise: take eta, kappa, gamma = 0"
        )
    check_tasks(len(start), restarts)
    began, limit = time.monotonic(), math.inf if seconds is None else seconds
    with torch.inference_mode(False):  # which turns gradients on as well
        start = start.detach().clone().requires_grad_()
        optimizer = torch.optim.Adam([start], lr=lr)
        record = Record(start)
        for step in range(steps):
            if stop is not None and stop():
                break
            if step and (time.monotonic() - began) * (step + 1) / step > limit:
                break
            losses = loss(runner(plan, denoise, start, y=y))
            record.add(start, losses)
            if on_step is not None:
                on_step(step, steps, record.history[-1], start.detach())
            if record.done(enough, restarts) or step + 1 == steps:
                break
            (start.grad,) = torch.autograd.grad(losses.sum(), start)
            optimizer.step()
            if project is not None:
                start.data = project(start.data)
        return Optimised(record.best, record.losses())


def checkpoint_row(denoise: Denoiser, x: Tensor, t: Tensor) -> Tensor:
    """Call the network without keeping its activations: `remat` of `run`, which keeps x of every row."""
    return checkpoint(denoise, x, t, use_reentrant=False)


def run_checkpointed(
    plan: Plan,
    denoise: Denoisers,
    x: Tensor,
    *,
    y: Tensor | None = None,
    noise: Callable[[int, Tensor], Tensor] | None = None,
    groups: int | None = None,
    remat: Callable[[Denoiser, Tensor, Tensor], Tensor] | None = None,
) -> Tensor:
    """`run` that keeps the registers between groups of rows and repeats one group at a time for its gradient.

    Arguments as for `run`; `noise` must repeat itself, as `ItemNoise` does. groups: their number, by default
    about sqrt(rows) (Chen et al. 2016).
    """
    groups = round(math.sqrt(len(plan))) if groups is None else groups
    if not 1 <= groups <= len(plan):
        raise ValueError(f"a plan of {len(plan)} rows has 1 to {len(plan)} groups of them, got {groups}")
    denoisers = _denoisers(plan, denoise)
    bounds = [round(i * len(plan) / groups) for i in range(groups + 1)]
    base: Tensor | None = None
    slots: dict[int, Tensor] = {}
    for first, last in zip(bounds, bounds[1:], strict=False):
        part, calls = head(tail(plan, first), last - first), denoisers[first:last]
        fresh = None if noise is None else _later_rows(noise, first)
        x, base, slots = checkpoint(
            _run_part, part, calls, x, y, fresh, remat, base, slots, use_reentrant=False
        )
    return x


def _run_part(
    part: Plan,
    denoisers: Sequence[Denoiser],
    x: Tensor,
    y: Tensor | None,
    noise: Callable[[int, Tensor], Tensor] | None,
    remat: Callable[[Denoiser, Tensor, Tensor], Tensor] | None,
    base: Tensor | None,
    slots: dict[int, Tensor],
) -> tuple[Tensor, Tensor | None, dict[int, Tensor]]:
    """Some rows of a plan: state and registers from those before them, which stay as they are."""
    registers = Registers(base, dict(slots))
    x = run(part, denoisers, x, y=y, noise=noise, remat=remat, registers=registers)
    return x, registers.base, registers.slots


def _later_rows(noise: Callable[[int, Tensor], Tensor], first: int) -> Callable[[int, Tensor], Tensor]:
    """The noise of a part of a plan that begins at row `first`."""
    return lambda row, x: noise(first + row, x)


class _Row(NamedTuple):
    """Row x' = base * base + x * x + y * y + d * D, base' = x, which is solved for base."""

    base: float
    x: float
    y: float
    d: float


def _reversible_rows(plan: Plan) -> list[_Row]:
    """Weights of a plan that can be run backwards; raises ValueError for any other."""
    rows = []
    for r, (base, x, _) in enumerate(plan.weights.detach().tolist()):
        row = _Row(*(x[k] for k in (BASE, X, Y, D)))
        keeps_x = [k for k, weight in enumerate(base) if weight != 0] == [X] and base[X] == 1
        alone = sum(weight != 0 for weight in x) == sum(weight != 0 for weight in row)
        if not (keeps_x and alone and plan.stores[r] < 0 and plan.calls[r]) or (r > 0 and row.base == 0):
            raise ValueError(
                f"row {r} cannot be undone: it must set base' = x and x' = g base + a x + b y + c D, g not 0 "
                "but in row 0, as the rows of plans.bdia do"
            )
        rows.append(row)
    if plan.weights.requires_grad:
        raise ValueError("a reversible run has no gradient for the plan's weights: detach them, or use `run`")
    return rows


def reverse(plan: Plan) -> Plan:
    """The plan that undoes the rows of `plan` from the last to row 1, exactly but for rounding.

    Its x is the state before the row to undo and its base the state after it: `invert` runs it. Raises
    ValueError for a plan whose rows cannot be undone.
    """
    weights = _reversible_rows(plan)
    if len(weights) < 2:
        raise ValueError("a plan of one row is undone by its base register alone")
    rows = Rows()
    for r in range(len(plan) - 1, 0, -1):
        g, a, b, c = weights[r]
        x = (rows.base - a * rows.x - b * rows.y - c * rows.d) / g
        rows.add(plan.labels[r], plan.labels[r - 1], base=rows.x, x=x)
    return rows.plan(plan.order, {"reverse": dict(plan.spec)})


def invert(
    plan: Plan, denoise: Denoisers, x: Tensor, base: Tensor, *, y: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Undo a run of a reversible plan: from its last two states to its first two.

    x: (B, ...) the end. base: the state a row before it, `registers.base` of the run, or for data that no run
    has made x carried back over one step by `ddim_inversion`. Returns start and the state after row 0;
    `run(tail(plan, 1), denoise, after, registers=Registers(start))` leads from them back to x. In float32 use
    at most about 50 rows. Raises ValueError for a plan whose rows cannot be undone.
    """
    if len(plan) == 1:
        _reversible_rows(plan)
        return base, x
    registers = Registers(x)
    start = run(reverse(plan), _denoisers(plan, denoise)[:0:-1], base, y=y, registers=registers)
    assert registers.base is not None
    return start, registers.base


def ddim_inversion(path: Path, times: Sequence[float] | Tensor) -> Plan:
    """DDIM from data to noise: each step takes the estimate at the time it leaves, not at the noisier one.

    times: N + 1 decreasing times, of the way back; the plan runs from times[N], where sigma > 0, to times[0].
    A DDIM run from there returns to the data with an error that falls as 1 / N. NFE = N.
    """
    points = knots(path, check_path_grid(path, times))
    if points[-1].clean:
        raise ValueError(f"no step leads back from data without noise: end the grid above t = {points[-1].t}")
    rows = Rows()
    for t, s in zip(points[-2::-1], points[:0:-1], strict=True):
        rows.add(s.t, t.t, x=data_step(rows, rows.x, s, t, [rows.d], None))
    return rows.plan(1, spec("ddim_inversion", path))


def run_reversible(
    plan: Plan,
    denoise: Denoisers,
    x: Tensor,
    *,
    y: Tensor | None = None,
    parameters: Iterable[Tensor] | None = None,
) -> Tensor:
    """`run` whose gradient keeps two states, and finds the others by running the plan backwards.

    Gradients reach x, y and `parameters`: all other tensors with gradients that the denoiser reads, by
    default those of its modules. The network must repeat itself (no dropout). The error of the recomputed
    states is that of `invert`. Raises ValueError for a plan that cannot be undone (see `reverse`), and if the
    denoiser reads a tensor with a gradient that was not named.
    """
    rows, denoisers = _reversible_rows(plan), _denoisers(plan, denoise)
    if parameters is None:
        modules = {id(d): d for d in denoisers if isinstance(d, torch.nn.Module)}
        parameters = [p for module in modules.values() for p in module.parameters()]
    named = {id(p): p for p in parameters if p.requires_grad and p is not y}
    if not torch.is_grad_enabled():
        return run(plan, denoisers, x, y=y)
    return _Reversible.apply(plan, rows, denoisers, x, y, *named.values())  # type: ignore[no-untyped-call]


class _Reversible(torch.autograd.Function):
    """A run that is undone row by row for its gradient."""

    @staticmethod
    def forward(
        ctx: Any,
        plan: Plan,
        rows: Sequence[_Row],
        denoisers: Sequence[Denoiser],
        x: Tensor,
        y: Tensor | None,
        *parameters: Tensor,
    ) -> Tensor:
        kind = x.device.type
        ctx.plan, ctx.rows, ctx.denoisers = plan, rows, denoisers
        ctx.autocast = (kind, torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind))
        registers = Registers()
        with _autocast(ctx.autocast):
            t = _label(plan, 0, x)
            for call in {id(d): d for d in denoisers}.values():
                _check_named(call, x, t, [v for v in (y, *parameters) if v is not None])
            end = run(plan, denoisers, x, y=y, registers=registers)
        ctx.save_for_backward(end, registers.base, y, *parameters)
        return end

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:
        x, base, y, *parameters = ctx.saved_tensors
        read = [v for v in (y, *parameters) if v is not None and v.requires_grad]
        grads: list[Tensor | None] = [None] * len(read)
        grad_base = torch.zeros_like(grad)
        for r in range(len(ctx.rows) - 1, -1, -1):
            row = ctx.rows[r]
            before = base.detach().requires_grad_()
            with torch.enable_grad(), _autocast(ctx.autocast):
                d = ctx.denoisers[r](before, _label(ctx.plan, r, before)).to(x.dtype)
            pulled: Sequence[Tensor | None] = [None] * (1 + len(read))
            if d.requires_grad:
                pulled = torch.autograd.grad(d, (before, *read), row.d * grad, allow_unused=True)
            if y is not None and y.requires_grad:
                grads[0] = _sum(grads[0], row.y * grad)
            grads = [_sum(total, more) for total, more in zip(grads, pulled[1:], strict=True)]
            grad, grad_base = _sum(row.x * grad, grad_base, pulled[0]), row.base * grad
            if r:
                rest = x - row.x * base - row.d * d.detach()
                x, base = base, (rest if y is None else rest - row.y * y.detach()) / row.base
        found = iter(grads)
        of_read = (next(found) if v is not None and v.requires_grad else None for v in (y, *parameters))
        return (None, None, None, grad, *of_read)


def _sum(first: Tensor | None, *others: Tensor | None) -> Any:
    """Sum of tensors, of which None stands for zeros."""
    given = [v for v in (first, *others) if v is not None]
    return sum(given[1:], given[0]) if given else None


def _label(plan: Plan, row: int, x: Tensor) -> Tensor:
    """The times that `run` gives to the denoiser."""
    label = plan.labels[row].to(x.device, torch.promote_types(x.dtype.to_real(), torch.float32))
    return label.expand(x.shape[:1] + label.shape)


def _autocast(state: tuple[str, bool, torch.dtype]) -> AbstractContextManager[object]:
    """The caller's autocast."""
    kind, enabled, dtype = state
    # the cache of torch up to 2.9 hands out weights cast without gradients for others (pytorch#158232)
    return torch.autocast(kind, dtype=dtype, enabled=enabled, cache_enabled=False)


def _check_named(denoise: Denoiser, x: Tensor, t: Tensor, named: Sequence[Tensor]) -> None:
    """Raise ValueError if the denoiser reads a tensor with a gradient that is not among `named`."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        d = denoise(x, t)
    leaves = {id(v) for v in (x, *named)}
    inner = {v.grad_fn for v in named if v.grad_fn is not None}
    queue, seen = [d.grad_fn], set()
    while queue:
        node = queue.pop()
        if node is None or node in seen or node in inner:
            continue
        seen.add(node)
        leaf = getattr(node, "variable", None)
        if leaf is not None and id(leaf) not in leaves:
            raise ValueError(
                f"the denoiser reads a tensor of shape {tuple(leaf.shape)} that requires a gradient: name it "
                "in `parameters`, or set requires_grad_(False)"
            )
        queue.extend(following for following, _ in node.next_functions)


def _denoisers(plan: Plan, denoise: Denoisers) -> list[Denoiser]:
    """One denoiser for each row."""
    denoisers = [denoise] * len(plan) if callable(denoise) else list(denoise)
    if len(denoisers) != len(plan):
        raise ValueError(f"the plan has {len(plan)} rows, but {len(denoisers)} denoisers were given")
    return denoisers
