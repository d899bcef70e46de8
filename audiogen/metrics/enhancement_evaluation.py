"""Measure enhancers against one list of noisy recordings and their references."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from audiogen.audio import Audio, AudioReader, resample
from audiogen.enhancement import EnhancementSystem, EnhanceOptions, check_options, enhance_audio
from audiogen.metrics.bootstrap import Interval, ratio_interval
from audiogen.metrics.enhancement import SAMPLE_RATE, SCORES, compare, finite, same_length
from audiogen.report import StageTimer

METRICS = (*SCORES, "rtf")
QUALITIES = ("fast", "balanced", "best")
UNITS = {"pesq_wb": "MOS-LQO", "estoi": "", "si_sdr_db": "dB", "rtf": "compute s / audio s"}


@dataclass(frozen=True)
class EnhanceItem:
    """A noisy recording and its reference."""

    id: str
    noisy: Path
    clean: Path


@dataclass(frozen=True)
class EnhanceCondition:
    """A way to enhance, under a name. render: audio -> audio and the seconds it took, None if not timed.

    nfe: network evaluations, 0 for none.
    """

    name: str
    render: Callable[[Audio], tuple[Audio, float | None]]
    nfe: int = 0


@dataclass(frozen=True)
class EnhanceScore:
    """The scores of one item under one condition, or its error."""

    id: str
    values: Mapping[str, float | None] = field(default_factory=dict)
    audio_seconds: float = 0.0
    compute_seconds: float | None = None
    error: str | None = None

    def sums(self, metric: str) -> tuple[float, float] | None:
        """Numerator and denominator of a metric: for a mean, the value and 1; None if not measured."""
        if metric == "rtf":
            return None if self.compute_seconds is None else (self.compute_seconds, self.audio_seconds)
        value = self.values.get(metric)
        return None if value is None else (value, 1.0)


@dataclass(frozen=True)
class EnhanceEvaluation:
    """Scores of every condition, item by item, and its network evaluations. seed: of the bootstrap."""

    scores: dict[str, list[EnhanceScore]]
    nfe: dict[str, int]
    seed: int = 0

    def summary(self, condition: str) -> dict[str, Interval]:
        """Means, and compute over audio seconds, with 95 % intervals over items; what was measured."""
        return {
            metric: ratio_interval(*zip(*rows, strict=True), seed=self.seed)
            for metric in METRICS
            if (rows := list(self._sums(condition, metric).values()))
        }

    def difference(self, one: str, other: str, metric: str) -> Interval | None:
        """Mean of one condition's score less the other's over the items both have; None of none."""
        mine, theirs = self._sums(one, metric), self._sums(other, metric)
        gains = [mine[name][0] - theirs[name][0] for name in mine if name in theirs]
        return ratio_interval(gains, [1.0] * len(gains), seed=self.seed) if gains else None

    def _sums(self, condition: str, metric: str) -> dict[str, tuple[float, float]]:
        return {s.id: sums for s in self.scores[condition] if (sums := s.sums(metric)) is not None}

    @property
    def failed(self) -> int:
        """How many renderings or measurements failed."""
        return sum(score.error is not None for scores in self.scores.values() for score in scores)

    def to_dict(self) -> list[dict[str, Any]]:
        """One entry a condition, with its summary and its items; plain values."""
        return [
            {
                "condition": name,
                "nfe": self.nfe[name],
                "summary": {
                    metric: {**finite(asdict(interval)), "unit": UNITS[metric]}
                    for metric, interval in self.summary(name).items()
                },
                "items": [{k: v for k, v in asdict(score).items() if v is not None} for score in scores],
            }
            for name, scores in self.scores.items()
        ]


def evaluate(
    items: Sequence[EnhanceItem],
    conditions: Sequence[EnhanceCondition],
    *,
    seed: int = 0,
    on_score: Callable[[str, EnhanceScore], None] = lambda condition, score: None,
) -> EnhanceEvaluation:
    """Enhance and measure every item under every condition; one that fails is reported and the rest go on.

    The first item of a condition with a network is rendered twice, so that no item pays for what happens only
    once. on_score: told of each score as it is ready.
    """
    scores: dict[str, list[EnhanceScore]] = {}
    for condition in conditions:
        scores[condition.name] = []
        for number, item in enumerate(items):
            try:
                noisy = read(item.noisy)
                if condition.nfe and number == 0:
                    condition.render(noisy)
                score = measure(item, noisy, condition)
            except (ValueError, OSError, RuntimeError) as error:
                score = EnhanceScore(item.id, error=str(error) or type(error).__name__)
            scores[condition.name].append(score)
            on_score(condition.name, score)
    return EnhanceEvaluation(scores, {condition.name: condition.nfe for condition in conditions}, seed)


def measure(item: EnhanceItem, noisy: Audio, condition: EnhanceCondition) -> EnhanceScore:
    """All numbers of one item."""
    made, seconds = condition.render(noisy)
    names = str(item.noisy), str(item.clean)
    values = compare(*same_length(mono(made), mono(read(item.clean)), *names))
    return EnhanceScore(item.id, finite(values), noisy.seconds, seconds)


def read(path: Path) -> Audio:
    """A whole recording at its own rate."""
    reader = AudioReader(path)
    return Audio(torch.cat([torch.zeros(reader.channels, 0), *reader.blocks()], dim=-1), reader.sample_rate)


def mono(audio: Audio) -> Tensor:
    """(T,) at SAMPLE_RATE, channels averaged."""
    return resample(audio.wav.mean(0), audio.sample_rate, SAMPLE_RATE)


def unprocessed() -> EnhanceCondition:
    """The recordings as they are."""
    return EnhanceCondition("noisy", lambda audio: (audio, None))


def enhanced(
    system: EnhancementSystem, options: EnhanceOptions, name: str, seed: int = 0
) -> EnhanceCondition:
    """A system, as `audiogen enhance` uses it. Raises ValueError for options it cannot follow."""

    def render(audio: Audio) -> tuple[Audio, float]:
        timer = StageTimer(getattr(system, "device", "cpu"))
        with timer.stage("call"):
            made = enhance_audio(system, audio, options, seed=seed)
        return made, timer.seconds["call"]

    return EnhanceCondition(name, render, check_options(system, options))


def by_steps(
    system: EnhancementSystem, steps: Sequence[int], quality: str = "balanced", seed: int = 0
) -> list[EnhanceCondition]:
    """The predictor alone, where there is one, then the quality's solver at each number of steps."""
    found = []
    for number in (0, *(n for n in steps if n)):
        name = f"{number} step{'s' * (number > 1)}" if number else "predictor only"
        options = EnhanceOptions(quality, number)
        try:
            found.append(enhanced(system, options, name, seed))
        except ValueError:
            if number or 0 in steps:
                raise
    return found


def by_quality(system: EnhancementSystem, seed: int = 0) -> list[EnhanceCondition]:
    """The predictor alone, where there is one, then each preset of QUALITIES that the system has."""
    names = [name for name in QUALITIES if name in system.presets]
    presets = [enhanced(system, EnhanceOptions(quality), quality, seed) for quality in names]
    return [*by_steps(system, [], names[0], seed), *presets]
