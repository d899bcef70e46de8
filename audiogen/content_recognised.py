"""Content tokens of a speech recogniser: English phones, whoever says them."""

from __future__ import annotations

from threading import Lock
from typing import Final

import torch
from torch import Tensor

from audiogen.content import Content, one_by_one
from audiogen.metrics.intelligibility import SAMPLE_RATE, RecogniserMissing, decoder, hear, pcm_of
from audiogen.text.arpabet import CLASSES, classes_of

FRAME_RATE = 100  # of the recogniser, a second
# half the time, with as many words right: no second pass over the words, fewer hypotheses a frame
QUICK: Final = {"fwdflat": False, "maxhmmpf": 3000}
QUIETEST = 1e-3  # RMS of what is listened to; converters bring recordings to about 0.06


class RecognisedContent(torch.nn.Module):
    """Phones of the words that pocketsphinx hears, aligned with the sound; a `content.ContentEncoder`.

    The tokens are numbers in `arpabet.CLASSES`, a frame of 10 ms each. It knows US English alone, but was
    trained on far more voices than ours: a wrong word becomes other, well-formed speech. Raises
    RecogniserMissing where pocketsphinx is not installed.
    """

    sample_rate: Final = SAMPLE_RATE
    frame_rate: Final = float(FRAME_RATE)

    def __init__(self) -> None:
        super().__init__()
        try:
            self._decoder = decoder(**QUICK)
        except RecogniserMissing as error:
            raise RecogniserMissing(
                "this converter hears what is said with pocketsphinx, which is not installed; install the "
                "extra: pip install 'audiogen[voice]'"
            ) from error
        self._alone = Lock()  # one decoder cannot hear two recordings at once
        self.register_buffer("codebook", torch.eye(len(CLASSES)), persistent=False)
        self.codebook: Tensor

    @property
    def vocabulary(self) -> int:
        """Number of tokens."""
        return len(CLASSES)

    def encode(self, wav: Tensor, lengths: Tensor) -> Content:
        """wav (B, T) in [-1, 1], lengths (B,) in samples -> tokens; items are heard one by one.

        Where no word is heard there are pauses. Raises ValueError for shapes that do not fit.
        """
        return one_by_one(wav, lengths, lambda row: torch.tensor(self._phones(row), device=wav.device))

    def _phones(self, wav: Tensor) -> list[int]:
        """Class of each frame of wav (T,), one at least."""
        pcm, frames = pcm_of(wav), max(1, len(wav) * FRAME_RATE // SAMPLE_RATE)
        found: list[int] = []
        if float(wav.square().mean()) > QUIETEST**2:  # in digital silence it hears words
            with self._alone:
                hear(self._decoder, pcm)
                if self._decoder.hyp() is not None:
                    found = self._aligned(pcm)
        return [*found, *[0] * frames][:frames]

    def _aligned(self, pcm: bytes) -> list[int]:
        """Class of each frame, of the words that were just heard in the same sound."""
        self._decoder.set_alignment()
        try:
            hear(self._decoder, pcm)  # asked for words after this, the decoder would crash
            alignment = self._decoder.get_alignment()
            return classes_of([(phone.name, phone.duration) for word in alignment for phone in word])
        finally:
            self._decoder.activate_search()
