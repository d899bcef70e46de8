"""Words about music as tokens of a closed vocabulary: captions of users and of the training data alike."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

PADDING, UNKNOWN = "<pad>", "<unknown>"
SPECIAL = (PADDING, UNKNOWN)
PITCHES = ("c", "db", "d", "eb", "e", "f", "f#", "g", "ab", "a", "bb", "b")
_SPELLINGS = {
    "c#": "db",
    "d#": "eb",
    "gb": "f#",
    "g#": "ab",
    "a#": "bb",
    "cb": "b",
    "e#": "f",
    "fb": "e",
    "b#": "c",
}
_KEY = re.compile(r"\b([a-g])(#|♯|b|♭|[ -]?sharp|[ -]?flat)?[ -]+(major|minor)\b(?! (?:key|mode)\b)")
_TEMPO = re.compile(r"\b(\d{2,3})(?:\.\d+)? ?-?(?:bpm|beats (?:per|a) minute)\b")
_WORD = re.compile(r"key:[a-g][#b]?|bpm:\d+|[^\W_]+(?:['’][^\W_]+)?", re.UNICODE)
_ARTICLES = frozenset(("a", "an", "the"))
BPM_STEP = 10


def pitch_name(name: str) -> str:
    """A pitch in any usual spelling -> its name among PITCHES. Raises ValueError for what is none."""
    plain = name.strip().lower().replace("♯", "#").replace("♭", "b")
    plain = re.sub(r"[ -]?sharp", "#", re.sub(r"[ -]?flat", "b", plain))
    plain = _SPELLINGS.get(plain, plain)
    if plain not in PITCHES:
        raise ValueError(f"{name!r} is no pitch; use one of {', '.join(p.capitalize() for p in PITCHES)}")
    return plain


def words_of(caption: str) -> list[str]:
    """The tokens of a caption: lower-case words, "key:a" for the tonic of "A minor", "bpm:120" for a tempo.

    A tempo goes to the nearest multiple of 10. Articles are left out, so that no "a" is taken for a pitch.
    """
    text = _KEY.sub(lambda m: f" key:{pitch_name(m[1] + (m[2] or ''))} {m[3]} ", caption.lower())
    text = _TEMPO.sub(lambda m: f" bpm:{BPM_STEP * round(int(m[1]) / BPM_STEP)} ", text)
    return [word.replace("’", "'") for word in _WORD.findall(text) if word not in _ARTICLES]


class CaptionVocabulary:
    """Words by number: the special ones, then `words` in their order; `size` leaves room for later ones.

    Raises ValueError for twins and for more words than there is room for.
    """

    def __init__(self, words: Sequence[str], size: int) -> None:
        known = (*SPECIAL, *words)
        if len(known) > size:
            raise ValueError(f"{len(words)} words do not fit a vocabulary of {size}; make max_words larger")
        self.size = size
        self.words = tuple(words)
        self._numbers = {word: number for number, word in enumerate(known)}
        if len(self._numbers) != len(known):
            raise ValueError("a word stands twice in the vocabulary")

    @classmethod
    def of(cls, captions: Iterable[str], size: int, words: Sequence[str] = ()) -> CaptionVocabulary:
        """`words` as they are, extended by what else occurs in captions, in alphabetical order."""
        found = {word for caption in captions for word in words_of(caption)}
        return cls((*words, *sorted(found - set(words) - set(SPECIAL))), size)

    def numbers(self, caption: str) -> list[int]:
        """Numbers of a caption's words, at least one: that of the unknown word for an empty caption."""
        unknown = self._numbers[UNKNOWN]
        return [self._numbers.get(word, unknown) for word in words_of(caption)] or [unknown]

    def unknown(self, caption: str) -> list[str]:
        """The words of a caption that say nothing to a model of this vocabulary, in order."""
        return list(dict.fromkeys(word for word in words_of(caption) if word not in self._numbers))
