"""The one sampling loop: runs any `Plan`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from audiogen.sampling.plans import NOISE, Plan

Denoiser: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""denoise(x, t) -> estimate of the clean data, of the shape of x; x (B, ...), t (B,)."""


class Cancelled(Exception):  # noqa: N818
    """Sampling was stopped by the caller's `stop`; `row` is the first row that was not run."""

    def __init__(self, row: int) -> None:
        """Name the row in the message and keep it."""
        super().__init__(f"sampling was cancelled before row {row}")
        self.row = row


def run(
    plan: Plan,
    denoise: Denoiser,
    x: Tensor,
    *,
    y: Tensor | None = None,
    noise: Callable[[int, Tensor], Tensor] | None = None,
    d_hook: Callable[[Tensor, Tensor, int], Tensor] | None = None,
    x_hook: Callable[[Tensor, int], Tensor] | None = None,
    on_row: Callable[[int, int, Tensor, Tensor], None] | None = None,
    stop: Callable[[], bool] | None = None,
    remat: Callable[[Denoiser, Tensor, Tensor], Tensor] | None = None,
) -> Tensor:
    """Carry `x` through every row of `plan`; re-entrant, differentiable, and item i depends on item i alone.

    x: (B, ...) state at plan.labels[0], left unchanged like all arguments. y: mean of the path, like x.
    noise(row, x): standard noise like x, drawn only in rows that use it (see `ItemNoise`).
    d_hook(d, x, row) edits the denoiser's output; x_hook(x, row) the state after the row, at plan.ends[row].
    on_row(row, rows, x, d) watches; stop() true before a row raises `Cancelled`.
    remat(denoise, x, t) calls the network, for instance under activation checkpointing.
    Returns (B, ...) in the dtype of x. NFE = plan.nfe. Raises ValueError if the plan lacks its y or noise.
    """
    if plan.stochastic and noise is None:
        raise ValueError("this plan draws noise: pass noise=ItemNoise(seeds), or use a plan with eta = 0")
    if plan.uses_mean and y is None:
        raise ValueError("this plan's path has a mean term: pass the mean as y")
    # half precision cannot tell nearby times apart
    t_dtype = torch.promote_types(x.dtype.to_real(), torch.float32)
    base: Tensor | None = None
    slots: list[Tensor | None] = [None] * plan.num_slots
    for row, label in enumerate(plan.labels):
        if stop is not None and stop():
            raise Cancelled(row)
        t = torch.full(x.shape[:1], label, dtype=t_dtype, device=x.device)
        d = (denoise(x, t) if remat is None else remat(denoise, x, t)).to(x.dtype)
        if d_hook is not None:
            d = d_hook(d, x, row)
        to_base, to_x = plan.weights[row]
        z = noise(row, x) if noise is not None and (to_base[NOISE] != 0 or to_x[NOISE] != 0) else None
        registers = (base, x, y, d, *slots, z)
        base, new = _combine(to_base, registers), _combine(to_x, registers)
        x = torch.zeros_like(x) if new is None else new
        if plan.stores[row] >= 0:
            slots[plan.stores[row]] = d
        if x_hook is not None:
            x = x_hook(x, row)
        if on_row is not None:
            on_row(row, len(plan), x, d)
    return x


def _combine(weights: Sequence[float], registers: Sequence[Tensor | None]) -> Tensor | None:
    """Weighted sum of registers; None, which stands for zeros, where nothing has a weight."""
    total: Tensor | None = None
    for weight, register in zip(weights, registers, strict=True):
        # zero times a register must be zero even where the register is not finite
        if weight == 0 or register is None:
            continue
        if total is None:
            total = register if weight == 1 else register * weight
        else:
            total = torch.add(total, register, alpha=weight)
    return total
