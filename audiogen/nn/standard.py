"""Values relative to what is usual in the training data."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Standard(nn.Module):
    """Standardises the channels of (B, C, N) by the mean and the deviation of all inputs seen in training.

    Unlike batch normalisation, which hides from a network how its batch differs from others. Before any
    training nothing changes.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros(()))
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("square", torch.ones(channels))
        self.count: Tensor
        self.mean: Tensor
        self.square: Tensor

    @property
    def deviation(self) -> Tensor:
        """Standard deviation of every channel (C,)."""
        return (self.square - self.mean.square()).clamp(min=1e-4).sqrt()

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, N) -> the same with about zero mean and unit variance; counts x when training."""
        if self.training:
            self.observe(x.detach())
        return (x - self.mean[:, None]) / self.deviation[:, None]

    @torch.no_grad()
    def observe(self, x: Tensor) -> None:
        """Add a batch (B, C, N) to the statistics."""
        self.count = self.count + 1
        self.mean = self.mean.lerp(x.mean(dim=(0, 2)), 1 / self.count)
        self.square = self.square.lerp(x.square().mean(dim=(0, 2)), 1 / self.count)
