"""Variance adaptor of FastSpeech 2 (Ren et al. 2021): duration, pitch and energy of every token."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiogen.nn.conv import Pointwise
from audiogen.nn.convnext import ChannelNorm


class Variances(NamedTuple):
    """What the predictors say of each token, (B, S) each.

    log_durations: ln(frames + 1). pitch: standardised mean log-F0. energy: standardised mean log-energy.
    """

    log_durations: Tensor
    pitch: Tensor
    energy: Tensor


class VariancePredictor(nn.Module):
    """Two convolutions with ReLU, normalisation and dropout, then one number a token (Ren et al.

    2021, Fig. 1c).
    """

    def __init__(self, channels: int, hidden: int, kernel_size: int, dropout: float) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Conv1d(a, hidden, kernel_size, padding=kernel_size // 2) for a in (channels, hidden)
        )
        self.norms = nn.ModuleList(ChannelNorm(hidden) for _ in range(2))
        self.dropout = nn.Dropout(dropout)
        self.out = Pointwise(hidden, 1)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x (B, C, S), mask (B, 1, S) -> (B, S), zero where masked."""
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = self.dropout(norm(F.relu(conv(x)))) * mask
        out: Tensor = self.out(x) * mask
        return out[:, 0]


class VarianceAdaptor(nn.Module):
    """Predicts duration, pitch and energy from hidden states, and adds pitch and energy to them.

    gradient_share: part of the predictors' gradient that reaches the encoder (0.1 as in ProDiff's code).
    """

    def __init__(
        self,
        channels: int,
        hidden: int = 128,
        duration_kernel: int = 3,
        pitch_kernel: int = 5,
        dropout: float = 0.5,
        gradient_share: float = 0.1,
    ) -> None:
        super().__init__()
        self.gradient_share = gradient_share
        self.duration = VariancePredictor(channels, hidden, duration_kernel, dropout)
        self.pitch = VariancePredictor(channels, hidden, pitch_kernel, dropout)
        self.energy = VariancePredictor(channels, hidden, pitch_kernel, dropout)
        self.embed_pitch = nn.Conv1d(1, channels, 3, padding=1)
        self.embed_energy = nn.Conv1d(1, channels, 3, padding=1)

    def predict(self, x: Tensor, mask: Tensor) -> Variances:
        """Hidden states x (B, C, S), mask (B, 1, S) -> predictions."""
        x = x.detach() + self.gradient_share * (x - x.detach())
        return Variances(self.duration(x, mask), self.pitch(x, mask), self.energy(x, mask))

    def add(self, x: Tensor, pitch: Tensor, energy: Tensor, mask: Tensor) -> Tensor:
        """Hidden states x (B, C, S) with pitch and energy (B, S) added."""
        added: Tensor = x + self.embed_pitch(pitch[:, None]) + self.embed_energy(energy[:, None])
        return added * mask


def regulate_length(x: Tensor, durations: Tensor) -> tuple[Tensor, Tensor]:
    """Repeat hidden states x (B, C, S) by durations (B, S) int64.

    Returns (B, C + 2, N), mask (B, 1, N) True = real.

    The two added channels tell where in its token a frame lies (-1 to 1) and how long the token is (ln(frames
    + 1)).
    """
    ends = durations.cumsum(1)
    frames = torch.arange(int(ends[:, -1].max()), device=x.device)
    mask = frames[None] < ends[:, -1:]
    owner = torch.searchsorted(ends, frames.expand(len(x), -1).contiguous(), right=True)
    owner = owner.clamp(max=durations.shape[1] - 1)
    length = durations.gather(1, owner).clamp(min=1).float()
    offset = frames - (ends.gather(1, owner) - length)
    place = torch.stack([2 * (offset + 0.5) / length - 1, torch.log1p(length)], dim=1)
    repeated = x.gather(2, owner[:, None].expand(-1, x.shape[1], -1))
    return torch.cat([repeated, place.to(x)], dim=1) * mask[:, None], mask[:, None]


def token_means(values: Tensor, durations: Tensor, where: Tensor | None = None) -> Tensor:
    """Mean of frame values (N,) over each token's frames, (S,) durations.

    `where` (N,) keeps only some frames.

    Tokens without frames are filled in by linear interpolation between their neighbours.
    """
    where = torch.ones_like(values, dtype=torch.bool) if where is None else where
    owner = torch.repeat_interleave(torch.arange(len(durations)), durations)
    count = torch.zeros(len(durations)).index_add_(0, owner, where.float())
    total = torch.zeros(len(durations)).index_add_(0, owner, torch.where(where, values, 0.0).float())
    known = count > 0
    if not known.any():
        return torch.zeros(len(durations))
    means = total / count.clamp(min=1)
    index = known.nonzero()[:, 0]
    position = torch.arange(len(durations))
    after = torch.searchsorted(index, position).clamp(max=len(index) - 1)
    before = (after - (index[after] > position).long()).clamp(min=0)
    left, right = index[before], index[after]
    share = ((position - left) / (right - left).clamp(min=1)).clamp(0, 1)
    return torch.lerp(means[left], means[right], share)
