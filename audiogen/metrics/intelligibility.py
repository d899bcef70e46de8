"""Character error rate: what a small offline recogniser (pocketsphinx, US English) understands."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

if TYPE_CHECKING:
    from pocketsphinx import Decoder

SAMPLE_RATE = 16000


class RecogniserMissing(ValueError):
    """The recogniser is an optional dependency, and it is not installed."""


@dataclass(frozen=True)
class Errors:
    """Edits between what should be heard and what was; `characters` is the reference's length."""

    edits: int
    characters: int

    @property
    def rate(self) -> float:
        """Edits a reference character; nan for an empty reference."""
        return self.edits / self.characters if self.characters else float("nan")


def plain_words(text: str) -> str:
    """Lower-case words of the letters a-z, one space between them.

    Accents and apostrophes are dropped inside a word; every other character ends one. Digits are not spoken
    here: write numbers out first.
    """
    bare = "".join(c for c in unicodedata.normalize("NFKD", text.lower()) if not unicodedata.combining(c))
    return " ".join(re.findall("[a-z]+", re.sub("['’]", "", bare)))


def edit_distance(a: Sequence[object], b: Sequence[object]) -> int:
    """Fewest insertions, deletions and substitutions that turn a into b (Levenshtein 1966)."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, start=1):
        diagonal, row[0] = row[0], i
        for j, y in enumerate(b, start=1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (x != y))
    return row[-1]


def character_errors(reference: str, heard: str) -> Errors:
    """Edits between two texts as plain words; the spaces between words count as characters."""
    wanted = plain_words(reference)
    return Errors(edit_distance(wanted, plain_words(heard)), len(wanted))


def character_error_rate(pairs: Sequence[tuple[str, str]]) -> float:
    """Corpus rate of (reference, heard) pairs: sum of edits over sum of reference characters."""
    errors = [character_errors(reference, heard) for reference, heard in pairs]
    return Errors(sum(e.edits for e in errors), sum(e.characters for e in errors)).rate


class Recogniser:
    """Speech to lower-case words with pocketsphinx's own English model, default beams.

    Each call stands alone (see `hear`), so the order of items does not matter. Not safe to share between
    threads. Raises RecogniserMissing where pocketsphinx is not installed.
    """

    def __init__(self) -> None:
        self._decoder = decoder()

    def __call__(self, wav: Tensor) -> str:
        """Words heard in wav (T,) at 16 kHz in [-1, 1]; empty when there were none."""
        if wav.ndim != 1:
            raise ValueError(f"wav has shape {tuple(wav.shape)}; the recogniser takes one mono signal (T,)")
        hear(self._decoder, pcm_of(wav))
        hypothesis = self._decoder.hyp()
        return plain_words(hypothesis.hypstr) if hypothesis is not None else ""

    def knows(self, word: str) -> bool:
        """Whether the pronouncing dictionary holds this lower-case word."""
        return self._decoder.lookup_word(word) is not None


def pcm_of(wav: Tensor) -> bytes:
    """wav (T,) in [-1, 1] as 16-bit samples."""
    return (wav.detach().cpu().clamp(-1, 1) * 32767).round().short().numpy().tobytes()


def hear(decoder: Decoder, pcm: bytes) -> None:
    """Let it hear an utterance of 16-bit samples, as if it were the first."""
    decoder.start_stream()  # else it remembers the noise of earlier ones
    decoder.start_utt()
    decoder.process_raw(pcm, no_search=False, full_utt=True)  # with the mean of the whole taken off
    decoder.end_utt()


def decoder(**settings: Any) -> Decoder:
    """Pocketsphinx with its own English model. Raises RecogniserMissing where it is not installed.

    settings: other than its defaults, as its documentation names them.
    """
    try:
        from pocketsphinx import Decoder
    except ImportError as error:
        raise RecogniserMissing(
            "the character error rate needs pocketsphinx, which is not installed; "
            "install the extra: pip install 'audiogen[eval]'"
        ) from error
    return Decoder(samprate=SAMPLE_RATE, cmn="batch", loglevel="FATAL", **settings)
