"""From the sums of single items to corpus numbers with intervals."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audiogen.metrics.bootstrap import Interval, Statistic, bootstrap, ratio_of_sums
from audiogen.metrics.cepstral import Distortion
from audiogen.metrics.intelligibility import Errors
from audiogen.metrics.pitch import PitchErrors, correlation


@dataclass(frozen=True)
class Score:
    """All sums of one item under one condition; an item that failed has its `error` and nothing else.

    seconds and reference_seconds: speech without the silence around it. What needs a recording may be None.
    """

    id: str
    heard: str = ""
    text: Errors = Errors(0, 0)
    seconds: float = 0.0
    audio_seconds: float = 0.0
    stages: Mapping[str, float] = field(default_factory=dict)
    reference_seconds: float | None = None
    distortion: Distortion | None = None
    pitch: PitchErrors | None = None
    error: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values: the sums, and the item's own rates beside them (None where one does not exist)."""
        entry = {key: value for key, value in asdict(self).items() if value is not None}
        entry["rates"] = {
            name: _plain(float(metric.statistic(np.array(sums, dtype=np.float64))))
            for name, metric in METRICS.items()
            if self.error is None and (sums := metric.sums(self)) is not None
        }
        return entry


@dataclass(frozen=True)
class Metric:
    """How items make a corpus number: additive sums of each (None: not measured), and their statistic."""

    sums: Callable[[Score], tuple[float, ...] | None]
    statistic: Statistic
    unit: str


def _root_ratio(totals: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.sqrt(ratio_of_sums(totals))


def _pitch(sums: Callable[[PitchErrors], tuple[float, ...]]) -> Callable[[Score], tuple[float, ...] | None]:
    return lambda score: sums(score.pitch) if score.pitch else None


def _duration(sums: Callable[[float, float], float]) -> Callable[[Score], tuple[float, ...] | None]:
    def columns(score: Score) -> tuple[float, ...] | None:
        reference = score.reference_seconds
        return (sums(score.seconds, reference), reference) if reference else None

    return columns


def _stage(name: str) -> Callable[[Score], tuple[float, ...] | None]:
    return lambda score: (1000 * score.stages[name], score.audio_seconds) if name in score.stages else None


METRICS: dict[str, Metric] = {
    "cer": Metric(
        lambda score: (score.text.edits, score.text.characters), ratio_of_sums, "edits a character"
    ),
    "mcd_db": Metric(
        lambda s: (s.distortion.total_db, s.distortion.cells) if s.distortion else None, ratio_of_sums, "dB"
    ),
    "f0_rmse_cents": Metric(_pitch(lambda p: (p.cents2, p.voiced)), _root_ratio, "cents"),
    "f0_rmse_hz": Metric(_pitch(lambda p: (p.hz2, p.voiced)), _root_ratio, "Hz"),
    "f0_correlation": Metric(_pitch(lambda p: (p.voiced, p.x, p.y, p.xx, p.yy, p.xy)), correlation, ""),
    "voicing_error": Metric(_pitch(lambda p: (p.unequal, p.cells)), ratio_of_sums, "share of frames"),
    "duration_error": Metric(_duration(lambda s, r: abs(s - r)), ratio_of_sums, "share of the recordings"),
    "duration_ratio": Metric(_duration(lambda s, _: s), ratio_of_sums, "share of the recordings"),
    "text_ms": Metric(_stage("text"), ratio_of_sums, "ms a second of audio"),
    "acoustic_ms": Metric(_stage("acoustic"), ratio_of_sums, "ms a second of audio"),
    "vocoder_ms": Metric(_stage("vocoder"), ratio_of_sums, "ms a second of audio"),
}


@dataclass(frozen=True)
class Evaluation:
    """Scores of every condition, item by item in the order of the list."""

    scores: dict[str, list[Score]]
    seed: int = 0

    def summary(self, condition: str) -> dict[str, Interval]:
        """Corpus numbers with 95 % intervals over items; only what was measured on at least one item."""
        good = [score for score in self.scores[condition] if score.error is None]
        rows = {
            name: [row for s in good if (row := metric.sums(s)) is not None]
            for name, metric in METRICS.items()
        }
        return {
            name: bootstrap(rows[name], metric.statistic, seed=self.seed)
            for name, metric in METRICS.items()
            if rows[name]
        }

    def difference(self, one: str, other: str, metric_name: str) -> Interval | None:
        """One condition's metric less the other's on the items both measured, drawn together; or None."""
        metric = METRICS[metric_name]
        others = {score.id: metric.sums(score) for score in self.scores[other] if score.error is None}
        pairs = [
            (*mine, *theirs)
            for score in self.scores[one]
            if score.error is None and (mine := metric.sums(score)) and (theirs := others.get(score.id))
        ]
        if not pairs:
            return None
        half = len(pairs[0]) // 2
        return bootstrap(
            pairs, lambda t: metric.statistic(t[..., :half]) - metric.statistic(t[..., half:]), seed=self.seed
        )

    @property
    def failed(self) -> int:
        """How many renderings or measurements failed."""
        return sum(score.error is not None for scores in self.scores.values() for score in scores)

    def to_dict(self) -> list[dict[str, Any]]:
        """One entry a condition, with its summary and its items; plain values."""
        return [
            {
                "condition": name,
                "summary": interval_dicts(self.summary(name)),
                "items": [s.to_dict() for s in scores],
            }
            for name, scores in self.scores.items()
        ]


def interval_dicts(summary: Mapping[str, Interval]) -> dict[str, dict[str, Any]]:
    """Intervals as plain values, with each metric's unit; None for what is not a number."""
    return {
        name: {**{key: _plain(value) for key, value in asdict(interval).items()}, "unit": METRICS[name].unit}
        for name, interval in summary.items()
    }


def _plain(value: float) -> float | None:
    return value if np.isfinite(value) else None
