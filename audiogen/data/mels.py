"""Batches of aligned speech for acoustic models, bucketed by duration."""

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
from audiogen.nn.variance import token_means
from audiogen.spectral import MelSpec

SUNG = ("note", "note_seconds", "slur")  # columns of songs alone


class MelData(L.LightningDataModule):
    """Reads a file of `audiogen prepare`. max_frames: mel frames a batch, padding included.

    Buckets: length classes. repeats: how often an epoch shows the pieces of a speaker, 1 for those left out.
    """

    def __init__(
        self,
        path: str,
        max_frames: int = 1600,
        buckets: int = 24,
        seed: int = 0,
        repeats: dict[str, int] | None = None,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.path = path
        self.max_frames = max_frames
        self.buckets = buckets
        self.seed = seed
        self.repeats = repeats or {}

    def setup(self, stage: str) -> None:
        """Open the file and separate training from held-out pieces."""
        self.store = Ragged(self.path)
        self.mel, self.ids = self.store["mel"], self.store.metadata["ids"]
        held_out, test = set(self.store.metadata["held_out"]), set(self.store.metadata["test"])
        self.training_items = [i for i, name in enumerate(self.ids) if name not in held_out]
        self.validation_items = [i for i, name in enumerate(self.ids) if name in test]
        if not self.training_items:
            raise DataError(f"{self.path} holds nothing to train on")
        self._stats = self._statistics()

    def check(self, mel_spec: MelSpec, symbols: Sequence[str], speakers: Sequence[str]) -> None:
        """Refuse a model that this data does not fit. Raises DataError."""
        facts = self.store.metadata
        if differences := mel_spec.differences(MelSpec(**facts["mel_spec"])):
            raise DataError(f"{self.path} was made with another mel front end ({differences}; model != data)")
        if list(symbols) != facts["symbols"]:
            raise DataError(f"{self.path} was made with another token table; prepare the data again")
        if len(speakers) < len(facts["speakers"]):
            raise DataError(
                f"{self.path} has the speakers {facts['speakers']}, the model only {list(speakers)}"
            )
        if len(facts["speakers"]) > 1 and facts["speakers"] != list(speakers)[: len(facts["speakers"])]:
            raise DataError(
                f"the model's speakers {list(speakers)} must begin with those of {self.path}, in their "
                f"order: {facts['speakers']}"
            )

    def statistics(self) -> Tensor:
        """Mean and standard deviation over training pieces of mel, log-F0 (voiced) and log-energy, (3, 2)."""
        return self._stats

    def _statistics(self) -> Tensor:
        mel = torch.cat([self.mel[i].float().flatten() for i in self.training_items])
        f0 = torch.cat([self.store["f0"][i] for i in self.training_items])
        energy = torch.cat([self.store["energy"][i].float() for i in self.training_items])
        voiced = f0[f0 > 0].log() if bool((f0 > 0).any()) else torch.zeros(2)
        return torch.tensor([[x.mean().item(), max(x.std().item(), 1e-3)] for x in (mel, voiced, energy)])

    def plan_buckets(self, items: Sequence[int]) -> list[tuple[list[int], int]]:
        """Items in classes of similar length, each with the batch size that fills `max_frames`."""
        order = sorted(items, key=lambda i: (self.mel.length(i), i))
        count = min(self.buckets, len(order))
        edges = [round(k * len(order) / count) for k in range(count + 1)]
        groups = [order[a:b] for a, b in zip(edges, edges[1:], strict=False)]
        return [(group, max(1, self.max_frames // self.mel.length(group[-1]))) for group in groups]

    def plan_epoch(self, epoch: int) -> list[list[int]]:
        """Batches of item numbers: shuffled within buckets, then among one another, by (seed, epoch)."""
        rng = random.Random(f"{self.seed}/{epoch}")
        batches = []
        for group, size in self.plan_buckets(self._repeated(self.training_items)):
            shuffled = rng.sample(group, len(group))
            batches += [shuffled[k : k + size] for k in range(0, len(shuffled), size)]
        rng.shuffle(batches)
        return batches

    def _repeated(self, items: Sequence[int]) -> list[int]:
        """Every item as often as its speaker is repeated."""
        speakers = self.store.metadata["speakers"]
        if unknown := sorted(set(self.repeats) - set(speakers)):
            raise DataError(f"repeats names {unknown}, but {self.path} has the speakers {speakers}")
        counts = [self.repeats.get(name, 1) for name in speakers]
        return [i for i in items for _ in range(counts[int(self.store["speaker"][i][0])])]

    def padding_waste(self, epoch: int = 0) -> float:
        """Share of an epoch's frames that are padding."""
        lengths = [[self.mel.length(i) for i in batch] for batch in self.plan_epoch(epoch)]
        return 1 - sum(map(sum, lengths)) / sum(len(batch) * max(batch) for batch in lengths)

    def batch(self, items: Sequence[int]) -> dict[str, Any]:
        """Padded batch: tokens, stress, long, durations, pitch, energy (B, S); mel (B, n_mels, N).

        Masks; speaker (B,). Of songs also note, note_seconds and slur (B, S).
        """

        def padded(column: str) -> Tensor:
            return pad_sequence([self.store[column][i].long() for i in items], batch_first=True)

        batch: dict[str, Any] = {name: padded(name) for name in ("tokens", "stress", "long", "durations")}
        for name in SUNG:
            if name in self.store:
                batch[name] = pad_sequence([self.store[name][i] for i in items], batch_first=True)
        batch["ids"] = [self.ids[i] for i in items]
        lengths = torch.tensor([self.store["tokens"].length(i) for i in items])
        batch["token_mask"] = (torch.arange(int(lengths.max()))[None] < lengths[:, None])[:, None]
        batch["mel"] = pad_sequence([self.mel[i].float().T for i in items], batch_first=True).transpose(1, 2)
        batch["speaker"] = torch.stack([self.store["speaker"][i][0].long() for i in items])
        pitches, energies = zip(*(self.prosody(i) for i in items), strict=True)
        batch["pitch"] = pad_sequence(list(pitches), batch_first=True)
        batch["energy"] = pad_sequence(list(energies), batch_first=True)
        return batch

    def prosody(self, item: int) -> tuple[Tensor, Tensor]:
        """Standardised mean log-F0 (voiced frames) and log-energy of each token, (S,) each."""
        (_, _), (f0_mean, f0_std), (energy_mean, energy_std) = self._stats.tolist()
        durations, f0 = self.store["durations"][item].long(), self.store["f0"][item]
        log_f0 = (f0.clamp(min=1.0).log() - f0_mean) / f0_std
        energy = (self.store["energy"][item].float() - energy_mean) / energy_std
        return token_means(log_f0, durations, f0 > 0), token_means(energy, durations)

    def train_dataloader(self) -> ResumableLoader[list[int], dict[str, Any]]:
        """Training batches."""
        print(f"{len(self.training_items)} pieces to train on, {100 * self.padding_waste():.1f} % padding")
        return ResumableLoader(self.plan_epoch, self.batch)

    def val_dataloader(self) -> Iterable[dict[str, Any]]:
        """Test pieces in order of length, four a batch."""
        order = sorted(self.validation_items, key=self.mel.length)
        groups: Any = [order[k : k + 4] for k in range(0, len(order), 4)]
        return DataLoader(groups, batch_size=None, collate_fn=self.batch)
