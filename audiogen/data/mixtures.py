"""Noisy speech for enhancers, mixed as it is asked for."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, TypedDict

import lightning.pytorch as L
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from audiogen.data.loader import ResumableLoader
from audiogen.data.mixing import Chances, Mixture, MixtureSource, Pairs, SpeechInNoise
from audiogen.data.store import DataError, Ragged

Place = tuple[str, int]  # of an item: its epoch or "validation", and its number


class MixtureBatch(TypedDict):
    """clean, noisy: (B, T) float32, aligned, the peak of each noisy item at most 1; ids: their origin."""

    clean: Tensor
    noisy: Tensor
    ids: list[str]


class MixtureData(L.LightningDataModule):
    """Mixtures drawn by (seed, epoch, position); validation draws the same ones of held-out parts every time.

    path: a file of `audiogen prepare enhancement`, mixed on the fly, or of `prepare voicebank` or `pairs`,
    which are mixed already and take no notice of snr_db, room_probability and speeds (see `mixing.Chances`).
    crop_s: seconds of an item. An "epoch" is `batches_per_epoch` batches. gain_db: range of the noisy peak in
    dB of full scale; 0 is where `enhance` puts the peak of a whole file, whose parts are not all as loud.
    validation_items: of `validation_s` seconds each, with a peak of 0 dB and the speed of the recordings.
    """

    def __init__(
        self,
        path: str,
        sample_rate: int = 16000,
        crop_s: float = 2.0,
        batch_size: int = 16,
        batches_per_epoch: int = 250,
        snr_db: tuple[float, float] = (-6.0, 14.0),
        room_probability: float = 0.3,
        speeds: tuple[float, ...] = (0.8, 0.9, 1.0, 1.1),
        gain_db: tuple[float, float] = (-8.0, 0.0),
        validation_items: int = 32,
        validation_s: float = 4.0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.save_hyperparameters(logger=False)  # beside those of the model, which may have names in common
        if not gain_db[0] <= gain_db[1] <= 0:
            raise ValueError(f"gain_db {gain_db} is no range of peaks; give (lowest, highest), at most 0")
        self.path = path
        self.sample_rate = sample_rate
        self.crop = round(crop_s * sample_rate)
        self.batch_size = batch_size
        self.batches_per_epoch = batches_per_epoch
        self.chances = Chances((snr_db[0], snr_db[1]), room_probability, tuple(speeds))
        self.fixed = replace(self.chances, speeds=(1.0,))
        self.gain_db = gain_db
        self.validation_items = validation_items
        self.validation_samples = round(validation_s * sample_rate)
        self.seed = seed

    def setup(self, stage: str) -> None:
        """Open the packed file. Raises DataError where it does not fit."""
        store = Ragged(self.path)
        if (rate := store.metadata.get("sample_rate")) != self.sample_rate:
            raise DataError(f"{self.path} holds audio at {rate} Hz, the model wants {self.sample_rate} Hz")
        kind = store.metadata.get("kind")
        self.training: MixtureSource
        self.validation: MixtureSource
        if kind == "mixtures":
            self.training = SpeechInNoise(store, "train", self.chances)
            self.validation = SpeechInNoise(store, "validation", self.fixed)
        elif kind == "pairs":
            self.training, self.validation = Pairs(store, "train"), Pairs(store, "validation")
        else:
            raise DataError(
                f"{self.path} is not for enhancement; make one with `audiogen prepare enhancement`"
            )

    def plan_epoch(self, epoch: int) -> list[list[Place]]:
        """Places of all items of an epoch, batch by batch."""
        numbers = range(self.batches_per_epoch * self.batch_size)
        return _batches([(str(epoch), number) for number in numbers], self.batch_size)

    def training_batch(self, plan: Sequence[Place]) -> MixtureBatch:
        """Draw and mix the planned items, each at a level of its own."""
        rows = []
        for place in plan:
            rng = self._rng(place)
            mixture = normalised(self.training.draw(rng, self.crop))
            gain = 10 ** (rng.uniform(*self.gain_db) / 20)
            rows.append(Mixture(mixture.clean * gain, mixture.noisy * gain, mixture.name))
        return _stack(rows)

    def validation_batch(self, plan: Sequence[Place]) -> MixtureBatch:
        """The fixed items of a batch."""
        return _stack(
            [normalised(self.validation.draw(self._rng(place), self.validation_samples)) for place in plan]
        )

    def train_dataloader(self) -> ResumableLoader[list[Place], MixtureBatch]:
        """Training batches."""
        return ResumableLoader(self.plan_epoch, self.training_batch)

    def val_dataloader(self) -> Iterable[MixtureBatch]:
        """Held-out mixtures."""
        places = [("validation", number) for number in range(self.validation_items)]
        batches: Any = _batches(places, self.batch_size)
        make: Any = self.validation_batch
        return DataLoader(batches, batch_size=None, collate_fn=make)

    def _rng(self, place: Place) -> random.Random:
        return random.Random(f"{self.seed}/{place[0]}/{place[1]}")


def normalised(mixture: Mixture) -> Mixture:
    """Both signals divided by the peak of the noisy one; digital silence stays."""
    peak = mixture.noisy.abs().max().clamp(min=1e-8)
    return Mixture(mixture.clean / peak, mixture.noisy / peak, mixture.name)


def _stack(rows: Sequence[Mixture]) -> MixtureBatch:
    return {
        "clean": torch.stack([row.clean for row in rows]),
        "noisy": torch.stack([row.noisy for row in rows]),
        "ids": [row.name for row in rows],
    }


def _batches(places: Sequence[Place], size: int) -> list[list[Place]]:
    return [list(places[start : start + size]) for start in range(0, len(places), size)]
