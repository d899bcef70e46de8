"""Diffusion and flow sampling on affine paths: tensors and callables only, no networks."""

from __future__ import annotations

from audiogen.sampling.distillation import progressive_target
from audiogen.sampling.loop import Cancelled, Denoiser, run
from audiogen.sampling.noise import ItemNoise
from audiogen.sampling.paths import (
    Path,
    StraightLine,
    VarianceExploding,
    VPCosine,
    VPCosineShifted,
    VPLinear,
    append_dims,
)
from audiogen.sampling.plans import Plan, ddim, ddpm

__all__ = [
    "Cancelled",
    "Denoiser",
    "ItemNoise",
    "Path",
    "Plan",
    "StraightLine",
    "VPCosine",
    "VPCosineShifted",
    "VPLinear",
    "VarianceExploding",
    "append_dims",
    "ddim",
    "ddpm",
    "progressive_target",
    "run",
]
