"""Rectified flow: networks of velocity, trained on pairs that an earlier flow has made."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from audiogen.sampling.distillation.regression import Example, mean_square
from audiogen.sampling.distillation.steps import check_times
from audiogen.sampling.loop import Denoiser, run
from audiogen.sampling.paths import Path, expand
from audiogen.sampling.table import Plan


@torch.no_grad()
def reflow_pairs(
    plan: Plan, denoise: Denoiser | Sequence[Denoiser], start: Tensor, *, y: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Pairs (data, start) that a deterministic plan joins (Liu et al. 2023, Algorithm 1).

    start, y: (B, ...). As data and noise of `flow_matching_example` on the straight line they teach a
    straighter flow. Raises ValueError for a plan that draws noise.
    """
    if plan.stochastic:
        raise ValueError(
            "pairs must be joined by a flow: take a plan without noise, such as ddim with eta = 0"
        )
    return run(plan, denoise, start, y=y), start


def flow_matching_example(
    path: Path, data: Tensor, noise: Tensor, t: Tensor, *, y: Tensor | None = None
) -> Example:
    """Velocity of the path that joins each pair (Lipman et al. 2023, equation 14; Liu et al. 2023, (1)).

    data, noise, y: (B, ...); t: (B,), where sigma' is finite. The target is noise - data on the straight
    line; the network predicts `prediction.Velocity`.
    """
    check_times(data, t)
    dalpha, dmu, dsigma = path.derivs(t)
    velocity = expand(dalpha, data) * data + expand(dsigma, data) * noise
    if y is not None:
        velocity = velocity + expand(dmu, data) * y
    return Example(path.add_noise(data, noise, t, y=y), (t,), velocity.detach())


@torch.no_grad()
def straightness(
    plan: Plan,
    denoise: Denoiser | Sequence[Denoiser],
    start: Tensor,
    *,
    y: Tensor | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    """Mean square distance of a flow's velocity from its chord, Int |x_1 - x_0 - dx/dt|^2 dt.

    0 if and only if all steps have one velocity (Liu et al. 2023, section 2.2); a mean over elements and
    over time, which is rescaled to length 1. plan: one row a step, from start (B, ...); keeps a copy of the
    state after every row. mask: (B, 1, N), nonzero = real. Returns (B,).
    """
    times = torch.cat([plan.labels.reshape(len(plan), -1)[0, :1], plan.ends])
    lengths = times[1:] - times[:-1]
    if plan.stochastic or not bool((lengths < 0).all()):
        raise ValueError(
            f"straightness needs one step a row and no noise, as ddim has, got times {times.tolist()}"
        )
    states = [start]
    run(plan, denoise, start, y=y, on_row=lambda row, rows, x, d: states.append(x.clone()))
    total = lengths.sum()
    chord = (states[-1] - start) / float(total)
    slopes = [(b - a) / float(h) for a, b, h in zip(states, states[1:], lengths, strict=False)]
    squares = [float(h / total) * mean_square(v, chord, mask) for v, h in zip(slopes, lengths, strict=True)]
    return torch.stack(squares).sum(0)
