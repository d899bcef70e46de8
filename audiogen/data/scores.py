"""Public-domain scores of the music21 package's corpus, as plain notes.

Only encodings without restrictions are listed: the corpus also holds editions whose encoders reserve rights
(Palestrina, Josquin, the Essen folk songs, the Humdrum files, ...), and those are left alone.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

from audiogen.data.store import DataError

# The chorales (encoded by Margaret Greentree, given to music21 to distribute) are many; they take every other
# place in the order of scores, so that the longer and more varied works below are heard as often.
CHORALES = "bach/*.mxl"
WORKS = (
    "beethoven/opus18no1/*.mxl",  # music21 takes minutes over the later quartets
    "corelli/opus3no1/1grave.xml",  # CC-BY
    "cpebach/h186.mxl",
    "handel/rinaldo/*.mxl",
    "haydn/*/*.mxl",
    "johnson_j_r/*.mxl",  # CC0
    "liliuokalani/*.mxl",  # CC0
    "lusitano/*.mxl",  # CC0
    "mozart/*/*.mxl",
    "schumann_robert/*.mxl",
    "schumann_robert/*/*.mxl",
    "verdi/*.mxl",
    "weber/*.mxl",  # released to the public domain
)
UNCLEAR = {"bach/bwv846"}  # taken from a site whose users keep their rights
ATTRIBUTION = (
    "Scores by J. S. Bach (chorales encoded by Margaret Greentree, jsbchorales.net), C. P. E. Bach, "
    "Beethoven, Corelli (encoding: CC-BY), Handel, Haydn, J. R. Johnson, Lili'uokalani, Lusitano, Mozart, "
    "R. Schumann, Verdi and Weber, from the corpus of music21 (M. S. Asato Cuthbert and contributors)"
)
USUAL_BPM = 92.0  # of a score that marks no tempo
SLOWEST_BPM, FASTEST_BPM = 50.0, 150.0
OPENING = 10  # intervals by which two settings of one tune are recognised


@dataclass(frozen=True)
class Note:
    """One sounding note. start, length: quarter notes from the beginning of the score; pitch: MIDI number."""

    start: float
    length: float
    pitch: int


@dataclass(frozen=True)
class Score:
    """A piece as notes: parts, bars (where each begins, in quarter notes), key and tempo.

    parts: from the top one down, each with notes; tonic: pitch class, 0 is C; mode: major or minor; bpm:
    quarter notes a minute.
    """

    id: str
    parts: tuple[tuple[Note, ...], ...]
    bars: tuple[float, ...]
    tonic: int
    mode: str
    bpm: float

    @property
    def end(self) -> float:
        """Where the last note stops, in quarter notes."""
        return max(note.start + note.length for part in self.parts for note in part)

    @property
    def opening(self) -> tuple[int, ...]:
        """The first intervals of the top part, in semitones: the same for one tune in any key."""
        pitches = [note.pitch for note in self.parts[0][: OPENING + 1]]
        return tuple(after - before for before, after in pairwise(pitches))


def list_scores(seed: int) -> list[str]:
    """Names of the usable scores (`mozart/k155/movement1`) in an order drawn by `seed`.

    Longer works and chorales in turn; as there are fewer works, they come round again. Raises DataError
    without music21.
    """
    corpus = corpus_folder()
    works, chorales = (
        sorted(str(path.relative_to(corpus).with_suffix("")) for glob in globs for path in corpus.glob(glob))
        for globs in (WORKS, (CHORALES,))
    )
    if not works or not chorales:
        raise DataError(f"{corpus} lacks the scores that come with music21; install music21 again")
    chorales = [name for name in chorales if name not in UNCLEAR]
    rng = random.Random(f"scores/{seed}")
    rng.shuffle(chorales)
    rng.shuffle(works)
    count = max(len(works), len(chorales))
    return [kind[i % len(kind)] for i in range(count) for kind in (works, chorales)]


def corpus_folder() -> Path:
    """Where music21 keeps its scores. Raises DataError without music21."""
    spec = find_spec("music21")
    if spec is None or spec.origin is None:
        raise DataError('the package `music21` was not found: pip install "audiogen[music]"')
    return Path(spec.origin).parent / "corpus"


def read_score(name: str) -> Score:
    """Parse one score of the corpus. Raises DataError naming it."""
    from music21 import converter

    files = [corpus_folder() / f"{name}{suffix}" for suffix in (".mxl", ".xml")]
    files = [file for file in files if file.exists()]
    if not files:
        raise DataError(f"music21's corpus holds no score {name!r}")
    try:
        # from the source: music21 would otherwise pickle what it read into a folder of its own
        return from_stream(name, converter.parse(files[0], forceSource=True))
    except Exception as error:  # music21 raises whatever went wrong inside
        raise DataError(f"music21 could not read the score {name}: {error}") from error


def from_stream(name: str, stream: Any) -> Score:
    """A music21 stream as plain notes at sounding pitch; ties are joined, grace notes and symbols left out.

    Alters the stream. Raises DataError when it holds no notes.
    """
    from music21.harmony import ChordSymbol
    from music21.stream import Measure
    from music21.tempo import MetronomeMark

    stream.toSoundingPitch(inPlace=True)
    parts = []
    for part in stream.parts:
        notes = []
        part.stripTies(inPlace=True)
        for element in part.flatten().notes:
            if isinstance(element, ChordSymbol) or not element.quarterLength:
                continue
            start, length = float(element.offset), float(element.quarterLength)
            notes += [Note(start, length, int(pitch.midi)) for pitch in element.pitches]
        if notes:
            parts.append(tuple(notes))
    if not parts:
        raise DataError("no notes in it")
    bars = [float(bar.offset) for bar in stream.parts[0].getElementsByClass(Measure)]
    marks = [mark.getQuarterBPM() for mark in stream.recurse().getElementsByClass(MetronomeMark)]
    bpm = next((float(mark) for mark in marks if mark), USUAL_BPM)
    key = stream.analyze("key")
    return Score(
        id=name,
        parts=tuple(parts),
        bars=tuple(bars) or (0.0,),
        tonic=int(key.tonic.pitchClass),
        mode=str(key.mode),
        bpm=min(max(bpm, SLOWEST_BPM), FASTEST_BPM),
    )
