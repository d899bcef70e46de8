"""Crops of many speakers' mels with the phone of each frame, for encoders of content."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from typing import Any

import lightning.pytorch as L
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader

from audiogen.data.loader import ResumableLoader
from audiogen.data.store import DataError, Ragged
from audiogen.spectral import MelSpec

UNKNOWN = -1  # the phone of a frame of which nothing is known


class PhoneFrameData(L.LightningDataModule):
    """Reads a file of `audiogen prepare voices`; crops are drawn by (seed, epoch), long clips more often.

    frames: of a crop. unlabelled: share of the crops from clips whose phones are not known. repeats: weight
    of a speaker's clips among the labelled, 1 for those left out. An "epoch" is batches_per_epoch batches.
    """

    def __init__(
        self,
        path: str,
        frames: int = 160,
        batch_size: int = 16,
        batches_per_epoch: int = 100,
        unlabelled: float = 0.2,
        repeats: dict[str, float] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.path = path
        self.frames = frames
        self.batch_size = batch_size
        self.batches_per_epoch = batches_per_epoch
        self.unlabelled = unlabelled
        self.repeats = repeats or {}
        self.seed = seed

    def setup(self, stage: str) -> None:
        """Open the file and separate training from held-out clips."""
        self.store = Ragged(self.path)
        facts = self.store.metadata
        self.ids: list[str] = facts["ids"]
        self.speakers = [facts["speakers"][int(self.store["speaker"][i][0])] for i in range(len(self.ids))]
        if unknown := sorted(set(self.repeats) - set(facts["speakers"])):
            raise DataError(f"repeats names {unknown}, but {self.path} has the speakers {facts['speakers']}")
        held_out, test = set(facts["held_out"]), set(facts["test"])
        training = [i for i, name in enumerate(self.ids) if name not in held_out]
        known = [bool((phones >= 0).any()) for phones in self.store["phones"]]
        self.labelled_items = [i for i in training if known[i]]
        self.unlabelled_items = [i for i in training if not known[i]]
        self.validation_items = [i for i, name in enumerate(self.ids) if name in test and known[i]]
        if not self.labelled_items:
            raise DataError(f"{self.path} holds no clip with known phones to train on")

    def check(self, mel_spec: MelSpec, symbols: Sequence[str]) -> None:
        """Refuse a model that this data does not fit. Raises DataError."""
        facts = self.store.metadata
        if differences := mel_spec.differences(MelSpec(**facts["mel_spec"])):
            raise DataError(f"{self.path} was made with another mel front end ({differences}; model != data)")
        if list(symbols) != facts["symbols"]:
            raise DataError(f"{self.path} was made with another token table; prepare the data again")

    def plan_epoch(self, epoch: int) -> list[list[tuple[int, int]]]:
        """(item, first frame) of every crop of an epoch."""
        rng = random.Random(f"{self.seed}/{epoch}")
        mel, count = self.store["mel"], self.batches_per_epoch * self.batch_size
        weights = [mel.length(i) * self.repeats.get(self.speakers[i], 1.0) for i in self.labelled_items]
        items = rng.choices(self.labelled_items, weights, k=count)
        if self.unlabelled_items:
            lengths = [mel.length(i) for i in self.unlabelled_items]
            others = rng.choices(self.unlabelled_items, lengths, k=count)
            items = [b if rng.random() < self.unlabelled else a for a, b in zip(items, others, strict=True)]
        plan = [(i, rng.randint(0, max(0, mel.length(i) - self.frames))) for i in items]
        return [plan[k : k + self.batch_size] for k in range(0, count, self.batch_size)]

    def batch(self, plan: Sequence[tuple[int, int]], frames: int | None = None) -> dict[str, Any]:
        """Padded crops: mel (B, n_mels, N), phones (B, N), mask (B, 1, N); new (B,), of a new voice."""
        size = frames if frames is not None else self.frames
        mels: list[Tensor] = [self.store["mel"][i][:, start : start + size].float().T for i, start in plan]
        phones = [self.store["phones"][i][start : start + size].long() for i, start in plan]
        lengths = torch.tensor([len(mel) for mel in mels])
        held_out = set(self.store.metadata["held_out_speakers"])
        return {
            "mel": pad_sequence(mels, batch_first=True).transpose(1, 2),
            "phones": pad_sequence(phones, batch_first=True, padding_value=UNKNOWN),
            "mask": (torch.arange(int(lengths.max()))[None] < lengths[:, None])[:, None],
            "new": torch.tensor([self.speakers[i] in held_out for i, _ in plan]),
            "ids": [self.ids[i] for i, _ in plan],
        }

    def train_dataloader(self) -> ResumableLoader[list[tuple[int, int]], dict[str, Any]]:
        """Training crops."""
        return ResumableLoader(self.plan_epoch, self.batch)

    def val_dataloader(self) -> Iterable[dict[str, Any]]:
        """Labelled test clips in order of length, eight a batch."""
        order = sorted(self.validation_items, key=self.store["mel"].length)
        groups: Any = [[(i, 0) for i in order[k : k + 8]] for k in range(0, len(order), 8)]
        longest = max((self.store["mel"].length(i) for i in order), default=0)
        return DataLoader(groups, batch_size=None, collate_fn=lambda plan: self.batch(plan, longest))
