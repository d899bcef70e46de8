"""Exponential multistep methods on the denoised data: DPM-Solver++ and its stochastic form, UniPC."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from audiogen.sampling.coefficients import phi
from audiogen.sampling.paths import Path
from audiogen.sampling.plans.common import Knot, check_path_grid, knots, spec
from audiogen.sampling.plans.single_step import data_step, exponential_step
from audiogen.sampling.table import Plan, Rows

SINGLE_STEP = {2: "2s", 3: "3s"}


def multistep(
    path: Path,
    times: Sequence[float] | Tensor,
    *,
    order: int = 2,
    literature: bool = False,
    start: int = 1,
    end: Sequence[int] = (1,),
) -> Plan:
    """DPM-Solver++(2M), (3M) and higher (Lu et al. 2022b, Algorithm 2), with exact weights.

    order: 1 is DDIM. literature: the published weights of orders 2 (midpoint) and 3; the published order 3
    halves one coefficient and is of order 2. start: order of the single-step method (1, 2 or 3) that runs
    while the history is too short for it; order - 1 keeps the order where sampling starts at moderate noise.
    end: orders of the last steps, at most. Steps from pure noise and to clean data are DDIM. NFE = N, plus
    start - 1 for every step run by the single-step method.
    """
    return _multistep(path, times, order, 0.0, literature, start, end, "multistep")


def sde_multistep(
    path: Path,
    times: Sequence[float] | Tensor,
    *,
    order: int = 2,
    kappa: float = 1.0,
    literature: bool = False,
    end: Sequence[int] = (1,),
) -> Plan:
    """Stochastic DPM-Solver++: the reverse equation with noise level kappa, exact weights.

    kappa: 0 is the flow (`multistep`), 1 DDPM's equation; the eta of k-diffusion's SDE samplers (see
    `kappa_of_eta` for DDIM's). literature: "midpoint" weights of order 2. The weak order is at most 2. It
    forgets errors of the prior, as OUVE's. NFE = N.
    """
    if kappa < 0:
        raise ValueError(f"kappa must be 0 (deterministic) or more, got {kappa}")
    return _multistep(path, times, order, kappa, literature, 1, end, "sde_multistep")


def _multistep(
    path: Path,
    times: Sequence[float] | Tensor,
    order: int,
    kappa: float,
    literature: bool,
    start: int,
    end: Sequence[int],
    name: str,
) -> Plan:
    check_order(order, start, literature)
    points = knots(path, check_path_grid(path, times))
    orders = step_orders(points, order, end)
    rows = Rows(history=order - 1)
    for n, (s, t) in enumerate(zip(points[:-1], points[1:], strict=True)):
        if orders[n] < start <= room(points, n, order, end):
            exponential_step(rows, path, s, t, SINGLE_STEP[start])
            continue
        data = [rows.d, *(rows.past(j) for j in range(1, orders[n]))]
        if literature and orders[n] > 1:
            x = _published_step(rows, s, t, points[n - orders[n] + 1 : n + 1], data, kappa)
        else:
            x = data_step(rows, rows.x, s, t, data, _nodes(points, n, orders[n]), kappa=kappa)
        rows.add(s.t, t.t, x=x, keep=rows.d)
    weak = min(order, 2) if kappa or (literature and order > 2) else order
    options = {"order": order, "kappa": kappa, "literature": literature, "start": start, "end": list(end)}
    return rows.plan(weak, spec(name, path, **options))


def check_order(order: int, start: int, literature: bool = False) -> None:
    """Raise ValueError for an order or a start that no multistep method has."""
    if order < 1 or (literature and order > 3):
        raise ValueError(f"order must be 1 or more, at most 3 with literature=True, got {order}")
    if start not in (1, *SINGLE_STEP):
        raise ValueError(f"start must be 1, 2 or 3, the order of the first steps, got {start}")


def room(points: Sequence[Knot], n: int, order: int, end: Sequence[int]) -> int:
    """Order that step n may have with a full history."""
    if points[n].pure or points[n].clean or points[n + 1].clean:
        return 1
    remaining = len(points) - 2 - n  # steps after this one
    return min(order, end[-1 - remaining]) if remaining < len(end) else order


def step_orders(points: Sequence[Knot], order: int, end: Sequence[int]) -> list[int]:
    """Order of every step: limited by the history, the caller's ends, and times of infinite log-SNR."""
    if any(o < 1 for o in end):
        raise ValueError(f"the orders of the last steps must be 1 or more, got {list(end)}")
    first = 1 if points[0].pure or points[0].clean else 0  # pure noise is no node of a polynomial in log-SNR
    return [max(1, min(room(points, n, order, end), n - first + 1)) for n in range(len(points) - 1)]


def _nodes(points: Sequence[Knot], n: int, order: int) -> Tensor | None:
    """Positions of the outputs at steps n, n - 1, ... in step n, whose length is 1; None for order 1."""
    if order == 1:
        return None
    s, t = points[n], points[n + 1]
    return torch.stack([(points[n - j].lam - s.lam) / (t.lam - s.lam) for j in range(order)])


def _published_step(
    rows: Rows, s: Knot, t: Knot, history: Sequence[Knot], data: Sequence[Tensor], kappa: float
) -> Tensor:
    """One step of DPM-Solver++ 2M ("midpoint") or 3M as published; history: knots, the present one last."""
    h = t.lam - s.lam
    total = -torch.expm1(-(1 + kappa) * h)
    gap = (s.lam - history[-2].lam) / h
    slope = (data[0] - data[1]) / gap
    if len(data) == 2:
        estimate = data[0] + slope / 2
    else:
        gap_before = (history[-2].lam - history[-3].lam) / h
        slope_before = (data[1] - data[2]) / gap_before
        curve = (slope - slope_before) / (gap + gap_before)
        second, third = (1 + kappa) * h * phi(2, -(1 + kappa) * h), (1 + kappa) * h * phi(3, -(1 + kappa) * h)
        # the exact weight of the curvature is 2 * third
        estimate = data[0] + ((slope + gap * curve) * second + curve * third) / total
    return data_step(rows, rows.x, s, t, [estimate], None, kappa=kappa)


def unipc(
    path: Path,
    times: Sequence[float] | Tensor,
    *,
    order: int = 2,
    variant: str = "b2",
    start: int = 1,
    end: Sequence[int] = (1,),
) -> Plan:
    """UniPC-p: exponential multistep predictor, and a corrector that costs no call (Zhao et al. 2023).

    The corrector of order p + 1 uses the output at the predicted state; the last step has none. variant: "b1"
    and "b2" take 1/2 for the single weight of predictor order 2 and corrector order 1, as published, "exact"
    solves for it; elsewhere the three are equal. start, end: as in `multistep`, in predictor orders, but a
    single-step start replaces steps whose corrected order is below it. Order p + 1. NFE = N (+ starts).
    """
    if variant not in ("b1", "b2", "exact"):
        raise ValueError(f"variant must be 'b1', 'b2' or 'exact', got {variant!r}")
    check_order(order, start)
    points = knots(path, check_path_grid(path, times))
    orders = step_orders(points, order, end)
    single = [orders[n] + 1 < start <= room(points, n, order, end) + 1 for n in range(len(orders))]
    rows = Rows(history=order)
    for n, (s, t) in enumerate(zip(points[:-1], points[1:], strict=True)):
        state = rows.x
        if n and not single[n - 1] and not points[n - 1].clean:
            past = [rows.past(j) for j in range(1, orders[n - 1] + 1)]
            state = _corrected(rows, points, n - 1, orders[n - 1], past, variant)
        if single[n]:
            if n and state is not rows.x:
                raise ValueError("a single-step start must run the first steps")
            exponential_step(rows, path, s, t, SINGLE_STEP[start])
            continue
        data = [rows.d, *(rows.past(j) for j in range(1, orders[n]))]
        x = _predicted(rows, state, points, n, orders[n], data, variant)
        rows.add(s.t, t.t, base=state, x=x, keep=rows.d)
    return rows.plan(order + 1, spec("unipc", path, order=order, variant=variant, start=start, end=list(end)))


def _scale(h: Tensor, variant: str) -> Tensor:
    """B(h) of the published forms, positive."""
    return h if variant == "b1" else -torch.expm1(-h)


def _predicted(
    rows: Rows,
    state: Tensor,
    points: Sequence[Knot],
    n: int,
    order: int,
    data: Sequence[Tensor],
    variant: str,
) -> Tensor:
    """State after step n from the corrected one before it."""
    s, t = points[n], points[n + 1]
    if order != 2 or variant == "exact":
        return data_step(rows, state, s, t, data, _nodes(points, n, order))
    gap = (points[n - 1].lam - s.lam) / (t.lam - s.lam)
    x = data_step(rows, state, s, t, data[:1], None)
    return x + t.alpha * _scale(t.lam - s.lam, variant) * (data[1] - data[0]) / (2 * gap)


def _corrected(
    rows: Rows, points: Sequence[Knot], n: int, order: int, past: Sequence[Tensor], variant: str
) -> Tensor:
    """State after step n from the one before it (base), with the output at its end (the row's own)."""
    s, t = points[n], points[n + 1]
    if s.pure:
        # no finite log-SNR to correct from
        return rows.x
    if order == 1 and variant != "exact":
        x = data_step(rows, rows.base, s, t, past[:1], None)
        return x + t.alpha * _scale(t.lam - s.lam, variant) * (rows.d - past[0]) / 2
    nodes = [(points[n - j].lam - s.lam) / (t.lam - s.lam) for j in range(order)]
    return data_step(rows, rows.base, s, t, [*past, rows.d], torch.stack([*nodes, torch.ones_like(t.lam)]))
