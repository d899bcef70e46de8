"""Music as latents and semantic tokens with captions: what the models of MeLoDy learn from."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, TypedDict

import lightning.pytorch as L
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from audiogen.data.captions import captions_of
from audiogen.data.loader import ResumableLoader
from audiogen.data.phrases import rephrased, vocabulary_of
from audiogen.data.store import DataError, Ragged
from audiogen.nn.beats import steady_beats


class MusicBatch(TypedDict):
    """latents (B, D, L) float32 and tokens (B, T) int64 of the same seconds, with masks, True = real.

    frames: (B, L). token_mask: (B, T). captions, ids: of each item. beats: (B, T, 2) as `nn.beats` has them.
    """

    latents: Tensor
    tokens: Tensor
    frames: Tensor
    token_mask: Tensor
    captions: list[str]
    ids: list[str]
    beats: Tensor


@dataclass(frozen=True)
class Crop:
    """Item `index` from chunk-grid place `start` (a fraction of what is free) on, `chunks` chunks long.

    words: seed of its caption and of whether its beats are told; "" takes the first caption and tells them.
    variant: index is that of a variant, which has tokens but no latents.
    """

    index: int
    start: float
    chunks: int
    words: str = ""
    variant: bool = False


@dataclass(frozen=True)
class Clock:
    """Frames and tokens that last equally long: a chunk has `frames` and `tokens`. Raises ValueError."""

    frames: int
    tokens: int

    def __post_init__(self) -> None:
        """Refuse empty chunks."""
        if self.frames < 1 or self.tokens < 1:
            raise ValueError(f"a chunk needs frames and tokens, got {self.frames} and {self.tokens}")

    @property
    def grid(self) -> tuple[int, int]:
        """Least (frames, tokens) that are both whole: where crops may begin."""
        ratio = Fraction(self.frames, self.tokens)
        return ratio.numerator, ratio.denominator

    def check(self, latent_rate: float, token_rate: float) -> None:
        """Raise DataError unless a chunk's frames last as long as its tokens, to a millionth."""
        ratio = self.frames / latent_rate / (self.tokens / token_rate)
        if abs(ratio - 1) > 1e-6:
            raise DataError(
                f"{self.frames} frames at {latent_rate:g} Hz are not as long as {self.tokens} tokens at "
                f"{token_rate:g} Hz; choose chunk_frames and chunk_tokens that are"
            )


class MusicLatentData(L.LightningDataModule):
    """Crops of captioned music, drawn by (seed, epoch, position).

    path: a file of `audiogen prepare latents`. chunk_frames, chunk_tokens: of a chunk,
    the unit of crops and of continuation; both last equally long. chunks: of a crop; short: share of batches
    that have fewer, at random. rephrase: share of captions that are made anew from the facts, of which each
    is dropped with probability drop. varied: share of crops that are of variants in other keys and tempi,
    which have no latents (their frames are masked): for the language model. untold: share of crops whose
    beats are not told; those of recordings never are, where they begin is known of renderings alone. An
    "epoch" is `batches_per_epoch` batches. Validation is the start of every held-out item, with its first
    caption.
    """

    def __init__(
        self,
        path: str,
        chunk_frames: int = 120,
        chunk_tokens: int = 16,
        chunks: int = 4,
        short: float = 0.0,
        batch_size: int = 16,
        batches_per_epoch: int = 250,
        rephrase: float = 0.8,
        drop: float = 0.25,
        varied: float = 0.0,
        untold: float = 0.15,
        validation_items: int = 64,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.save_hyperparameters(logger=False)  # beside those of the model, which may have names in common
        self.path = path
        self.clock = Clock(chunk_frames, chunk_tokens)
        self.chunks, self.short = chunks, short
        self.batch_size, self.batches_per_epoch = batch_size, batches_per_epoch
        self.rephrase, self.drop, self.varied, self.untold = rephrase, drop, varied, untold
        self.validation_items = validation_items
        self.seed = seed

    def setup(self, stage: str) -> None:
        """Open the file. Raises DataError where it does not fit."""
        store = Ragged(self.path)
        self.metadata = store.metadata
        if "latents" not in store or "tokens" not in store:
            raise DataError(
                f"{self.path} has no latents or no tokens; make it with `audiogen prepare latents`"
            )
        self.latents, self.tokens = store["latents"], store["tokens"]
        # one caption an item, or several
        self.captions: list[list[str]] = [
            [c] if isinstance(c, str) else list(c) for c in self.metadata["captions"]
        ]
        self.facts: list[dict[str, Any]] = list(self.metadata.get("facts") or [{} for _ in self.captions])
        self.variant_facts: list[dict[str, Any]] = list(self.metadata.get("variant_facts") or [])
        if self.varied and not self.variant_facts:
            raise DataError(
                f"{self.path} has no variants, but data.init_args.varied is {self.varied:g}; set it to 0, or "
                "make the file with `audiogen prepare latents --variants 24`"
            )
        self.variants: Sequence[Tensor] = store["variants"] if self.variant_facts else ()
        self.ids = list(self.metadata.get("ids") or range(len(self.captions)))
        splits = list(self.metadata["splits"])
        self.token_rate = float(self.metadata["token_rate"])
        self.clock.check(float(self.metadata["latent_rate"]), self.token_rate)
        grid = self.clock.grid[1]
        long_enough = [n for n in range(len(splits)) if self.tokens.length(n) >= grid]
        self.training = [n for n in long_enough if splits[n] == "train"]
        held_out = "validation" if "validation" in splits else "test"
        self.held_out = [n for n in long_enough if splits[n] == held_out]
        if not self.training:
            raise DataError(f"{self.path} has no item to train on: splits are {sorted(set(splits))}")

    @property
    def latent_dim(self) -> int:
        """Channels of the latents."""
        return int(self.latents[0].shape[0])

    @property
    def vocabulary(self) -> int:
        """Different semantic tokens."""
        return int(self.metadata["vocabulary"])

    def all_captions(self) -> list[str]:
        """Captions in which every word occurs that training may use."""
        facts = [self.facts[n] for n in self.training]
        # variants say what other items say, but for keys and tempi that may have no item
        facts += self.variant_facts[:: max(1, len(self.variant_facts) // 1000)]
        captions = [caption for n in self.training for caption in self.captions[n]]
        return vocabulary_of(captions, facts, seed=self.seed)

    def plan_epoch(self, epoch: int) -> list[list[Crop]]:
        """Crops of an epoch, batch by batch: the items in a new order, again when they are used up."""
        rng = random.Random(f"{self.seed}/{epoch}")
        wanted = self.batches_per_epoch * self.batch_size
        order: list[int] = []
        while len(order) < wanted:
            order += rng.sample(self.training, len(self.training))
        batches = []
        for first in range(0, wanted, self.batch_size):
            chunks = rng.randint(1, self.chunks) if rng.random() < self.short else self.chunks
            crops = [
                Crop(index, rng.random(), chunks, f"{self.seed}/{epoch}/{place}")
                for place, index in enumerate(order[first : first + self.batch_size], first)
            ]
            batches.append([self._vary(crop) for crop in crops] if self.varied else crops)
        return batches

    def _vary(self, crop: Crop) -> Crop:
        rng = random.Random(f"variant/{crop.words}")
        if rng.random() >= self.varied:
            return crop
        return replace(crop, index=rng.randrange(len(self.variant_facts)), variant=True)

    def validation_plan(self) -> list[list[Crop]]:
        """The same crops every time."""
        crops = [Crop(index, 0.0, self.chunks) for index in self.held_out[: self.validation_items]]
        return [crops[first : first + self.batch_size] for first in range(0, len(crops), self.batch_size)]

    def batch(self, plan: Sequence[Crop]) -> MusicBatch:
        """Cut out the planned crops; shorter items are padded."""
        rows = [self._cut(crop) for crop in plan]
        size, D = len(rows), self.latent_dim
        frames, tokens = plan[0].chunks * self.clock.frames, plan[0].chunks * self.clock.tokens
        made: MusicBatch = {
            "latents": torch.zeros(size, D, frames),
            "tokens": torch.zeros(size, tokens, dtype=torch.int64),
            "frames": torch.zeros(size, frames, dtype=torch.bool),
            "token_mask": torch.zeros(size, tokens, dtype=torch.bool),
            "captions": [self._caption(crop) for crop in plan],
            "ids": ["variant" if crop.variant else str(self.ids[crop.index]) for crop in plan],
            "beats": torch.zeros(size, tokens, 2),
        }
        for row, (latent, token, first) in enumerate(rows):
            made["latents"][row, :, : latent.shape[-1]] = latent
            made["frames"][row, : latent.shape[-1]] = True
            made["tokens"][row, : len(token)] = token
            made["token_mask"][row, : len(token)] = True
            made["beats"][row] = self._beats(plan[row], first, tokens)
        return made

    def train_dataloader(self) -> ResumableLoader[list[Crop], MusicBatch]:
        """Training batches."""
        return ResumableLoader(self.plan_epoch, self.batch)

    def val_dataloader(self) -> Iterable[MusicBatch]:
        """Held-out items."""
        batches: Any = self.validation_plan()
        make: Any = self.batch
        return DataLoader(batches, batch_size=None, collate_fn=make)

    def _cut(self, crop: Crop) -> tuple[Tensor, Tensor, int]:
        """Latents (D, L) and tokens (T,) of the crop, as much of it as there is, and the first one's number.

        Both last equally long.
        """
        frames, tokens = self.clock.grid
        if crop.variant:
            words = self.variants[crop.index]
            latents = torch.empty(self.latent_dim, 0)
            cells = len(words) // tokens
        else:
            latents, words = self.latents[crop.index], self.tokens[crop.index]
            cells = min(latents.shape[-1] // frames, len(words) // tokens)
        length = min(cells, crop.chunks * self.clock.tokens // tokens)
        first = int(crop.start * (cells - length + 1))
        return (
            latents[:, first * frames : (first + length) * frames].float(),
            words[first * tokens : (first + length) * tokens].long(),
            first * tokens,
        )

    def _beats(self, crop: Crop, first: int, tokens: int) -> Tensor:
        """Beats (tokens, 2) of a crop that begins with token `first`; zeros where they are not told."""
        facts = self._facts(crop)
        hidden = crop.words and random.Random(f"beats/{crop.words}").random() < self.untold
        if hidden or not {"bpm", "first_beat_s"} <= facts.keys():
            return torch.zeros(tokens, 2)
        beats_per_s = float(facts["bpm"]) / 60
        start = (first / self.token_rate - float(facts["first_beat_s"])) * beats_per_s
        return steady_beats(torch.tensor([start]), torch.tensor([beats_per_s / self.token_rate]), tokens)[0]

    def _facts(self, crop: Crop) -> dict[str, Any]:
        return (self.variant_facts if crop.variant else self.facts)[crop.index]

    def _caption(self, crop: Crop) -> str:
        facts = self._facts(crop)
        if not crop.words:
            return self.captions[crop.index][0]
        rng = random.Random(f"caption/{crop.words}")
        made = rephrased(facts, rng, drop=self.drop) if rng.random() < self.rephrase else ""
        if made:
            return made
        return rng.choice(captions_of(facts, rng) if crop.variant else self.captions[crop.index])
