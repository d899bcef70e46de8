"""Search over seeds with any score: best of N, and particles resampled on the way (Feynman-Kac, SVDD).

Nothing here needs the score's gradient. Candidate 0 of an item has the item's own seed, so a search over one
candidate is the ordinary run. Items are independent of each other: one may join or leave the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from audiogen.sampling.loop import Cancelled, Denoiser, Registers, SplitDenoiser, run
from audiogen.sampling.noise import ItemNoise
from audiogen.sampling.plans import head, tail
from audiogen.sampling.table import Plan

Score: TypeAlias = Callable[[Tensor], Tensor]
"""Score (B,) of data (B, ...), more is better; -inf or NaN rules a candidate out."""
Potential: TypeAlias = Callable[[Tensor, Tensor | None], tuple[Tensor, Tensor]]
"""(value now, memory of the lineage or None) -> (log potential, new memory), all (B, K)."""
Selection: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""(normalised weights (B, K), uniform numbers (B,)) -> ancestors (B, K), integers in [0, K)."""

Denoisers: TypeAlias = Denoiser | SplitDenoiser | Sequence[Denoiser | SplitDenoiser]

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15
_WORST = 1e30  # an infinite score, small enough that differences of two stay finite
_RESAMPLING = 1  # stream of the uniform numbers; states and rows use stream 0


def child_seed(seed: int, number: int) -> int:
    """Seed of candidate `number` of an item: its own for 0, else SplitMix64 of both (Steele et al. 2014)."""
    return _mix(_mix(seed) + (number - 1) * _GOLDEN) if number else seed


def _mix(state: int) -> int:
    z = (state + _GOLDEN) & _MASK
    z = ((z ^ z >> 30) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ z >> 27) * 0x94D049BB133111EB) & _MASK
    return z ^ z >> 31


class Best(NamedTuple):
    """The winning candidate of each item: data (B, ...), scores (B,) float64, and the seeds that gave it."""

    x: Tensor
    scores: Tensor
    seeds: list[int]


def best_of(
    sample: Callable[[ItemNoise], Tensor],
    score: Score,
    seeds: Sequence[int],
    n: int,
    *,
    device: torch.device | str | None = None,
) -> Best:
    """Best of n candidates per item by score; they are sampled one after the other, in the memory of one.

    sample: noise of the B items -> data (B, ...), such as
    lambda noise: run(plan, denoise, noise.start(80, 400), noise=noise). seeds: B. NFE = n times sample's.
    """
    if n < 1:
        raise ValueError(f"the best of {n} candidates does not exist: n must be 1 or more")
    best, scores, winners = None, None, None
    for number in range(n):
        x = sample(ItemNoise([child_seed(seed, number) for seed in seeds], device=device))
        value = _finite(score(x), len(seeds))
        if best is None or scores is None or winners is None:
            best, scores, winners = x, value, torch.zeros_like(value, dtype=torch.long)
            continue
        better = value > scores
        best = torch.where(better.reshape(-1, *[1] * (x.ndim - 1)), x, best)
        scores = torch.where(better, value, scores)
        winners = torch.where(better, number, winners)
    assert best is not None
    assert scores is not None
    assert winners is not None
    return Best(best, scores, [child_seed(s, k) for s, k in zip(seeds, winners.tolist(), strict=True)])


def difference(value: Tensor, before: Tensor | None) -> tuple[Tensor, Tensor]:
    """Potential exp(gain in value since the last resampling): rewards progress."""
    return value if before is None else value - before, value


def maximum(value: Tensor, before: Tensor | None) -> tuple[Tensor, Tensor]:
    """Potential exp(largest value of the lineage so far)."""
    best = value if before is None else torch.maximum(value, before)
    return best, best


def total(value: Tensor, before: Tensor | None) -> tuple[Tensor, Tensor]:
    """Potential exp(sum of the lineage's values so far)."""
    sum_ = value if before is None else value + before
    return sum_, sum_


def systematic(weights: Tensor, uniform: Tensor) -> Tensor:
    """Systematic resampling: particle k gets K w_k copies, rounded up or down (Carpenter et al. 1999)."""
    count = weights.shape[1]
    places = (torch.arange(count, device=weights.device) + uniform[:, None]) / count
    return _at_places(weights, places)


def single(weights: Tensor, uniform: Tensor) -> Tensor:
    """One ancestor for all, drawn by weight: the candidates of the next rows branch from it (SVDD)."""
    return _at_places(weights, uniform[:, None]).expand_as(weights)


def _at_places(weights: Tensor, places: Tensor) -> Tensor:
    """First particle at which the cumulative weight exceeds each place in [0, 1)."""
    cumulative = weights.cumsum(-1)
    # exactly 1 at the end: no place below 1 falls on a particle without weight, and rounding may give 1
    places = places.clamp(max=1 - 2**-53).contiguous()
    return torch.searchsorted(cumulative / cumulative[:, -1:], places, right=True)


class Particles(NamedTuple):
    """K weighted samples of every item: data (B, K, ...), normalised log weights and scores (B, K)."""

    x: Tensor
    log_weights: Tensor
    scores: Tensor

    def best(self) -> Tensor:
        """The sample of the highest score, (B, ...)."""
        return self.x[torch.arange(len(self.x), device=self.x.device), self.scores.argmax(1)]


def feynman_kac(
    plan: Plan,
    denoise: Denoisers,
    start: Callable[[ItemNoise], Tensor],
    score: Score,
    seeds: Sequence[int],
    count: int,
    *,
    rows: Sequence[int],
    scale: float = 1.0,
    potential: Potential = difference,
    select: Selection = systematic,
    value: Callable[[Tensor, Tensor, Tensor], Tensor] | None = None,
    threshold: float = 1.0,
    y: Tensor | None = None,
    on_row: Callable[[int, int, Tensor, Tensor | None], None] | None = None,
    stop: Callable[[], bool] | None = None,
    device: torch.device | str | None = None,
) -> Particles:
    """Samples of the plan's law tilted by exp(scale * score), from `count` particles per item.

    Before each of `rows` the denoised estimates are scored and the particles of an item resampled by their
    potentials, history included; the final weights make the product of all potentials exp(scale * score)
    (Singhal et al. 2025). With select=single and all rows it is SVDD (Li et al. 2024). A batch holds the
    particles of an item side by side: repeat conditions and y with repeat_interleave(count, 0).
    start: noise -> initial states. value(d, x, t): score of an unfinished state, by default score(d).
    threshold: resample items whose effective sample size is below this share of count, 1 = always.
    on_row, stop: as in `run`. NFE = plan.nfe per particle. Raises ValueError for rows without a call, and
    for a plan that draws no noise, whose copies would stay copies.
    """
    rows, denoisers = _check(plan, denoise, rows, count)
    noise = ItemNoise([child_seed(seed, k) for seed in seeds for k in range(count)], device=device)
    draws = ItemNoise(seeds, device=device)
    x, registers = start(noise), Registers()
    swarm = _Swarm(*torch.zeros(2, len(seeds), count, dtype=torch.float64, device=x.device))
    labels = plan.labels.to(x.device, torch.promote_types(x.dtype.to_real(), torch.float32))
    for first, last in pairwise(sorted({0, *rows, len(plan)})):
        calls = denoisers[first:last]
        if first in rows:
            t = labels[first].expand(x.shape[:1] + labels.shape[1:])
            out = calls[0](x, t)
            d = out[0] if isinstance(out, tuple) else out
            values = scale * _finite(score(d) if value is None else value(d, x, t), len(x))
            swarm = swarm.weighted(potential, values.view(len(seeds), count))
            swarm, ancestors = swarm.resampled(select, _uniform(draws, first), threshold)
            x, registers = x[ancestors], _registers(registers, ancestors)
            calls[0] = _constant(out, ancestors)
        x = _run_rows(plan, first, last, calls, x, y, noise, registers, on_row, stop)
    scores = _finite(score(x), len(x)).view(len(seeds), count)
    log_weights = torch.log_softmax(swarm.log_weights + scale * scores - swarm.spent, dim=-1)
    return Particles(x.reshape(len(seeds), count, *x.shape[1:]), log_weights, scores)


def _run_rows(
    plan: Plan,
    first: int,
    last: int,
    denoisers: Sequence[Denoiser | SplitDenoiser],
    x: Tensor,
    y: Tensor | None,
    noise: ItemNoise,
    registers: Registers,
    on_row: Callable[[int, int, Tensor, Tensor | None], None] | None,
    stop: Callable[[], bool] | None,
) -> Tensor:
    """Rows first to last of the plan, numbered as in the whole."""

    def watch(row: int, rows: int, x: Tensor, d: Tensor | None) -> None:
        if on_row is not None:
            on_row(first + row, len(plan), x, d)

    try:
        return run(
            tail(head(plan, last), first),
            denoisers,
            x,
            y=y,
            noise=lambda row, x: noise(first + row, x),
            on_row=watch,
            stop=stop,
            registers=registers,
        )
    except Cancelled as cancelled:
        raise Cancelled(first + cancelled.row) from None


class _Swarm(NamedTuple):
    """The weights of the particles, all (B, K) float64.

    log_weights: since the last resampling; spent: log of all potentials of a lineage; memory: of `Potential`.
    """

    log_weights: Tensor
    spent: Tensor
    memory: Tensor | None = None

    def weighted(self, potential: Potential, values: Tensor) -> _Swarm:
        """After the potentials of these values."""
        gain, memory = potential(values, self.memory)
        return _Swarm(self.log_weights + gain, self.spent + gain, memory)

    def resampled(self, select: Selection, uniform: Tensor, threshold: float) -> tuple[_Swarm, Tensor]:
        """With equal weights, and the ancestors as indices into B K states; items above threshold stay."""
        weights = torch.softmax(self.log_weights, dim=-1)
        items, count = weights.shape
        numbers = torch.arange(count, device=weights.device)
        due = torch.full_like(uniform, threshold >= 1, dtype=torch.bool)
        due = (due | (1 / (weights**2).sum(-1) < threshold * count))[:, None]
        ancestors = torch.where(due, select(weights, uniform), numbers)
        memory = None if self.memory is None else self.memory.gather(1, ancestors)
        swarm = _Swarm(torch.where(due, 0, self.log_weights), self.spent.gather(1, ancestors), memory)
        return swarm, (ancestors + count * torch.arange(items, device=weights.device)[:, None]).flatten()


def _check(
    plan: Plan, denoise: Denoisers, rows: Sequence[int], count: int
) -> tuple[list[int], list[Denoiser | SplitDenoiser]]:
    """Sorted rows and one denoiser per row of the plan."""
    rows = sorted(set(rows))
    if count < 1 or any(not 0 <= row < len(plan) or not plan.calls[row] for row in rows):
        raise ValueError(
            f"resampled rows must call the denoiser and count be 1 or more, got rows {rows}, count {count}"
        )
    if rows and not plan.stochastic:
        raise ValueError("resampled copies stay equal on a plan without noise: use eta > 0, or best_of")
    return rows, [denoise] * len(plan) if callable(denoise) else list(denoise)


def _finite(scores: Tensor, count: int) -> Tensor:
    """Scores in float64, those that are not numbers worst of all."""
    if scores.shape != (count,):
        raise ValueError(f"a score must be one number per item, shape ({count},), got {tuple(scores.shape)}")
    return scores.double().nan_to_num(nan=-_WORST, posinf=_WORST, neginf=-_WORST)


def _uniform(draws: ItemNoise, row: int) -> Tensor:
    """Uniform numbers (B,) in (0, 1) of the items for one row."""
    like = draws.start(1, 1, dtype=torch.float64)
    return torch.special.ndtr(draws.combine(like, {row: 1.0}, stream=_RESAMPLING)).flatten()


def _registers(registers: Registers, ancestors: Tensor) -> Registers:
    """What the ancestors remember."""
    base = None if registers.base is None else registers.base[ancestors]
    return Registers(base, {slot: kept[ancestors] for slot, kept in registers.slots.items()})


def _constant(out: Tensor | tuple[Tensor, Tensor], ancestors: Tensor) -> Denoiser | SplitDenoiser:
    """Denoiser that gives the ancestors' outputs, already at hand."""
    if isinstance(out, tuple):
        pair = out[0][ancestors], out[1][ancestors]
        return lambda x, t: pair
    d = out[ancestors]
    return lambda x, t: d
