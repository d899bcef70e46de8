"""Affine noising paths x_t = alpha(t) x0 + mu(t) y + sigma(t) eps, with t = 0 at the data.

A path is four functions of time and their derivatives; every solver, conversion and distillation target
follows from them. All of them are evaluated in float64: a float32 table moves log-SNR values by 1e-4.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor


def append_dims(t: Tensor, ndim: int) -> Tensor:
    """View per-item values `t` (B,) as (B, 1, ..., 1) of rank `ndim`; a 0-dim `t` is returned as it is."""
    if t.ndim > ndim:
        raise ValueError(
            f"cannot view a tensor of rank {t.ndim} as rank {ndim}: pass one value per item, shape (B,)"
        )
    return t if t.ndim == 0 else t.reshape(t.shape + (1,) * (ndim - t.ndim))


def expand(coefficient: Tensor, x: Tensor) -> Tensor:
    """Cast a float64 coefficient, 0-dim or (B,), to the dtype of `x` and give it the rank of `x` (B, ...)."""
    return append_dims(coefficient.to(x.dtype), x.ndim)


class Coefficients(NamedTuple):
    """The path at given times, each float64 and of the shape of the times; dots are d/dt."""

    alpha: Tensor
    mu: Tensor
    sigma: Tensor
    dalpha: Tensor
    dmu: Tensor
    dsigma: Tensor


class Path(ABC):
    """An affine path; times may be floats or tensors of any shape, results are float64 of that shape."""

    def alpha(self, t: Tensor | float) -> Tensor:
        """Weight of the data, 1 at t = 0."""
        return self._alpha(_as_time(t))

    def mu(self, t: Tensor | float) -> Tensor:
        """Weight of the mean y."""
        return self._mu(_as_time(t))

    def sigma(self, t: Tensor | float) -> Tensor:
        """Standard deviation of the noise, 0 at t = 0."""
        return self._sigma(_as_time(t))

    def lam(self, t: Tensor | float) -> Tensor:
        """Half log-SNR log(alpha / sigma), decreasing in t; +inf where sigma = 0, -inf where alpha = 0."""
        return self._lam(_as_time(t))

    def t_of_lam(self, lam: Tensor | float) -> Tensor:
        """Time at which the half log-SNR is `lam`: the inverse of `lam`."""
        return self._t_of_lam(_as_time(lam))

    def derivs(self, t: Tensor | float) -> tuple[Tensor, Tensor, Tensor]:
        """(d alpha/dt, d mu/dt, d sigma/dt); the last may be infinite where sigma = 0."""
        return self._derivs(_as_time(t))

    def at(self, t: Tensor | float) -> Coefficients:
        """All six coefficients at `t`."""
        return Coefficients(self.alpha(t), self.mu(t), self.sigma(t), *self.derivs(t))

    def add_noise(self, x0: Tensor, noise: Tensor, t: Tensor | float, *, y: Tensor | None = None) -> Tensor:
        """Sample of q(x_t | x0, y).

        x0, noise, y: (B, ...); t: (B,) or a float. Returns (B, ...) in the dtype of x0.
        """
        x = expand(self.alpha(t).to(x0.device), x0) * x0 + expand(self.sigma(t).to(x0.device), x0) * noise
        return x if y is None else x + expand(self.mu(t).to(x0.device), x0) * y

    @abstractmethod
    def _alpha(self, t: Tensor) -> Tensor: ...

    def _mu(self, t: Tensor) -> Tensor:
        return torch.zeros_like(t)

    @abstractmethod
    def _sigma(self, t: Tensor) -> Tensor: ...

    @abstractmethod
    def _lam(self, t: Tensor) -> Tensor: ...

    @abstractmethod
    def _t_of_lam(self, lam: Tensor) -> Tensor: ...

    @abstractmethod
    def _derivs(self, t: Tensor) -> tuple[Tensor, Tensor, Tensor]: ...


@dataclass(frozen=True)
class VPLinear(Path):
    """Variance-preserving path with beta(t) linear in t in [0, 1] (Song et al. 2021)."""

    beta_min: float = 0.1
    beta_max: float = 20.0

    def _integral(self, t: Tensor) -> Tensor:
        return self.beta_min * t + (self.beta_max - self.beta_min) / 2 * t * t

    def _alpha(self, t: Tensor) -> Tensor:
        return torch.exp(-self._integral(t) / 2)

    def _sigma(self, t: Tensor) -> Tensor:
        return torch.sqrt(-torch.expm1(-self._integral(t)))

    def _lam(self, t: Tensor) -> Tensor:
        return -torch.log(torch.expm1(self._integral(t))) / 2

    def _t_of_lam(self, lam: Tensor) -> Tensor:
        integral = torch.logaddexp(torch.zeros_like(lam), -2 * lam)
        slope = self.beta_max - self.beta_min
        return 2 * integral / (self.beta_min + torch.sqrt(self.beta_min**2 + 2 * slope * integral))

    def _derivs(self, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        alpha, sigma = self._alpha(t), self._sigma(t)
        beta = self.beta_min + (self.beta_max - self.beta_min) * t
        return -beta / 2 * alpha, torch.zeros_like(t), beta * alpha**2 / (2 * sigma)


@dataclass(frozen=True)
class VPCosine(Path):
    """Variance-preserving path alpha = cos(pi t / 2), sigma = sin(pi t / 2); alpha is exactly 0 at t = 1."""

    def _alpha(self, t: Tensor) -> Tensor:
        return torch.sin((1 - t) * (math.pi / 2))  # cos(pi/2) would be 6e-17, not 0

    def _sigma(self, t: Tensor) -> Tensor:
        return torch.sin(t * (math.pi / 2))

    def _lam(self, t: Tensor) -> Tensor:
        return torch.log(self._alpha(t)) - torch.log(self._sigma(t))

    def _t_of_lam(self, lam: Tensor) -> Tensor:
        return torch.atan(torch.exp(-lam)) * (2 / math.pi)

    def _derivs(self, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        rate = math.pi / 2
        return -rate * self._sigma(t), torch.zeros_like(t), rate * self._alpha(t)


@dataclass(frozen=True)
class VPCosineShifted(Path):
    """Cosine path of improved DDPM, alpha = cos(a(t)) / cos(a(0)), a(t) = (t + offset) / (1 + offset) pi / 2.

    The offset keeps sigma from vanishing too fast near t = 0 (Nichol and Dhariwal 2021, equation 17).
    """

    offset: float = 0.008

    def _angle(self, t: Tensor) -> Tensor:
        return (t + self.offset) / (1 + self.offset) * (math.pi / 2)

    @property
    def _angle0(self) -> float:
        return self.offset / (1 + self.offset) * (math.pi / 2)

    def _alpha(self, t: Tensor) -> Tensor:
        # cos(a) written as the sine of the angle left to pi / 2, so that alpha is exactly 0 at t = 1
        angle_to_end = (1 - t) / (1 + self.offset) * (math.pi / 2)
        return torch.sin(angle_to_end) / math.sin(1 / (1 + self.offset) * (math.pi / 2))

    def _sigma(self, t: Tensor) -> Tensor:
        # sin(a - a0) sin(a + a0) = cos(a0)^2 - cos(a)^2 without cancellation near t = 0
        angle = self._angle(t)
        turned = t / (1 + self.offset) * (math.pi / 2)
        return torch.sqrt(torch.sin(turned) * torch.sin(angle + self._angle0)) / math.cos(self._angle0)

    def _lam(self, t: Tensor) -> Tensor:
        return torch.log(self._alpha(t)) - torch.log(self._sigma(t))

    def _t_of_lam(self, lam: Tensor) -> Tensor:
        angle = torch.acos(torch.sqrt(torch.sigmoid(2 * lam)) * math.cos(self._angle0))
        return angle * (2 / math.pi) * (1 + self.offset) - self.offset

    def _derivs(self, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        rate = math.pi / 2 / (1 + self.offset)
        dalpha = -rate * torch.sin(self._angle(t)) / math.cos(self._angle0)
        return dalpha, torch.zeros_like(t), -self._alpha(t) * dalpha / self._sigma(t)


@dataclass(frozen=True)
class VarianceExploding(Path):
    """Path alpha = 1, sigma = t: time is the noise level, t >= 0 (Karras et al. 2022)."""

    def _alpha(self, t: Tensor) -> Tensor:
        return torch.ones_like(t)

    def _sigma(self, t: Tensor) -> Tensor:
        return t.clone()

    def _lam(self, t: Tensor) -> Tensor:
        return -torch.log(t)

    def _t_of_lam(self, lam: Tensor) -> Tensor:
        return torch.exp(-lam)

    def _derivs(self, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return torch.zeros_like(t), torch.zeros_like(t), torch.ones_like(t)


@dataclass(frozen=True)
class StraightLine(Path):
    """Straight line alpha = 1 - t, sigma = t of rectified flow and flow matching (Liu et al. 2023)."""

    def _alpha(self, t: Tensor) -> Tensor:
        return 1 - t

    def _sigma(self, t: Tensor) -> Tensor:
        return t.clone()

    def _lam(self, t: Tensor) -> Tensor:
        return torch.log1p(-t) - torch.log(t)

    def _t_of_lam(self, lam: Tensor) -> Tensor:
        return torch.sigmoid(-lam)

    def _derivs(self, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return -torch.ones_like(t), torch.zeros_like(t), torch.ones_like(t)


def _as_time(t: Tensor | float) -> Tensor:
    """Float64 view of a time, on the device of a tensor argument."""
    return torch.as_tensor(t, dtype=torch.float64)
