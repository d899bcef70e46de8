"""A written melody with lyrics to notes with phones: words through the phonemiser, shared by syllables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from audiogen.text.phonemes import Phones, phonemize, resolve_language
from audiogen.text.pinyin import MANDARIN, syllable
from audiogen.text.score import Note, carrier
from audiogen.text.symbols import MODIFIERS, SYLLABIC, VOWELS, Phone

WORDS_AT_ONCE: Final = 24  # spoken as one phrase, as `phonemize` reduces function words
_WEAK: Final = "əɐɪɚᵻ"
_CLOSING: Final = "ɪʊ"
_MARKS: Final = '.,;:!?…—"“”„«»()[]¿¡*_'


@dataclass(frozen=True)
class Written:
    """A note as it stands in a file.

    lyric: the syllable, with "-" at its end where the word goes on; may hold several words. phones: given
    instead. A note with neither goes on with the syllable before. where: what an error should call it.
    """

    midi: int | None
    seconds: float
    lyric: str = ""
    phones: Phones = ()
    where: str = ""


@dataclass
class _Part:
    """A word's part on one note."""

    note: int
    text: str


def sung_notes(written: Sequence[Written], language: str) -> tuple[Note, ...]:
    """Notes with the phones of their syllables. Raises ValueError naming the note at fault.

    A syllable for which its word has no vowel of its own becomes a slur, and a slur after a rest sings the
    vowel before the rest once more.
    """
    phones = [list(note.phones) for note in written]
    words = list(_words(written))
    named = [("".join(part.text for part in word), written[word[0].note].where) for word in words]
    for word, sounds in zip(words, _spoken(named, language), strict=True):
        for part, share in zip(word, share_out(sounds, len(word)), strict=True):
            phones[part.note] += share
    return tuple(_notes(written, phones))


def _words(written: Sequence[Written]) -> Iterator[list[_Part]]:
    """Words in order, each in the parts that the notes have of it."""
    word: list[_Part] = []
    for index, note in enumerate(written):
        if note.phones or not note.lyric:
            continue
        pieces = ["".join(c for c in piece if c not in _MARKS) for piece in note.lyric.split()]
        for place, piece in enumerate(pieces):
            joined = piece.endswith("-") and place == len(pieces) - 1
            if text := piece.strip("-"):
                word.append(_Part(index, text))
            if word and not joined:
                yield word
                word = []
    if word:
        yield word


def _spoken(words: Sequence[tuple[str, str]], language: str) -> Iterator[Phones]:
    """The phones of each (word, place) of the song. Raises ValueError where there are none."""
    language = resolve_language(language)
    for first in range(0, len(words), WORDS_AT_ONCE):
        some = words[first : first + WORDS_AT_ONCE]
        texts = [text for text, _ in some]
        if language == MANDARIN:
            found = [syllable(text, where) for text, where in some]
        else:
            found = phonemize(texts, language)
        for (text, where), phones in zip(some, found, strict=True):
            if not phones:
                raise ValueError(f'{where}: {text!r} has no phones in {language}; spell it, or give "phones"')
            yield phones


def _notes(written: Sequence[Written], phones: Sequence[Sequence[Phone]]) -> Iterator[Note]:
    """The notes, slurs decided."""
    vowel: tuple[Phone, ...] = ()
    rested = True
    for note, own in zip(written, phones, strict=True):
        sounds, slur = tuple(own), False
        if note.midi is not None and not sounds:
            if not vowel:
                raise ValueError(f"{note.where}: a note without a lyric begins the song; give it one")
            sounds, slur = (vowel, False) if rested else ((), True)
        try:
            yield Note(note.midi, note.seconds, sounds, slur, "" if slur else note.lyric)
        except ValueError as error:
            raise ValueError(f"{note.where}: {error}") from error
        rested = note.midi is None
        if sounds:
            begin, end = carrier(sounds)
            vowel = sounds[begin:end]


def share_out(phones: Phones, count: int) -> list[Phones]:
    """A word's phones in `count` syllables, one vowel each; where there are too few, the last are empty.

    Too many vowels: the weakest join the syllable before. Too few: diphthongs are parted. Of the consonants
    between two vowels the greater half begins the later syllable.
    """
    if count == 1:
        return [phones]
    units = _units(phones)
    nuclei = _nuclei(units)
    while len(nuclei) > count:
        weakest = min(range(1, len(nuclei)), key=lambda k: _strength(units, nuclei[k]))
        nuclei[weakest - 1 : weakest + 1] = [(nuclei[weakest - 1][0], nuclei[weakest][1])]
    while len(nuclei) < count and any(b - a > 1 for a, b in nuclei):
        loosest = max(range(len(nuclei)), key=lambda k: _looseness(units, nuclei[k]))
        a, b = nuclei[loosest]
        nuclei[loosest : loosest + 1] = [(a, b - 1), (b - 1, b)]
    cuts = [0, *((b + a) // 2 for (_, b), (a, _) in pairwise(nuclei)), len(units)]
    shares = [tuple(p for unit in units[a:b] for p in unit) for a, b in pairwise(cuts)]
    return shares + [()] * (count - len(shares))


def _units(phones: Phones) -> list[Phones]:
    """Phones with their modifiers."""
    units: list[Phones] = []
    for phone in phones:
        if units and phone.symbol in MODIFIERS:
            units[-1] = (*units[-1], phone)
        else:
            units.append((phone,))
    return units


def _nuclei(units: Sequence[Phones]) -> list[tuple[int, int]]:
    """Runs of vowels, and syllabic consonants, as (first, last + 1) of units."""
    nuclei: list[tuple[int, int]] = []
    for index, unit in enumerate(units):
        syllabic = any(phone.symbol == SYLLABIC for phone in unit)
        if unit[0].symbol not in VOWELS and not syllabic:
            continue
        if nuclei and nuclei[-1][1] == index and not syllabic:
            nuclei[-1] = (nuclei[-1][0], index + 1)
        else:
            nuclei.append((index, index + 1))
    return nuclei


def _looseness(units: Sequence[Phones], nucleus: tuple[int, int]) -> tuple[int, bool]:
    """How readily a run of vowels is parted before its last: "iə" before "aɪ"."""
    a, b = nucleus
    return b - a, units[b - 1][0].symbol not in _CLOSING


def _strength(units: Sequence[Phones], nucleus: tuple[int, int]) -> tuple[int, int, bool]:
    """How much a nucleus asks for a note of its own."""
    vowels = [unit[0] for unit in units[slice(*nucleus)]]
    weak = all(vowel.symbol in _WEAK for vowel in vowels)
    return max(v.stress for v in vowels), max(v.long for v in vowels), not weak
