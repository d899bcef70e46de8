"""Captions of music made anew from its facts: other words, another order, some facts left out."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from typing import Any

TEMPOS = (  # up to so many beats a minute
    (76, ("slow", "slow", "calm in tempo")),
    (112, ("medium tempo", "moderate", "at a moderate tempo")),
    (1000, ("fast", "quick", "fast", "lively in tempo")),
)
DYNAMICS = {"p": "soft", "mp": "gentle", "mf": "moderately loud", "f": "loud", "ff": "very loud"}
SYNONYMS = {
    "acoustic grand piano": ("piano", "grand piano", "acoustic grand piano"),
    "bright acoustic piano": ("piano", "bright piano", "bright acoustic piano"),
    "electric piano 1": ("electric piano",),
    "string ensemble 1": ("string ensemble", "strings"),
    "choir aahs": ("choir", "choir aahs"),
    "voice oohs": ("voices", "voice oohs"),
    "acoustic bass": ("bass", "acoustic bass"),
}
_DETAIL = re.compile(r" \(.*?\)| \d+$")


def rephrased(facts: Mapping[str, Any], rng: random.Random, *, drop: float = 0.25) -> str:
    """A caption that says the facts, each with probability 1 - drop but at least one, in random order.

    facts: any of instruments (a list of names), family, key ("A minor", or "A" with mode), bpm or tempo_bpm,
    mood or moods, density, dynamics, articulation; others are not told. "" where there is nothing to tell.
    """
    clauses = [clause for clause in (tell(facts, rng) for tell in _TELLERS) if clause]
    told = [clause for clause in clauses if rng.random() >= drop] or clauses[: 1 if clauses else 0]
    rng.shuffle(told)
    glue = rng.choice((", ", " ", ", "))
    return glue.join(told)


def _instruments(facts: Mapping[str, Any], rng: random.Random) -> str:
    names = [
        rng.choice(SYNONYMS.get(name, (_DETAIL.sub("", name),))) for name in _list(facts.get("instruments"))
    ]
    names = list(dict.fromkeys(names))
    if not names:
        return ""
    if len(names) == 1:
        return rng.choice((f"solo {names[0]}", names[0]))
    rng.shuffle(names)
    if rng.random() < 0.2:  # a user rarely names all
        names = names[: rng.randint(1, len(names))]
    return " and ".join((", ".join(names[:-1]), names[-1])) if len(names) > 1 else names[0]


def _family(facts: Mapping[str, Any], rng: random.Random) -> str:
    families = _list(facts.get("family")) or _list(facts.get("families"))
    if not families or rng.random() < 0.4:
        return ""
    return rng.choice(("{} music", "{}", "with {}")).format(" and ".join(dict.fromkeys(families)))


def _key(facts: Mapping[str, Any], rng: random.Random) -> str:
    key, mode = facts.get("key"), facts.get("mode")
    if not key:
        return f"in {mode}" if mode else ""
    name = str(key) if " " in str(key) or not mode else f"{key} {mode}"
    if rng.random() < 0.2 and (mode := name.partition(" ")[2]):
        return rng.choice((f"in a {mode} key", mode))
    return rng.choice((f"in {name}", f"in the key of {name}", name))


def _tempo(facts: Mapping[str, Any], rng: random.Random) -> str:
    bpm = facts.get("bpm", facts.get("tempo_bpm"))
    if not bpm:
        return ""
    if rng.random() < 0.4:
        return rng.choice(("at {} bpm", "{} bpm")).format(round(float(bpm)))
    return rng.choice(next(words for limit, words in TEMPOS if float(bpm) <= limit))


def _mood(facts: Mapping[str, Any], rng: random.Random) -> str:
    moods = _list(facts.get("moods")) or _list(facts.get("mood"))
    return rng.choice(moods) if moods else ""


def _density(facts: Mapping[str, Any], rng: random.Random) -> str:
    return str(facts.get("density") or "") if isinstance(facts.get("density"), str) else ""


def _dynamics(facts: Mapping[str, Any], rng: random.Random) -> str:
    dynamics = facts.get("dynamics")
    return DYNAMICS.get(str(dynamics), str(dynamics)) if dynamics and rng.random() < 0.7 else ""


def _articulation(facts: Mapping[str, Any], rng: random.Random) -> str:
    return str(facts["articulation"]) if facts.get("articulation") and rng.random() < 0.6 else ""


_TELLERS = (_instruments, _family, _key, _tempo, _mood, _density, _dynamics, _articulation)


def _list(value: Any) -> list[str]:
    if not value:
        return []
    return [value] if isinstance(value, str) else [str(item) for item in value]


def vocabulary_of(captions: Sequence[str], facts: Sequence[Mapping[str, Any]], *, seed: int = 0) -> list[str]:
    """Captions in all words that training may say: those there are, and 32 made of every item's facts."""
    rng = random.Random(f"vocabulary/{seed}")
    return [*captions, *(rephrased(told, rng, drop=0.0) for told in facts for _ in range(32))]
