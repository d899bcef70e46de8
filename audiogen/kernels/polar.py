"""Spectra of log-magnitudes and phases, which a vocoder's head gives."""

from __future__ import annotations

import torch
from torch import Tensor

from audiogen.kernels.backend import cdiv, jit, launch, power_of_2, takes_kernel, tl, wants_gradient


def polar_reference(out: Tensor, bins: int, log_max: float) -> Tensor:
    """e^l (cos p + i sin p) of out (B, O): l, at most log_max, its first bins, p the next -> (B, bins)."""
    magnitude, phase = out[:, :bins].clamp(max=log_max).exp(), out[:, bins : 2 * bins]
    return torch.complex(magnitude * phase.cos(), magnitude * phase.sin())


def polar(out: Tensor, bins: int, log_max: float) -> Tensor:
    """`polar_reference` in one launch on CUDA; the reference elsewhere and under autograd, for float32 alone.

    Raises ValueError where out has less than 2 `bins` numbers a row.
    """
    if out.ndim != 2 or not 0 < 2 * bins <= out.shape[1]:
        raise ValueError(f"{bins} magnitudes and phases need out (B, {2 * bins}) at least, got {out.shape}")
    if out.dtype != torch.float32 or not takes_kernel(out) or wants_gradient(out):
        return polar_reference(out, bins, log_max)
    out = out.contiguous()
    spectrum = out.new_empty(len(out), bins, 2)
    if len(out):
        block = min(256, power_of_2(bins))
        launch(
            _polar_kernel, (len(out), cdiv(bins, block)), out,
            out, spectrum, SIZE=out.shape[1], BINS=bins, LOG_MAX=log_max, BLOCK=block,
        )  # fmt: skip
    return torch.view_as_complex(spectrum)


@jit
def _polar_kernel(
    out_ptr, spectrum_ptr,
    SIZE: tl.constexpr, BINS: tl.constexpr, LOG_MAX: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    i = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = i < BINS
    level = tl.load(out_ptr + row * SIZE + i, mask=inside, other=0.0)
    phase = tl.load(out_ptr + row * SIZE + BINS + i, mask=inside, other=0.0)
    size = tl.exp(tl.minimum(level, LOG_MAX))
    place = spectrum_ptr + (row * BINS + i) * 2
    tl.store(place, size * tl.cos(phase), mask=inside)
    tl.store(place + 1, size * tl.sin(phase), mask=inside)
