"""Consistency trajectory models: one call of the network from any time to any earlier one.

The network g(x, (t, s)) gives the data with which one DDIM step from t leads to the trajectory's state at s,
the jump G(x, t, s) = (sigma_s / sigma_t) x + (alpha_s - alpha_t sigma_s / sigma_t) g, mean removed.
`plans.ctm` samples with it.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from audiogen.sampling.distillation.regression import Distance, mean_square
from audiogen.sampling.distillation.steps import Step, check_times, ddim_step, solve
from audiogen.sampling.loop import Denoiser
from audiogen.sampling.paths import Path, append_dims


class TrajectoryLoss(NamedTuple):
    """The two terms of a consistency trajectory model, 0-dim each."""

    consistency: Tensor
    denoising: Tensor


def jump(
    path: Path, network: Denoiser, x: Tensor, t: Tensor, s: Tensor, *, y: Tensor | None = None
) -> Tensor:
    """State at times s of the trajectory through x at times t (Kim et al. 2024); x where s = t.

    network: g(x, times), times (B, 2). x, y: (B, ...); t >= s: (B,). Returns (B, ...).
    """
    d = network(x, torch.stack([t, s], dim=-1)).to(x.dtype)
    return torch.where(append_dims(t == s, x.ndim), x, ddim_step(path, x, d, t, s, y=y))


def trajectory_loss(
    path: Path,
    student: Denoiser,
    target_network: Denoiser,
    step: Step,
    data: Tensor,
    noise: Tensor,
    times: Tensor,
    s: Tensor,
    end: Tensor,
    *,
    y: Tensor | None = None,
    mask: Tensor | None = None,
    distance: Distance = mean_square,
) -> TrajectoryLoss:
    """Soft consistency and denoising loss, without the adversarial term (Kim et al. 2024).

    student, target_network: g(x, times), times (B, 2); the second an average of the first, kept by the
    caller without requires_grad: gradients pass through its input. step: the teacher's, as `euler` or `heun`
    make it. data, noise, y: (B, ...); mask: (B, 1, N), nonzero = real. times: (B, K + 1), the teacher's way
    from t to u, equal neighbours for fewer steps. s: (B,), u >= s, where both sides jump; end: (B,),
    s >= end, where they are compared.
    """
    t, u = times[:, 0], times[:, -1]
    check_times(data, t, s, end)
    with torch.no_grad():
        x = path.add_noise(data, noise, t, y=y)
        ahead = jump(path, target_network, solve(step, x, times), u, s, y=y)
        target = jump(path, target_network, ahead, s, end, y=y)
    here = jump(path, student, x, t, s, y=y)
    estimate = jump(path, target_network, here, s, end, y=y)
    denoised = student(x, torch.stack([t, t], dim=-1))
    return TrajectoryLoss(distance(estimate, target, mask).mean(), distance(denoised, data, mask).mean())


def balance(loss: Tensor, other: Tensor, parameter: Tensor) -> Tensor:
    """Weight that gives `other` the gradient norm of `loss` at one parameter, such as the last layer's.

    loss, other: 0-dim. Returns 0-dim without gradient (Kim et al. 2024).
    """
    norms = [torch.autograd.grad(v, parameter, retain_graph=True)[0].norm() for v in (loss, other)]
    return norms[0] / norms[1].clamp(min=torch.finfo(norms[1].dtype).tiny)
