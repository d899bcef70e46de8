"""Distances between waveforms, sample by sample."""

from __future__ import annotations

import torch
from torch import Tensor


def si_sdr(estimate: Tensor, reference: Tensor) -> Tensor:
    """Scale-invariant signal-to-distortion ratio in dB of (B, T) -> (B,) (Le Roux et al. 2019)."""
    estimate, reference = (wav - wav.mean(-1, keepdim=True) for wav in (estimate, reference))
    tiny = torch.finfo(reference.dtype).tiny
    share = (estimate * reference).sum(-1, keepdim=True) / reference.square().sum(-1, keepdim=True).add(tiny)
    target = share * reference
    ratio = target.square().sum(-1).add(tiny) / (estimate - target).square().sum(-1).add(tiny)
    return 10 * torch.log10(ratio)
