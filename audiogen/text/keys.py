"""Musical keys: their names, and how well weights of pitch classes fit each."""

from __future__ import annotations

import math
from collections.abc import Sequence

KEYS = ("C", "Db", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
ACCIDENTALS = {"": "", "b": " flat", "#": " sharp"}
# How well listeners found each degree to fit a key (Krumhansl & Kessler 1982, figure 2), tonic first.
PROFILES = {
    "major": (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88),
    "minor": (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17),
}


def best_key(weights: Sequence[float]) -> tuple[int, str]:
    """Tonic (0 is C) and mode whose profile correlates best with 12 weights of pitch classes, C first.

    The Krumhansl-Schmuckler rule (Krumhansl 1990, chapter 4). Raises ValueError for other than 12 weights.
    """
    if len(weights) != 12:
        raise ValueError(f"{len(weights)} weights are not one for each of 12 pitch classes")
    fits = {
        (tonic, mode): correlation([weights[(tonic + k) % 12] for k in range(12)], profile)
        for tonic in range(12)
        for mode, profile in PROFILES.items()
    }
    return max(fits, key=lambda key: fits[key])


def correlation(a: Sequence[float], b: Sequence[float]) -> float:
    """Pearson's, and 0 where one of them does not vary."""
    mean_a, mean_b = sum(a) / len(a), sum(b) / len(b)
    x, y = [value - mean_a for value in a], [value - mean_b for value in b]
    size = math.sqrt(sum(v * v for v in x) * sum(v * v for v in y))
    return sum(p * q for p, q in zip(x, y, strict=True)) / size if size else 0.0


def spoken(tonic: int, mode: str) -> str:
    """A key in words: `B flat major`."""
    name = KEYS[tonic % 12]
    return f"{name[0]}{ACCIDENTALS[name[1:]]} {mode}"
