"""Random segments of packed waveforms, for vocoders."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any, NotRequired, TypedDict

import lightning.pytorch as L
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader

from audiogen.data.loader import ResumableLoader
from audiogen.data.store import DataError, Ragged, RaggedColumn


class WaveformBatch(TypedDict):
    """wav: (B, T) float32 in [-1, 1]; ids: where each segment came from.

    f0: (B, T // hop + 1) in Hz, 0 = unvoiced, where the file has it.
    """

    wav: Tensor
    ids: list[str]
    f0: NotRequired[Tensor]


class WaveformData(L.LightningDataModule):
    """Segments drawn by (seed, epoch), at random gains; validation takes the start of every held-out clip.

    path: a file written by `audiogen prepare` with an int16 column `audio`, and `f0` for a model with a
    source. segment: samples. An "epoch" is `batches_per_epoch` batches. gain_db: range of the random level,
    so that the vocoder knows quiet and loud speech.
    """

    def __init__(
        self,
        path: str,
        sample_rate: int,
        segment: int = 8192,
        batch_size: int = 16,
        batches_per_epoch: int = 250,
        gain_db: tuple[float, float] = (-12.0, 3.0),
        validation_seconds: float = 4.0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.path = path
        self.sample_rate = sample_rate
        self.segment = segment
        self.batch_size = batch_size
        self.batches_per_epoch = batches_per_epoch
        self.gain_db = gain_db
        self.validation_seconds = validation_seconds
        self.seed = seed

    def setup(self, stage: str) -> None:
        """Open the packed file and separate training from held-out clips."""
        store = Ragged(self.path)
        if store.metadata["sample_rate"] != self.sample_rate:
            raise DataError(
                f"{self.path} holds audio at {store.metadata['sample_rate']} Hz, "
                f"the model wants {self.sample_rate} Hz"
            )
        self.audio: RaggedColumn = store["audio"]
        self.hop = int(store.metadata.get("f0_hop", 1))  # segments begin on a frame of the F0
        self.f0: RaggedColumn | None = store["f0"] if "f0_hop" in store.metadata else None
        self.ids: list[str] = store.metadata["ids"]
        held_out = set(store.metadata["held_out"])
        usable = [i for i in range(len(self.ids)) if self.audio.length(i) >= self.segment]
        self.training_items = [i for i in usable if self.ids[i] not in held_out]
        self.validation_items = [i for i in usable if self.ids[i] in held_out]
        if not self.training_items:
            raise DataError(
                f"no clip in {self.path} is as long as segment = {self.segment} samples; lower data.segment"
            )

    def plan_epoch(self, epoch: int) -> list[list[tuple[int, int, float]]]:
        """(item, first sample, gain) of every segment of an epoch.

        Long clips are drawn in proportion to their length.
        """
        rng = random.Random(f"{self.seed}/{epoch}")
        lengths = [self.audio.length(i) for i in self.training_items]
        items = rng.choices(self.training_items, lengths, k=self.batches_per_epoch * self.batch_size)
        draws = [
            (
                i,
                rng.randint(0, self.audio.length(i) - self.segment) // self.hop * self.hop,
                10 ** (rng.uniform(*self.gain_db) / 20),
            )
            for i in items
        ]
        return [draws[k : k + self.batch_size] for k in range(0, len(draws), self.batch_size)]

    def training_batch(self, plan: list[tuple[int, int, float]]) -> WaveformBatch:
        """Cut the planned segments."""
        rows = [self.audio[i][start : start + self.segment].float() / 32768 * gain for i, start, gain in plan]
        batch: WaveformBatch = {
            "wav": torch.stack(rows).clamp(-1, 1),
            "ids": [self.ids[i] for i, _, _ in plan],
        }
        if self.f0 is not None:
            frames = self.segment // self.hop + 1
            batch["f0"] = pad_sequence(
                [self.f0[i][start // self.hop :][:frames] for i, start, _ in plan], batch_first=True
            )
        return batch

    def validation_batch(self, item: int) -> WaveformBatch:
        """The first seconds of one held-out clip."""
        samples = int(self.validation_seconds * self.sample_rate)
        return {"wav": self.audio[item][:samples].float()[None] / 32768, "ids": [self.ids[item]]}

    def train_dataloader(self) -> ResumableLoader[list[tuple[int, int, float]], WaveformBatch]:
        """Training batches."""
        return ResumableLoader(self.plan_epoch, self.training_batch)

    def val_dataloader(self) -> Iterable[WaveformBatch]:
        """Held-out clips, one a batch."""
        items: Any = self.validation_items
        make: Any = self.validation_batch
        return DataLoader(items, batch_size=None, collate_fn=make)
