"""What a caller may choose when a recording is enhanced."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class EnhanceOptions:
    """quality: one of the system's `presets`. num_steps: sampler steps in place of the preset's, 0 = none.

    warm_start: time in (0, 1] at which sampling starts at the latest; 1 leaves it to the preset.
    """

    quality: str = "balanced"
    num_steps: int | None = None
    warm_start: float = 1.0
