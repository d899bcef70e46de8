"""Prepared music as latents and semantic tokens: one small file that the models of MeLoDy train on."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from audiogen.data.progress import Progress, quiet
from audiogen.data.store import DataError, Ragged, RaggedColumn, save_ragged
from audiogen.data.variants import Transposing, Variant, variants_of

VALIDATION_EVERY = 4  # of the held-out scores, in the order of their names, every fourth is for validation
TERMS = ("licence", "attribution")  # of a prepared file, handed on


class Coder(Protocol):
    """What is asked of an autoencoder."""

    sample_rate: int
    latents: int
    frame_rate: float

    def encode(self, wav: Tensor) -> Tensor:
        """wav (B, 1, T) -> latents (B, D, L)."""
        ...


class Tokenizer(Protocol):
    """What is asked of a tokenizer."""

    frame_rate: float
    vocabulary: int

    def encode(self, wav: Tensor) -> Tensor:
        """wav (B, T) -> tokens (B, N)."""
        ...


class PreparedMusic:
    """A folder of `audiogen prepare music`: audio.safetensors and the lines of manifest.jsonl, in its order.

    Raises DataError where one of them is missing or they do not fit, and for lines without captions.
    """

    def __init__(self, folder: Path) -> None:
        store = Ragged(folder / "audio.safetensors")
        manifest = folder / "manifest.jsonl"
        if not manifest.is_file():
            raise DataError(f"no {manifest}; make it with `audiogen prepare music`")
        lines = [json.loads(line) for line in manifest.read_text(encoding="utf-8").splitlines()]
        by_id = {line["id"]: line for line in lines}
        self.sample_rate = int(store.metadata["sample_rate"])
        self.audio: RaggedColumn = store["audio"]
        try:
            self.lines: list[dict[str, Any]] = [by_id[name] for name in store.metadata["ids"]]
        except KeyError as error:
            raise DataError(f"{manifest} has no line of item {error}; prepare both again") from error
        if bare := [line["id"] for line in self.lines if not line.get("captions")]:
            raise DataError(f"{manifest} has no captions of {bare[0]}; prepare it again with this version")
        self.terms: dict[str, str] = {key: store.metadata[key] for key in TERMS if key in store.metadata}

    def wav(self, index: int) -> Tensor:
        """(T,) float32 in [-1, 1]."""
        return self.audio[index].float() / 32768

    def splits(self) -> list[str]:
        """train, validation or test of every item; no score or recording is in two of them."""
        works = [str(line.get("score") or line.get("recording")) for line in self.lines]
        kept = sorted({work for work, line in zip(works, self.lines, strict=True) if line["split"] == "test"})
        validation = set(kept[VALIDATION_EVERY - 1 :: VALIDATION_EVERY])
        return [
            line["split"] if line["split"] != "test" else "validation" if work in validation else "test"
            for work, line in zip(works, self.lines, strict=True)
        ]

    def training(self) -> list[int]:
        """Numbers of the items to train on."""
        return [n for n, line in enumerate(self.lines) if line["split"] == "train"]


@torch.inference_mode()
def encode_music(
    path: Path,
    music: PreparedMusic,
    coder: Coder,
    tokenizer: Tokenizer,
    progress: Progress = quiet,
    variants: int = 0,
) -> dict[str, Any]:
    """Write latents (D, L) float16, tokens (N,) int16, captions, facts, splits to one file -> its metadata.

    variants: of every training item whose key and tempo are known, as further tokens with facts of their own
    and no latents. Raises DataError where the autoencoder wants another sample rate, ValueError for too many
    tokens and for variants of a tokenizer that cannot transpose.
    """
    if music.sample_rate != coder.sample_rate:
        raise DataError(
            f"the music has {music.sample_rate} Hz, the autoencoder wants {coder.sample_rate} Hz; prepare "
            "the one or train the other anew"
        )
    if tokenizer.vocabulary > 2**15:
        raise ValueError(f"a vocabulary of {tokenizer.vocabulary} does not fit int16; use 32768 at most")
    transposing = None
    if variants:
        if not isinstance(tokenizer, Transposing):
            raise ValueError(f"{type(tokenizer).__name__} cannot transpose; leave out --variants")
        transposing = tokenizer
    columns: dict[str, list[Tensor]] = {"latents": [], "tokens": []}
    for n in progress(range(len(music.lines)), "encoding", len(music.lines)):
        wav = music.wav(n)[None]
        columns["latents"].append(coder.encode(wav[:, None])[0].to(torch.float16))
        columns["tokens"].append(tokenizer.encode(wav)[0].to(torch.int16))
    varied: list[Variant] = []
    if transposing is not None:
        items = music.training()
        for n in progress(items, "transposing", len(items)):
            rng = random.Random(f"variants/{music.lines[n]['id']}")
            varied += variants_of(music.wav(n), music.lines[n].get("about", {}), transposing, variants, rng)
    if varied:
        columns["variants"] = [variant.tokens.to(torch.int16) for variant in varied]
    metadata: dict[str, Any] = {
        "kind": "music_latents",
        "ids": [line["id"] for line in music.lines],
        "captions": [line["captions"] for line in music.lines],
        "facts": [line.get("about", {}) for line in music.lines],
        "splits": music.splits(),
        "variant_facts": [variant.facts for variant in varied],
        "latent_rate": coder.frame_rate,
        "token_rate": tokenizer.frame_rate,
        "vocabulary": tokenizer.vocabulary,
        **music.terms,
    }
    save_ragged(path, columns, metadata)
    return metadata


def spread(latents: Sequence[Tensor]) -> Mapping[str, float]:
    """How far the channels of latents (D, L) of many items are from zero mean and unit variance."""
    values = torch.cat([item.float() for item in latents], dim=1)
    return {
        "mean": float(values.mean(1).abs().max()),
        "least_deviation": float(values.std(1).min()),
        "largest_deviation": float(values.std(1).max()),
    }
