"""Samplers of distilled networks: consistency and ping-pong steps, and trajectory jumps with gamma."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from audiogen.sampling.grids import check_grid
from audiogen.sampling.paths import Path
from audiogen.sampling.plans.common import Knot, check_path_grid, knot_at_lam, knots, spec
from audiogen.sampling.plans.single_step import data_step
from audiogen.sampling.table import Plan, Rows


def consistency(path: Path, times: Sequence[float] | Tensor, *, sigma_min: float = 0.0) -> Plan:
    """Multistep consistency sampling (Song et al. 2023, Algorithm 1).

    times: N + 1 decreasing times; the consistency function is called at all but the last, and its output put
    on the path at the next with noise of variance sigma(t)^2 - sigma_min^2. sigma_min: noise level whose data
    the function returns; end the grid there. NFE = N.
    """
    grid = check_grid(times)
    rows = Rows()
    for s, t in zip(*_neighbours(path, grid), strict=True):
        noise = torch.sqrt((t.sigma**2 - sigma_min**2).clamp(min=0))
        rows.add(s.t, t.t, x=t.alpha * rows.d + t.mu * rows.y + noise * rows.noise)
    return rows.plan(1, spec("consistency", path, sigma_min=sigma_min))


def ping_pong(path: Path, times: Sequence[float] | Tensor) -> Plan:
    """Clean estimate, then fresh noise, in turn: the limit kappa -> infinity of the stochastic first order.

    times: N + 1 decreasing times, the last usually 0. The sampler of adversarially distilled flows. NFE = N.
    """
    return consistency(path, times)


def ctm(path: Path, times: Sequence[float] | Tensor, *, gamma: float = 0.0) -> Plan:
    """Gamma-sampling of consistency trajectory models (Kim et al. 2024, Algorithm 3).

    The network g(x, (t, s)) gives the data of the jump G = (level_s / level_t) x + (1 - ...) g, level being
    sigma / alpha. Each row jumps to s, sqrt(1 - gamma^2) of the way from the next time's level to the last
    one's, and returns to the next time by fresh noise. gamma: 0 = deterministic jumps, 1 = consistency
    sampling. times: N + 1 decreasing times. The denoiser gets t of shape (B, 2). NFE = N.
    """
    if not 0 <= gamma <= 1:
        raise ValueError(
            f"gamma must lie between 0 (deterministic) and 1 (consistency sampling), got {gamma}"
        )
    grid = check_path_grid(path, times)
    starts, ends = _neighbours(path, grid)
    lowest = ends[-1].level
    rows = Rows()
    for s, t in zip(starts, ends, strict=True):
        level = lowest + math.sqrt(1 - gamma**2) * (t.level - lowest)
        jump = t if gamma == 0 or t.clean else knot_at_lam(path, -torch.log(level))
        x = data_step(rows, rows.x, s, jump, [rows.d], None)
        scale = t.alpha / jump.alpha
        noise = torch.sqrt((t.sigma**2 - (scale * jump.sigma) ** 2).clamp(min=0))
        x = scale * x + (t.mu - scale * jump.mu) * rows.y + noise * rows.noise
        rows.add(torch.stack([s.t, jump.t]), t.t, x=x)
    return rows.plan(1, spec("ctm", path, gamma=gamma))


def _neighbours(path: Path, grid: Tensor) -> tuple[list[Knot], list[Knot]]:
    """Starts and ends of all steps."""
    points = knots(path, grid)
    return points[:-1], points[1:]
