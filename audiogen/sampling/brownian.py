"""Brownian noise for stochastic runs: every grid samples one path, so that more steps refine a preview."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from audiogen.sampling.noise import ItemNoise
from audiogen.sampling.paths import Path
from audiogen.sampling.table import NOISE, Plan

_RANGE = 16  # lam counts as at most this in size: sigma / alpha is then 1.1e-7 or 8.9e6
_MAX_DEPTH = 24  # a draw's number holds the cell in 6 bits above 2^26 and the node below
_NODE_BITS = 26
_STREAM = 1  # the draws of the tree are not those of rows
_NEGLIGIBLE = 1e-12  # weights that are zero but for round-off


class Brownian:
    """Standard noise of B items from one Brownian path each; noise(row, x), like `ItemNoise`.

    The clock is e^{2 kappa lam}, lam = log(alpha / sigma), because a step of the reverse process with noise
    level kappa adds, over sigma e^{-kappa lam} of its end, exactly the increment of a standard Brownian
    motion W(e^{2 kappa lam}) from its start to its end. Normalised, the increments are standard normal and
    independent in disjoint steps, as in any clock; in this one the noise of two steps is also that of the one
    step over both, so that with a denoiser that does not change the grid makes no difference at all, and with
    any other the end converges path by path. (A clock in sigma, as k-diffusion has it, lacks the first.)

    seeds: B integers. path: of the plan. times: (R + 1,), row r steps from times[r] to times[r + 1]; alpha or
    sigma may be 0 at the ends. kappa in (0, 100]: that of the plan, 1 for eta = 1 (DDPM); for another one the
    law is still exact. depth: times count as the nearest of 2^depth points in a unit of lam; 1 to 24. A row
    that goes back, stands still or moves less than that draws independent noise. device, first_frame: as in
    `ItemNoise`; a row costs up to 2 depth + (its length in lam) of its draws. Nothing depends on batch mates.
    The path is a Brownian bridge over each unit of lam, bisected in lam (Levy's construction).
    """

    def __init__(
        self,
        seeds: Sequence[int],
        path: Path,
        times: Sequence[float] | Tensor,
        *,
        kappa: float = 1.0,
        depth: int = 10,
        device: torch.device | str | None = None,
        first_frame: int = 0,
    ) -> None:
        """Place the rows in the tree; raises ValueError for a bad kappa or depth or times."""
        if not 0 < kappa <= 100:
            raise ValueError(
                f"kappa must lie in (0, 100], got {kappa}; without noise there is no path to draw"
            )
        if not 1 <= depth <= _MAX_DEPTH:
            raise ValueError(f"depth must lie between 1 and {_MAX_DEPTH}, got {depth}")
        places, reached = [], -_RANGE << depth
        for place in _places(path, times, depth):
            reached = max(reached, place)  # what was drawn on the way is never drawn again
            places.append(reached)
        self._items = ItemNoise(seeds, device=device, first_frame=first_frame)
        self.draws: tuple[Mapping[int, float], ...] = tuple(
            _increment(start, end, kappa, depth) for start, end in pairwise(places)
        )
        """For every row the weights of the independent draws that make up its noise; empty if it has none."""

    @classmethod
    def of_plan(
        cls,
        seeds: Sequence[int],
        path: Path,
        plan: Plan,
        *,
        start: float | None = None,
        kappa: float = 1.0,
        depth: int = 10,
        device: torch.device | str | None = None,
        first_frame: int = 0,
    ) -> Brownian:
        """Noise for the rows of `plan`: from the end of the last row that drew noise to the end of this one.

        start: time at which x starts, by default the first label. Raises ValueError if that is no time.
        """
        first = float(plan.labels.flatten()[0]) if start is None else start
        noisy = (plan.weights.detach()[..., NOISE] != 0).any(1).tolist()
        times = [first]
        for end, draws in zip(plan.ends.tolist(), noisy, strict=True):
            times.append(end if draws else times[-1])
        return cls(seeds, path, times, kappa=kappa, depth=depth, device=device, first_frame=first_frame)

    def __call__(self, row: int, x: Tensor) -> Tensor:
        """Noise of row `row` >= 0, of the shape and dtype of x (B, ..., N); x itself is not read."""
        draws = self.draws[row]
        return self._items.combine(x, draws, stream=_STREAM) if draws else self._items(row, x)


def _places(path: Path, times: Sequence[float] | Tensor, depth: int) -> list[int]:
    """Nearest points to the times on the lattice of log-SNR / 2, counted in units of 2^-depth."""
    t = torch.as_tensor(times, dtype=torch.float64, device="cpu").detach()
    if t.ndim != 1 or len(t) < 2 or not bool(t.isfinite().all()):
        raise ValueError(
            f"Brownian needs the start and the end of every row as finite times, got {t.tolist()}"
        )
    lam = path.lam(t)
    # beyond the ends, even by a rounding error, a path may give anything: that is pure noise, or the data
    lam = torch.where(path.sigma(t) > 0, lam, torch.inf)
    lam = torch.where(path.alpha(t) > 0, lam, -torch.inf)
    return [round(value) for value in (lam.clamp(-_RANGE, _RANGE) * 2**depth).tolist()]


def _increment(start: int, end: int, kappa: float, depth: int) -> dict[int, float]:
    """Normalised increment between two lattice points as weights of draws, with the sum of squares 1."""
    if end <= start:
        return {}
    first, last = start >> depth, end >> depth  # cells; all is relative to the clock at the last one's start
    form = _from_cell_start(last, end - (last << depth), kappa, depth)
    for cell in range(first, last):
        weight = math.exp(kappa * (cell - last)) * math.sqrt(math.expm1(2 * kappa))
        _add(form, {_number(cell, 0): weight}, 1.0)
    _add(
        form,
        _from_cell_start(first, start - (first << depth), kappa, depth),
        -math.exp(kappa * (first - last)),
    )
    unit = 2.0**-depth
    clock = math.exp(2 * kappa * (end * unit - last))
    scale = math.sqrt(clock * -math.expm1(-2 * kappa * (end - start) * unit))
    return {draw: weight / scale for draw, weight in form.items() if abs(weight) > _NEGLIGIBLE * scale}


def _from_cell_start(cell: int, place: int, kappa: float, depth: int) -> dict[int, float]:
    """Increment from the start of a cell to one of its 2^depth places, by bridges over its halves."""
    total: dict[int, float] = {}
    increment = {_number(cell, 0): math.sqrt(math.expm1(2 * kappa))}
    low, width, node = 0, 1 << depth, 1
    variance = math.expm1(2 * kappa)
    while place > low:
        width //= 2
        # of the increment and its variance, the share of the earlier half, in the clock e^{2 kappa lam}
        share = 1 / (math.exp(kappa * width * 2.0 ** (1 - depth)) + 1)
        bridge = {_number(cell, node): math.sqrt(share * (1 - share) * variance)}
        later = place >= low + width
        half: dict[int, float] = {}
        _add(half, increment, share)
        _add(half, bridge, 1.0)
        if later:
            _add(total, half, 1.0)
            _add(increment, half, -1.0)
            low += width
        else:
            increment = half
        variance *= 1 - share if later else share
        node = 2 * node + later
    return total


def _add(total: dict[int, float], form: Mapping[int, float], weight: float) -> None:
    for draw, value in form.items():
        total[draw] = total.get(draw, 0.0) + weight * value


def _number(cell: int, node: int) -> int:
    """Counter word of a draw: node 0 is the increment over the cell, 1 the bridge over its halves, ..."""
    return (cell + _RANGE) << _NODE_BITS | node
