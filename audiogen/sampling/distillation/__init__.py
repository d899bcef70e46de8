"""Distillation losses on the sampler's paths and steps.

Most make an `Example` of a batch, for `regression_loss` with the student; the trajectory loss has two terms
of its own, and distribution matching gives a gradient.
"""

from __future__ import annotations

from audiogen.sampling.distillation.consistency import (
    consistency_distillation_example,
    consistency_training_example,
    doubling_steps,
    lognormal_probabilities,
    pick_steps,
)
from audiogen.sampling.distillation.distribution_matching import distribution_matching_gradient
from audiogen.sampling.distillation.guidance import guidance_example
from audiogen.sampling.distillation.progressive import (
    progressive_example,
    progressive_target,
    truncated_snr,
)
from audiogen.sampling.distillation.reflow import flow_matching_example, reflow_pairs, straightness
from audiogen.sampling.distillation.regression import (
    Distance,
    Example,
    mean_absolute,
    mean_square,
    pseudo_huber,
    regression_loss,
)
from audiogen.sampling.distillation.steps import Step, ddim_step, euler, heun, solve
from audiogen.sampling.distillation.trajectory import TrajectoryLoss, balance, jump, trajectory_loss

__all__ = [
    "Distance",
    "Example",
    "Step",
    "TrajectoryLoss",
    "balance",
    "consistency_distillation_example",
    "consistency_training_example",
    "ddim_step",
    "distribution_matching_gradient",
    "doubling_steps",
    "euler",
    "flow_matching_example",
    "guidance_example",
    "heun",
    "jump",
    "lognormal_probabilities",
    "mean_absolute",
    "mean_square",
    "pick_steps",
    "progressive_example",
    "progressive_target",
    "pseudo_huber",
    "reflow_pairs",
    "regression_loss",
    "solve",
    "straightness",
    "trajectory_loss",
    "truncated_snr",
]
