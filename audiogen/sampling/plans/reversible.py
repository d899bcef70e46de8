"""Steps that can be undone exactly."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from audiogen.sampling.paths import Path
from audiogen.sampling.plans.common import check_path_grid, knots, spec
from audiogen.sampling.plans.single_step import data_step
from audiogen.sampling.table import Plan, Rows


def bdia(path: Path, times: Sequence[float] | Tensor, *, gamma: float = 1.0) -> Plan:
    """Bidirectional integration, DDIM forwards and backwards from one network call (Zhang et al. 2024, BDIA).

    x_{n+1} = gamma (x_{n-1} - F(x_n, back)) + F(x_n, on) with DDIM steps F. gamma: 1 = second order on grids
    uniform in log-SNR, and undone without loss; below 1 first order, and undoing it grows errors by
    gamma^-N. Row 0 is DDIM; from then on base is the state before x. NFE = N.
    """
    if not 0 < gamma <= 1:
        raise ValueError(f"gamma must lie in (0, 1], got {gamma}")
    points = knots(path, check_path_grid(path, times))
    rows = Rows()
    for n, (here, after) in enumerate(zip(points[:-1], points[1:], strict=True)):
        x = data_step(rows, rows.x, here, after, [rows.d], None)
        if n:
            # the same step in the other direction
            x = x + gamma * (rows.base - data_step(rows, rows.x, here, points[n - 1], [rows.d], None))
        rows.add(here.t, after.t, base=rows.x, x=x)
    return rows.plan(2 if gamma == 1 else 1, spec("bdia", path, gamma=gamma))
