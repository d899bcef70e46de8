"""U-Net over mel bins and frames: the denoiser of Grad-TTS (Popov et al. 2021) and CoMoSpeech.

Every feature map is zero where it is masked, so that convolutions see what they see beyond the last frame;
statistics and attention leave masked frames out. An utterance's output hence does not depend on the batch it
travels in.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiogen.nn.level_embedding import LevelEmbedding


class MaskedGroupNorm(nn.Module):
    """Group normalisation (Wu & He 2018) with the statistics of the real frames only."""

    def __init__(self, channels: int, groups: int = 8, eps: float = 1e-5) -> None:
        super().__init__()
        if channels % groups:
            raise ValueError(f"{channels} channels do not divide into {groups} groups; use a multiple")
        self.groups, self.eps = groups, eps
        self.scale = nn.Parameter(torch.ones(channels, 1, 1))
        self.shift = nn.Parameter(torch.zeros(channels, 1, 1))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x (B, C, F, N), mask (B, 1, 1, N) 1 = real -> (B, C, F, N), `shift` where masked."""
        B, C, bins, N = x.shape
        groups = x.view(B, self.groups, C // self.groups * bins, N).float()
        count = mask.sum(-1, keepdim=True).clamp(min=1) * groups.shape[2]
        mean = (groups * mask).sum((2, 3), keepdim=True) / count
        groups = (groups - mean) * mask
        variance = groups.square().sum((2, 3), keepdim=True) / count
        return (groups * (variance + self.eps).rsqrt()).view_as(x) * self.scale + self.shift


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions, each with normalisation and Mish, the noise level added between them."""

    def __init__(self, inputs: int, channels: int, level: int, groups: int = 8) -> None:
        super().__init__()
        self.level = nn.Sequential(nn.Mish(), nn.Linear(level, channels))
        self.convs = nn.ModuleList(nn.Conv2d(size, channels, 3, padding=1) for size in (inputs, channels))
        self.norms = nn.ModuleList(MaskedGroupNorm(channels, groups) for _ in range(2))
        # no bias: it would fill masked frames
        self.shortcut = nn.Identity() if inputs == channels else nn.Conv2d(inputs, channels, 1, bias=False)

    def forward(self, x: Tensor, level: Tensor, mask: Tensor) -> Tensor:
        """x (B, C, F, N) zero where masked, level (B, L), mask (B, 1, 1, N) -> (B, channels, F, N)."""
        y = F.mish(self.norms[0](self.convs[0](x), mask))
        y = (y + self.level(level)[:, :, None, None]) * mask
        y = F.mish(self.norms[1](self.convs[1](y), mask)) * mask
        return self.shortcut(x) + y


class LinearAttention(nn.Module):
    """Attention with cost linear in positions, keys normalised over them (Shen et al. 2021, section 3.2).

    The residual branch is scaled by a number that starts at zero (ReZero, Bachlechner et al. 2021).
    """

    def __init__(self, channels: int, heads: int = 4, width: int = 32) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Conv2d(channels, 3 * heads * width, 1, bias=False)
        self.out = nn.Conv2d(heads * width, channels, 1, bias=False)
        self.scale = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x (B, C, F, N) zero where masked, mask (B, 1, 1, N) 1 = real -> (B, C, F, N), likewise zero."""
        B, _, bins, N = x.shape
        q, k, v = self.qkv(x).view(B, 3, self.heads, -1, bins * N).unbind(1)
        hidden = (mask == 0).expand(B, 1, bins, N).reshape(B, 1, 1, bins * N)
        k = k.masked_fill(hidden, torch.finfo(k.dtype).min).softmax(-1)
        y = (k @ v.transpose(-1, -2)).transpose(-1, -2) @ q  # q is zero where x is
        return x + self.scale * self.out(y.view(B, -1, bins, N))


class Level(nn.Module):
    """What every scale of the U-Net does: two residual blocks, then attention."""

    def __init__(self, inputs: int, channels: int, level: int, groups: int, heads: int) -> None:
        super().__init__()
        self.first = ResidualBlock(inputs, channels, level, groups)
        self.second = ResidualBlock(channels, channels, level, groups)
        self.attention = LinearAttention(channels, heads)

    def forward(self, x: Tensor, level: Tensor, mask: Tensor) -> Tensor:
        """See `ResidualBlock`."""
        return self.attention(self.second(self.first(x, level, mask), level, mask), mask)


class Bottom(nn.Module):
    """The coarsest scale after the way down: a residual block, attention, a residual block."""

    def __init__(self, channels: int, level: int, groups: int, heads: int) -> None:
        super().__init__()
        self.first = ResidualBlock(channels, channels, level, groups)
        self.attention = LinearAttention(channels, heads)
        self.second = ResidualBlock(channels, channels, level, groups)

    def forward(self, x: Tensor, level: Tensor, mask: Tensor) -> Tensor:
        """See `ResidualBlock`."""
        return self.second(self.attention(self.first(x, level, mask), mask), level, mask)


class UNetDenoiser(nn.Module):
    """`MelDenoiser` that sees the noisy mel and a mel-like image of the condition as two channels.

    n_mels: a multiple of 2 ** (scales - 1), one scale a multiplier. channels: of the finest scale, a multiple
    of `groups`. The defaults are the sizes of Grad-TTS, 7.6 M parameters. Raises ValueError when sizes do not
    divide.
    """

    def __init__(
        self,
        n_mels: int,
        condition: int,
        channels: int = 64,
        multipliers: Sequence[int] = (1, 2, 4),
        groups: int = 8,
        heads: int = 4,
    ) -> None:
        super().__init__()
        self.factor = 2 ** (len(multipliers) - 1)
        if n_mels % self.factor:
            raise ValueError(
                f"n_mels {n_mels} is halved {len(multipliers) - 1} times: use a multiple of {self.factor}"
            )
        sizes = [channels * m for m in multipliers]
        self.condition = nn.Conv1d(condition, n_mels, 1)
        self.level = LevelEmbedding(channels)
        self.down = nn.ModuleList(
            Level(inputs, size, channels, groups, heads) for inputs, size in pairwise([2, *sizes])
        )
        self.shrink = nn.ModuleList(nn.Conv2d(size, size, 3, stride=2, padding=1) for size in sizes[:-1])
        self.bottom = Bottom(sizes[-1], channels, groups, heads)
        self.up = nn.ModuleList(
            Level(2 * coarse, fine, channels, groups, heads) for fine, coarse in pairwise(sizes)
        )
        self.grow = nn.ModuleList(
            nn.ConvTranspose2d(size, size, 4, stride=2, padding=1) for size in sizes[:-1]
        )
        self.last = nn.Conv2d(sizes[0], sizes[0], 3, padding=1)
        self.norm = MaskedGroupNorm(sizes[0], groups)
        self.head = nn.Conv2d(sizes[0], 1, 1)

    def project(self, condition: Tensor) -> Tensor:
        """Condition (B, C, N) -> its image (B, n_mels, N), the paper's mu."""
        return self.condition(condition)

    def forward(self, x: Tensor, log_snr: Tensor, projected: Tensor, mask: Tensor) -> Tensor:
        """See `MelDenoiser`."""
        N = x.shape[-1]
        padding = (0, -N % self.factor)
        full = F.pad(mask[:, :, None].to(x.dtype), padding)
        masks = [full[..., :: 2**i] for i in range(len(self.down))]  # of each scale; real frames come first
        level = self.level(log_snr)
        y = F.pad(torch.stack([projected, x], dim=1), padding) * full
        skips = []
        for i, down in enumerate(self.down):
            if i:
                y = self.shrink[i - 1](y) * masks[i]
            y = down(y, level, masks[i])
            skips.append(y)
        y = self.bottom(y, level, masks[-1])
        for i in reversed(range(len(self.up))):
            y = self.up[i](torch.cat([y, skips[i + 1]], dim=1), level, masks[i + 1])
            y = self.grow[i](y) * masks[i]
        y = self.head(F.mish(self.norm(self.last(y), full)))
        return y[:, 0, :, :N] * mask
