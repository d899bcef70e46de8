"""First-order samplers: DDIM with any share of fresh noise, of which DDPM is one end."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from audiogen.sampling.coefficients import ddim_weights
from audiogen.sampling.paths import Path
from audiogen.sampling.plans.common import check_path_grid, spec
from audiogen.sampling.table import Plan, Rows


def ddim(path: Path, times: Sequence[float] | Tensor, *, eta: float = 0.0, split: bool = False) -> Plan:
    """DDIM on a grid from noise to data (Song, Meng and Ermon 2021); Euler's method in sigma / alpha.

    times: N + 1 strictly decreasing times; if the last is 0, the last row returns the denoiser's output.
    eta: share of fresh noise in [0, 1], 0 = deterministic (order 1 for the flow), 1 = DDPM. split: carry the
    noise that the denoiser's second output implies while moving to its first (CFG++, Chung et al. 2024,
    Algorithm 2). NFE = N.
    """
    if not 0 <= eta <= 1:
        raise ValueError(f"eta must lie between 0 (deterministic) and 1 (DDPM), got {eta}")
    grid = check_path_grid(path, times)
    step = ddim_weights(path, grid[:-1], grid[1:], eta=eta)
    rows = Rows()
    alpha = path.alpha(grid)
    for r, (label, end) in enumerate(zip(grid[:-1], grid[1:], strict=True)):
        # the estimate's share in the new data, and its share in the noise that is carried on
        moved = (
            alpha[r + 1] * rows.d + (step.data[r] - alpha[r + 1]) * rows.c if split else step.data[r] * rows.d
        )
        x = step.x[r] * rows.x + step.y[r] * rows.y + moved + step.noise[r] * rows.noise
        rows.add(label, end, x=x)
    return rows.plan(1, spec("ddim", path, eta=eta, split=split))


def ddpm(path: Path, times: Sequence[float] | Tensor) -> Plan:
    """DDPM ancestral sampling: the exact posterior between neighbouring times (Ho et al. 2020, equation 7).

    times: N + 1 strictly decreasing times, the last may be 0; a subset of a training grid needs no respaced
    table. NFE = N.
    """
    return ddim(path, times, eta=1.0)


def kappa_of_eta(eta: float, h: Tensor) -> Tensor:
    """Noise level kappa of the reverse equation that DDIM's `eta` stands for in a step of h in log-SNR / 2.

    e^{-2 kappa h} = 1 - eta^2 (1 - e^{-2h}): the two agree at 0 and 1 alone.
    """
    return -torch.log1p(eta**2 * torch.expm1(-2 * h)) / (2 * h)
