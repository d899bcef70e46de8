"""Recordings of any rate, length and number of channels in another voice, in bounded memory."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ConvertOptions:
    """How to convert.

    num_steps: of the sampler, None for the system's own. solver: of the system's, None for its own.
    timbre_scale, style_scale: guidance, 1 = off, None for the system's own. keep_duration: keep the source's
    timing, else durations are predicted anew. tempo: 2 is twice as fast. seconds: length of the result, None
    for what comes of it. pitch: semitones, of the style's intonation. Raises ValueError out of these ranges.
    """

    num_steps: int | None = None
    solver: str | None = None
    timbre_scale: float | None = None
    style_scale: float | None = None
    keep_duration: bool = False
    tempo: float = 1.0
    seconds: float | None = None
    pitch: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what no system could do."""
        if self.num_steps is not None and self.num_steps < 1:
            raise ValueError(f"steps {self.num_steps} is not a number of steps; use 1 or more")
        for name in ("timbre_scale", "style_scale"):
            scale = getattr(self, name)
            if scale is not None and not 0 <= scale <= 10:
                raise ValueError(f"{name} {scale} is out of range; use 0 to 10, 1 is no guidance")
        if not 0.25 <= self.tempo <= 4:
            raise ValueError(f"tempo {self.tempo} is out of range; use 0.25 to 4")
        if not -24 <= self.pitch <= 24:
            raise ValueError(f"pitch {self.pitch} is out of range; use -24 to 24 semitones")
        if self.seconds is not None and not self.seconds > 0:
            raise ValueError(f"seconds {self.seconds} is no length; use more than 0")
        if self.seconds is not None and self.keep_duration:
            raise ValueError("both a length in seconds and keep_duration were asked for; choose one")
