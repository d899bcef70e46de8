"""Distribution matching: a generator moved by the difference of two scores."""

from __future__ import annotations

import torch
from torch import Tensor

from audiogen.sampling.distillation.regression import mean_absolute
from audiogen.sampling.distillation.steps import check_times
from audiogen.sampling.loop import Denoiser
from audiogen.sampling.paths import Path, append_dims


@torch.no_grad()
def distribution_matching_gradient(
    path: Path,
    fake: Denoiser,
    real: Denoiser,
    generated: Tensor,
    noise: Tensor,
    t: Tensor,
    *,
    y: Tensor | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    """Direction in which generated data leaves the real law, (D_fake - D_real) / mean |x0 - D_real|.

    It is the difference of scores s_fake - s_real at the noised data with a weight per item (Yin et al.
    2024, section 3.2): `generated.backward(gradient / len(generated))` and a step of the optimiser lower the
    divergence of the two laws.
    fake: denoiser trained on what is generated; real: the teacher. generated, noise, y: (B, ...); t: (B,);
    mask: (B, 1, N), nonzero = real. Returns (B, ...), 0 outside the mask.
    """
    check_times(generated, t)
    x = path.add_noise(generated, noise, t, y=y)
    d_fake, d_real = fake(x, t).to(x.dtype), real(x, t).to(x.dtype)
    scale = mean_absolute(generated, d_real, mask)
    scale = scale.clamp(min=torch.finfo(scale.dtype).tiny)
    gradient = (d_fake - d_real) / append_dims(scale, x.ndim)
    return gradient if mask is None else gradient.masked_fill(~mask.bool().expand_as(gradient), 0)
