"""Captions of arrangements from what is known of them: instruments, key, tempo, loudness, mood, density."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from audiogen.data.scores import Note
from audiogen.text.keys import best_key, spoken
from audiogen.text.tempo import TEMPI

# General MIDI's families by the words of listeners
FAMILIES = {
    "piano": "piano",
    "mallets": "mallets",
    "organ": "organ",
    "guitar": "guitar",
    "bass": "bass",
    "strings": "strings",
    "choir": "choir",
    "brass": "brass",
    "reed": "woodwinds",
    "pipe": "woodwinds",
    "synth": "synth",
    "plucked": "plucked strings",
    "drums": "drums",
}
MIXED = "mixed"
TOGETHER = {  # what several players of a family are called
    "strings": "string ensemble",
    "brass": "brass ensemble",
    "woodwinds": "woodwind ensemble",
    "mallets": "mallet ensemble",
    "guitar": "guitar ensemble",
    "synth": "synth ensemble",
    "plucked strings": "plucked string ensemble",
}
LOUDNESS = {"p": "soft", "mp": "gentle", "mf": "medium loud", "f": "loud", "ff": "very loud"}
DENSITIES = ((2.5, "sparse"), (7.0, "flowing"), (1000, "dense"))  # below notes a second
MOODS = {  # (mode, tempo, loud or not)
    ("major", "slow", False): ("peaceful", "tender", "calm"),
    ("major", "slow", True): ("solemn", "majestic", "noble"),
    ("major", "mid-tempo", False): ("warm", "gentle", "relaxed"),
    ("major", "mid-tempo", True): ("bright", "confident", "festive"),
    ("major", "fast", False): ("cheerful", "playful", "light"),
    ("major", "fast", True): ("joyful", "lively", "triumphant"),
    ("minor", "slow", False): ("sad", "melancholic", "mournful"),
    ("minor", "slow", True): ("grave", "tragic", "dark"),
    ("minor", "mid-tempo", False): ("wistful", "pensive", "longing"),
    ("minor", "mid-tempo", True): ("serious", "dramatic", "stern"),
    ("minor", "fast", False): ("restless", "nervous", "mysterious"),
    ("minor", "fast", True): ("tense", "agitated", "stormy"),
}
PATTERNS = (
    "{tempo} {players} in {key}",
    "{mood} {players} in {key}, {tempo}",
    "{players}, {tempo}, {key}, {mood}",
    "{tempo} {mood} {players}, {loudness}",
    "{mood} music for {players} in {key}, {tempo}, {bpm} bpm, {loudness}",
    "{loudness} {players} in {key}, {tempo} and {density}, {articulation}",
)


def passage_key(notes: Sequence[Note]) -> tuple[int, str]:
    """Tonic and mode that the notes of a passage suggest, each weighing as long as it sounds."""
    weights = [0.0] * 12
    for note in notes:
        weights[note.pitch % 12] += note.length
    return best_key(weights)


def below(value: float, steps: Sequence[tuple[float, str]]) -> str:
    """The word of the first step that is above value; the last one's beyond all."""
    return next((word for limit, word in steps if value < limit), steps[-1][1])


def facts_of(
    names: Sequence[str],
    families: Sequence[str],
    notes: Sequence[Note],
    bpm: float,
    seconds: float,
    dynamics: str,
    articulation: str,
) -> dict[str, Any]:
    """What captions tell of a passage, as plain values.

    names and General MIDI families: of every part's instrument, with drums; notes: of all parts but drums, at
    sounding pitch, times in quarter notes of `bpm`; seconds: how long they sound.
    """
    words = list(dict.fromkeys(FAMILIES[family] for family in families))
    melodic = [word for word in words if word != "drums"]
    tonic, mode = passage_key(notes)
    return {
        "instruments": list(dict.fromkeys(names)),
        "families": words,
        "family": melodic[0] if len(melodic) == 1 else MIXED,
        "players": len(names),
        "tonic": tonic,
        "mode": mode,
        "key": spoken(tonic, mode),
        "dynamics": dynamics,
        "loudness": LOUDNESS[dynamics],
        "articulation": articulation,
        **pace_of(bpm, len(notes) / seconds, mode, dynamics),
    }


def pace_of(bpm: float, notes_per_s: float, mode: str, dynamics: str) -> dict[str, Any]:
    """Tempo, density and moods, those of the facts that change with the tempo."""
    tempo = below(bpm, TEMPI)
    return {
        "bpm": round(bpm, 1),
        "tempo": tempo,
        "notes_per_s": round(notes_per_s, 2),
        "density": below(round(notes_per_s, 2), DENSITIES),
        "moods": list(MOODS[mode, tempo.removeprefix("very "), dynamics in ("f", "ff")]),
    }


def players_of(facts: Mapping[str, Any], rng: random.Random) -> str:
    """`solo piano`, `string ensemble`, `flute, cello and drums`."""
    names, family = facts["instruments"], facts["family"]
    if family == MIXED:
        chosen = [plain(name) for name in names[:3]]
        return chosen[0] if len(chosen) == 1 else f"{', '.join(chosen[:-1])} and {chosen[-1]}"
    drums = " with drums" if "drums" in names else ""
    alone = [plain(name) for name in names if name != "drums"]
    if len(alone) == 1:
        # the family's word more often, as whoever asks for music will
        return f"solo {family if rng.random() < 0.6 else alone[0]}{drums}"
    return f"{TOGETHER.get(family, family)}{drums}"


def plain(instrument: str) -> str:
    """General MIDI's name as one would say it: without what is in brackets, numbers or added words."""
    name = instrument.partition(" (")[0].rstrip(" 0123456789")
    return {"lead": "synth lead", "pad": "synth pad", "string ensemble": "strings"}.get(name, name)


def captions_of(facts: Mapping[str, Any], rng: random.Random, count: int = 4) -> list[str]:
    """`count` different wordings, the first telling players, tempo and key."""
    patterns = [PATTERNS[0], *rng.sample(PATTERNS[1:], count - 1)]
    return [
        pattern.format(
            players=players_of(facts, rng),
            mood=rng.choice(facts["moods"]),
            bpm=round(facts["bpm"]),
            **{name: facts[name] for name in ("tempo", "key", "loudness", "density", "articulation")},
        )
        for pattern in patterns
    ]
