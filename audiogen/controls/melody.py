"""The melody as a control: which pitch class leads, moment by moment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from audiogen.controls.control import Control
from audiogen.controls.features import chroma
from audiogen.controls.sound import FRAME_RATE, Sound, Spans, masked_mean

REST = -1
CLEAR = 1 / 3  # share of the power that a pitch class has where it leads


class Note(NamedTuple):
    """A note from start_s to end_s; pitch: MIDI number, 60 = middle C."""

    start_s: float
    end_s: float
    pitch: int


class Melody(Control):
    """The strongest pitch class above middle C follows the notes (Novack et al. 2024, section 4).

    notes: in any order; where several sound, the highest leads; where none does, nothing is wished. Loss:
    mean negative log-likelihood of the leading class, the shares of the power being likelihoods. Error: share
    of frames in which another class is the strongest, in percent. Raises ValueError without notes, or for one
    that ends before it starts.
    """

    name, unit, enough = "melody", "% of frames wrong", 10.0
    usual_weight = 1.0

    def __init__(self, notes: Sequence[Note], *, weight: float = 1.0, ignore: Spans = ()) -> None:
        super().__init__(weight=weight, ignore=ignore)
        if not notes:
            raise ValueError("the melody has no notes")
        for note in notes:
            if not 0 <= note.start_s < note.end_s:
                raise ValueError(f"a note must start at 0 s or later, and end after, got {tuple(note)}")
        self.notes = tuple(Note(*note) for note in notes)

    @classmethod
    def of(cls, wav: Tensor, sample_rate: int, *, weight: float = 1.0, ignore: Spans = ()) -> Melody:
        """The leading pitch classes of a recording (1, T), as notes of the octave above middle C.

        Frames in which none has a third of the power are rests. Raises ValueError where all of them are.
        """
        with torch.no_grad():
            shares, leaders = chroma(Sound.of(wav, sample_rate))[0].max(-1)
            classes = leaders.masked_fill(shares < CLEAR, REST).tolist()
        notes, start = [], 0
        for n in range(1, len(classes) + 1):
            if n == len(classes) or classes[n] != classes[start]:
                if classes[start] != REST:
                    notes.append(Note(start / FRAME_RATE, n / FRAME_RATE, 60 + classes[start]))
                start = n
        if not notes:
            raise ValueError(
                "no pitch class above middle C leads anywhere in the recording: it has no melody"
            )
        return cls(notes, weight=weight, ignore=ignore)

    def target(self, frames: int) -> Tensor:
        """The leading pitch class of every frame (frames,), C = 0, REST where nothing is wished."""
        leading = torch.full((frames,), REST)
        for note in sorted(self.notes, key=lambda note: note.pitch):
            first, last = (round(second * FRAME_RATE) for second in (note.start_s, note.end_s))
            leading[first:last] = note.pitch % 12
        return leading

    def _found(self, sound: Sound) -> tuple[Tensor, Tensor, Tensor]:
        """Shares (B, N, 12), the target (N,) and the frames that count (N,)."""
        shares = chroma(sound)
        target = self.target(shares.shape[1]).to(shares.device)
        return shares, target, self.cares(shares.shape[1], device=shares.device) & (target != REST)

    def losses(self, sound: Sound) -> Tensor:
        """Mean negative log-likelihood in nats (B,)."""
        shares, target, cares = self._found(sound)
        leading = target.clamp(min=0).expand(len(shares), -1)[..., None]
        return masked_mean(-shares.gather(2, leading)[..., 0].log(), cares)

    def errors(self, sound: Sound) -> Tensor:
        """Percent of frames in which another class is the strongest (B,)."""
        shares, target, cares = self._found(sound)
        return 100 * masked_mean((shares.argmax(-1) != target).to(shares.dtype), cares)
