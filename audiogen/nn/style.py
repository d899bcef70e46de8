"""What is heard of references: timbre as a set of mel frames, style as a short curve of prosody."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiogen.nn.convnext import ConvNeXtBlock
from audiogen.nn.dual_attention import STYLE_HOP

CURVES = 3  # log-F0, voicing, loudness; the low mel bins come after them
OCTAVE = math.log(2)
LEVEL_SCALE = 2.0  # nepers that loudness and mel bins are told in


def prosody(mel: Tensor, f0: Tensor, low_bins: int) -> Tensor:
    """Prosody of a clip, without its mean pitch, level and colour: what is left of them says who speaks.

    mel: log-mel (n_mels, N). f0: Hz (N,), 0 = unvoiced. low_bins: lowest mel bins to keep. Returns (3 +
    low_bins, N): log-F0 in octaves from the clip's mean (bridged where unvoiced), voicing, loudness, mel bins
    less their means.
    """
    voiced = f0 > 0
    log_f0 = torch.zeros_like(f0)
    if bool(voiced.any()):
        where = voiced.nonzero()[:, 0]
        log_f0 = bridge(f0[where].log(), where, len(f0))
        log_f0 = (log_f0 - f0[where].log().mean()) / OCTAVE
    loudness = torch.logsumexp(mel, dim=0)
    low = mel[:low_bins]
    level = torch.cat([loudness[None], low]) if low_bins else loudness[None]
    level = (level - level.mean(1, keepdim=True)) / LEVEL_SCALE
    return torch.cat([log_f0[None], voiced[None].to(mel), level])


def bridge(values: Tensor, where: Tensor, count: int) -> Tensor:
    """Values known at places `where`, rising -> (count,), straight lines between, the ends held."""
    place = torch.arange(count, device=where.device)
    after = torch.searchsorted(where, place).clamp(max=len(where) - 1)
    before = (after - (where[after] > place).long()).clamp(min=0)
    share = (place - where[before]) / (where[after] - where[before]).clamp(min=1)
    return torch.lerp(values[before], values[after], share.clamp(0, 1).to(values))


class TimbreEncoder(nn.Module):
    """Mel frames to keys' and values' source, each frame by itself: order tells what was said, not who."""

    def __init__(self, n_mels: int, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(n_mels, channels), nn.GELU(), nn.Linear(channels, channels), nn.LayerNorm(channels)
        )

    def forward(self, mel: Tensor) -> Tensor:
        """Standardised mel (B, n_mels, M) -> (B, M, C)."""
        frames: Tensor = self.layers(mel.transpose(1, 2))
        return frames


class StyleEncoder(nn.Module):
    """Prosody to one style vector every STYLE_HOP frames: average pooling, conv blocks, a narrow neck.

    neck: numbers that each vector is told by; few of them cannot tell words or voices.
    """

    def __init__(self, inputs: int, channels: int = 64, blocks: int = 2, neck: int = 8) -> None:
        super().__init__()
        self.channels, self.neck = channels, neck
        self.stem = nn.Conv1d(inputs, channels, 3, padding=1)
        self.blocks = nn.ModuleList(ConvNeXtBlock(channels, 2 * channels, 5) for _ in range(blocks))
        self.narrow = nn.Linear(channels, neck)
        self.widen = nn.Linear(neck, channels)

    def forward(self, curves: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """curves (B, inputs, N), mask (B, N) -> vectors (B, J, C), mask (B, J), means of the neck (B, neck).

        J = ceil(N / STYLE_HOP); real are the vectors of frames that are.
        """
        pad = (0, -curves.shape[-1] % STYLE_HOP)
        real = F.pad(mask.to(curves)[:, None], pad)
        total = F.avg_pool1d(F.pad(curves * mask[:, None], pad), STYLE_HOP)
        weight = F.avg_pool1d(real, STYLE_HOP)
        kept = weight > 0
        x = self.stem(total / weight.clamp(min=1 / STYLE_HOP)) * kept
        for block in self.blocks:
            x = block(x) * kept
        told = torch.tanh(self.narrow(x.transpose(1, 2)))
        mean = (told * kept.mT).sum(1) / kept.sum(-1).clamp(min=1)
        return self.widen(told), kept[:, 0], mean


class _Reversal(torch.autograd.Function):
    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: object, *gradients: Tensor) -> Tensor:
        return -gradients[0]


def reverse_gradient(x: Tensor) -> Tensor:
    """x, whose gradient changes its sign: what comes after learns, what comes before unlearns it.

    Ganin and Lempitsky 2015, equation 13.
    """
    reversed_: Tensor = _Reversal.apply(x)  # type: ignore[no-untyped-call]
    return reversed_
