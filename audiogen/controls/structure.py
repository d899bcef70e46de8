"""The form of a piece as a control: which parts are alike."""

from __future__ import annotations

import torch
from torch import Tensor

from audiogen.controls.control import Control
from audiogen.controls.features import mfcc, pooled, self_similarity
from audiogen.controls.sound import FRAME_RATE, Sound, Spans, frame_seconds, within

POOL_S = 0.16  # over which timbre is averaged
ANYTHING = "."


class Structure(Control):
    """Self-similarity of the timbre after a form such as ABBA (Novack et al. 2024, section 4).

    form: letters of parts that last equally long; alike letters sound alike, unlike ones unlike, and a dot is
    a part about which nothing is wished. Or similarity: a matrix (N, N) of another piece. Error and loss:
    mean square difference of the matrices, whose values are cosines. Raises ValueError for fewer than two
    parts, and for anything but letters and dots.
    """

    name, unit, enough = "structure", "square difference", 0.05
    usual_weight = 4.0

    def __init__(
        self,
        form: str = "",
        *,
        similarity: Tensor | None = None,
        weight: float = 1.0,
        ignore: Spans = (),
    ) -> None:
        super().__init__(weight=weight, ignore=ignore)
        self.form, self.similarity = form.upper(), similarity
        if similarity is None and (len(form) < 2 or not form.replace(ANYTHING, "A").isalpha()):
            raise ValueError(
                f"a form is two letters or more, as ABBA, or with a dot for any part; got {form!r}"
            )

    @classmethod
    def of(cls, wav: Tensor, sample_rate: int, *, weight: float = 1.0, ignore: Spans = ()) -> Structure:
        """The similarities of a recording (1, T)."""
        with torch.no_grad():
            matrix = self_similarity(pooled(mfcc(Sound.of(wav, sample_rate)), POOL_S))[0]
        return cls(similarity=matrix, weight=weight, ignore=ignore)

    def target(self, frames: int) -> tuple[Tensor, Tensor]:
        """Wanted similarities and the pairs that count, (frames, frames) each."""
        if self.similarity is not None:
            wanted = torch.zeros(frames, frames)
            known = min(frames, len(self.similarity))
            wanted[:known, :known] = self.similarity[:known, :known].cpu()
            there = torch.arange(frames) < known
            return wanted, there[:, None] & there
        part = (torch.arange(frames) * len(self.form) // frames).tolist()
        letters = [self.form[number] for number in part]
        numbers = torch.tensor([ord(letter) for letter in letters])
        wished = torch.tensor([letter != ANYTHING for letter in letters])
        return (numbers[:, None] == numbers).float(), wished[:, None] & wished

    def errors(self, sound: Sound) -> Tensor:
        """Mean square difference of the matrices (B,)."""
        features = pooled(mfcc(sound), POOL_S)
        frames, seconds = features.shape[1], round(POOL_S * FRAME_RATE) / FRAME_RATE
        middles = frame_seconds(frames, 1 / seconds, features.device) + seconds / 2
        cares = ~within(middles, self.ignore)
        found = self_similarity(features, cares)
        wanted, counts = (part.to(found.device) for part in self.target(frames))
        counts = counts & cares[:, None] & cares
        return ((found - wanted).square() * counts).sum((1, 2)) / counts.sum().clamp(min=1)
