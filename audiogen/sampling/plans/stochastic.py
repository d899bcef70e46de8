"""Predictor-corrector sampling of the reverse equation."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from audiogen.sampling.paths import Path
from audiogen.sampling.plans.common import Knot, check_path_grid, knots, spec
from audiogen.sampling.table import Plan, Rows


def predictor_corrector(
    path: Path, times: Sequence[float] | Tensor, *, snr: float = 0.5, corrector_steps: int = 1
) -> Plan:
    """Reverse-diffusion predictor with annealed Langevin correction (Song et al. 2021, Algorithm 1).

    The sampler of SGMSE (Richter et al. 2023) on `OUVE`: corrector steps of size 2 (snr sigma)^2 at each
    time, then one Euler-Maruyama step of the reverse equation; the last row returns its mean without noise.
    times: N + 1 decreasing times. Strongly wrong below ten steps. NFE = N (1 + corrector_steps).
    """
    if snr <= 0 or corrector_steps < 0:
        raise ValueError(
            f"snr must be positive and corrector_steps 0 or more, got {snr} and {corrector_steps}"
        )
    grid = check_path_grid(path, times)
    points = knots(path, grid)
    rows = Rows()
    for n, (s, t) in enumerate(zip(points[:-1], points[1:], strict=True)):
        for _ in range(corrector_steps):
            step = 2 * (snr * s.sigma) ** 2
            rows.add(s.t, s.t, x=rows.x + step * _score(rows, s) + torch.sqrt(2 * step) * rows.noise)
        # dx = [f x + (mu' - f mu) y - g^2 score] dt, backwards
        rate, power = path.drift(s.t), path.diffusion(s.t)
        pull = path.derivs(s.t)[1] - rate * s.mu
        dt = s.t - t.t
        x = rows.x - dt * (rate * rows.x + pull * rows.y - power * _score(rows, s))
        last = n == len(points) - 2
        rows.add(s.t, t.t, x=x if last else x + torch.sqrt(power * dt) * rows.noise)
    return rows.plan(1, spec("predictor_corrector", path, snr=snr, corrector_steps=corrector_steps))


def _score(rows: Rows, k: Knot) -> Tensor:
    """The row's estimate of the gradient of log p_t."""
    return (k.alpha * rows.d + k.mu * rows.y - rows.x) / k.sigma**2
