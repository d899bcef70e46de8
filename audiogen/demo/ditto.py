"""DITTO-2 as the demo's method of steering."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from audiogen.audio import Audio
from audiogen.demo.models import Tell
from audiogen.demo.steer import Cancelled, Outcome, Wish, never


def steer_by_ditto(system: Any, wish: Wish, tell: Tell, cancelled: Cancelled = never) -> Outcome:
    """Music whose loudness follows the wish, searched for with the search of `audiogen edit`.

    Raises ValueError for a model that cannot be steered, and what the search raises.
    """
    from audiogen.controls import Intensity
    from audiogen.steering import SteerOptions
    from audiogen.systems.ditto import steer

    check(system)

    def search(at: Any) -> None:
        tell(0.2 + 0.75 * at.step / at.steps, f"search step {at.step} of {at.steps}")

    def loudness(wav: Tensor) -> list[tuple[float, float]]:
        curve = Intensity.of(wav.cpu(), made.sample_rate).curve
        return [(second, level) for second, level in curve if level is not None]

    options = SteerOptions(seconds=wish.seconds, steps=wish.steps, seed=wish.seed)
    wished = [Intensity(wish.intensity)]
    made = steer(system, wish.words, wished, options, progress=search, cancelled=cancelled)
    rate, (error,) = made.sample_rate, made.errors
    facts: dict[str, object] = {"network calls": made.network_calls, "ended by": made.stopped}
    if made.warnings:
        facts["note"] = "; ".join(made.warnings)
    return Outcome(
        Audio(made.unsteered.cpu(), rate),
        Audio(made.audio.cpu(), rate),
        math.sqrt(error.before),  # of a mean square in dB^2
        math.sqrt(error.after),
        [("without", loudness(made.unsteered)), ("steered", loudness(made.audio))],
        made.seconds,
        facts,
    )


def check(system: Any) -> None:
    """Raises ValueError for a system that cannot be steered."""
    if not hasattr(system, "generator"):
        raise ValueError("this model cannot be steered; use a music model such as melody")
