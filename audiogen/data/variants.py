"""Music in other keys and tempi, as semantic tokens: a language model needs more of it than is rendered."""

from __future__ import annotations

import random
from collections.abc import Mapping
from functools import cache
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from audiogen.data.captions import pace_of
from audiogen.text.keys import spoken

SPEEDS = range(-4, 5)  # semitones by which it is played faster: 0.79 to 1.26 times as fast
KEYS_A_SPEED = 6
NEEDED = ("tonic", "mode", "bpm", "notes_per_s", "dynamics")  # facts without which no other can be told


@runtime_checkable
class Transposing(Protocol):
    """What is asked of a tokenizer."""

    def features(self, wav: Tensor) -> Tensor:
        """wav (B, T) -> (B, N, width)."""
        ...

    def transposed(self, features: Tensor, semitones: int) -> Tensor:
        """What the features (B, N, width) would be, were the music played higher."""
        ...

    def tokens_of(self, features: Tensor) -> Tensor:
        """Features (B, N, width) -> tokens (B, N)."""
        ...


class Variant(NamedTuple):
    """Tokens (N,) int64 and what captions are to tell of them."""

    tokens: Tensor
    facts: dict[str, Any]


@cache
def _resampler(semitones: int) -> torch.nn.Module:
    """To play a recording faster, and as much higher, by as many semitones."""
    from torchaudio.transforms import Resample

    return Resample(round(1000 * 2 ** (semitones / 12)), 1000)


def retold(facts: Mapping[str, Any], faster: int, higher: int) -> dict[str, Any]:
    """Facts of music that is played faster and, in all, higher by so many semitones.

    facts: those of `captions.facts_of`.
    """
    ratio, mode = 2 ** (faster / 12), facts["mode"]
    tonic = (facts["tonic"] + higher) % 12
    pace = pace_of(facts["bpm"] * ratio, facts["notes_per_s"] * ratio, mode, facts["dynamics"])
    told = {**facts, "tonic": tonic, "key": spoken(tonic, mode), **pace}
    if "first_beat_s" in facts:
        told["first_beat_s"] = facts["first_beat_s"] / ratio
    return told


@torch.inference_mode()
def variants_of(
    wav: Tensor, facts: Mapping[str, Any], tokenizer: Transposing, count: int, rng: random.Random
) -> list[Variant]:
    """`count` variants of a recording (T,), drawn by rng; none where the facts do not tell key and tempo.

    It is played faster or slower as a tape would be, its pitch with it; then its pitch classes are turned.
    """
    if any(name not in facts for name in NEEDED):
        return []
    found: list[Variant] = []
    while len(found) < count:
        faster = rng.choice(SPEEDS)
        features = tokenizer.features(_resampler(faster)(wav)[None] if faster else wav[None])
        for turn in rng.sample(range(12), min(KEYS_A_SPEED, count - len(found))):
            tokens = tokenizer.tokens_of(tokenizer.transposed(features, turn))[0]
            found.append(Variant(tokens, retold(facts, faster, faster + turn)))
    return found
