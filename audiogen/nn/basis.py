"""The best linear code of vectors: their principal components."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Basis(nn.Module):
    """Vectors (..., width) to `count` uncorrelated coefficients of unit variance and back, as near as can be.

    The Karhunen-Loeve transform, whitened: `add` data, then `fit`. Before, the directions are random.
    """

    def __init__(self, width: int, count: int) -> None:
        super().__init__()
        if count > width:
            raise ValueError(f"{width} values have no {count} components; use fewer")
        vectors = torch.linalg.qr(torch.randn(width, count))[0]
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("vectors", vectors)
        self.register_buffer("deviations", torch.ones(count))
        self.mean: Tensor
        self.vectors: Tensor
        self.deviations: Tensor
        self._sums: tuple[int, Tensor, Tensor] | None = None

    def analyse(self, x: Tensor) -> Tensor:
        """(..., width) -> coefficients (..., count)."""
        return (x - self.mean) @ self.vectors / self.deviations

    def synthesise(self, coefficients: Tensor) -> Tensor:
        """(..., count) -> (..., width)."""
        return (coefficients * self.deviations) @ self.vectors.T + self.mean

    @torch.no_grad()
    def add(self, x: Tensor) -> None:
        """Take vectors (N, width) into account."""
        x = x.double()
        count, total, outer = self._sums or (0, x.new_zeros(x.shape[1]), x.new_zeros(x.shape[1], x.shape[1]))
        self._sums = count + len(x), total + x.sum(0), outer + x.T @ x

    @torch.no_grad()
    def fit(self) -> None:
        """Become the basis of all that was added, and forget that. Raises ValueError when it was nothing."""
        if self._sums is None:
            raise ValueError("there is no data to fit a basis to; add some first")
        count, total, outer = self._sums
        mean = total / count
        values, vectors = torch.linalg.eigh(outer / count - torch.outer(mean, mean))
        size = len(self.deviations)
        self.mean.copy_(mean)
        self.vectors.copy_(vectors.flip(1)[:, :size])
        # what does not vary has coefficients of zero
        self.deviations.copy_(values.flip(0)[:size].clamp(min=1e-8).sqrt())
        self._sums = None
