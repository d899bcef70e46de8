"""Captions of music made anew from its facts: other words, another order, some facts left out."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from audiogen.data.captions import below, plain, players_of
from audiogen.text.tempo import TEMPI, TEMPOS

WORDINGS = 32  # of an item, in which its vocabulary is looked for


def rephrased(facts: Mapping[str, Any], rng: random.Random, *, drop: float = 0.25) -> str:
    """A caption that says the facts, each with probability 1 - drop but at least one, in random order.

    facts: any of those of `captions.facts_of`; others are not told. "" where there is nothing to tell.
    """
    clauses = [clause for clause in (tell(facts, rng) for tell in _TELLERS) if clause]
    told = [clause for clause in clauses if rng.random() >= drop] or clauses[:1]
    rng.shuffle(told)
    return rng.choice((", ", ", ", " ")).join(told)


def vocabulary_of(captions: Sequence[str], facts: Sequence[Mapping[str, Any]], *, seed: int = 0) -> list[str]:
    """Captions in all words that training may say: those there are, and some made of every item's facts."""
    rng = random.Random(f"vocabulary/{seed}")
    made = [rephrased(told, rng, drop=0.0) for told in facts for _ in range(WORDINGS)]
    return [*captions, *made, *(word for words in TEMPOS.values() for word in words)]


def _players(facts: Mapping[str, Any], rng: random.Random) -> str:
    names = list(dict.fromkeys(plain(name) for name in facts.get("instruments") or ()))
    if not names or ("family" in facts and rng.random() < 0.6):
        return players_of(facts, rng) if names else str(facts.get("family") or "")
    rng.shuffle(names)
    if rng.random() < 0.3:  # a user rarely names all
        names = names[: rng.randint(1, len(names))]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _families(facts: Mapping[str, Any], rng: random.Random) -> str:
    families = facts.get("families") or ()
    if not families or rng.random() < 0.6:
        return ""
    return rng.choice(("{} music", "{}", "with {}")).format(" and ".join(families))


def _key(facts: Mapping[str, Any], rng: random.Random) -> str:
    key, mode = facts.get("key"), facts.get("mode")
    if mode and (not key or rng.random() < 0.2):
        return rng.choice((f"in a {mode} key", str(mode)))
    return rng.choice((f"in {key}", f"in the key of {key}", str(key))) if key else ""


def _tempo(facts: Mapping[str, Any], rng: random.Random) -> str:
    bpm = facts.get("bpm")
    if bpm and rng.random() < 0.3:
        return rng.choice(("at {} bpm", "{} bpm")).format(round(float(bpm)))
    word = facts.get("tempo") or (below(float(bpm), TEMPI) if bpm else "")
    return rng.choice(TEMPOS.get(str(word), (str(word),)))


def _mood(facts: Mapping[str, Any], rng: random.Random) -> str:
    moods = facts.get("moods") or ()
    return str(rng.choice(moods)) if moods and rng.random() < 0.7 else ""


def _others(facts: Mapping[str, Any], rng: random.Random) -> str:
    told = [facts.get(name) for name in ("loudness", "density", "articulation")]
    chosen = [str(word) for word in told if word and rng.random() < 0.5]
    return rng.choice((", ", " and ")).join(chosen)


_TELLERS = (_players, _families, _key, _tempo, _mood, _others)
