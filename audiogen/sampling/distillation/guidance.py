"""A guided denoiser in one call: networks that take the guidance weight as an input."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from audiogen.sampling.distillation.regression import Example
from audiogen.sampling.distillation.steps import check_times
from audiogen.sampling.loop import Denoiser
from audiogen.sampling.paths import Path


@torch.no_grad()
def guidance_example(
    path: Path,
    guided: Callable[[Tensor], Denoiser],
    data: Tensor,
    noise: Tensor,
    t: Tensor,
    w: Tensor,
    *,
    y: Tensor | None = None,
) -> Example:
    """Student(x, t, w) against the guided teacher (Meng et al. 2023, section 3.1).

    guided: makes the teacher with weights w, such as partial(cfg, branches). data, noise, y: (B, ...); t, w:
    (B,). A student that should be right where guided sampling leads, off the path, learns better from those
    states: Example(x, (t, w), guided(w)(x, t)).
    """
    check_times(data, t, w)
    x = path.add_noise(data, noise, t, y=y)
    return Example(x, (t, w), guided(w)(x, t).to(x.dtype))
