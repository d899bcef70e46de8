"""Plan algebra: plans cut, joined, relabelled, and rows edited without touching the solver that made them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from audiogen.sampling.coefficients import lagrange
from audiogen.sampling.paths import Path
from audiogen.sampling.plans.common import knot, spec
from audiogen.sampling.table import SLOTS, D, Plan, Rows


def head(plan: Plan, rows: int) -> Plan:
    """The first `rows` rows."""
    return _rows(plan, 0, rows)


def tail(plan: Plan, row: int) -> Plan:
    """The rows from `row` on; run it with the `registers` of the head's run if it has history."""
    return _rows(plan, row, len(plan))


def _rows(plan: Plan, first: int, last: int) -> Plan:
    if not 0 <= first < last <= len(plan):
        raise ValueError(f"a part of a plan of {len(plan)} rows must hold a row, got rows {first} to {last}")
    part = slice(first, last)
    return dataclasses.replace(
        plan,
        labels=plan.labels[part],
        ends=plan.ends[part],
        weights=plan.weights[part],
        stores=plan.stores[part],
    )


def concat(*plans: Plan, tolerance: float = 1e-9) -> Plan:
    """One plan that runs the given ones in turn.

    Each must start where the one before it ends, up to `tolerance`; a plan that starts with a row without
    a call starts anywhere. order: the lowest. Raises ValueError for plans that do not meet.
    """
    slots = max(plan.num_slots for plan in plans)
    for before, after in zip(plans, plans[1:], strict=False):
        start, end = float(after.labels.flatten()[0]), float(before.ends[-1])
        if abs(start - end) > tolerance:
            raise ValueError(f"plans do not meet: one ends at t = {end}, the next starts at t = {start}")
    if len({plan.labels.ndim for plan in plans}) > 1:
        raise ValueError("plans for networks of one and of two times cannot be joined")
    weights = [
        torch.cat([w[..., :-1], w.new_zeros(*w.shape[:2], slots - plan.num_slots), w[..., -1:]], dim=-1)
        for plan in plans
        for w in [plan.weights]
    ]
    parts = [dict(plan.spec) for plan in plans]
    return Plan(
        labels=torch.cat([plan.labels for plan in plans]),
        ends=torch.cat([plan.ends for plan in plans]),
        weights=torch.cat(weights),
        stores=tuple(slot for plan in plans for slot in plan.stores),
        num_slots=slots,
        order=min(plan.order for plan in plans),
        spec=parts[0] if all(part == parts[0] for part in parts) else {"concat": parts},
    )


def relabel(plan: Plan, labels: Sequence[float] | Tensor | Callable[[Tensor], Tensor]) -> Plan:
    """The plan with other times told to the network: new labels, or a function of the old ones.

    Time-shifted sampling (Li et al. 2024, TS-DPM) tells the network the time whose noise its input really
    has; `shifted_labels` measures them for a model and grid.
    """
    new = labels(plan.labels) if callable(labels) else torch.as_tensor(labels, dtype=torch.float64)
    if new.shape != plan.labels.shape:
        raise ValueError(f"the plan has labels of shape {tuple(plan.labels.shape)}, got {tuple(new.shape)}")
    return dataclasses.replace(plan, labels=new, spec={**plan.spec, "relabelled": True})


def shifted_labels(
    plan: Plan,
    path: Path,
    variances: Sequence[float],
    *,
    data_variance: float,
    window: float,
    cutoff: float = 0.0,
    points: int = 201,
) -> Tensor:
    """Labels of time-shifted sampling: the time whose variance is nearest to the measured one.

    variances: of x before each row, measured over runs of the model (`on_row`), mean term removed. The search
    is over label - window to label + window, within the grid; labels at or below `cutoff` stay. Returns (R,).
    """
    labels = plan.labels.clone()
    low, high = float(plan.ends[-1]), float(labels[~labels.isnan()].max())
    for r, variance in enumerate(variances):
        label = float(plan.labels[r])
        if label != label or label <= cutoff:
            continue
        near = torch.linspace(
            max(low, label - window), min(high, label + window), points, dtype=torch.float64
        )
        expected = path.alpha(near) ** 2 * data_variance + path.sigma(near) ** 2
        gap = (expected - variance).abs()
        # among equals the nearest to the plan's own label
        labels[r] = near[(gap + 1e-12 * (near - label).abs()).argmin()]
    return labels


def interval_rows(plan: Plan, path: Path, low: float, high: float) -> list[bool]:
    """Which rows call the denoiser at a half log-SNR in [low, high]: where guidance is wanted.

    A fixed interval of log-SNR keeps its meaning when the number of steps changes. Pass `run` one denoiser a
    row: the history of a multistep plan stays whole, and rows outside save the second network pass.
    """
    if not low < high:
        raise ValueError(f"the interval must be low < high in half log-SNR, got {low} and {high}")
    lam = path.lam(plan.present.nan_to_num(0.0))
    return [bool(low <= value <= high) and call for value, call in zip(lam, plan.calls, strict=True)]


def teleport(
    path: Path, start: float, end: float, *, data_variance: float = 1.0, mean_in_y: bool = False
) -> Plan:
    """One row without a network call: the exact flow from `start` to `end` of Gaussian data.

    Data N(0, data_variance), or N(y, data_variance) with mean_in_y on a path without a mean term (Wang and
    Vastola 2024, Gaussian teleportation). Join it to a plan that starts at `end`. NFE = 0.
    """
    s, t = knot(path, start), knot(path, end)
    if mean_in_y and float(s.mu) != 0:
        raise ValueError(f"{path} already uses y for its own mean")
    ratio = torch.sqrt((t.alpha**2 * data_variance + t.sigma**2) / (s.alpha**2 * data_variance + s.sigma**2))
    rows = Rows()
    mean_s, mean_t = (s.alpha, t.alpha) if mean_in_y else (s.mu, t.mu)
    rows.add(None, t.t, x=ratio * rows.x + (mean_t - ratio * mean_s) * rows.y)
    return rows.plan(1, spec("teleport", path, data_variance=data_variance, mean_in_y=mean_in_y))


def compensate(plan: Plan, ratios: Sequence[float]) -> Plan:
    """DC-Solver's compensation as a row edit (Zhao et al. 2024, equation 11).

    ratios: one for each row. The newest denoiser output is replaced, in the step and in the history, by the
    Lagrange interpolant of the outputs at hand, read at ratio * t + (1 - ratio) * t_before; 1 changes
    nothing. The plan must keep plain denoiser outputs.
    """
    if len(ratios) != len(plan):
        raise ValueError(f"compensation needs one ratio for each of {len(plan)} rows, got {len(ratios)}")
    weights, times = plan.weights.clone(), dict[int, float]()
    recent: list[int] = []  # slots by age, the newest first
    for r, ratio in enumerate(ratios):
        label = float(plan.labels[r])
        if ratio != 1 and recent and label == label:
            at = ratio * label + (1 - ratio) * times[recent[0]]
            nodes = [label, *(times[slot] for slot in recent)]
            shares = lagrange(*(torch.tensor(value, dtype=torch.float64) for value in (nodes, at)))
            column = plan.weights[r, :, D].clone()
            weights[r, :, D] = column * shares[0]
            for slot, share in zip(recent, shares[1:], strict=True):
                weights[r, :, SLOTS + slot] += column * share
        if (slot := plan.stores[r]) >= 0:
            kept = plan.weights[r, 2].clone()
            kept[D] -= 1
            if bool((kept != 0).any()):
                raise ValueError("compensation needs a plan that keeps plain denoiser outputs, as unipc does")
            times[slot] = label
            recent = [slot, *(s for s in recent if s != slot)]
    return dataclasses.replace(
        plan, weights=weights, spec={**plan.spec, "compensation": [float(ratio) for ratio in ratios]}
    )
