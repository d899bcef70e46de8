"""Rhythm as a control: a tempo, or the moments of onsets."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from audiogen.controls.control import Control
from audiogen.controls.features import correlation, onset_strength
from audiogen.controls.sound import FRAME_RATE, Sound, Spans, frame_seconds

PULSE_S = 0.03  # standard deviation of the pulse that stands for an onset
PHASES = 16  # of a beat, among which the best is taken
SHARPNESS = 20.0  # of the soft maximum over phases
TEMPI = (30.0, 300.0)


class Onsets(Control):
    """Onsets at given moments and nowhere else.

    Error and loss: 1 - the correlation, over the frames that count, of the onset strength with pulses at
    these seconds: 0 = all there, 1 = unrelated. Raises ValueError for no moments or negative ones.
    """

    name, unit, enough = "onsets", "1 - correlation", 0.4
    usual_weight = 2.0

    def __init__(self, seconds: Sequence[float], *, weight: float = 1.0, ignore: Spans = ()) -> None:
        super().__init__(weight=weight, ignore=ignore)
        if not seconds or min(seconds) < 0:
            raise ValueError(f"onsets need moments at 0 s or later, got {list(seconds)[:8]}")
        self.seconds = tuple(seconds)

    def errors(self, sound: Sound) -> Tensor:
        """1 - correlation (B,)."""
        strength = onset_strength(sound)
        cares = self.cares(strength.shape[1], device=strength.device)
        moments = torch.tensor(self.seconds, device=strength.device)
        places = frame_seconds(strength.shape[1], FRAME_RATE, strength.device)
        return 1 - correlation(strength, pulses(places[:, None] - moments).amax(-1)[None], cares)[:, 0]


class Tempo(Control):
    """Beats at a tempo, whatever their phase.

    Loss: 1 - the correlation of the onset strength with pulses at the tempo, at the best of 16 phases, a
    differentiable relative of the tempogram. Error: the same. Raises ValueError beyond 30 to 300 beats a
    minute.
    """

    name, unit, enough = "tempo", "1 - correlation", 0.5
    usual_weight = 2.0

    def __init__(self, bpm: float, *, weight: float = 1.0, ignore: Spans = ()) -> None:
        super().__init__(weight=weight, ignore=ignore)
        if not TEMPI[0] <= bpm <= TEMPI[1]:
            raise ValueError(f"a tempo of {bpm:g} lies beyond {TEMPI[0]:g} to {TEMPI[1]:g} beats a minute")
        self.bpm = bpm

    def _correlations(self, sound: Sound) -> Tensor:
        """With the pulses of all phases (B, PHASES)."""
        strength = onset_strength(sound)
        cares = self.cares(strength.shape[1], device=strength.device)
        return correlation(strength, pulse_trains(strength.shape[1], self.bpm, strength.device), cares)

    def losses(self, sound: Sound) -> Tensor:
        """1 - a soft maximum over phases (B,), so that more than one phase is tried."""
        found = self._correlations(sound)
        return 1 - (SHARPNESS * found).softmax(-1).mul(found).sum(-1)

    def errors(self, sound: Sound) -> Tensor:
        """1 - the correlation at the best phase (B,)."""
        return 1 - self._correlations(sound).amax(-1)


def pulses(offsets: Tensor) -> Tensor:
    """Bells of height 1 around offsets of 0 s, of any shape."""
    return torch.exp(-0.5 * (offsets / PULSE_S).square())


def pulse_trains(frames: int, bpm: float, device: torch.device | None = None) -> Tensor:
    """Pulses at a tempo (PHASES, frames), each later by a sixteenth of a beat."""
    beats = frame_seconds(frames, FRAME_RATE, device) * bpm / 60
    phases = torch.arange(PHASES, device=device)[:, None] / PHASES
    return pulses((torch.remainder(beats - phases + 0.5, 1) - 0.5) * 60 / bpm)
