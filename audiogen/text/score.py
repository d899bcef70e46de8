"""Songs: notes with phones, and the phrases of tokens that a singing model takes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from typing import ClassVar, Final, NamedTuple

from audiogen.text.frontend import Sentence, Token, Word
from audiogen.text.phonemes import format_ipa
from audiogen.text.symbols import MODIFIERS, SYLLABIC, VOWELS, Phone

SILENCE: Final = "."  # a rest that ends a phrase, and Opencpop's SP
BREATH: Final = ","  # a rest before a note, and Opencpop's AP
LONGEST_NOTE_S: Final = 30.0  # it cannot be cut, and what is sung at once must fit into memory
LONGEST_REST_S: Final = 600.0
SHORTEST_SCORE_S: Final = 0.1  # a vocoder needs a few frames
CUT_S: Final = 0.3  # a rest of this length or more ends a phrase
LEAD_S, TRAIL_S = 0.25, 0.5  # of such a rest, sung with the phrase after it and the one before it
LONGEST_PHRASE_S: Final = 20.0  # without such a rest, a phrase is cut between syllables
SHORTEST_PHRASE_S: Final = 1.0
_SEMITONES: Final = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
_ALTERATIONS: Final = {"": 0, "#": 1, "♯": 1, "b": -1, "♭": -1}


@dataclass(frozen=True)
class Note:
    """One note or rest.

    midi: 1 to 127, 60 = middle C; None is a rest. seconds: its length in the score. phones: of the syllable
    that begins on it. slur: the syllable before it goes on, so it has no phones of its own. lyric: the
    syllable as written, with "-" at its end where its word goes on. Raises ValueError for what cannot be.
    """

    midi: int | None
    seconds: float
    phones: tuple[Phone, ...] = ()
    slur: bool = False
    lyric: str = ""

    def __post_init__(self) -> None:
        """Refuse what cannot be sung."""
        longest = LONGEST_REST_S if self.midi is None else LONGEST_NOTE_S
        if not 0 < self.seconds <= longest:
            what = "rest" if self.midi is None else "note"
            raise ValueError(f"a {what} of {self.seconds:g} s; use more than 0 and at most {longest:g} s")
        if self.midi is not None and not 1 <= self.midi <= 127:
            raise ValueError(f"note {self.midi} is out of range; use MIDI 1 to 127 (60 is middle C)")
        if self.midi is None and (self.phones or self.slur):
            raise ValueError("a rest has neither phones nor a slur; leave them out, or give it a pitch")
        if self.midi is not None and bool(self.phones) == self.slur:
            raise ValueError("a note needs phones, or a slur from the note before it, and not both")


@dataclass(frozen=True)
class Score:
    """A melody with words. title: its file's name, with which seeds are hashed. language: of its words.

    Raises ValueError for a score without a note, and for a slur from a rest.
    """

    notes: tuple[Note, ...]
    title: str = "score"
    language: str = "en-us"

    def __post_init__(self) -> None:
        """Refuse what has no beginning."""
        if all(note.midi is None for note in self.notes):
            raise ValueError(f"{self.title} has no note to sing")
        if self.seconds < SHORTEST_SCORE_S:
            raise ValueError(f"{self.title} lasts {self.seconds:g} s; use at least {SHORTEST_SCORE_S} s")
        for number, (before, note) in enumerate(pairwise((Note(None, 1.0), *self.notes)), 1):
            if note.slur and before.midi is None:
                raise ValueError(f"{self.title}: note {number} is slurred, but there is no note before it")

    @property
    def seconds(self) -> float:
        """Length of the song."""
        return sum(note.seconds for note in self.notes)

    def transposed(self, semitones: int) -> Score:
        """The same higher or lower. Raises ValueError where a note leaves MIDI 1 to 127."""
        notes = (n if n.midi is None else replace(n, midi=n.midi + semitones) for n in self.notes)
        return replace(self, notes=tuple(notes))

    def at_speed(self, speed: float) -> Score:
        """The same faster (2 is twice as fast). Raises ValueError outside 0.25 to 4."""
        if not 0.25 <= speed <= 4.0:
            raise ValueError(f"speed {speed} is out of range; use 0.25 to 4")
        return replace(self, notes=tuple(replace(n, seconds=n.seconds / speed) for n in self.notes))


@dataclass(frozen=True)
class SungToken(Token):
    """A token on a note.

    note: MIDI number, 0 = none. seconds: length of the note in the score. slur: 1 where the note goes on with
    the syllable of the note before. leads: the note begins in time with this token.
    """

    note: int = 0
    seconds: float = 0.0
    slur: int = 0
    leads: bool = False


@dataclass(frozen=True)
class SungPhrase(Sentence):
    """What is sung at once. bounds: mel frames at which each leading token begins, from 0, and the end."""

    gap_s: ClassVar[float | None] = 0.0

    tokens: tuple[SungToken, ...]
    bounds: tuple[int, ...] = ()


def note_number(name: str) -> int:
    """MIDI number of a pitch: "C4" is 60, "C#4" and "Db4" are 61. Raises ValueError for anything else."""
    letter, rest = name[:1].upper(), name[1:]
    alteration = rest[:1] if rest[:1] in _ALTERATIONS else ""
    octave = rest[len(alteration) :]
    if letter not in _SEMITONES or not octave.removeprefix("-").isdecimal():
        raise ValueError(f"{name!r} is no pitch; write C4, C#4 or Db4, where C4 is middle C")
    return 12 * (int(octave) + 1) + _SEMITONES[letter] + _ALTERATIONS[alteration]


def carrier(phones: Sequence[Phone]) -> tuple[int, int]:
    """Which of a syllable's phones carries its note: (first, last + 1), modifiers included.

    The first vowel, as singers hold the first part of a diphthong, but a long one before short ones; else a
    syllabic consonant, else the last phone. Takes at least one phone.
    """
    bases = [i for i, phone in enumerate(phones) if phone.symbol not in MODIFIERS] or [0]
    ends = [*bases[1:], len(phones)]
    vowels = [i for i in bases if phones[i].symbol in VOWELS]
    syllabic = [a for a, b in zip(bases, ends, strict=True) if any(p.symbol == SYLLABIC for p in phones[a:b])]
    first = next((i for i in vowels if phones[i].long), next(iter(vowels or syllabic or bases[-1:])))
    return first, ends[bases.index(first)]


def score_tokens(score: Score) -> list[SungToken]:
    """All tokens of a song.

    A syllable's carrier (see `carrier`) leads its note. On a slurred note the carrier is repeated with the
    new note; consonants before it have the first note of the syllable, what follows it the last. A rest is
    BREATH before a note and SILENCE at the end.
    """
    return [token for token, _ in tokens_of_notes(score.notes)]


def tokens_of_notes(notes: Sequence[Note]) -> Iterator[tuple[SungToken, int]]:
    """The same of some notes, each token with the index of its note."""
    word = -1
    goes_on = False  # the word, over the next syllable
    for index, note in enumerate(notes):
        if note.slur:
            continue
        if note.midi is None:
            symbol = BREATH if index + 1 < len(notes) else SILENCE
            yield SungToken(symbol, 0, 0, -1, 0, note.seconds, 0, leads=True), index
            continue
        word += not goes_on
        goes_on = note.lyric.endswith("-")
        last = next((i for i in range(index + 1, len(notes)) if not notes[i].slur), len(notes)) - 1
        yield from _syllable(notes, index, last, word)


def _syllable(notes: Sequence[Note], first: int, last: int, word: int) -> Iterator[tuple[SungToken, int]]:
    """The tokens of a syllable on notes[first] to notes[last]."""
    phones = notes[first].phones
    begin, end = carrier(phones)

    def sung(phone: Phone, index: int, leads: bool = False) -> tuple[SungToken, int]:
        note = notes[index]
        token = SungToken(
            *phone, word, note=note.midi or 0, seconds=note.seconds, slur=int(note.slur), leads=leads
        )
        return token, index

    yield from (sung(phone, first) for phone in phones[:begin])
    for index in range(first, last + 1):
        yield from (sung(phone, index, i == 0) for i, phone in enumerate(phones[begin:end]))
    yield from (sung(phone, last) for phone in phones[end:])


def phrases(score: Score, frame_rate: float) -> list[SungPhrase]:
    """A song cut at its rests, on a grid of mel frames (1/s); phrases and pauses fill it without drift.

    A rest of CUT_S or more belongs to the phrases beside it for LEAD_S and TRAIL_S, and is silence between.
    Where nobody rests for LONGEST_PHRASE_S the cut is made between two syllables.
    """
    found: list[SungPhrase] = []
    for placed, silence in _groups(_placed(score, frame_rate), frame_rate):
        parts = _parts(placed, frame_rate)
        pauses = [0] * (len(parts) - 1) + [silence]
        found += [_phrase(part, n / frame_rate) for part, n in zip(parts, pauses, strict=True)]
    return found


class _Placed(NamedTuple):
    """A note and the frames that it lasts."""

    note: Note
    start: int
    end: int


def _placed(score: Score, frame_rate: float) -> list[_Placed]:
    """Notes on the grid, neighbouring rests as one.

    Times are rounded, not lengths: so every onset is within half a frame, however long the song is.
    """
    times = [round(t * frame_rate) for t in accumulate((n.seconds for n in score.notes), initial=0.0)]
    found: list[_Placed] = []
    for note, start, end in zip(score.notes, times, times[1:], strict=False):
        if note.midi is None and found and found[-1].note.midi is None:
            found[-1] = _rest(found[-1].start, end, frame_rate)
        else:
            found.append(_Placed(note, start, end))
    return found


def _rest(start: int, end: int, frame_rate: float) -> _Placed:
    return _Placed(Note(None, (end - start) / frame_rate), start, end)


def _groups(notes: Sequence[_Placed], frame_rate: float) -> Iterator[tuple[list[_Placed], int]]:
    """Notes between long rests with what they keep of these, and the frames of silence that follow."""
    group: list[_Placed] = []
    for index, placed in enumerate(notes):
        length = placed.end - placed.start
        if placed.note.midi is not None or length < CUT_S * frame_rate:
            group.append(placed)
            continue
        is_last = index == len(notes) - 1
        trail = min(round(TRAIL_S * frame_rate), length if is_last else length // 2) if group else 0
        lead = 0 if is_last else min(round(LEAD_S * frame_rate), length - trail)
        if trail:
            group.append(_rest(placed.start, placed.start + trail, frame_rate))
        yield group, length - trail - lead
        group = [_rest(placed.end - lead, placed.end, frame_rate)] if lead else []
    if group:
        yield group, 0


def _parts(group: list[_Placed], frame_rate: float) -> list[list[_Placed]]:
    """A group in parts that are short enough, cut before syllables as near the middle as can be."""
    if not group or group[-1].end - group[0].start <= LONGEST_PHRASE_S * frame_rate:
        return [group]
    start, end = group[0].start, group[-1].end
    margin = SHORTEST_PHRASE_S * frame_rate
    places = [
        index
        for index, placed in enumerate(group)
        if not placed.note.slur and start + margin <= placed.start <= end - margin
    ]
    if not places:
        return [group]
    cut = min(places, key=lambda index: abs(2 * group[index].start - start - end))
    return _parts(group[:cut], frame_rate) + _parts(group[cut:], frame_rate)


def _phrase(group: Sequence[_Placed], pause_s: float) -> SungPhrase:
    """A group as a phrase; without notes, it is a pause."""
    notes = [placed.note for placed in group]
    if not notes:
        return SungPhrase("", (), (SungToken(SILENCE, 0, 0, -1),), pause_s)
    tokens = list(tokens_of_notes(notes))
    start = group[0].start
    bounds = [group[index].start - start for token, index in tokens if token.leads]
    words = _words(notes)
    return SungPhrase(
        " ".join(word.text for word in words),
        words,
        tuple(token for token, _ in tokens),
        pause_s,
        bounds=(*bounds, group[-1].end - start),
    )


def _words(notes: Sequence[Note]) -> tuple[Word, ...]:
    """The words of a phrase; a syllable without a lyric is called by its phones."""
    texts: list[str] = []
    goes_on = False
    for note in notes:
        if note.phones:
            lyric = note.lyric or format_ipa(note.phones)
            texts[len(texts) - goes_on :] = [(texts[-1] if goes_on else "") + lyric.removesuffix("-")]
            goes_on = lyric.endswith("-")
    starts = accumulate((len(text) + 1 for text in texts), initial=0)
    return tuple(Word(text, text, a, a + len(text)) for text, a in zip(texts, starts, strict=False))
