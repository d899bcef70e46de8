"""What every control is: a differentiable feature, a loss, an error in words of its own, and a say in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from audiogen.controls.sound import FRAME_RATE, Coder, Sound, Spans, frame_seconds, within


class Control:
    """A wish for how music should be.

    name and unit: of its error, which a report shows. enough: an error at which the wish counts as granted.
    weight: of its loss among those of others; the class's own makes the losses of all about as large.
    ignore: spans of seconds about which nothing is wished. Raises ValueError for a weight that is not
    positive or a span that ends before it starts.
    """

    name: ClassVar[str]
    unit: ClassVar[str]
    enough: ClassVar[float]
    usual_weight: ClassVar[float] = 1.0

    def __init__(self, *, weight: float = 1.0, ignore: Spans = ()) -> None:
        if not weight > 0:
            raise ValueError(
                f"the weight of {self.name} must be positive, got {weight}; leave it out instead"
            )
        for start, end in ignore:
            if not 0 <= start < end:
                raise ValueError(
                    f"span {start:g}s:{end:g}s of {self.name} must start at 0 or later, and end after"
                )
        self.weight, self.ignore = weight, tuple(ignore)

    def bound(self, coder: Coder) -> Control:
        """The control for music of that coder; what it compares with is worked out once."""
        del coder
        return self

    def losses(self, sound: Sound) -> Tensor:
        """What an optimiser makes small, (B,): the error itself where that has a gradient."""
        return self.errors(sound)

    def errors(self, sound: Sound) -> Tensor:
        """How far the wish is from granted (B,), in `unit`."""
        raise TypeError(f"{type(self).__name__} measures nothing")

    def finish(self, wav: Tensor, sample_rate: int) -> Tensor:
        """What is heard in the end of the waveform (1, T): seams closed, the recording put back."""
        del sample_rate
        return wav

    def cares(self, frames: int, rate: float = FRAME_RATE, device: torch.device | None = None) -> Tensor:
        """Frames about which something is wished (frames,), True or False."""
        return ~within(frame_seconds(frames, rate, device), self.ignore)


def combined(controls: Sequence[Control], sound: Sound) -> Tensor:
    """Sum of the weighted losses of all controls (B,). Raises ValueError without any."""
    if not controls:
        raise ValueError("nothing is wished for: give one control at least")
    return torch.stack([c.weight * c.usual_weight * c.losses(sound) for c in controls]).sum(0)
