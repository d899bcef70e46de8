"""Controls of loudness and colour: an intensity curve or its shape alone, a spectral tilt."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from audiogen.controls.control import Control
from audiogen.controls.features import correlation, rms_db, smooth, spectral_tilt
from audiogen.controls.sound import FRAME_RATE, Sound, Spans, frame_seconds, masked_mean

SMOOTHING_S = 1.0  # as in Music ControlNet (Wu et al. 2024)
QUIETEST_DB, LOUDEST_DB = -80.0, 0.0

Curve = Sequence[tuple[float, float | None]]
"""Points (second, value); None: from there to the next point nothing is wished."""


class Intensity(Control):
    """Loudness that follows a curve in dB of full scale (Novack et al. 2024, section 4).

    curve: points between which it runs straight, at rising seconds; before the first and after the last it
    stays level. The loudness is 20 log10 RMS smoothed over a second. Error: mean square in dB^2. Raises
    ValueError for a curve without two points in order, or beyond -80 to 0 dB.
    """

    name, unit, enough = "intensity", "dB^2", 2.0
    usual_weight = 1 / 40  # an uncontrolled piece is about 40 dB^2 off

    def __init__(self, curve: Curve, *, weight: float = 1.0, ignore: Spans = ()) -> None:
        seconds = [second for second, _ in curve]
        if not curve or any(b <= a for a, b in pairwise(seconds)):
            raise ValueError(f"an intensity curve has points at rising seconds, got {seconds[:8]}")
        super().__init__(weight=weight, ignore=[*ignore, *unwished(curve)])
        levels = [level for _, level in curve if level is not None]
        if not levels:
            raise ValueError("the intensity curve has no level at all; give one in dB, 0 being full scale")
        for level in levels:
            if not QUIETEST_DB <= level <= LOUDEST_DB:
                raise ValueError(
                    f"an intensity of {level:g} dB lies beyond {QUIETEST_DB:g} to {LOUDEST_DB:g} dB of "
                    "full scale"
                )
        self.curve = tuple(curve)

    @classmethod
    def of(cls, wav: Tensor, sample_rate: int, *, weight: float = 1.0, ignore: Spans = ()) -> Intensity:
        """The curve of a recording (1, T)."""
        with torch.no_grad():
            levels = smooth(rms_db(Sound.of(wav, sample_rate)), SMOOTHING_S)[0]
        heard = levels.clamp(QUIETEST_DB, LOUDEST_DB).tolist()  # of digital silence too
        points = [(n / FRAME_RATE, level) for n, level in enumerate(heard)]
        return cls(points, weight=weight, ignore=ignore)

    def target(self, frames: int, device: torch.device | None = None) -> Tensor:
        """The curve at the frames (frames,) in dB."""
        points = [(second, level) for second, level in self.curve if level is not None]
        seconds, levels = (
            torch.tensor(part, dtype=torch.float32, device=device) for part in zip(*points, strict=True)
        )
        return interpolated(frame_seconds(frames, FRAME_RATE, device), seconds, levels)

    def errors(self, sound: Sound) -> Tensor:
        """Mean square error in dB^2 (B,)."""
        found = smooth(rms_db(sound), SMOOTHING_S)
        target = self.target(found.shape[1], found.device)
        return masked_mean((found - target).square(), self.cares(found.shape[1], device=found.device))


class Dynamics(Intensity):
    """Loudness that rises and falls with a curve, however loud it is in all, and however strongly it does.

    curve: as of `Intensity`. Error and loss: 1 - Pearson's correlation of the smoothed loudness with the
    curve, over the frames that count: 0 = as drawn, 1 = unrelated, 2 = the opposite. Raises ValueError as
    `Intensity` does, and for a curve that stays level.
    """

    name, unit, enough = "dynamics", "1 - correlation", 0.1
    usual_weight = 1.0

    def __init__(self, curve: Curve, *, weight: float = 1.0, ignore: Spans = ()) -> None:
        super().__init__(curve, weight=weight, ignore=ignore)
        if len({level for _, level in curve if level is not None}) == 1:
            raise ValueError("the dynamics stay level: give a curve that rises or falls")

    def errors(self, sound: Sound) -> Tensor:
        """1 - correlation (B,)."""
        found = smooth(rms_db(sound), SMOOTHING_S)
        target = self.target(found.shape[1], found.device).to(found.dtype)
        return 1 - correlation(found, target[None], self.cares(found.shape[1], device=found.device))[:, 0]


def unwished(curve: Curve) -> list[tuple[float, float]]:
    """Spans of a curve that begin at a point without a value and end at the next point."""
    ends = [second for second, _ in curve[1:]] + [math.inf]
    return [(start, end) for (start, level), end in zip(curve, ends, strict=True) if level is None]


def interpolated(at: Tensor, seconds: Tensor, values: Tensor) -> Tensor:
    """Straight lines between points (K,), at moments (N,); level before the first and after the last."""
    if len(seconds) == 1:
        return values.expand(len(at)).clone()
    right = torch.searchsorted(seconds, at).clamp(1, len(seconds) - 1)
    share = ((at - seconds[right - 1]) / (seconds[right] - seconds[right - 1])).clamp(0, 1)
    return torch.lerp(values[right - 1], values[right], share)


class Tilt(Control):
    """Slope of the mean spectrum in dB an octave, from 100 Hz to 10 kHz: 0 is white, -3 is pink.

    Error: in dB an octave; its square is the loss. Raises ValueError for a slope that is no number.
    """

    name, unit, enough = "tilt", "dB/octave", 0.3
    usual_weight = 1 / 4

    def __init__(self, db_per_octave: float, *, weight: float = 1.0, ignore: Spans = ()) -> None:
        super().__init__(weight=weight, ignore=ignore)
        if not math.isfinite(db_per_octave):
            raise ValueError(f"a spectral tilt is a number of dB an octave, as -4.5, got {db_per_octave}")
        self.slope = db_per_octave

    def _differences(self, sound: Sound) -> Tensor:
        frames = sound.wav.shape[-1] // sound.hop_length + 1
        return spectral_tilt(sound, self.cares(frames, device=sound.wav.device)) - self.slope

    def losses(self, sound: Sound) -> Tensor:
        """Square of the error (B,)."""
        return self._differences(sound).square()

    def errors(self, sound: Sound) -> Tensor:
        """Difference of the slopes (B,), without sign."""
        return self._differences(sound).abs()
