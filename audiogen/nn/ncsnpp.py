"""NCSN++, the U-Net of score-based models (Song et al. 2021), for complex spectra (Richter et al. 2023).

BigGAN-type residual blocks that resample inside with a FIR kernel, pyramids of the input and of the output
beside the U-Net, attention at the coarsest level. Resampling is an ordinary grouped convolution.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

TAPS = (1.0, 3.0, 3.0, 1.0)
FRAME_MULTIPLE = 64  # the published networks pad to it; the group norms see the padding


def _kernel(x: Tensor) -> Tensor:
    taps = torch.tensor(TAPS, dtype=x.dtype, device=x.device) / sum(TAPS)
    return torch.outer(taps, taps).expand(x.shape[1], 1, -1, -1)


def halve(x: Tensor) -> Tensor:
    """(B, C, F, N) -> (B, C, F / 2, N / 2), both even."""
    return F.conv2d(x, _kernel(x), stride=2, padding=1, groups=x.shape[1])


def double(x: Tensor) -> Tensor:
    """(B, C, F, N) -> (B, C, 2 F, 2 N)."""
    return F.conv_transpose2d(x, 4 * _kernel(x), stride=2, padding=1, groups=x.shape[1])


def group_norm(channels: int) -> nn.GroupNorm:
    """Group normalisation with groups of four channels, at most 32 groups."""
    return nn.GroupNorm(min(channels // 4, 32), channels, eps=1e-6)


def convolution(channels: int, out: int, size: int, *, zero: bool = False) -> nn.Conv2d:
    """Convolution that keeps F and N, with DDPM's initial weights (Glorot's), or zeros."""
    conv = nn.Conv2d(channels, out, size, padding=size // 2)
    nn.init.zeros_(conv.weight) if zero else nn.init.xavier_uniform_(conv.weight)
    nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
    return conv


def linear(channels: int, out: int) -> nn.Linear:
    """Linear layer with DDPM's initial weights."""
    layer = nn.Linear(channels, out)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


class ResidualBlock(nn.Module):
    """Norm, activation, resampling, convolution, noise level, and again; (x + branch) / sqrt 2.

    embedding: width of the noise level's, 0 for none. resample: `halve`, `double` or None.
    """

    def __init__(
        self, channels: int, out: int, embedding: int, resample: Callable[[Tensor], Tensor] | None = None
    ) -> None:
        super().__init__()
        self.norm1, self.norm2 = group_norm(channels), group_norm(out)
        self.conv1 = convolution(channels, out, 3)
        self.conv2 = convolution(out, out, 3, zero=True)
        self.level = linear(embedding, out) if embedding else None
        self.shortcut = convolution(channels, out, 1) if channels != out or resample else None
        self.resample = resample

    def forward(self, x: Tensor, level: Tensor | None) -> Tensor:
        """x (B, C, F, N), level (B, D) -> (B, out, F', N')."""
        y = F.silu(self.norm1(x))
        if self.resample is not None:
            x, y = self.resample(x), self.resample(y)
        y = self.conv1(y)
        if self.level is not None and level is not None:
            y = y + self.level(F.silu(level))[:, :, None, None]
        y = self.conv2(F.silu(self.norm2(y)))
        return ((x if self.shortcut is None else self.shortcut(x)) + y) / math.sqrt(2)


class Attention(nn.Module):
    """Self-attention of one head over all places (F, N); (x + branch) / sqrt 2."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = group_norm(channels)
        self.query, self.key, self.value = (linear(channels, channels) for _ in range(3))
        self.out = linear(channels, channels)
        for layer in (self.query, self.key, self.value):
            layer.weight.data.mul_(math.sqrt(0.1))
        nn.init.zeros_(self.out.weight)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, F, N) -> like x."""
        y = self.norm(x).flatten(2).mT
        y = F.scaled_dot_product_attention(self.query(y), self.key(y), self.value(y))
        return (x + self.out(y).mT.reshape(x.shape)) / math.sqrt(2)


class Level(nn.Module):
    """One resolution: residual blocks, each with attention or none."""

    def __init__(self, channels: list[int], out: int, embedding: int, attention: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(ResidualBlock(c, out, embedding) for c in channels)
        self.attentions = nn.ModuleList(Attention(out) for _ in range(attention))


class NCSNpp(nn.Module):
    """Complex planes in, one complex plane out; 27.8 M parameters are StoRM's NCSN++M.

    planes: complex inputs. timed: whether it is told a noise level. bins: frequencies, a multiple of
    2^(levels - 1). base, multipliers: channels of the levels. blocks: residual blocks of a level on the way
    down, one more on the way up. attention_bins: frequencies of levels with attention, beside the coarsest.
    shifted: map inputs x to 2 x - 1, as the released StoRM networks do. level_bias: multiply the last bias by
    e^level, which is t for the released score networks: they divide by t before their last layer, not after.
    Raises ValueError for other bins.
    12 M: base 96, multipliers (1, 2, 2, 1); 6 M: (1, 1, 1, 1); SGMSE+: base 128, (1, 1, 2, 2, 2, 2, 2),
    blocks 2, attention_bins (16,).
    """

    def __init__(
        self,
        planes: int,
        *,
        timed: bool,
        bins: int = 256,
        base: int = 128,
        multipliers: tuple[int, ...] = (1, 2, 2, 2),
        blocks: int = 1,
        attention_bins: tuple[int, ...] = (),
        shifted: bool = False,
        level_bias: bool = False,
    ) -> None:
        super().__init__()
        if bins % 2 ** (len(multipliers) - 1):
            raise ValueError(
                f"{len(multipliers)} levels halve the frequencies {len(multipliers) - 1} times, and {bins} "
                "is no multiple of that power of 2; choose another n_fft or fewer levels"
            )
        self.shifted, self.level_bias = shifted, level_bias
        pyramid, embedding = 2 * planes, 4 * base if timed else 0
        self.frequencies: Tensor
        if timed:
            self.register_buffer("frequencies", 16 * torch.randn(base))
            self.embed = nn.ModuleList([linear(2 * base, embedding), linear(embedding, embedding)])
        self.stem = convolution(pyramid, base, 3)
        widths = [base * m for m in multipliers]
        attended = [bins // 2**i in attention_bins for i in range(len(widths))]
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        self.shrink, self.combine, self.grow = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        kept = [channels := base]
        for width, attend in zip(widths, attended, strict=True):
            if self.down:
                self.shrink.append(ResidualBlock(channels, channels, embedding, halve))
                self.combine.append(convolution(pyramid, channels, 1))
                kept.append(channels)
            incoming = [channels] + [width] * (blocks - 1)
            self.down.append(Level(incoming, width, embedding, blocks if attend else 0))
            kept += [channels := width] * blocks
        self.middle = nn.ModuleList([ResidualBlock(channels, channels, embedding) for _ in range(2)])
        self.attention = Attention(channels)
        self.norms, self.planes = nn.ModuleList(), nn.ModuleList()
        for width, attend in zip(widths[::-1], attended[::-1], strict=True):
            if self.up:
                self.grow.append(ResidualBlock(channels, channels, embedding, double))
            incoming = [c + kept.pop() for c in [channels] + [width] * blocks]
            self.up.append(Level(incoming, width, embedding, int(attend)))
            self.norms.append(group_norm(channels := width))
            self.planes.append(convolution(width, pyramid, 3, zero=True))
        self.out = nn.Conv2d(pyramid, 2, 1)

    def forward(self, x: Tensor, level: Tensor | None = None) -> Tensor:
        """x (B, 2 planes, F, N), level (B,) if timed -> (B, 2, F, N).

        Planes are pairs of real and imaginary parts. Any number of frames: they are padded with zeros to a
        multiple of 64, which every frame feels a little through the norms, as through the other frames.
        """
        frames = x.shape[-1]
        x = F.pad(x, (0, -frames % FRAME_MULTIPLE))
        if self.shifted:
            x = 2 * x - 1
        told = None if level is None else self.embedding(level)
        pyramid = self.decode(*self.encode(x, told), told)[..., :frames]
        if not self.level_bias or level is None:
            return self.out(pyramid)
        bias: Tensor = self.out.bias  # type: ignore[assignment]
        return F.conv2d(pyramid, self.out.weight) + level.exp()[:, None, None, None] * bias[:, None, None]

    def embedding(self, level: Tensor) -> Tensor:
        """Random Fourier features of the noise level (Tancik et al. 2020), (B,) -> (B, 4 base)."""
        angles = 2 * math.pi * level[:, None] * self.frequencies
        first, second = self.embed
        return second(F.silu(first(torch.cat([angles.sin(), angles.cos()], dim=1))))

    def encode(self, x: Tensor, level: Tensor | None) -> tuple[Tensor, list[Tensor]]:
        """Input -> the coarsest state and what the way up will see of the way down."""
        pyramid, state = x, self.stem(x)
        kept = [state]
        stage: Any
        for i, stage in enumerate(self.down):
            if i:
                pyramid = halve(pyramid)
                state = self.combine[i - 1](pyramid) + self.shrink[i - 1](state, level)
                kept.append(state)
            for j, block in enumerate(stage.blocks):
                state = block(state, level)
                if stage.attentions:
                    state = stage.attentions[j](state)
                kept.append(state)
        first, second = self.middle
        return second(self.attention(first(state, level)), level), kept

    def decode(self, state: Tensor, kept: list[Tensor], level: Tensor | None) -> Tensor:
        """The way up, from the coarsest state to the output pyramid at full resolution."""
        stage: Any
        pyramid = None
        for i, stage in enumerate(self.up):
            if i:
                state = self.grow[i - 1](state, level)
            for block in stage.blocks:
                state = block(torch.cat([state, kept.pop()], dim=1), level)
            for attention in stage.attentions:
                state = attention(state)
            plane = self.planes[i](F.silu(self.norms[i](state)))
            pyramid = plane if pyramid is None else double(pyramid) + plane
        assert pyramid is not None, "a network has levels"
        return pyramid
