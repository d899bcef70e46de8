"""Data whose ideal denoiser is known exactly: the truth that samplers are tested against."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from audiogen.sampling.paths import Path, append_dims


@dataclass(frozen=True)
class Gaussian:
    """Independent data N(mean, std^2); mean and std broadcast against x (B, ...) and are taken in float64."""

    path: Path
    mean: Tensor | float
    std: Tensor | float

    def denoise(self, x: Tensor, t: Tensor, *, y: Tensor | None = None) -> Tensor:
        """Expected clean data E[x0 | x_t]; x, y: (B, ...), t: (B,)."""
        alpha, centre, variance = self._law(t, x.ndim, y)
        gain = alpha * self.std**2 / variance
        return self.mean + gain * (x - centre)

    def flow(self, x: Tensor, t: Tensor, t_next: Tensor, *, y: Tensor | None = None) -> Tensor:
        """Exact end at times `t_next` of the probability flow that passes through x at times `t`; both (B,).

        It keeps the number of standard deviations from the mean; at t_next = 0 it is the consistency map.
        """
        _, centre, variance = self._law(t, x.ndim, y)
        _, centre_next, variance_next = self._law(t_next, x.ndim, y)
        return centre_next + torch.sqrt(variance_next / variance) * (x - centre)

    def _law(self, t: Tensor, ndim: int, y: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Return alpha, and the mean and variance of x_t."""
        alpha, mu, sigma = (append_dims(f(t), ndim) for f in (self.path.alpha, self.path.mu, self.path.sigma))
        centre = alpha * self.mean if y is None else alpha * self.mean + mu * y
        return alpha, centre, alpha**2 * self.std**2 + sigma**2


@dataclass(frozen=True)
class Mixture:
    """Independent data from a one-dimensional Gaussian mixture, the same for every element of x."""

    path: Path
    weights: tuple[float, ...] = (0.3, 0.5, 0.2)
    means: tuple[float, ...] = (-1.2, 0.4, 1.5)
    stds: tuple[float, ...] = (0.25, 0.35, 0.2)

    def log_density(self, x: Tensor, t: Tensor, *, y: Tensor | None = None) -> Tensor:
        """Elementwise log p_t(x); x, y: (B, ...), t: (B,)."""
        return torch.logsumexp(self._components(x, t, y)[0], dim=-1)

    def denoise(self, x: Tensor, t: Tensor, *, y: Tensor | None = None) -> Tensor:
        """Expected clean data E[x0 | x_t]; x, y: (B, ...), t: (B,)."""
        log_joint, posterior_means = self._components(x, t, y)
        return (torch.softmax(log_joint, dim=-1) * posterior_means).sum(-1)

    def _components(self, x: Tensor, t: Tensor, y: Tensor | None) -> tuple[Tensor, Tensor]:
        """Log joint density and E[x0 | x_t, component] of every component, both (B, ..., K)."""
        alpha, mu, sigma = (
            append_dims(f(t), x.ndim + 1) for f in (self.path.alpha, self.path.mu, self.path.sigma)
        )
        weights, means, stds = (
            x.new_tensor(v, dtype=torch.float64) for v in (self.weights, self.means, self.stds)
        )
        centred = (x if y is None else x - mu.squeeze(-1) * y).unsqueeze(-1) - alpha * means
        variance = alpha**2 * stds**2 + sigma**2
        log_joint = weights.log() - (centred**2 / variance + torch.log(2 * math.pi * variance)) / 2
        return log_joint, means + alpha * stds**2 / variance * centred
