"""Confidence intervals by resampling items (Efron & Tibshirani 1993, section 13.3: the percentile method)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Statistic = Callable[[NDArray[np.float64]], NDArray[np.float64]]


@dataclass(frozen=True)
class Interval:
    """A corpus number and the percentile interval around it; `items` is how many items it rests on."""

    value: float
    low: float
    high: float
    items: int

    def __str__(self) -> str:
        """Such as `0.093 [0.071, 0.118]`."""
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def bootstrap(
    sums: ArrayLike, statistic: Statistic, *, level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Interval:
    """Percentile interval of a statistic of per-item sums, resampling whole items.

    sums: (items, k), one row of additive quantities an item; statistic: (..., k) totals -> (...).
    The same seed draws the same items, so two systems measured on one list are resampled together.
    Raises ValueError for no items, a level outside (0, 1) or less than one resample.
    """
    table = np.asarray(sums, dtype=np.float64)
    if table.ndim != 2 or len(table) == 0:
        raise ValueError(
            f"sums has shape {table.shape}; give one row of numbers for each of at least one item"
        )
    if not 0 < level < 1:
        raise ValueError(f"level is {level}; give a probability between 0 and 1, such as 0.95")
    if resamples < 1:
        raise ValueError(f"resamples is {resamples}; give at least 1")
    draws = np.random.default_rng(seed).multinomial(
        len(table), np.full(len(table), 1 / len(table)), size=resamples
    )
    value, spread = float(statistic(table.sum(axis=0))), statistic(draws @ table)
    spread = spread[np.isfinite(spread)]  # a draw of items that hold nothing to divide by says nothing
    if len(spread) == 0:
        return Interval(value, float("nan"), float("nan"), len(table))
    low, high = np.quantile(spread, [(1 - level) / 2, (1 + level) / 2])
    return Interval(value, float(low), float(high), len(table))


def ratio_of_sums(totals: NDArray[np.float64]) -> NDArray[np.float64]:
    """(..., 2) totals -> first over second: a corpus rate, in which long items weigh more; nan for 0 / 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(totals[..., 0] / totals[..., 1])


def ratio_interval(
    numerators: ArrayLike,
    denominators: ArrayLike,
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Interval of sum(numerators) / sum(denominators), resampling items."""
    sums = np.stack(
        [np.asarray(numerators, dtype=np.float64), np.asarray(denominators, dtype=np.float64)], axis=-1
    )
    return bootstrap(sums, ratio_of_sums, level=level, resamples=resamples, seed=seed)
