"""Batches for voice conversion: a crop of one clip, and other clips of its speaker to tell the voice by."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Sequence
from typing import Any

import lightning.pytorch as L
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader

from audiogen.content import merge_runs
from audiogen.data.loader import ResumableLoader
from audiogen.data.store import DataError, Ragged
from audiogen.nn.perturbation import warp_frequencies
from audiogen.nn.style import CURVES, LEVEL_SCALE, prosody
from audiogen.spectral import MelSpec

SHORTEST = 8  # frames of a clip that is worth training on


class ConversionData(L.LightningDataModule):
    """Reads a file of `audiogen prepare voices`.

    An item is a crop of a clip; its references are other clips of the speaker, never the clip itself, from
    which words would leak into the voice. Clips of held-out speakers and speakers with one clip are left out.
    crop_s: seconds of a crop. batch_size: items. buckets: length classes of clips shorter than a crop.
    reference_s: seconds of references, from 1 to `references` clips in equal parts. low_bins: mel bins in the
    prosody; the model's `style_bins`. warp_s: most by which a crop's prosody is moved in time against it, so
    that it tells an intonation, not where sounds begin. new_voices: share of items in a voice that no one
    has: clip and references with their frequencies moved by one factor, at most e^voice_warp either way, and
    without a speaker vector (zeros), as none is known. per_epoch: crops an epoch, 0 for one a clip.
    balance: 1 shows all speakers equally often, 0 all clips; between, speakers with more clips more often.
    """

    def __init__(
        self,
        path: str,
        crop_s: float = 2.5,
        batch_size: int = 32,
        buckets: int = 4,
        reference_s: float = 3.0,
        references: int = 3,
        low_bins: int = 20,
        warp_s: float = 0.08,
        new_voices: float = 0.4,
        voice_warp: float = 0.15,
        per_epoch: int = 0,
        balance: float = 0.5,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if not 0 <= balance <= 1:
            raise ValueError(f"balance {balance} is out of range; use 0 (by clips) to 1 (by speakers)")
        self.save_hyperparameters()
        self.path, self.batch_size, self.buckets, self.seed = path, batch_size, buckets, seed
        self.crop_s, self.reference_s, self.references = crop_s, reference_s, references
        self.new_voices, self.voice_warp = new_voices, voice_warp
        self.low_bins, self.warp_s, self.per_epoch, self.balance = low_bins, warp_s, per_epoch, balance

    def setup(self, stage: str) -> None:
        """Open the file and separate training from held-out clips."""
        self.store = Ragged(self.path)
        facts = self.store.metadata
        self.mel, self.ids = self.store["mel"], facts["ids"]
        self.mel_spec = MelSpec(**facts["mel_spec"])
        self.crop = max(SHORTEST, round(self.crop_s * self.mel_spec.frame_rate))
        self.speaker = [int(number[0]) for number in self.store["speaker"]]
        held_out, test = set(facts["held_out"]), set(facts["test"])
        usable = [i for i in range(len(self.ids)) if self.mel.length(i) >= SHORTEST]
        self.training_items, mates = self._with_mates([i for i in usable if self.ids[i] not in held_out])
        heard, others = self._with_mates(usable)
        self.validation_items = [i for i in heard if self.ids[i] in test]
        self.mates, self.trained = others | mates, set(self.training_items)
        if not self.training_items:
            raise DataError(f"{self.path} holds no speaker with two clips to train on")
        self._stats = self._statistics()
        self.tokens, self.vectors = self.store["tokens"], self.store["embedding"]
        f0 = self.store["f0"]
        wanted = (*self.training_items, *self.validation_items)
        self.curves = {i: prosody(self.mel[i].float(), f0[i].float(), self.low_bins).half() for i in wanted}
        self.means = {i: self.mel[i].float().mean(1) for i in self.training_items}

    def _with_mates(self, items: Sequence[int]) -> tuple[list[int], dict[int, list[int]]]:
        """The items whose speaker has another among them, and for each item these others."""
        clips: dict[int, list[int]] = {}
        for i in items:
            clips.setdefault(self.speaker[i], []).append(i)
        mates = {i: [j for j in clips[self.speaker[i]] if j != i] for i in items}
        return [i for i in items if mates[i]], {i: others for i, others in mates.items() if others}

    def check(self, mel_spec: MelSpec, vocabulary: int, low_bins: int, speakers: int | None = None) -> None:
        """Refuse a model that this data does not fit; speakers: those its classifier can tell apart.

        Raises DataError.
        """
        facts = self.store.metadata
        if differences := mel_spec.differences(self.mel_spec):
            raise DataError(f"{self.path} was made with another mel front end ({differences}; model != data)")
        top = max(int(self.tokens.values.max()) + 1, int(facts.get("vocabulary", 0)))
        if top > vocabulary:
            raise DataError(f"{self.path} has {top} content tokens, the model only {vocabulary}")
        if low_bins != self.low_bins:
            raise DataError(f"the model's style_bins {low_bins} are not the data's low_bins {self.low_bins}")
        if speakers is not None and len(facts["speakers"]) > speakers:
            raise DataError(
                f"{self.path} has {len(facts['speakers'])} speakers, the model's classifier only {speakers}; "
                "raise model.speakers"
            )

    def statistics(self) -> Tensor:
        """Mean and standard deviation over training clips of the mel, (2,)."""
        return self._stats

    def _statistics(self) -> Tensor:
        count, total, power = 0, 0.0, 0.0
        for i in self.training_items:
            mel = self.mel[i].float()
            count += mel.numel()
            total += float(mel.double().sum())
            power += float(mel.double().square().sum())
        mean = total / count
        return torch.tensor([mean, max(math.sqrt(max(power / count - mean**2, 0.0)), 1e-3)])

    def plan_epoch(self, epoch: int) -> list[list[tuple[int, int]]]:
        """Batches of (clip, number of the draw): clips of like length together, shuffled by (seed, epoch)."""
        rng = random.Random(f"{self.seed}/{epoch}")
        drawn = self._draw(rng)
        rng.shuffle(drawn)
        drawn.sort(key=lambda i: min(self.mel.length(i), self.crop) * self.buckets // self.crop)
        numbered = [(i, epoch * len(drawn) + k) for k, i in enumerate(drawn)]
        size = self.batch_size
        batches = [numbered[k : k + size] for k in range(0, len(numbered), size)]
        rng.shuffle(batches)
        return batches

    def _draw(self, rng: random.Random) -> list[int]:
        """The clips of an epoch, drawn by speakers' shares unless every clip comes once."""
        if self.balance == 0 and not self.per_epoch:
            return list(self.training_items)
        sizes: dict[int, int] = {}
        for i in self.training_items:
            sizes[self.speaker[i]] = sizes.get(self.speaker[i], 0) + 1
        weights = [sizes[self.speaker[i]] ** -self.balance for i in self.training_items]
        return rng.choices(self.training_items, weights, k=self.per_epoch or len(self.training_items))

    def batch(self, draws: Sequence[tuple[int, int]]) -> dict[str, Any]:
        """Padded batch of crops and their references.

        tokens, durations: (B, S) runs of equal content tokens and their frames; token_mask (B, S). mel (B,
        n_mels, N), prosody (B, 3 + low_bins, N), mask (B, N). reference (B, n_mels, M), reference_mask (B,
        M). embedding (B, E) of the references, normalised. speaker (B,). ids.
        """
        rows = [self.example(item, random.Random(f"{self.seed}:{number}")) for item, number in draws]
        columns = {name: [row[name] for row in rows] for name in rows[0]}
        batch: dict[str, Any] = {}
        for name, short in (("mel", "mask"), ("reference", "reference_mask")):
            batch[name] = _padded(columns[name])
            batch[short] = _real(columns[name])
        batch["prosody"] = _padded(columns["prosody"])
        lengths = torch.tensor([len(tokens) for tokens in columns["tokens"]])
        frames = pad_sequence(columns["tokens"], batch_first=True)
        batch["tokens"], batch["durations"], counts = merge_runs(frames, lengths)
        batch["token_mask"] = torch.arange(batch["tokens"].shape[1])[None] < counts[:, None]
        batch["embedding"] = torch.stack(columns["embedding"])
        batch["speaker"] = torch.tensor([self.speaker[item] for item, _ in draws])
        batch["ids"] = [self.ids[item] for item, _ in draws]
        return batch

    def example(self, item: int, rng: random.Random) -> dict[str, Tensor]:
        """A crop of clip `item` with its prosody, and references of the same speaker."""
        length = self.mel.length(item)
        size = min(self.crop, length)
        start = rng.randint(0, length - size)
        crop = slice(start, start + size)
        mel = self.mel[item][:, crop].float()
        moved = self._moved(start, size, length, rng)
        curves = self.curves[item][:, moved].float()
        reference, embedding = self.voice(item, rng)
        if item in self.trained and rng.random() < self.new_voices:
            factor = torch.tensor([math.exp(rng.uniform(-self.voice_warp, self.voice_warp))])
            around = self.mel[item][:, moved].float() - self.means[item][:, None]
            parts = [mel.shape[1], reference.shape[1], around.shape[1]]
            warped = warp_frequencies(
                torch.cat([mel, reference, around], dim=1)[None], factor, self.mel_spec
            )[0]
            mel, reference, around = torch.split(warped, parts, dim=1)
            curves[CURVES:] = around[: self.low_bins] / LEVEL_SCALE
            embedding = torch.zeros_like(embedding)
        tokens = self.tokens[item][crop].long()
        return {
            "mel": mel,
            "tokens": tokens,
            "prosody": curves,
            "reference": reference,
            "embedding": embedding,
        }

    def voice(self, item: int, rng: random.Random) -> tuple[Tensor, Tensor]:
        """Mel frames (n_mels, M) and mean embedding (E,) of other clips of the speaker."""
        mates = self.mates[item]
        chosen = rng.sample(mates, min(len(mates), rng.randint(1, self.references)))
        share = max(SHORTEST, round(self.reference_s * self.mel_spec.frame_rate / len(chosen)))
        pieces = []
        for other in chosen:
            size = min(share, self.mel.length(other))
            start = rng.randint(0, self.mel.length(other) - size)
            pieces.append(self.mel[other][:, start : start + size])
        embedding = torch.stack([self.vectors[other].float() for other in chosen]).mean(0)
        return torch.cat(pieces, dim=1).float(), torch.nn.functional.normalize(embedding.flatten(), dim=0)

    def _moved(self, start: int, size: int, length: int, rng: random.Random) -> Tensor:
        """The frames of a crop, each moved by up to warp_s along a slow wave, within the clip (size,)."""
        most = self.warp_s * self.mel_spec.frame_rate * rng.random()
        phase, waves = 2 * math.pi * rng.random(), rng.uniform(0.5, 2.0)
        share = torch.arange(size) / size
        wave = torch.sin(phase + waves * 2 * math.pi * share)
        return (torch.arange(start, start + size) + (most * wave).round().long()).clamp(0, length - 1)

    def train_dataloader(self) -> ResumableLoader[list[tuple[int, int]], dict[str, Any]]:
        """Training batches."""
        voices = len({self.speaker[i] for i in self.training_items})
        print(f"{len(self.training_items)} clips of {voices} speakers to train on")
        return ResumableLoader(self.plan_epoch, self.batch)

    def val_dataloader(self) -> Iterable[dict[str, Any]]:
        """Held-out clips in order of length, eight a batch; their crops are the same every time."""
        order = sorted(self.validation_items, key=self.mel.length)
        groups: Any = [[(i, i) for i in order[k : k + 8]] for k in range(0, len(order), 8)]
        return DataLoader(groups, batch_size=None, collate_fn=self.batch)


def _padded(items: Sequence[Tensor]) -> Tensor:
    """(C, N) each -> (B, C, N), zeros beyond an item's end."""
    return pad_sequence([item.T for item in items], batch_first=True).transpose(1, 2)


def _real(items: Sequence[Tensor]) -> Tensor:
    """(C, N) each -> (B, N) True where an item is."""
    lengths = torch.tensor([item.shape[-1] for item in items])
    return torch.arange(int(lengths.max()))[None] < lengths[:, None]
