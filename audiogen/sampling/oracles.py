"""Data whose ideal denoiser is known exactly: the truth that samplers are tested against."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from audiogen.sampling.paths import Path, append_dims

_TINY = torch.finfo(torch.float64).tiny  # where nothing is random, at the y end of a bridge, 0 / 0 must be 0


@dataclass(frozen=True)
class Gaussian:
    """Independent data N(mean, std^2); mean and std broadcast against x (B, ...) and are taken in float64."""

    path: Path
    mean: Tensor | float
    std: Tensor | float

    def law(self, t: Tensor, ndim: int, *, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of x_t, broadcasting to (B, ...) of rank ndim; t: (B,), y: (B, ...)."""
        alpha, mu, sigma = _coefficients(self.path, t, ndim)
        mean = alpha * self.mean if y is None else alpha * self.mean + mu * y
        return mean, torch.sqrt(alpha**2 * self.std**2 + sigma**2)

    def denoise(self, x: Tensor, t: Tensor, *, y: Tensor | None = None) -> Tensor:
        """Expected clean data E[x0 | x_t]; x, y: (B, ...), t: (B,)."""
        mean, std = self.law(t, x.ndim, y=y)
        gain = append_dims(self.path.alpha(t), x.ndim) * self.std**2 / (std**2).clamp(min=_TINY)
        return self.mean + gain * (x - mean)

    def flow(self, x: Tensor, t: Tensor, t_next: Tensor, *, y: Tensor | None = None) -> Tensor:
        """Exact end at times `t_next` of the probability flow that passes through x at times `t`; both (B,).

        It keeps the number of standard deviations from the mean. At t_next = 0 it is the consistency
        function, with both times free the map that consistency trajectory models learn.
        """
        (mean, std), (mean_next, std_next) = self.law(t, x.ndim, y=y), self.law(t_next, x.ndim, y=y)
        return mean_next + std_next / std * (x - mean)

    def flow_log_det(self, x: Tensor, t: Tensor, t_next: Tensor) -> Tensor:
        """Elementwise log |d flow / dx| (B, ...), the same at every x."""
        return torch.log(self.law(t_next, x.ndim)[1] / self.law(t, x.ndim)[1]).expand(x.shape)

    def log_density(self, x: Tensor, t: Tensor, *, y: Tensor | None = None) -> Tensor:
        """Elementwise log p_t(x); x, y: (B, ...) real, t: (B,)."""
        mean, std = self.law(t, x.ndim, y=y)
        return -(((x - mean) / std) ** 2) / 2 - torch.log(std) - math.log(2 * math.pi) / 2


@dataclass(frozen=True)
class CorrelatedGaussian:
    """Data N(mean, V diag(stds^2) V^T): independent along each eigenvector, a column of V.

    mean: (n,); stds: (n,); vectors: V (n, n), all float64. The law is that of the last dimension of x where
    that has n elements, else of all n elements of an item together; x: (B, ..., n), or (B, ...).
    """

    path: Path
    mean: Tensor
    stds: Tensor
    vectors: Tensor

    @classmethod
    def from_covariance(cls, path: Path, mean: Tensor, covariance: Tensor) -> CorrelatedGaussian:
        """Oracle of a covariance (n, n); raises ValueError unless it is symmetric and not negative."""
        covariance = torch.as_tensor(covariance, dtype=torch.float64)
        values, vectors = torch.linalg.eigh(covariance)
        tolerance = 1e-12 * float(values.abs().max())
        if float((covariance - covariance.mT).abs().max()) > tolerance or float(values.min()) < -tolerance:
            raise ValueError(
                "a covariance must be symmetric with eigenvalues >= 0, "
                f"got eigenvalues from {float(values.min()):g} to {float(values.max()):g}"
            )
        return cls(path, mean.to(torch.float64), values.clamp(min=0).sqrt(), vectors)

    def law(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Mean (B, n) and covariance (B, n, n) of x_t - mu(t) y at times (B,)."""
        _, stds = self._modes.law(t, 2)
        mean = append_dims(self.path.alpha(t), 2) * self.mean
        return mean, self.vectors @ torch.diag_embed(stds**2) @ self.vectors.mT

    def denoise(self, x: Tensor, t: Tensor, *, y: Tensor | None = None) -> Tensor:
        """Expected clean data E[x0 | x_t]; x, y: (B, ...), t: (B,)."""
        return self._from_modes(self._modes.denoise(self._to_modes(x), t, y=self._mean_modes(y)), x)

    def flow(self, x: Tensor, t: Tensor, t_next: Tensor, *, y: Tensor | None = None) -> Tensor:
        """Exact end at times `t_next` of the probability flow through x at times `t`; see `Gaussian.flow`."""
        modes = self._modes.flow(self._to_modes(x), t, t_next, y=self._mean_modes(y))
        return self._from_modes(modes, x)

    def flow_log_det(self, x: Tensor, t: Tensor, t_next: Tensor) -> Tensor:
        """log |det d flow / dx| of every vector of n elements: (B, ...) less the last dimension, or (B,)."""
        return self._modes.flow_log_det(self._to_modes(x), t, t_next).sum(-1)

    def log_density(self, x: Tensor, t: Tensor, *, y: Tensor | None = None) -> Tensor:
        """log p_t of every vector of n elements, x and y real; shape as in `flow_log_det`."""
        return self._modes.log_density(self._to_modes(x), t, y=self._mean_modes(y)).sum(-1)

    @property
    def _modes(self) -> Gaussian:
        """The same law in the basis of the eigenvectors."""
        return Gaussian(self.path, self.mean @ self.vectors, self.stds)

    def _to_modes(self, x: Tensor) -> Tensor:
        x = x.to(torch.promote_types(x.dtype, torch.float64))
        x = x if x.shape[-1] == len(self.stds) else x.flatten(1)
        return x @ self.vectors.to(x.dtype)

    def _mean_modes(self, y: Tensor | None) -> Tensor | None:
        return None if y is None else self._to_modes(y)

    def _from_modes(self, modes: Tensor, x: Tensor) -> Tensor:
        return (modes @ self.vectors.mT.to(modes.dtype)).reshape(x.shape)


@dataclass(frozen=True)
class Mixture:
    """Independent data from a one-dimensional Gaussian mixture, the same for every element of x."""

    path: Path
    weights: tuple[float, ...] = (0.3, 0.5, 0.2)
    means: tuple[float, ...] = (-1.2, 0.4, 1.5)
    stds: tuple[float, ...] = (0.25, 0.35, 0.2)

    def law(self, t: Tensor, ndim: int, *, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of x_t, broadcasting to (B, ...) of rank ndim; t: (B,), y: (B, ...)."""
        data = list(zip(self.weights, self.means, self.stds, strict=True))
        mean = sum(w * m for w, m, _ in data)
        std = math.sqrt(sum(w * (s**2 + (m - mean) ** 2) for w, m, s in data))
        return Gaussian(self.path, mean, std).law(t, ndim, y=y)

    def log_density(self, x: Tensor, t: Tensor, *, y: Tensor | None = None) -> Tensor:
        """Elementwise log p_t(x); x, y: (B, ...), t: (B,)."""
        return torch.logsumexp(self._components(x, t, y)[0], dim=-1)

    def denoise(self, x: Tensor, t: Tensor, *, y: Tensor | None = None) -> Tensor:
        """Expected clean data E[x0 | x_t]; x, y: (B, ...), t: (B,)."""
        log_joint, posterior_means = self._components(x, t, y)
        return (torch.softmax(log_joint, dim=-1) * posterior_means).sum(-1)

    def _components(self, x: Tensor, t: Tensor, y: Tensor | None) -> tuple[Tensor, Tensor]:
        """Log joint density and E[x0 | x_t, component] of every component, both (B, ..., K)."""
        alpha, mu, sigma = _coefficients(self.path, t, x.ndim + 1)
        weights, means, stds = (
            x.new_tensor(v, dtype=torch.float64) for v in (self.weights, self.means, self.stds)
        )
        centred = (x if y is None else x - mu.squeeze(-1) * y).unsqueeze(-1) - alpha * means
        variance = (alpha**2 * stds**2 + sigma**2).clamp(min=_TINY)
        log_joint = weights.log() - (centred**2 / variance + torch.log(2 * math.pi * variance)) / 2
        return log_joint, means + alpha * stds**2 / variance * centred


def _coefficients(path: Path, t: Tensor, ndim: int) -> tuple[Tensor, Tensor, Tensor]:
    """alpha, mu and sigma at the items' times, of rank `ndim`."""
    return (
        append_dims(path.alpha(t), ndim),
        append_dims(path.mu(t), ndim),
        append_dims(path.sigma(t), ndim),
    )
