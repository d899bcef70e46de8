"""ConvNeXt blocks over time."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ChannelNorm(nn.Module):
    """Layer normalisation of (B, C, N) over C."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(channels))
        self.shift = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, N) -> (B, C, N)."""
        y = F.layer_norm(x.transpose(1, 2), self.scale.shape, self.scale, self.shift, 1e-6)
        return y.transpose(1, 2)


class ConvNeXtBlock(nn.Module):
    """Depthwise convolution, normalisation, pointwise MLP, scaled residual (Liu et al. 2022, Fig.

    4, in one dimension).

    `layer_scale` starts the residual branch small, so that a deep stack begins near the identity.
    """

    def __init__(self, channels: int, hidden: int, kernel_size: int = 7, layer_scale: float = 0.1) -> None:
        super().__init__()
        self.depthwise = nn.Conv1d(channels, channels, kernel_size, padding=kernel_size // 2, groups=channels)
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.expand = nn.Linear(channels, hidden)
        self.contract = nn.Linear(hidden, channels)
        self.scale = nn.Parameter(torch.full((channels,), layer_scale))

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """x (B, C, N) -> (B, C, N); a condition (B, C, N) is added to what the residual branch sees."""
        y = self.depthwise(x if condition is None else x + condition)
        y = self.contract(F.gelu(self.expand(self.norm(y.transpose(1, 2)))))
        return x + (self.scale * y).transpose(1, 2)
