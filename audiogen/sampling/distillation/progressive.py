"""Progressive distillation: one step of the student for two of the teacher."""

from __future__ import annotations

import torch
from torch import Tensor

from audiogen.sampling.distillation.regression import Example
from audiogen.sampling.distillation.steps import check_times, ddim_step
from audiogen.sampling.loop import Denoiser
from audiogen.sampling.paths import Path, expand


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
    check_times(x_t, t, t_mid, t_next)
    d_first = denoise_teacher(x_t, t).to(x_t.dtype)
    x_mid = ddim_step(path, x_t, d_first, t, t_mid, y=y)
    d_second = denoise_teacher(x_mid, t_mid).to(x_t.dtype)
    # (x'' - (s''/s) x) / (a'' - (s''/s) a) with x'' written out: the state cancels, only weights are divided
    lam, lam_mid, lam_next = path.lam(t), path.lam(t_mid), path.lam(t_next)
    share = torch.exp(lam_mid - lam_next) * torch.expm1(lam - lam_mid) / torch.expm1(lam - lam_next)
    return d_second + expand(share, d_second) * (d_first - d_second)


def progressive_example(
    path: Path,
    teacher: Denoiser,
    data: Tensor,
    noise: Tensor,
    t: Tensor,
    t_mid: Tensor,
    t_next: Tensor,
    *,
    y: Tensor | None = None,
) -> Example:
    """Student at t against two steps of the teacher from there (Salimans and Ho 2022, Algorithm 2).

    data, noise, y: (B, ...); t > t_mid > t_next: (B,). Their weight is `truncated_snr` with `mean_square`;
    ProDiff has none and `mean_absolute` (Huang et al. 2022).
    """
    x = path.add_noise(data, noise, t, y=y).detach()
    return Example(x, (t,), progressive_target(path, teacher, x, t, t_mid, t_next, y=y))


def truncated_snr(path: Path, t: Tensor) -> Tensor:
    """Weight max(SNR, 1), which makes an error of x0 the larger one of those of x0 and of eps.

    t: any shape, sigma(t) > 0. Returns float64 of that shape (Salimans and Ho 2022, section 4).
    """
    return torch.exp(2 * path.lam(t)).clamp(min=1)
