"""The recipe for enhancers: speech, noise and rooms in a file to mix from, and a fixed test set of others."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from audiogen.data.clips import Clip
from audiogen.data.fixed_mixtures import write_test_set
from audiogen.data.mixing import as_int16
from audiogen.data.noises import Noise, split_noises
from audiogen.data.progress import Progress, quiet
from audiogen.data.rooms import SimulatedRoom, simulate
from audiogen.data.store import DataError, save_ragged

SAMPLE_RATE = 16000
VALIDATION_SHARE = 0.04  # of the prompts


@dataclass(frozen=True)
class Corpus:
    """Speech and noise, and what of them is for the test alone: a speaker and a fold."""

    clips: Sequence[Clip]
    noises: Sequence[Noise]
    test_speaker: str
    test_fold: int

    def __post_init__(self) -> None:
        """Refuse a test that leaves nothing, or is nothing. Raises DataError."""
        for name, test, known in (
            ("speaker", self.test_speaker, {clip.speaker for clip in self.clips}),
            ("fold", self.test_fold, {noise.fold for noise in self.noises}),
        ):
            if test not in known or len(known) < 2:
                listed = ", ".join(map(str, sorted(known)))
                raise DataError(f"no {name} {test!r} to test with beside another one; there are: {listed}")


def build(
    out: Path,
    corpus: Corpus,
    *,
    rooms: int = 100,
    repeats: int = 1,
    seed: int = 0,
    metadata: dict[str, Any] | None = None,
    workers: int = 1,
    progress: Progress = quiet,
) -> list[dict[str, Any]]:
    """Write out/mixtures.safetensors and out/test/ -> the manifest of the test set.

    rooms: to train with; a tenth as many each are made for validation and test. repeats: see
    `write_test_set`. Raises DataError.
    """
    spare = -(-rooms // 10)
    simulated = simulate(rooms + 2 * spare, SAMPLE_RATE, seed, workers, progress)
    packed, kept = simulated[: rooms + spare], simulated[rooms + spare :]
    facts = {"room_splits": ["train"] * rooms + ["validation"] * spare, "seed": seed, **(metadata or {})}
    pack_mixtures(out / "mixtures.safetensors", corpus, packed, seed, facts, progress)
    return write_test_set(
        out / "test",
        [clip for clip in corpus.clips if clip.speaker == corpus.test_speaker],
        [noise for noise in corpus.noises if noise.fold == corpus.test_fold],
        kept,
        sample_rate=SAMPLE_RATE,
        repeats=repeats,
        seed=seed,
        progress=progress,
    )


def pack_mixtures(
    path: Path,
    corpus: Corpus,
    rooms: Sequence[SimulatedRoom],
    seed: int,
    metadata: dict[str, Any],
    progress: Progress,
) -> None:
    """Write everything but the test's speaker and fold, clips of one voice and split side by side."""
    clips = [clip for clip in corpus.clips if clip.speaker != corpus.test_speaker]
    splits = dict(zip((clip.id for clip in clips), split_prompts(clips, VALIDATION_SHARE, seed), strict=True))
    clips.sort(key=lambda clip: (clip.speaker, splits[clip.id]))
    noises = [noise for noise in corpus.noises if noise.fold != corpus.test_fold]
    none = [torch.zeros(0, dtype=torch.float16)]  # a column has at least an item
    columns: dict[str, list[Tensor]] = {
        "speech": [as_int16(clip.read(SAMPLE_RATE)) for clip in progress(clips, "speech", len(clips))],
        "noise": [as_int16(noise.read(SAMPLE_RATE)) for noise in progress(noises, "noise", len(noises))],
        "talker": [room.talker.half() for room in rooms] or none,
        "noise_source": [room.noise_source.half() for room in rooms] or none,
    }
    facts = {
        "kind": "mixtures",
        "sample_rate": SAMPLE_RATE,
        "speech_ids": [clip.id for clip in clips],
        "speech_splits": [splits[clip.id] for clip in clips],
        "voices": [clip.speaker for clip in clips],
        "noise_ids": [noise.id for noise in noises],
        "noise_splits": split_noises(noises, seed),
        "rooms": [room.facts() for room in rooms],
    }
    save_ragged(path, columns, {**facts, **metadata})


def split_prompts(clips: Sequence[Clip], share: float, seed: int) -> list[str]:
    """Train or validation for each clip, by prompt: the same words in another language go together."""
    names = sorted({clip.id.rpartition("/")[2] for clip in clips})
    random.Random(f"prompts/{seed}").shuffle(names)
    kept = set(names[: max(1, round(share * len(names)))])
    return ["validation" if clip.id.rpartition("/")[2] in kept else "train" for clip in clips]
