"""Methods without history: Runge-Kutta in the noise level or in time, and exponential Runge-Kutta."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from audiogen.sampling.coefficients import exponential_weights
from audiogen.sampling.paths import Path
from audiogen.sampling.plans.common import (
    Knot,
    check_path_grid,
    combined,
    knot,
    knot_at_lam,
    knots,
    moved,
    noise_estimate,
    spec,
    velocity_estimate,
)
from audiogen.sampling.table import Plan, Rows


class Tableau(NamedTuple):
    """Explicit Runge-Kutta method: stage positions c, stage weights a, final weights b, order."""

    c: tuple[float, ...]
    a: tuple[tuple[float, ...], ...]
    b: tuple[float, ...]
    order: int


TABLEAUS = {
    "euler": Tableau((0,), ((),), (1,), 1),
    "heun": Tableau((0, 1), ((), (1,)), (1 / 2, 1 / 2), 2),
    "midpoint": Tableau((0, 1 / 2), ((), (1 / 2,)), (0, 1), 2),
    "rk4": Tableau(
        (0, 1 / 2, 1 / 2, 1), ((), (1 / 2,), (0, 1 / 2), (0, 0, 1)), (1 / 6, 1 / 3, 1 / 3, 1 / 6), 4
    ),
}


class Churn(NamedTuple):
    """Fresh noise before each step (Karras et al. 2022, Algorithm 2).

    amount: S_churn; low, high: the noise levels between which it acts; boost: S_noise.
    """

    amount: float
    low: float = 0.0
    high: float = math.inf
    boost: float = 1.0


def runge_kutta(
    path: Path,
    times: Sequence[float] | Tensor,
    *,
    method: str = "heun",
    space: str = "sigma",
    churn: Churn | None = None,
) -> Plan:
    """Euler, Heun, midpoint or RK4 (Karras et al. 2022, Algorithms 1 and 2, for Heun in sigma).

    space: "sigma" integrates x / alpha over the noise level sigma / alpha, "t" integrates x over time.
    Where a step ends without noise and the method would evaluate there, it is an Euler step. churn: needs
    space "sigma". NFE = stages a step, one less for each stage that falls away.
    """
    if method not in TABLEAUS:
        raise ValueError(f"method must be one of {sorted(TABLEAUS)}, got {method!r}")
    if space not in ("sigma", "t") or (churn is not None and space != "sigma"):
        raise ValueError(f"space must be 'sigma' (the one with churn) or 't', got {space!r}")
    tableau = TABLEAUS[method]
    points = knots(path, check_path_grid(path, times, pure=space == "t"))
    starts = [_churned(path, k, churn, len(points) - 1) for k in points[:-1]]
    rows = Rows(scratch=max(1, len(tableau.c) - 1))
    if starts[0].t != points[0].t:
        rows.add(None, starts[0].t, x=_with_churn(rows, rows.x, points[0], starts[0], churn))
    for n, (s, t) in enumerate(zip(starts, points[1:], strict=True)):
        after = starts[n + 1] if n + 1 < len(starts) else t
        method_here = TABLEAUS["euler"] if t.clean and tableau.c[-1] == 1 else tableau
        _explicit_step(rows, path, method_here, space, s, t, after, churn)
    finite = {name: value for name, value in (churn or Churn(0))._asdict().items() if math.isfinite(value)}
    how = spec("runge_kutta", path, method=method, space=space, churn=finite if churn else None)
    return rows.plan(tableau.order, how)


def _explicit_step(
    rows: Rows,
    path: Path,
    tableau: Tableau,
    space: str,
    s: Knot,
    t: Knot,
    after: Knot,
    churn: Churn | None,
) -> None:
    """Rows of one step from s to t; where `after` is not t, churn takes the state on to it."""
    begin, finish = (s.t, t.t) if space == "t" else (s.level, t.level)
    span = finish - begin
    stages = [_stage(path, space, s, t, c, begin + c * span) for c in tableau.c]
    for i, stage in enumerate(stages):
        start = rows.x if i == 0 else rows.base
        # the slope of this row, and those put aside before it
        here = velocity_estimate(rows, path, stage) if space == "t" else noise_estimate(rows, stage)
        slopes = [rows.scratch(j) for j in range(i)] + [here]
        last = i == len(stages) - 1
        weights = tableau.b if last else tableau.a[i + 1]
        change = combined(weights, slopes)
        target = t if last else stages[i + 1]
        if space == "t":
            x = start + span * change
        else:
            x = moved(rows, start, s, target, target.alpha * span * change, target.alpha / s.alpha)
        if last:
            x = _with_churn(rows, x, t, after, churn)
        rows.add(
            stage.t,
            (after if last else target).t,
            base=rows.x if i == 0 else None,
            x=x,
            aside=None if last else (i, here),
        )


def _stage(path: Path, space: str, s: Knot, t: Knot, c: float, position: Tensor) -> Knot:
    """The path at the stage a share c of the way through a step."""
    if c in (0, 1):
        return t if c else s
    return knot(path, position) if space == "t" else knot_at_lam(path, -torch.log(position))


def _churned(path: Path, k: Knot, churn: Churn | None, num_steps: int) -> Knot:
    """Where a step that begins at k begins once noise was added."""
    if churn is None or not churn.low <= float(k.level) <= churn.high:
        return k
    gamma = min(churn.amount / num_steps, math.sqrt(2) - 1)
    return knot_at_lam(path, -torch.log((1 + gamma) * k.level)) if gamma > 0 else k


def _with_churn(rows: Rows, x: Tensor, s: Knot, t: Knot, churn: Churn | None) -> Tensor:
    """State at the noisier t from that at s."""
    if churn is None or bool(t.t == s.t):
        return x
    fresh = churn.boost * torch.sqrt(t.level**2 - s.level**2)
    return moved(rows, x, s, t, t.alpha * fresh * rows.noise, t.alpha / s.alpha)


def exponential_rk(path: Path, times: Sequence[float] | Tensor, *, method: str = "2s") -> Plan:
    """Exponential Runge-Kutta on the denoised data, in log-SNR; exact where the denoiser is constant.

    method: "2s" and "3s" are DPM-Solver++(2S), (3S) (Lu et al. 2022b, Algorithm 1), "heun" evaluates at the
    end of the step, "midpoint" half-way with the weights of stiff order two (RES, Zhang et al. 2023). A step
    that ends without noise, and one that starts at pure noise, is DDIM. NFE = 2 a step, 3 for "3s".
    """
    if method not in _EXPONENTIAL:
        raise ValueError(f"method must be one of {sorted(_EXPONENTIAL)}, got {method!r}")
    points = knots(path, check_path_grid(path, times))
    rows = Rows(scratch=1)
    for s, t in zip(points[:-1], points[1:], strict=True):
        exponential_step(rows, path, s, t, method)
    return rows.plan(3 if method == "3s" else 2, spec("exponential_rk", path, method=method))


_EXPONENTIAL = {"2s": (0.5,), "3s": (1 / 3, 2 / 3), "heun": (1.0,), "midpoint": (0.5,)}


def exponential_step(rows: Rows, path: Path, s: Knot, t: Knot, method: str) -> None:
    """Rows of one step; the output at its start is kept if the rows have a history."""
    h = t.lam - s.lam
    if t.clean or s.pure or s.clean:
        rows.add(s.t, t.t, base=rows.x, x=data_step(rows, rows.x, s, t, [rows.d], None), keep=rows.d)
        return
    nodes = _EXPONENTIAL[method]
    stages = [knot_at_lam(path, s.lam + r * h) if r != 1 else t for r in nodes]
    x = data_step(rows, rows.x, s, stages[0], [rows.d], None)
    if rows.history:
        rows.add(s.t, stages[0].t, base=rows.x, x=x, keep=rows.d)
    else:
        rows.add(s.t, stages[0].t, base=rows.x, x=x, aside=(0, rows.d))
    first = rows.past(1) if rows.history else rows.scratch(0)
    if method == "3s":
        x = data_step(rows, rows.base, s, stages[1], [first, rows.d], torch.tensor([0, nodes[0] / nodes[1]]))
        rows.add(stages[0].t, stages[1].t, x=x)
    if method == "2s":
        # the published form, (1 - e^-h) [D0 + (D1 - D0) / (2 r)]
        share = 1 / (2 * nodes[0])
        x = data_step(rows, rows.base, s, t, [(1 - share) * first + share * rows.d], None)
    else:
        x = data_step(rows, rows.base, s, t, [first, rows.d], torch.tensor([0, nodes[-1]]))
    rows.add(stages[-1].t, t.t, x=x)


def data_step(
    rows: Rows,
    state: Tensor,
    s: Knot,
    t: Knot,
    data: Sequence[Tensor],
    nodes: Tensor | None,
    *,
    kappa: float = 0.0,
) -> Tensor:
    """State at t from that at s with outputs at `nodes` (0 = s, 1 = t), by the exact exponential weights.

    kappa: noise level of the reverse equation. One output needs no nodes. Where s has no noise (a bridge's
    end) nothing is carried, as x is the mean there.
    """
    h = t.lam - s.lam
    carry = torch.zeros_like(h) if s.clean else t.sigma / s.sigma
    if kappa > 0:
        carry = carry * torch.exp(-kappa * h)
    if nodes is None:
        # alpha_t (1 - e^-(1 + kappa) h) in the form that is finite from pure noise and to clean data
        weights = (t.alpha - carry * s.alpha).reshape(1)
    else:
        weights = t.alpha * exponential_weights(nodes, (1 + kappa) * h)
    x = moved(rows, state, s, t, combined(weights, data), carry)
    if kappa > 0:
        fresh = torch.ones_like(h) if s.clean else -torch.expm1(-2 * kappa * h)
        x = x + t.sigma * torch.sqrt(fresh) * rows.noise
    return x


NOISE_FORM_NODES = {2: (1 / 2,), 3: (1 / 3, 2 / 3)}


def dpm_solver(path: Path, times: Sequence[float] | Tensor, *, order: int = 2) -> Plan:
    """DPM-Solver-1, -2 and -3 on the noise estimate (Lu et al. 2022a, Algorithms 1 and 2).

    Order 1 is DDIM. The noise form grows with e^h: no large guidance, no large steps near the data; a step
    that ends without noise is DDIM. The grid must start below pure noise. NFE = order a step.
    """
    if order not in (1, 2, 3):
        raise ValueError(f"order must be 1, 2 or 3, got {order}")
    points = knots(path, check_path_grid(path, times, pure=False))
    rows = Rows(scratch=1)
    for s, t in zip(points[:-1], points[1:], strict=True):
        if t.clean or order == 1:
            rows.add(s.t, t.t, x=data_step(rows, rows.x, s, t, [rows.d], None))
        else:
            noise_form_step(rows, path, s, t, NOISE_FORM_NODES[order])
    return rows.plan(order, spec("dpm_solver", path, order=order))


def noise_form_step(rows: Rows, path: Path, s: Knot, t: Knot, nodes: Sequence[float]) -> None:
    """Rows of one step of DPM-Solver-2 or -3 with stages at `nodes`.

    The estimate at its start is kept if the rows have a history.
    """
    stages = [knot_at_lam(path, s.lam + r * (t.lam - s.lam)) for r in nodes]
    here = noise_estimate(rows, s)
    x = noise_step(rows, rows.x, s, stages[0], [here], None)
    if rows.history:
        rows.add(s.t, stages[0].t, base=rows.x, x=x, keep=here)
    else:
        rows.add(s.t, stages[0].t, base=rows.x, x=x, aside=(0, here))
    first = rows.past(1) if rows.history else rows.scratch(0)
    inside = noise_estimate(rows, stages[0])
    if len(nodes) == 1:
        # the published form, (e^h - 1) [e0 + (e1 - e0) / (2 r)]
        share = 1 / (2 * nodes[0])
        x = noise_step(rows, rows.base, s, t, [(1 - share) * first + share * inside], None)
        rows.add(stages[0].t, t.t, x=x)
        return
    inner = torch.tensor([0, nodes[0] / nodes[1]])
    x = noise_step(rows, rows.base, s, stages[1], [first, inside], inner)
    rows.add(stages[0].t, stages[1].t, x=x)
    estimates = [first, noise_estimate(rows, stages[1])]
    x = noise_step(rows, rows.base, s, t, estimates, torch.tensor([0, nodes[1]]))
    rows.add(stages[1].t, t.t, x=x)


def noise_step(
    rows: Rows, state: Tensor, s: Knot, t: Knot, estimates: Sequence[Tensor], nodes: Tensor | None
) -> Tensor:
    """State at t from that at s with noise estimates at `nodes` (0 = s, 1 = t), by exact weights."""
    h = t.lam - s.lam
    # Int_0^1 h e^{h (1 - u)} p(u) du is minus the data weights' integral of the step -h
    shares = -exponential_weights(torch.zeros(1) if nodes is None else nodes, -h)
    return moved(rows, state, s, t, -t.sigma * combined(shares, estimates), t.alpha / s.alpha)
