"""Consistency models: one call of the network from any time to the data.

The network f(x, t) must be x / alpha, the mean removed, at the last time of the grid; `prediction.EDM` with
its sigma_min is that form.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from audiogen.sampling.distillation.regression import Example
from audiogen.sampling.distillation.steps import Step, check_times
from audiogen.sampling.grids import check_grid
from audiogen.sampling.loop import Denoiser
from audiogen.sampling.paths import Path


@torch.no_grad()
def consistency_distillation_example(
    path: Path,
    target_network: Denoiser,
    step: Step,
    data: Tensor,
    noise: Tensor,
    t: Tensor,
    t_next: Tensor,
    *,
    y: Tensor | None = None,
) -> Example:
    """Student at t against its running average a teacher's step later (Song et al. 2023, Algorithm 2).

    target_network: exponential moving average of the student, kept by the caller. step: the teacher's, as
    `euler` or `heun` make it. data, noise, y: (B, ...); t > t_next: (B,), neighbours on a grid, as
    `pick_steps` draws them. CoMoSpeech has 50 Karras times, an average of rate 0.95 and `mean_square` (Ye et
    al. 2023).
    """
    check_times(data, t, t_next)
    x = path.add_noise(data, noise, t, y=y)
    return Example(x, (t,), target_network(step(x, t, t_next), t_next).to(x.dtype))


def consistency_training_example(
    path: Path,
    student: Denoiser,
    data: Tensor,
    noise: Tensor,
    t: Tensor,
    t_next: Tensor,
    *,
    y: Tensor | None = None,
) -> Example:
    """Student at t against itself at t_next with the same noise, no teacher (Song and Dhariwal 2024).

    Take the loss at once, with `pseudo_huber`: the student then drops the same units on both sides. Items
    weigh 1 / (their step in sigma / alpha). data, noise, y: (B, ...); t > t_next: (B,), from `pick_steps`
    with `lognormal_probabilities` on a Karras grid of `doubling_steps` steps.
    """
    check_times(data, t, t_next)
    x, x_next = (path.add_noise(data, noise, time, y=y).detach() for time in (t, t_next))
    # the fork gives the random state back, so that the next call of the student draws the same dropout
    with torch.no_grad(), torch.random.fork_rng(devices=[x.device] if x.is_cuda else []):
        target = student(x_next, t_next).to(x.dtype)
    level, level_next = (torch.exp(-path.lam(time)) for time in (t, t_next))
    return Example(x, (t,), target, 1 / (level - level_next))


def pick_steps(times: Tensor, uniform: Tensor, probabilities: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Starts and ends of one random step of a grid per item.

    times: N + 1 decreasing times. uniform: (B,) uniform random numbers in [0, 1). probabilities: (N,) of the
    steps, by default equal. Returns t and t_next, float64 (B,) each on the device of `uniform`.
    """
    grid = check_grid(times)
    if probabilities is None:
        probabilities = torch.full((len(grid) - 1,), 1 / (len(grid) - 1), dtype=torch.float64)
    if len(probabilities) != len(grid) - 1:
        raise ValueError(f"a grid of {len(grid)} times has {len(grid) - 1} steps, not {len(probabilities)}")
    edges = probabilities.double().cumsum(0).to(uniform.device)
    index = torch.searchsorted(edges, uniform.double(), right=True).clamp(max=len(grid) - 2)
    grid = grid.to(uniform.device)
    return grid[index], grid[index + 1]


def lognormal_probabilities(path: Path, times: Tensor, *, mean: float = -1.1, std: float = 2.0) -> Tensor:
    """Share of a lognormal law of sigma / alpha that lies in each step of a grid.

    mean, std: of log(sigma / alpha) (Song and Dhariwal 2024, section 3.5). times: N + 1 decreasing times.
    Returns float64 (N,) with the sum 1.
    """
    below = torch.erf((-path.lam(check_grid(times)) - mean) / (std * math.sqrt(2)))
    shares = below[:-1] - below[1:]
    return shares / shares.sum()


def doubling_steps(step: int, total_steps: int, *, first: int = 10, last: int = 1280) -> int:
    """Steps of the grid after `step` of `total_steps` optimiser steps: doubled from `first` to `last`.

    N(k) - 1 of Song and Dhariwal 2024, section 3.4, each number for equally long. Raises ValueError for a
    training too short to reach `last`.
    """
    stages = math.log2(last // first) + 1 if 0 < first <= last else math.inf
    if not total_steps >= stages:
        raise ValueError(
            f"{total_steps} optimiser steps do not suffice to double the grid from {first} to {last} steps"
        )
    return int(min(first * 2 ** (step // math.floor(total_steps / stages)), last))
