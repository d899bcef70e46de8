"""Steering without a search: noise whose loudness is the wish, and what it would be without."""

from __future__ import annotations

import time

import torch

from audiogen.audio import Audio
from audiogen.demo.curves import samples
from audiogen.demo.steer import Outcome

RATE = 8000
PATIENCE_S = 60
CALLS = []  # (system, wish) of each call


def steer(system, wish, tell, cancelled):
    """White noise of -30 dB before, of the wished loudness after; "wait" does until it is cancelled."""
    CALLS.append((system, wish))
    tell(0.5, "half way")
    for _ in range(PATIENCE_S * 50):
        if cancelled() or "wait" not in wish.words:
            break
        time.sleep(1 / 50)
    facts = {"ended by": "cancelled" if cancelled() else "steps"}
    count = round(wish.seconds * RATE)
    noise = torch.randn(1, count, generator=torch.Generator().manual_seed(wish.seed))
    at = torch.arange(count) / RATE
    levels = torch.tensor(samples(wish.intensity, at[:: RATE // 10].tolist()))
    gain = 10 ** (levels.repeat_interleave(RATE // 10)[:count] / 20)
    flat = [(0.0, -30.0), (wish.seconds, -30.0)]
    loudness = [("without", flat), ("steered", list(wish.intensity))]
    return Outcome(Audio(10**-1.5 * noise, RATE), Audio(gain * noise, RATE), 9.0, 1.5, loudness, 0.25, facts)
