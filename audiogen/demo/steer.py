"""The tab that steers music by a curve: what it asks of a steering method, and DITTO-2 as one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from audiogen.audio import Audio
from audiogen.demo.account import Account
from audiogen.demo.curves import Points
from audiogen.demo.models import COMPOSE, Shelf, Tell, label, silent

QUIETEST_DB, LOUDEST_DB = -45.0, -10.0  # bottom and top of the drawing
MOST_STEPS = 150


@dataclass(frozen=True)
class Wish:
    """Music in words whose loudness follows a curve.

    intensity: (second, dB of full scale), in order, to the end. steps: of the search for the noise. Raises
    ValueError for no words.
    """

    words: str
    intensity: Points
    steps: int = 70
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what says nothing."""
        if not self.words.strip():
            raise ValueError("there are no words to make music of; write some, such as 'slow solo piano'")

    @property
    def seconds(self) -> float:
        """Length of the music."""
        return self.intensity[-1][0]


@dataclass(frozen=True)
class Outcome:
    """What steering gives.

    before: the music of the same words and seed without a wish; after: with it. error_before, error_after:
    distance of their loudness from the wish, in dB RMS. loudness: the two curves as they were measured.
    seconds: of all work. facts: what else is shown.
    """

    before: Audio
    after: Audio
    error_before: float
    error_after: float
    loudness: Sequence[tuple[str, Points]]
    seconds: float
    facts: Mapping[str, object] = field(default_factory=dict)


Cancelled: TypeAlias = Callable[[], bool]
Steer: TypeAlias = Callable[[Any, Wish, Tell, Cancelled], Outcome]
"""steer(system, wish, tell, cancelled): tell hears how far the search is; once cancelled() is true it ends
with what was found so far."""


def never() -> bool:
    """Nobody cancels."""
    return False


def steered(
    shelf: Shelf,
    steer: Steer,
    model: str,
    wish: Wish,
    tell: Tell = silent,
    cancelled: Cancelled = never,
) -> tuple[Outcome, Account]:
    """Music by a wish, and the cost. Raises ValueError for a model that cannot be steered."""
    system = shelf.get(COMPOSE, model, tell)
    outcome = steer(system, wish, tell, cancelled)
    facts = {
        "loudness off by": f"{outcome.error_before:.1f} dB before, {outcome.error_after:.1f} dB after",
        "model": label(model),
        "search steps": wish.steps,
        "seed": wish.seed,
        **outcome.facts,
    }
    return outcome, Account(outcome.after.seconds, outcome.seconds, None, facts)
