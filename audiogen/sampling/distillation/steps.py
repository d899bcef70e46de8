"""Steps of a teacher between times of each item's own, where the rows of a plan have the batch's."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import TypeAlias

import torch
from torch import Tensor

from audiogen.sampling.coefficients import ddim_weights
from audiogen.sampling.loop import Denoiser
from audiogen.sampling.paths import Path, expand

Step: TypeAlias = Callable[[Tensor, Tensor, Tensor], Tensor]
"""step(x, t, t_next) -> state at t_next; x (B, ...), t > t_next (B,); equal times leave an item as it is.

`lambda x, t, t_next: run(plan, denoise, x)` is one too, where all items share the times of a plan.
"""


def check_times(x: Tensor, *times: Tensor) -> None:
    """Raise ValueError unless every vector of times holds one per item of x (B, ...)."""
    if any(t.shape != x.shape[:1] for t in times):
        got = ", ".join(str(tuple(t.shape)) for t in times)
        raise ValueError(f"times must have shape {tuple(x.shape[:1])}, one per item, got {got}")


def ddim_step(
    path: Path, x: Tensor, d: Tensor, t: Tensor, t_next: Tensor, *, y: Tensor | None = None
) -> Tensor:
    """One deterministic DDIM step from per-item times `t` to the earlier `t_next`, given the denoised data.

    x, d, y: (B, ...); t, t_next: (B,). Returns (B, ...): finite where alpha(t) = 0, d if sigma(t_next) = 0.
    """
    step = ddim_weights(path, t.double(), t_next.double())
    moved = expand(step.x, x) * x + expand(step.data, x) * d
    return moved if y is None else moved + expand(step.y, x) * y


def euler(path: Path, denoise: Denoiser, *, y: Tensor | None = None) -> Step:
    """Step of Euler's method in sigma / alpha, which is DDIM; one call, order 1. y: mean, (B, ...)."""

    def step(x: Tensor, t: Tensor, t_next: Tensor) -> Tensor:
        return ddim_step(path, x, denoise(x, t).to(x.dtype), t, t_next, y=y)

    return step


def heun(path: Path, denoise: Denoiser, *, y: Tensor | None = None) -> Step:
    """Step of Heun's method in sigma / alpha (Karras et al. 2022, Algorithm 1); two calls, order 2.

    Euler's step for items that start at pure noise or end without noise. y: mean, (B, ...).
    """

    def step(x: Tensor, t: Tensor, t_next: Tensor) -> Tensor:
        d = denoise(x, t).to(x.dtype)
        x_euler = ddim_step(path, x, d, t, t_next, y=y)
        d_next = denoise(x_euler, t_next).to(x.dtype)
        # with level = sigma / alpha: its step times the mean of both slopes (z - D) / level, minus the first
        share = path.alpha(t_next) * torch.expm1(path.lam(t_next) - path.lam(t)) / 2
        corrected = x_euler + expand(share, x) * (d_next - d)
        return torch.where(expand(share, x).isfinite(), corrected, x_euler)

    return step


def solve(step: Step, x: Tensor, times: Tensor) -> Tensor:
    """State after the steps through times (B, K + 1), falling along each row; equal neighbours are no step.

    x: (B, ...) at times[:, 0]. Returns (B, ...) at times[:, -1].
    """
    if times.ndim != 2 or len(times) != len(x):
        raise ValueError(f"times must have shape ({len(x)}, K + 1), a row per item, got {tuple(times.shape)}")
    for t, t_next in pairwise(times.unbind(1)):
        x = step(x, t, t_next)
    return x
