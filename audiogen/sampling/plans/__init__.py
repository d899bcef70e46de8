"""Builders of plans: every solver is a function from a path and a grid of times to a `Plan`."""

from __future__ import annotations

from audiogen.sampling.plans.distilled import consistency, ctm, ping_pong
from audiogen.sampling.plans.edits import (
    compensate,
    concat,
    head,
    interval_rows,
    relabel,
    tail,
    teleport,
)
from audiogen.sampling.plans.first_order import ddim, ddpm
from audiogen.sampling.plans.linear import adams_bashforth, deis, ghvb, ipndm
from audiogen.sampling.plans.multistep import multistep, sde_multistep, unipc
from audiogen.sampling.plans.reversible import bdia
from audiogen.sampling.plans.single_step import dpm_solver, exponential_rk, runge_kutta
from audiogen.sampling.plans.stochastic import predictor_corrector
from audiogen.sampling.table import Plan

__all__ = [
    "Plan",
    "adams_bashforth",
    "bdia",
    "compensate",
    "concat",
    "consistency",
    "ctm",
    "ddim",
    "ddpm",
    "deis",
    "dpm_solver",
    "exponential_rk",
    "ghvb",
    "head",
    "interval_rows",
    "ipndm",
    "multistep",
    "ping_pong",
    "predictor_corrector",
    "relabel",
    "runge_kutta",
    "sde_multistep",
    "tail",
    "teleport",
    "unipc",
]
