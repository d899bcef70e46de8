"""Diffusion and flow sampling on affine paths: tensors and callables only, no networks.

A path, a grid of times and a builder make a `Plan`; `run` carries a state through it with a denoiser and
item noise. Guidance, hooks, particle search, distillation losses and noise optimisation are modules beside
them. docs/sampling.md teaches all of it.
"""

from __future__ import annotations

from audiogen.sampling import (
    distillation,
    fit_grid,
    grids,
    guidance,
    hooks,
    optimize,
    oracles,
    particles,
    plans,
)
from audiogen.sampling.brownian import Brownian
from audiogen.sampling.loop import Cancelled, Denoiser, Registers, SplitDenoiser, run
from audiogen.sampling.mean_paths import BBED, OUVE, SBVE, GradTTS, ShiftedPrior
from audiogen.sampling.noise import ItemNoise
from audiogen.sampling.paths import (
    GeometricVE,
    Path,
    StraightLine,
    SubVP,
    VarianceExploding,
    VPCosine,
    VPCosineShifted,
    VPLinear,
    append_dims,
)
from audiogen.sampling.prediction import EDM, X0, AngleV, Eps, Prediction, Score, Velocity, convert, denoiser
from audiogen.sampling.table import Plan
from audiogen.sampling.tabulated import Tabulated

__all__ = [
    "BBED",
    "EDM",
    "OUVE",
    "SBVE",
    "X0",
    "AngleV",
    "Brownian",
    "Cancelled",
    "Denoiser",
    "Eps",
    "GeometricVE",
    "GradTTS",
    "ItemNoise",
    "Path",
    "Plan",
    "Prediction",
    "Registers",
    "Score",
    "ShiftedPrior",
    "SplitDenoiser",
    "StraightLine",
    "SubVP",
    "Tabulated",
    "VPCosine",
    "VPCosineShifted",
    "VPLinear",
    "VarianceExploding",
    "Velocity",
    "append_dims",
    "convert",
    "denoiser",
    "distillation",
    "fit_grid",
    "grids",
    "guidance",
    "hooks",
    "optimize",
    "oracles",
    "particles",
    "plans",
    "run",
]
