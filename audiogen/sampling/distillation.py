"""Distillation targets that share the sampler's coefficients."""

from __future__ import annotations

import torch
from torch import Tensor

from audiogen.sampling.coefficients import ddim_weights
from audiogen.sampling.loop import Denoiser
from audiogen.sampling.paths import Path, expand


def ddim_step(
    path: Path, x: Tensor, d: Tensor, t: Tensor, t_next: Tensor, *, y: Tensor | None = None
) -> Tensor:
    """One deterministic DDIM step from per-item times `t` to the earlier `t_next`, given the denoised data.

    x, d, y: (B, ...); t, t_next: (B,). Returns (B, ...): finite where alpha(t) = 0, d if sigma(t_next) = 0.
    """
    step = ddim_weights(path, t.double(), t_next.double())
    moved = expand(step.x, x) * x + expand(step.data, x) * d
    return moved if y is None else moved + expand(step.y, x) * y


@torch.no_grad()
def progressive_target(
    path: Path,
    denoise_teacher: Denoiser,
    x_t: Tensor,
    t: Tensor,
    t_mid: Tensor,
    t_next: Tensor,
    *,
    y: Tensor | None = None,
) -> Tensor:
    """Clean data that takes one DDIM step where two teacher steps lead (Salimans and Ho 2022, Algorithm 2).

    x_t, y: (B, ...); t > t_mid > t_next: (B,) each, per item. Returns (B, ...) without gradient: it is
    a mean of the teacher's two outputs: the second alone where sigma(t_next) = 0, x0 for a perfect teacher.
    """
    if not t.shape == t_mid.shape == t_next.shape == x_t.shape[:1]:
        raise ValueError(
            f"times must have shape {tuple(x_t.shape[:1])}, one per item, got {tuple(t.shape)}, "
            f"{tuple(t_mid.shape)} and {tuple(t_next.shape)}"
        )
    d_first = denoise_teacher(x_t, t).to(x_t.dtype)
    x_mid = ddim_step(path, x_t, d_first, t, t_mid, y=y)
    d_second = denoise_teacher(x_mid, t_mid).to(x_t.dtype)
    # (x'' - (s''/s) x) / (a'' - (s''/s) a) with x'' written out: the state cancels, only weights are divided
    lam, lam_mid, lam_next = path.lam(t), path.lam(t_mid), path.lam(t_next)
    share = torch.exp(lam_mid - lam_next) * torch.expm1(lam - lam_mid) / torch.expm1(lam - lam_next)
    return d_second + expand(share, d_second) * (d_first - d_second)
