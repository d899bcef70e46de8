"""Denoisers of mel frames: noisy frames, a noise level and a condition in, clean frames out."""

from __future__ import annotations

import math
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiogen.nn.conv import Pointwise
from audiogen.nn.convnext import ConvNeXtBlock
from audiogen.nn.level_embedding import LevelEmbedding
from audiogen.nn.unet import UNetDenoiser


class MelDenoiser(Protocol):
    """A network whose use of the condition is computed once an utterance (`project`), not once a step."""

    def project(self, condition: Tensor) -> Tensor:
        """Condition (B, C, N) -> what every step needs of it."""
        ...

    def __call__(self, x: Tensor, log_snr: Tensor, projected: Tensor, mask: Tensor) -> Tensor:
        """x (B, n_mels, N), log_snr (B,), mask (B, 1, N) -> clean frames (B, n_mels, N)."""
        ...


class ConvNeXtDenoiser(nn.Module):
    """Depthwise-convolutional denoiser: the quick one on CPUs. Receptive field 6 blocks + 1 frames."""

    def __init__(
        self, n_mels: int, condition: int, channels: int = 192, blocks: int = 6, hidden: int = 384
    ) -> None:
        super().__init__()
        self.stem = Pointwise(n_mels, channels)
        self.level = LevelEmbedding(channels)
        self.condition = Pointwise(condition, channels * blocks)
        self.blocks = nn.ModuleList(
            ConvNeXtBlock(channels, hidden, layer_scale=1 / blocks) for _ in range(blocks)
        )
        self.head = Pointwise(channels, n_mels)

    def project(self, condition: Tensor) -> Tensor:
        """Condition (B, C, N) -> every block's share of it, one 1x1 convolution for all."""
        return self.condition(condition)

    def forward(self, x: Tensor, log_snr: Tensor, projected: Tensor, mask: Tensor) -> Tensor:
        """See `MelDenoiser`."""
        x = self.stem(x) + self.level(log_snr)[:, :, None]
        for block, condition in zip(self.blocks, projected.chunk(len(self.blocks), dim=1), strict=True):
            x = block(x * mask, condition * mask)
        return self.head(x) * mask


class WaveNetLayer(nn.Module):
    """Gated dilated convolution with residual and skip outputs (van den Oord et al. 2016, Fig. 4)."""

    def __init__(self, channels: int, kernel_size: int, dilation: int) -> None:
        super().__init__()
        padding = dilation * (kernel_size // 2)
        self.conv = nn.Conv1d(channels, 2 * channels, kernel_size, padding=padding, dilation=dilation)
        self.out = Pointwise(channels, 2 * channels)

    def forward(self, x: Tensor, level: Tensor, condition: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """x (B, C, N), level (B, C), condition (B, 2C, N) -> residual and skip outputs (B, C, N)."""
        gate, value = (self.conv((x + level[:, :, None]) * mask) + condition).chunk(2, dim=1)
        residual, skip = self.out(gate.sigmoid() * value.tanh()).chunk(2, dim=1)
        return (x + residual) / math.sqrt(2), skip


class WaveNetDenoiser(nn.Module):
    """Non-causal WaveNet (ProDiff's and DiffSinger's denoiser); dilations repeat 1, 2, 4, .

    `dilation_cycle` long.
    """

    def __init__(
        self,
        n_mels: int,
        condition: int,
        channels: int = 256,
        blocks: int = 20,
        kernel_size: int = 3,
        dilation_cycle: int = 1,
    ) -> None:
        super().__init__()
        self.stem = Pointwise(n_mels, channels)
        self.level = LevelEmbedding(channels)
        self.levels = nn.Linear(channels, channels * blocks)
        self.condition = Pointwise(condition, 2 * channels * blocks)
        self.layers = nn.ModuleList(
            WaveNetLayer(channels, kernel_size, 2 ** (i % dilation_cycle)) for i in range(blocks)
        )
        self.skip = Pointwise(channels, channels)
        self.head = Pointwise(channels, n_mels)
        nn.init.zeros_(self.head.weight)

    def project(self, condition: Tensor) -> Tensor:
        """Condition (B, C, N) -> every layer's share of it, one 1x1 convolution for all."""
        return self.condition(condition)

    def forward(self, x: Tensor, log_snr: Tensor, projected: Tensor, mask: Tensor) -> Tensor:
        """See `MelDenoiser`."""
        x = F.relu(self.stem(x))
        count = len(self.layers)
        levels = self.levels(self.level(log_snr)).chunk(count, dim=1)
        total = torch.zeros_like(x)
        for layer, level, condition in zip(self.layers, levels, projected.chunk(count, dim=1), strict=True):
            x, skip = layer(x, level, condition, mask)
            total = total + skip
        return self.head(F.relu(self.skip(total / math.sqrt(count)))) * mask


DENOISERS = {"convnext": ConvNeXtDenoiser, "wavenet": WaveNetDenoiser, "unet": UNetDenoiser}
