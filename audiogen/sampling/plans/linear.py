"""Adams-Bashforth methods: on the noise estimate (DEIS, iPNDM, GHVB) and on the velocity."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from audiogen.sampling.coefficients import clock_weights, polynomial_weights
from audiogen.sampling.paths import Path
from audiogen.sampling.plans.common import (
    Knot,
    check_path_grid,
    combined,
    knot,
    knots,
    moved,
    noise_estimate,
    spec,
    velocity_estimate,
)
from audiogen.sampling.plans.multistep import check_order, room, step_orders
from audiogen.sampling.plans.single_step import NOISE_FORM_NODES, noise_form_step
from audiogen.sampling.table import Plan, Rows

# weights of the newest estimate and those before it on equal steps (Adams-Bashforth)
EQUAL_STEPS = {
    1: (1.0,),
    2: (3 / 2, -1 / 2),
    3: (23 / 12, -16 / 12, 5 / 12),
    4: (55 / 24, -59 / 24, 37 / 24, -9 / 24),
}


def deis(
    path: Path,
    times: Sequence[float] | Tensor,
    *,
    order: int = 3,
    clock: str = "t",
    start: int = 1,
    end: Sequence[int] = (1,),
) -> Plan:
    """DEIS: Adams-Bashforth on the noise estimate with exact weights (Zhang and Chen 2023).

    clock: what the estimate is a polynomial of: "t" (tAB), "rho" = sigma / alpha (rhoAB) or "lam", the
    log-SNR (then it is DPM-Solver's multistep form). start: order of the single-step method (1, 2 or 3, the
    DPM-Solver) that runs while the history is too short for it. end: orders of the last steps, at most. The
    grid starts below pure noise. NFE = N, plus start - 1 for every step run by the single-step method.
    """
    check_order(order, start)
    clocks: dict[str, Callable[[Tensor], Tensor]] = {
        "t": path.t_of_lam,
        "rho": lambda lam: torch.exp(-lam),
        "lam": lambda lam: lam,
    }
    if clock not in clocks:
        raise ValueError(f"clock must be one of {list(clocks)}, got {clock!r}")
    points = knots(path, check_path_grid(path, times, pure=False))

    def weights(n: int, order: int) -> Tensor:
        s, t = points[n], points[n + 1]
        if order == 1:
            return (t.level - s.level).reshape(1)
        return clock_weights([points[n - j].lam for j in range(order)], s.lam, t.lam, clocks[clock])

    how = spec("deis", path, order=order, clock=clock, start=start, end=list(end))
    orders = step_orders(points, order, end)
    single = [o < start <= room(points, n, order, end) for n, o in enumerate(orders)]
    return _noise_multistep(path, points, orders, weights, order, how, single, start)


def ipndm(path: Path, times: Sequence[float] | Tensor, *, order: int = 4) -> Plan:
    """iPNDM: Adams-Bashforth weights of equal steps on the noise estimate (Liu et al. 2022).

    Integrates over sigma / alpha; the warm-up uses lower orders. On other grids than those uniform in it the
    order is 2, with a small constant. order: 1 to 4. The grid starts below pure noise. NFE = N.
    """
    if order not in EQUAL_STEPS:
        raise ValueError(f"order must be 1 to 4, got {order}")
    points = knots(path, check_path_grid(path, times, pure=False))
    orders = [min(order, n + 1) for n in range(len(points) - 1)]

    def weights(n: int, order: int) -> Tensor:
        return (points[n + 1].level - points[n].level) * torch.tensor(EQUAL_STEPS[order], dtype=torch.float64)

    return _noise_multistep(path, points, orders, weights, min(order, 2), spec("ipndm", path, order=order))


def _noise_multistep(
    path: Path,
    points: Sequence[Knot],
    orders: Sequence[int],
    weights: Callable[[int, int], Tensor],
    order: int,
    how: dict[str, object],
    single: Sequence[bool] = (),
    start: int = 1,
) -> Plan:
    """x_t / alpha_t = x_s / alpha_s + sum of weights(n, order) times noise estimates, the newest first.

    single: the steps that the single-step method of order `start` runs instead.
    """
    rows = Rows(history=max(max(orders) - 1, int(any(single))))
    for n, (s, t) in enumerate(zip(points[:-1], points[1:], strict=True)):
        if single and single[n]:
            noise_form_step(rows, path, s, t, NOISE_FORM_NODES[start])
            continue
        here = noise_estimate(rows, s)
        estimates = [here, *(rows.past(j) for j in range(1, orders[n]))]
        change = combined(weights(n, orders[n]), estimates)
        x = moved(rows, rows.x, s, t, t.alpha * change, t.alpha / s.alpha)
        rows.add(s.t, t.t, x=x, keep=here)
    return rows.plan(order, how)


def adams_bashforth(path: Path, times: Sequence[float] | Tensor, *, order: int = 2, start: int = 1) -> Plan:
    """Adams-Bashforth on the velocity dx / dt with weights for any step lengths.

    The few-step sampler for straight-line flows. order: 1 is Euler's method in time. start: 1 or 2, the order
    of the first step, Euler or midpoint; 2 is needed for order 3 where the first step matters. NFE = N, one
    more with start = 2.
    """
    if order < 1 or start not in (1, 2):
        raise ValueError(f"order must be 1 or more and start 1 or 2, got {order} and {start}")
    points = knots(path, check_path_grid(path, times))
    rows = Rows(history=max(order, start) - 1)
    for n, (s, t) in enumerate(zip(points[:-1], points[1:], strict=True)):
        count = min(order, n + 1)
        here = velocity_estimate(rows, path, s)
        if n == 0 and start == 2:
            half = knot(path, (s.t + t.t) / 2)
            rows.add(s.t, half.t, base=rows.x, x=rows.x + (half.t - s.t) * here, keep=here)
            rows.add(half.t, t.t, x=rows.base + (t.t - s.t) * velocity_estimate(rows, path, half))
            continue
        velocities = [here, *(rows.past(j) for j in range(1, count))]
        nodes = torch.stack([(points[n - j].t - s.t) / (t.t - s.t) for j in range(count)])
        shares = (t.t - s.t) * polynomial_weights(nodes)
        rows.add(s.t, t.t, x=rows.x + combined(shares, velocities), keep=here)
    return rows.plan(order, spec("adams_bashforth", path, order=order, start=start))


def ghvb(path: Path, times: Sequence[float] | Tensor, *, order: int = 2, beta: float = 0.8) -> Plan:
    """Generalised heavy-ball momentum on the noise estimate (Wizadwongsa et al. 2023, GHVB).

    v <- (1 - beta) v + beta eps, then an Adams-Bashforth form on v that keeps the order for any beta: a wider
    stability region against divergence under strong guidance. beta: in (0, 1], 1 = Adams-Bashforth on equal
    steps. order: 1 to 4 (below beta = 1, order 1 is the plain heavy ball). NFE = N.
    """
    if order not in EQUAL_STEPS or not 0 < beta <= 1:
        raise ValueError(f"order must be 1 to 4 and beta in (0, 1], got {order} and {beta}")
    points = knots(path, check_path_grid(path, times, pure=False))
    b = beta
    forms = {
        1: (1.0,),
        2: ((2 + b) / (2 * b), -(2 - b) / (2 * b)),
        3: ((18 + 5 * b) / (12 * b), -(24 - 8 * b) / (12 * b), (6 - b) / (12 * b)),
        4: tuple(w / (24 * b) for w in (46 + 9 * b, -(78 - 19 * b), 42 - 5 * b, -(10 - b))),
    }
    rows = Rows(history=max(1, order - 1))
    for n, (s, t) in enumerate(zip(points[:-1], points[1:], strict=True)):
        eps = noise_estimate(rows, s)
        here = eps if n == 0 else (1 - b) * rows.past(1) + b * eps
        count = min(order, n + 1)
        momenta = [here, *(rows.past(j) for j in range(1, count))]
        change = combined(forms[count], momenta)
        x = moved(rows, rows.x, s, t, t.alpha * (t.level - s.level) * change, t.alpha / s.alpha)
        rows.add(s.t, t.t, x=x, keep=here)
    return rows.plan(min(order, 2), spec("ghvb", path, order=order, beta=beta))
