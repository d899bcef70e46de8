"""Phone durations from speech and tokens alone.

Gaussian phone models trained on the corpus itself (Viterbi training).

Every phone is three states in a row, every pause one optional state; each state is a diagonal Gaussian over
cepstra. A flat start gives way to re-alignment and re-estimation in turn (Rabiner 1989, section V, with hard
assignments).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from audiogen.nn.alignment import monotonic_alignment
from audiogen.spectral import MelSpec, mel_spectrogram

STATES = 3
PAUSE = "<pause>"


@dataclass(frozen=True)
class Alignment:
    """starts: (S + 1,) seconds, token s lasts from starts[s] to starts[s + 1].

    Score: mean log-likelihood a frame.
    """

    starts: Tensor
    score: float


def cepstra(wav: Tensor, sample_rate: int, hop_length: int) -> Tensor:
    """wav (T,) -> cepstra 0-12 of 25 ms windows, the clip's mean taken off, (N, 13).

    No difference features: their windows reach over several phones and smear the boundaries.
    """
    spec = MelSpec(
        sample_rate, 512, 400, hop_length, n_mels=40, f_min=60.0, f_max=min(7600.0, sample_rate / 2)
    )
    mel = mel_spectrogram(wav[None], spec)[0]
    n = torch.arange(spec.n_mels, dtype=torch.float32)
    dct = torch.cos(math.pi / spec.n_mels * (n[None] + 0.5) * torch.arange(13)[:, None])
    c = (dct @ mel).T
    return c - c.mean(0)


class Aligner:
    """Gaussian phone models for one corpus.

    Hop_s: resolution in seconds; a phone lasts at least three hops.
    """

    def __init__(self, sample_rate: int, hop_s: float = 0.008, iterations: int = 12) -> None:
        self.sample_rate = sample_rate
        self.hop_length = round(hop_s * sample_rate)
        self.iterations = iterations

    def align(
        self,
        waves: Sequence[Tensor],
        tokens: Sequence[Sequence[str]],
        progress: Callable[[Iterable[int]], Iterable[int]] = iter,
    ) -> list[Alignment]:
        """waves: (T,) each; tokens: phone symbols, with PAUSE where the speaker may pause.

        Returns one alignment each.
        """
        features = [cepstra(wav, self.sample_rate, self.hop_length) for wav in waves]
        names = sorted({t for sequence in tokens for t in sequence} | {PAUSE})
        index = {name: STATES * i for i, name in enumerate(names)}
        states = [self._expand(sequence, index) for sequence in tokens]
        frames = torch.cat(features)
        owner = self._flat_start(features, states, index[PAUSE])
        mean = frames.mean(0).repeat(STATES * len(names), 1)
        variance = frames.var(0).repeat(STATES * len(names), 1)
        mean, variance = self._estimate(frames, owner, mean, variance)
        for _ in progress(range(self.iterations)):
            paths, _ = self._viterbi(features, states, mean, variance, index[PAUSE])
            owner = torch.cat([torch.repeat_interleave(s, d) for s, d in zip(states, paths, strict=True)])
            mean, variance = self._estimate(frames, owner, mean, variance)
        paths, scores = self._viterbi(features, states, mean, variance, index[PAUSE])
        return [
            self._merge(p, sequence, score) for p, sequence, score in zip(paths, tokens, scores, strict=True)
        ]

    @staticmethod
    def _expand(tokens: Sequence[str], index: dict[str, int]) -> Tensor:
        """Token names -> state numbers."""
        states: list[int] = []
        for token in tokens:
            states.extend([index[token]] if token == PAUSE else range(index[token], index[token] + STATES))
        return torch.tensor(states)

    @staticmethod
    def _flat_start(features: Sequence[Tensor], states: Sequence[Tensor], pause: int) -> Tensor:
        """State of every frame at first.

        Each clip shared out evenly, but its quiet frames given to the pause.
        """
        owners = []
        for c, s in zip(features, states, strict=True):
            owner = torch.repeat_interleave(s, _uniform(len(c), s))
            floor, loud = c[:, 0].quantile(0.02), c[:, 0].quantile(0.9)
            owner[c[:, 0] < floor + 0.15 * (loud - floor)] = pause
            owners.append(owner)
        return torch.cat(owners)

    @staticmethod
    def _estimate(frames: Tensor, owner: Tensor, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
        """Means and variances of the frames each state got; states with few frames lean on the old ones."""
        count = torch.zeros(len(mean)).index_add_(0, owner, torch.ones(len(owner)))[:, None]
        prior = 5.0
        new_mean = (torch.zeros_like(mean).index_add_(0, owner, frames) + prior * mean) / (count + prior)
        square = torch.zeros_like(mean).index_add_(0, owner, (frames - new_mean[owner]).square())
        floor = 0.05 * frames.var(0)
        return new_mean, ((square + prior * variance) / (count + prior)).clamp(min=floor)

    def _viterbi(
        self, features: Sequence[Tensor], states: Sequence[Tensor], mean: Tensor, variance: Tensor, pause: int
    ) -> tuple[list[Tensor], list[float]]:
        """Best path of every item, in batches of similar length."""
        order = sorted(range(len(features)), key=lambda i: len(features[i]))
        paths: list[Tensor] = [torch.empty(0)] * len(features)
        scores = [0.0] * len(features)
        for start in range(0, len(order), 16):
            batch = order[start : start + 16]
            S, N = max(len(states[i]) for i in batch), max(len(features[i]) for i in batch)
            table = torch.zeros(len(batch), S, N)
            optional = torch.zeros(len(batch), S, dtype=torch.bool)
            for row, i in enumerate(batch):
                table[row, : len(states[i]), : len(features[i])] = _log_normal(
                    features[i], mean, variance, states[i]
                )
                optional[row, : len(states[i])] = states[i] == pause
            lengths = (
                torch.tensor([len(states[i]) for i in batch]),
                torch.tensor([len(features[i]) for i in batch]),
            )
            durations = monotonic_alignment(table, *lengths, optional)
            for row, i in enumerate(batch):
                paths[i] = durations[row, : len(states[i])]
                owner = torch.repeat_interleave(torch.arange(len(states[i])), paths[i])
                scores[i] = float(table[row, owner, torch.arange(len(owner))].mean())
        return paths, scores

    def _merge(self, path: Tensor, tokens: Sequence[str], score: float) -> Alignment:
        """Frames a state -> boundaries of tokens in seconds; frame n is centred at n hops."""
        widths = torch.tensor([1 if token == PAUSE else STATES for token in tokens])
        ends = path.cumsum(0)[widths.cumsum(0) - 1]
        # frame n is centred at n hops: a boundary lies half a hop before the next token's first frame
        starts = torch.cat([torch.zeros(1), (ends - 0.5).clamp(min=0)]) * self.hop_length / self.sample_rate
        return Alignment(starts, score)


def _uniform(frames: int, states: Tensor) -> Tensor:
    """Share the frames evenly among states."""
    bounds = torch.linspace(0, frames, len(states) + 1).round().long()
    return bounds.diff()


def _log_normal(frames: Tensor, mean: Tensor, variance: Tensor, states: Tensor) -> Tensor:
    """Log density of every frame (N, F) under every state's diagonal Gaussian -> (S, N)."""
    m, precision = mean[states], 1 / variance[states]
    constant = -0.5 * (variance[states].log() + math.log(2 * math.pi)).sum(1) - 0.5 * (
        m.square() * precision
    ).sum(1)
    return constant[:, None] - 0.5 * precision @ frames.square().T + (m * precision) @ frames.T
