"""Arrangements: a passage of a score for other instruments, in another key, tempo and loudness, as MIDI."""

from __future__ import annotations

import io
import math
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from audiogen.data.captions import FAMILIES, facts_of
from audiogen.data.scores import Note, Score
from audiogen.text.keys import KEYS

TICKS = 480  # a quarter note
TAIL_S = 1.5  # left for the last notes to die away
DYNAMICS = {"p": 46, "mp": 60, "mf": 75, "f": 92, "ff": 108}  # MIDI velocities
ARTICULATIONS = {"staccato": 0.5, "detached": 0.85, "legato": 1.0}  # sounding share of a note's length
DRUM_CHANNEL = 9
KICK, SNARE, HAT = 36, 38, 42


@dataclass(frozen=True)
class Instrument:
    """A General MIDI program (0 to 127) and the range it sounds good in, MIDI pitches."""

    program: int
    name: str
    family: str
    low: int
    high: int


INSTRUMENTS = tuple(
    Instrument(program, name, family, low, high)
    for family, rows in {
        "piano": (
            (0, "acoustic grand piano", 24, 103),
            (1, "bright acoustic piano", 24, 103),
            (4, "electric piano 1", 28, 96),
            (6, "harpsichord", 29, 89),
        ),
        "mallets": (
            (8, "celesta", 60, 108),
            (9, "glockenspiel", 72, 108),
            (11, "vibraphone", 53, 89),
            (12, "marimba", 45, 96),
            (13, "xylophone", 65, 108),
            (14, "tubular bells", 60, 77),
        ),
        "organ": (
            (16, "drawbar organ", 36, 96),
            (19, "church organ", 33, 96),
            (20, "reed organ", 36, 96),
            (21, "accordion", 41, 89),
        ),
        "guitar": (
            (24, "acoustic guitar (nylon)", 40, 83),
            (25, "acoustic guitar (steel)", 40, 83),
            (26, "electric guitar (jazz)", 40, 86),
            (29, "overdriven guitar", 40, 86),
        ),
        "bass": (
            (32, "acoustic bass", 28, 55),
            (33, "electric bass (finger)", 28, 55),
            (38, "synth bass 1", 28, 60),
        ),
        "strings": (
            (40, "violin", 55, 100),
            (41, "viola", 48, 88),
            (42, "cello", 36, 76),
            (43, "contrabass", 28, 60),
            (45, "pizzicato strings", 33, 96),
            (46, "orchestral harp", 28, 100),
            (48, "string ensemble 1", 30, 96),
        ),
        "choir": ((52, "choir aahs", 43, 84), (53, "voice oohs", 43, 84)),
        "brass": (
            (56, "trumpet", 55, 84),
            (57, "trombone", 40, 72),
            (58, "tuba", 28, 58),
            (60, "french horn", 41, 77),
            (61, "brass section", 36, 88),
        ),
        "reed": (
            (64, "soprano sax", 56, 87),
            (66, "tenor sax", 44, 76),
            (68, "oboe", 58, 91),
            (70, "bassoon", 34, 72),
            (71, "clarinet", 50, 91),
        ),
        "pipe": (
            (72, "piccolo", 74, 108),
            (73, "flute", 60, 96),
            (74, "recorder", 60, 96),
            (75, "pan flute", 60, 96),
        ),
        "synth": (
            (80, "lead 1 (square)", 36, 96),
            (81, "lead 2 (sawtooth)", 36, 96),
            (88, "pad 1 (new age)", 36, 96),
            (89, "pad 2 (warm)", 36, 96),
        ),
        "plucked": ((104, "sitar", 48, 77), (105, "banjo", 48, 84), (107, "koto", 44, 84)),
    }.items()
    for program, name, low, high in rows
)
ALONE = ("piano", "mallets", "organ", "guitar", "strings", "choir", "synth", "plucked")  # plays all parts
TOGETHER = ("strings", "brass", "reed", "pipe")  # one family, an instrument a part


@dataclass(frozen=True)
class Taste:
    """How arrangements are drawn.

    one_family: share of pieces for one family of instruments, every family as often, without drums. slowest,
    fastest: range of the factor by which the score's tempo changes. loudness_is_heard: the level of a piece
    follows its dynamics.
    """

    one_family: float = 0.0
    slowest: float = 0.75
    fastest: float = 1.35
    loudness_is_heard: bool = False


ANY = Taste()  # for vocoders: everything, in any mixture
CAPTIONED = Taste(one_family=0.75, slowest=0.55, fastest=1.6, loudness_is_heard=True)


@dataclass(frozen=True)
class Passage:
    """A stretch of a score. start, length: quarter notes."""

    start: float
    length: float

    def of(self, notes: Sequence[Note]) -> list[Note]:
        """The notes that begin in it, timed from its start."""
        end = self.start + self.length
        return [Note(n.start - self.start, n.length, n.pitch) for n in notes if self.start <= n.start < end]


@dataclass(frozen=True)
class Style:
    """How a passage is played.

    parts: which of the score's, from the top; instruments: of each; transposition: semitones; bpm: quarter
    notes a minute; dynamics, articulation: keys of DYNAMICS and ARTICULATIONS; swell: how far velocities rise
    and fall; drums: with a beat beneath.
    """

    parts: tuple[int, ...]
    instruments: tuple[Instrument, ...]
    transposition: int
    bpm: float
    dynamics: str
    articulation: str
    swell: float
    drums: bool


def choose_passage(score: Score, beats: float, rng: random.Random) -> Passage:
    """`beats` quarter notes from a bar on, or what there is of a shorter score; never all rests."""
    starts = [bar for bar in score.bars if bar + beats <= score.end] or [score.bars[0]]
    onsets = sorted(note.start for part in score.parts for note in part)
    heard = [bar for bar in starts if any(bar <= onset < bar + beats / 2 for onset in onsets)]
    start = rng.choice(heard or [onsets[0]])
    return Passage(start, round(min(beats, score.end - start), 3))


def first_beat(score: Score, passage: Passage) -> float:
    """Quarter notes from the start of a passage to the first beat, counted from the bar it begins in."""
    bar = max((bar for bar in score.bars if bar <= passage.start), default=passage.start)
    return (bar - passage.start) % 1


def choose_instruments(
    parts: Sequence[Sequence[Note]], transposition: int, rng: random.Random
) -> tuple[str, tuple[Instrument, ...]]:
    """(kind of ensemble, an instrument a part): one for all parts, one family, or any mixture."""
    kind = rng.choices(("one instrument", "one family", "mixture"), (0.35, 0.3, 0.35))[0]
    if kind == "one instrument":
        one = rng.choice(of_families([rng.choice(ALONE)]))
        return kind, (one,) * len(parts)
    pool = of_families([rng.choice(TOGETHER)]) if kind == "one family" else INSTRUMENTS
    return kind, one_each(parts, transposition, pool, rng)


def one_each(
    parts: Sequence[Sequence[Note]], transposition: int, pool: Sequence[Instrument], rng: random.Random
) -> tuple[Instrument, ...]:
    """An instrument of the pool a part, in whose range it lies."""
    chosen = []
    for part in parts:
        middle = sum(note.pitch for note in part) / len(part) + transposition
        fitting = [i for i in pool if i.low + 5 <= middle <= i.high - 5]
        # nobody of the family reaches: the nearest plays it an octave away
        chosen.append(rng.choice(fitting or [min(pool, key=lambda i: abs((i.low + i.high) / 2 - middle))]))
    return tuple(chosen)


def choose_family(
    parts: Sequence[Sequence[Note]], transposition: int, rng: random.Random
) -> tuple[str, tuple[Instrument, ...]]:
    """(kind of ensemble, an instrument a part), all of a family as listeners name it, each as often."""
    word = rng.choice(sorted({FAMILIES[family] for family in (*ALONE, *TOGETHER)}))
    families = [family for family, name in FAMILIES.items() if name == word]
    alone = [family for family in families if family in ALONE]
    if alone and (rng.random() < 0.7 or not set(families) & set(TOGETHER)):
        return "one instrument", (rng.choice(of_families(alone)),) * len(parts)
    return "one family", one_each(parts, transposition, of_families(families), rng)


def of_families(families: Sequence[str]) -> list[Instrument]:
    """All instruments of these families."""
    return [instrument for instrument in INSTRUMENTS if instrument.family in families]


def fit_range(pitches: Sequence[int], instrument: Instrument) -> list[int]:
    """Move all pitches by the octaves that put most of them in range, then each that is still outside."""

    def outside(octaves: int) -> int:
        return sum(not instrument.low <= p + 12 * octaves <= instrument.high for p in pitches)

    best = min(range(-4, 5), key=lambda octaves: (outside(octaves), abs(octaves)))
    fitted = []
    for pitch in pitches:
        moved = pitch + 12 * best
        while moved < instrument.low:
            moved += 12
        while moved > instrument.high:
            moved -= 12
        fitted.append(moved)
    return fitted


def arrange(
    score: Score, rng: random.Random, seconds: float, taste: Taste = ANY
) -> tuple[bytes, dict[str, Any]]:
    """Draw an arrangement of at most `seconds` -> (MIDI file, facts about it for the manifest).

    Among the facts, `about` is what captions may tell (`facts_of`), its key that of the passage alone.
    """
    transposition = rng.randint(-5, 6)
    bpm = round(score.bpm * math.exp(rng.uniform(math.log(taste.slowest), math.log(taste.fastest))), 1)
    passage = choose_passage(score, (seconds - TAIL_S) * bpm / 60, rng)
    ensemble, style = choose_style(score, passage, transposition, bpm, rng, taste)
    names = [instrument.name for instrument in style.instruments] + ["drums"] * style.drums
    families = [instrument.family for instrument in style.instruments] + ["drums"] * style.drums
    notes = [note for i in style.parts for note in passage.of(score.parts[i])]
    sounding = [Note(note.start, note.length, note.pitch + transposition) for note in notes]
    facts = {
        "score": score.id,
        "ensemble": ensemble,
        "instruments": names,
        "transposition": transposition,
        "key": f"{KEYS[(score.tonic + transposition) % 12]} {score.mode}",
        "tempo_bpm": bpm,
        "dynamics": style.dynamics,
        "articulation": style.articulation,
        "passage": asdict(passage),
        "about": {
            **facts_of(
                names, families, sounding, bpm, passage.length * 60 / bpm, style.dynamics, style.articulation
            ),
            "first_beat_s": round(first_beat(score, passage) * 60 / bpm, 4),
        },
    }
    return to_midi(score, passage, style, rng), facts


def choose_style(
    score: Score, passage: Passage, transposition: int, bpm: float, rng: random.Random, taste: Taste = ANY
) -> tuple[str, Style]:
    """(kind of ensemble, how it plays the passage)."""
    sounding = [i for i, part in enumerate(score.parts) if passage.of(part)][:DRUM_CHANNEL]
    if rng.random() < 0.1:  # a melody alone: the part with most to say
        sounding = [max(sounding, key=lambda i: len(passage.of(score.parts[i])))]
    heard = [passage.of(score.parts[i]) for i in sounding]
    one_family = taste.one_family > 0 and rng.random() < taste.one_family
    ensemble, instruments = (choose_family if one_family else choose_instruments)(heard, transposition, rng)
    drums = not one_family and len(sounding) > 1 and rng.random() < 0.2
    if drums:
        instruments = (*instruments[:-1], rng.choice(of_families(["bass"])))
    style = Style(
        parts=tuple(sounding),
        instruments=instruments,
        transposition=transposition,
        bpm=bpm,
        dynamics=rng.choice(list(DYNAMICS)),
        articulation=rng.choices(list(ARTICULATIONS), (0.15, 0.35, 0.5))[0],
        swell=rng.uniform(0, 14),
        drums=drums,
    )
    return ensemble if len(sounding) > 1 else "solo", style


def to_midi(score: Score, passage: Passage, style: Style, rng: random.Random) -> bytes:
    """The passage as a MIDI file of one track a part; rng: of the small differences between notes."""
    import mido

    file = mido.MidiFile(ticks_per_beat=TICKS)
    tempo = mido.MetaMessage("set_tempo", tempo=mido.bpm2tempo(style.bpm))
    length = passage.length * TICKS + TAIL_S * style.bpm / 60 * TICKS
    file.tracks.append(mido.MidiTrack([tempo, mido.MetaMessage("end_of_track", time=round(length))]))
    for channel, (index, instrument) in enumerate(zip(style.parts, style.instruments, strict=True)):
        notes = passage.of(score.parts[index])
        pitches = fit_range([note.pitch + style.transposition for note in notes], instrument)
        share = ARTICULATIONS[style.articulation]
        played = [
            Note(note.start, min(note.length * share, passage.length - note.start), pitch)
            for note, pitch in zip(notes, pitches, strict=True)
        ]
        loudness = DYNAMICS[style.dynamics] + (8 if channel == 0 else rng.randint(-8, 4))
        file.tracks.append(track(channel, instrument.program, played, loudness, style.swell, rng))
    if style.drums:
        beat = drum_notes([bar for bar in score.bars if bar >= passage.start], passage)
        loudness = DYNAMICS[style.dynamics] - 6
        file.tracks.append(track(DRUM_CHANNEL, 0, beat, loudness, 0.0, rng))
    buffer = io.BytesIO()
    file.save(file=buffer)
    return buffer.getvalue()


def track(
    channel: int, program: int, notes: Sequence[Note], loudness: int, swell: float, rng: random.Random
) -> Any:
    """One MIDI track. loudness: velocity around which notes swell by +-`swell` every four bars of four."""
    import mido

    events: list[tuple[int, int, Any]] = []
    for note in notes:
        wave = swell * math.sin(2 * math.pi * note.start / 16)
        velocity = min(max(round(loudness + wave + rng.uniform(-5, 5)), 1), 127)
        start, stop = round(note.start * TICKS), round((note.start + note.length) * TICKS)
        sound = {"channel": channel, "note": note.pitch}
        # at one moment a note stops before the next of its pitch starts
        events.append((start, 1, mido.Message("note_on", velocity=velocity, **sound)))
        events.append((max(stop, start + 1), 0, mido.Message("note_off", velocity=0, **sound)))
    events.sort(key=lambda event: (event[0], event[1], event[2].note))
    pan = 64 + rng.randint(-24, 24)
    result = mido.MidiTrack(
        [
            mido.Message("program_change", channel=channel, program=program),
            mido.Message("control_change", channel=channel, control=10, value=pan),
        ]
    )
    now = 0
    for tick, _, message in events:
        result.append(message.copy(time=tick - now))
        now = tick
    return result


def drum_notes(bars: Sequence[float], passage: Passage) -> list[Note]:
    """A plain beat: kick and snare in turn from every bar's start, hi-hat on every half beat."""
    end = passage.start + passage.length
    notes = []
    for bar, following in zip(bars, [*bars[1:], end], strict=True):
        for half in range(max(0, math.ceil(2 * (min(following, end) - bar)))):
            start = bar + half / 2 - passage.start
            notes.append(Note(start, 0.25, HAT))
            if half % 2 == 0:
                notes.append(Note(start, 0.25, SNARE if half % 4 else KICK))
    return notes
