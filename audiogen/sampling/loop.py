"""The one sampling loop: runs any `Plan`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import torch
from torch import Tensor

from audiogen.sampling.recurrence import (
    Buffers,
    Step,
    Update,
    apply_fused,
    apply_in_place,
    apply_row,
    fused_table,
    program,
)
from audiogen.sampling.table import Plan

Denoiser: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""denoise(x, t) -> estimate of the clean data, of the shape of x; x (B, ...), t (B,) or (B, 2)."""

SplitDenoiser: TypeAlias = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""A denoiser with two outputs, for plans that carry the noise of another estimate than the data (CFG++)."""


class Cancelled(Exception):  # noqa: N818
    """Sampling was stopped by the caller's `stop`; `row` is the first row that was not run."""

    def __init__(self, row: int) -> None:
        """Name the row in the message and keep it."""
        super().__init__(f"sampling was cancelled before row {row}")
        self.row = row


@dataclass
class Registers:
    """What a run remembers besides x; hand one object to the runs of `head` and `tail` to continue."""

    base: Tensor | None = None
    slots: dict[int, Tensor] = field(default_factory=dict)


def run(
    plan: Plan,
    denoise: Denoiser | SplitDenoiser | Sequence[Denoiser | SplitDenoiser],
    x: Tensor,
    *,
    y: Tensor | None = None,
    noise: Callable[[int, Tensor], Tensor] | None = None,
    d_hook: Callable[[Tensor, Tensor, int], Tensor] | None = None,
    x_hook: Callable[[Tensor, int], Tensor] | None = None,
    on_row: Callable[[int, int, Tensor, Tensor | None], None] | None = None,
    stop: Callable[[], bool] | None = None,
    remat: Callable[[Denoiser, Tensor, Tensor], Tensor] | None = None,
    registers: Registers | None = None,
    update: Update | None = None,
) -> Tensor:
    """Carry `x` through every row of `plan`; re-entrant, differentiable, and item i depends on item i alone.

    x: (B, ...) state at plan.labels[0], left unchanged like all arguments. y: mean of the path, like x.
    denoise: one for all rows, or one a row, such as a guided one in some rows alone.
    noise(row, x): standard noise like x, drawn only in rows that use it (see `ItemNoise`).
    d_hook(d, x, row) edits the denoiser's output; x_hook(x, row) the state after the row, at plan.ends[row].
    on_row(row, rows, x, d) watches; stop() true before a row raises `Cancelled`.
    remat(denoise, x, t) calls the network, for instance under activation checkpointing.
    update(weights, values) forms a weighted sum where no gradient is recorded (`row_update` of the kernels);
    its weights, on the device of x in float32 at least, are uploaded once a plan.
    Without gradients the loop works in place: a hook or watcher that keeps x must clone it.
    Returns (B, ...) in the dtype of x. NFE = plan.nfe. Raises ValueError if the plan lacks its y, its noise,
    its second output or a register that an earlier part of the plan stores.
    """
    denoisers = [denoise] * len(plan) if callable(denoise) else list(denoise)
    _check(plan, denoisers, y, noise)
    filled = () if registers is None else tuple(registers.slots)
    steps, calls = program(plan, filled, to_be_continued=registers is not None), plan.calls
    registers = Registers() if registers is None else registers
    labels = _labels(plan, x)
    times = labels.unsqueeze(1).expand(len(plan), len(x), *labels.shape[1:]).unbind()
    table = plan.weights.to(x.device, x.dtype, non_blocking=True) if plan.weights.requires_grad else None
    fused = None if update is None else _fused_weights(plan, steps, x)
    buffers = Buffers()
    for row, step in enumerate(steps):
        if stop is not None and stop():
            raise Cancelled(row)
        d = c = None
        if calls[row]:
            t, call = times[row], denoisers[row]
            out = call(x, t) if remat is None else remat(call, x, t)  # type: ignore[arg-type]
            d, c = (out[0], out[1].to(x.dtype)) if isinstance(out, tuple) else (out, None)
            d = d.to(x.dtype)
            if d_hook is not None:
                d = d_hook(d, x, row)
            if step.reads_carry and c is None:
                raise ValueError(
                    "this plan carries a second estimate: its denoiser must return a pair (d, carry), "
                    "as guidance.cfg_pp does"
                )
        z = noise(row, x) if noise is not None and step.reads_noise else None
        values = (registers.base, x, y, d, c, *(registers.slots.get(k) for k in range(plan.num_slots)), z)
        base: Tensor | None
        new: Tensor | None
        kept: Tensor | None
        if table is not None:
            read = [value if k in step.columns else None for k, value in enumerate(values)]
            base, new, kept = apply_row(table[row], read)
        elif torch.is_grad_enabled() and any(v is not None and v.requires_grad for v in values):
            base, new, kept = step.out_of_place(values)
        elif fused is not None and update is not None:
            base, new, kept = apply_fused(step, fused[row], values, update)
        else:
            base, new, kept = apply_in_place(step, values, buffers)
        registers.base, x = base, torch.zeros_like(x) if new is None else new
        if plan.stores[row] >= 0:
            registers.slots[plan.stores[row]] = torch.zeros_like(x) if kept is None else kept
        if x_hook is not None:
            x = x_hook(x, row)
        if on_row is not None:
            on_row(row, len(plan), x, d)
    return x


def _labels(plan: Plan, x: Tensor) -> Tensor:
    """The plan's labels on the device of x, uploaded once: later runs can be captured as a CUDA graph."""
    # half precision cannot tell nearby times apart
    dtype = torch.promote_types(x.dtype.to_real(), torch.float32)
    uploaded = plan.__dict__.setdefault("_labels", {})
    if (key := (x.device, dtype)) not in uploaded:
        with torch.inference_mode(False):  # a later run may want gradients
            uploaded[key] = torch.tensor(plan.labels.tolist(), dtype=dtype, device=x.device)
    labels: Tensor = uploaded[key]
    return labels


def _fused_weights(plan: Plan, steps: list[Step], x: Tensor) -> Tensor:
    """The plan's `fused_table` on the device of x, uploaded once like the labels."""
    dtype = torch.promote_types(x.dtype.to_real(), torch.float32)
    uploaded = plan.__dict__.setdefault("_fused", {})
    key = (id(steps), x.device, dtype)  # the plan keeps its programs, so no other list takes the id
    if key not in uploaded:
        with torch.inference_mode(False):
            uploaded[key] = fused_table(steps, plan.weights.shape[2], dtype).to(x.device)
    weights: Tensor = uploaded[key]
    return weights


def _check(
    plan: Plan, denoisers: Sequence[object], y: Tensor | None, noise: Callable[[int, Tensor], Tensor] | None
) -> None:
    """Raise ValueError for what a run of this plan would miss."""
    if len(denoisers) != len(plan):
        raise ValueError(f"the plan has {len(plan)} rows, but {len(denoisers)} denoisers were given")
    if plan.stochastic and noise is None:
        raise ValueError("this plan draws noise: pass noise=ItemNoise(seeds), or use a plan with eta = 0")
    if plan.uses_mean and y is None:
        raise ValueError("this plan's path has a mean term: pass the mean as y")
