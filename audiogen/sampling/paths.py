"""Affine noising paths x_t = alpha(t) x0 + mu(t) y + sigma(t) eps, with t = 0 at the data.

A path is four functions of time and their derivatives; every solver, conversion and distillation target
follows from them. All of them are evaluated in float64: a float32 table moves log-SNR values by 1e-4.
Here are the paths without a mean; `mean_paths` and `tabulated` hold the others.
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
    """Give a float64 coefficient, 0-dim or (B,), the rank and the (real part of the) dtype of x (B, ...)."""
    return append_dims(coefficient.to(x.dtype.to_real()), x.ndim)


class Coefficients(NamedTuple):
    """The path at given times, each float64 and of the shape of the times; dots are d/dt."""

    alpha: Tensor
    mu: Tensor
    sigma: Tensor
    dalpha: Tensor
    dmu: Tensor
    dsigma: Tensor


class Path(ABC):
    """An affine path; times may be floats or tensors of any shape, results are float64 of that shape.

    Its forward process is dx = [f x + (mu' - f mu) y] dt + g dw (Song et al. 2021, with a mean).
    """

    @property
    def t_max(self) -> float:
        """Last usable time, the noise end of the path."""
        return 1.0

    def alpha(self, t: Tensor | float) -> Tensor:
        """Weight of the data, 1 at t = 0."""
        return self._alpha(_as_time(t))

    def mu(self, t: Tensor | float) -> Tensor:
        """Weight of the mean y."""
        return self._mu(_as_time(t))

    def sigma(self, t: Tensor | float) -> Tensor:
        """Standard deviation of the noise; 0 at t = 0, unless the path has a smallest noise level."""
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

    def drift(self, t: Tensor | float) -> Tensor:
        """Drift coefficient f = alpha' / alpha of the forward process; -inf where alpha = 0."""
        return self._drift(_as_time(t))

    def diffusion(self, t: Tensor | float) -> Tensor:
        """Squared diffusion coefficient g^2 = d(sigma^2)/dt - 2 f sigma^2 of the forward process."""
        return self._diffusion(_as_time(t))

    def at(self, t: Tensor | float) -> Coefficients:
        """All six coefficients at `t`."""
        return Coefficients(self.alpha(t), self.mu(t), self.sigma(t), *self.derivs(t))

    def add_noise(self, x0: Tensor, noise: Tensor, t: Tensor | float, *, y: Tensor | None = None) -> Tensor:
        """Sample of q(x_t | x0, y).

        x0, noise, y: (B, ...), real or complex; t: (B,) or a float. Returns (B, ...) in the dtype of x0.
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

    def _drift(self, t: Tensor) -> Tensor:
        return self._derivs(t)[0] / self._alpha(t)

    def _diffusion(self, t: Tensor) -> Tensor:
        sigma = self._sigma(t)
        return 2 * sigma * (self._derivs(t)[2] - self._drift(t) * sigma)


class VariancePreserving(Path):
    """A path with alpha^2 + sigma^2 = 1, on which g^2 = -2 f."""

    def _diffusion(self, t: Tensor) -> Tensor:
        return -2 * self._drift(t)


@dataclass(frozen=True)
class LinearRate(Path):
    """A path with alpha = e^{-B/2}, B(t) = Int_0^t beta, and beta linear in t in [0, 1]."""

    beta_min: float = 0.1
    beta_max: float = 20.0

    def _rate(self, t: Tensor) -> Tensor:
        return self.beta_min + (self.beta_max - self.beta_min) * t

    def _integral(self, t: Tensor) -> Tensor:
        return self.beta_min * t + (self.beta_max - self.beta_min) / 2 * t * t

    def _t_of_integral(self, integral: Tensor) -> Tensor:
        slope = self.beta_max - self.beta_min
        return 2 * integral / (self.beta_min + torch.sqrt(self.beta_min**2 + 2 * slope * integral))

    def _alpha(self, t: Tensor) -> Tensor:
        return torch.exp(-self._integral(t) / 2)

    def _drift(self, t: Tensor) -> Tensor:
        return -self._rate(t) / 2


@dataclass(frozen=True)
class VPLinear(LinearRate, VariancePreserving):
    """Variance-preserving path with beta(t) linear in t in [0, 1] (Song et al. 2021)."""

    def _sigma(self, t: Tensor) -> Tensor:
        return torch.sqrt(-torch.expm1(-self._integral(t)))

    def _lam(self, t: Tensor) -> Tensor:
        return -torch.log(torch.expm1(self._integral(t))) / 2

    def _t_of_lam(self, lam: Tensor) -> Tensor:
        return self._t_of_integral(torch.logaddexp(torch.zeros_like(lam), -2 * lam))

    def _derivs(self, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        alpha, sigma, beta = self._alpha(t), self._sigma(t), self._rate(t)
        return -beta / 2 * alpha, torch.zeros_like(t), beta * alpha**2 / (2 * sigma)


@dataclass(frozen=True)
class SubVP(LinearRate):
    """Sub-variance-preserving path, sigma = 1 - alpha^2, with beta(t) linear in t (Song et al. 2021)."""

    def _sigma(self, t: Tensor) -> Tensor:
        return -torch.expm1(-self._integral(t))

    def _lam(self, t: Tensor) -> Tensor:
        integral = self._integral(t)
        return -integral / 2 - torch.log(-torch.expm1(-integral))

    def _t_of_lam(self, lam: Tensor) -> Tensor:
        return self._t_of_integral(2 * torch.asinh(torch.exp(-lam) / 2))  # sigma / alpha = 2 sinh(B / 2)

    def _derivs(self, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        alpha, beta = self._alpha(t), self._rate(t)
        return -beta / 2 * alpha, torch.zeros_like(t), beta * alpha**2


@dataclass(frozen=True)
class VPCosine(VariancePreserving):
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
class VPCosineShifted(VariancePreserving):
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

    @property
    def t_max(self) -> float:
        """Infinite: the path has no noise end, sampling starts at a noise level far above the data."""
        return math.inf

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
class GeometricVE(Path):
    """Path alpha = 1, sigma = sigma_min (sigma_max / sigma_min)^t, t in [0, 1] (Song et al. 2021).

    Noise of standard deviation sigma_min is left at t = 0.
    """

    sigma_min: float = 0.01
    sigma_max: float = 50.0

    def __post_init__(self) -> None:
        """Raise ValueError unless the noise grows."""
        check_noise_range(self.sigma_min, self.sigma_max)

    @property
    def _log_ratio(self) -> float:
        return math.log(self.sigma_max / self.sigma_min)

    def _alpha(self, t: Tensor) -> Tensor:
        return torch.ones_like(t)

    def _sigma(self, t: Tensor) -> Tensor:
        return self.sigma_min * torch.exp(self._log_ratio * t)

    def _lam(self, t: Tensor) -> Tensor:
        return -math.log(self.sigma_min) - self._log_ratio * t

    def _t_of_lam(self, lam: Tensor) -> Tensor:
        return (-lam - math.log(self.sigma_min)) / self._log_ratio

    def _derivs(self, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return torch.zeros_like(t), torch.zeros_like(t), self._log_ratio * self._sigma(t)


@dataclass(frozen=True)
class StraightLine(Path):
    """Straight line alpha = 1 - t, sigma = t of rectified flow and flow matching (Liu et al. 2023).

    sigma_min: noise left at t = 0, sigma = 1 - (1 - sigma_min) (1 - t) (Lipman et al. 2023, equation 20).
    """

    sigma_min: float = 0.0

    def __post_init__(self) -> None:
        """Raise ValueError unless 0 <= sigma_min < 1."""
        if not 0 <= self.sigma_min < 1:
            raise ValueError(f"sigma_min must lie in [0, 1), got {self.sigma_min}")

    def _alpha(self, t: Tensor) -> Tensor:
        return 1 - t

    def _sigma(self, t: Tensor) -> Tensor:
        return t + self.sigma_min * (1 - t)

    def _lam(self, t: Tensor) -> Tensor:
        return torch.log1p(-t) - torch.log(self._sigma(t))

    def _t_of_lam(self, lam: Tensor) -> Tensor:
        # the solution of sigma / alpha = e^{-lam}, written with sigmoids so that it is finite for every lam
        lam = lam + math.log1p(-self.sigma_min)
        return torch.sigmoid(-lam) - self.sigma_min / (1 - self.sigma_min) * torch.sigmoid(lam)

    def _derivs(self, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return -torch.ones_like(t), torch.zeros_like(t), torch.full_like(t, 1 - self.sigma_min)

    def _diffusion(self, t: Tensor) -> Tensor:
        return 2 * self._sigma(t) / (1 - t)


def check_noise_range(sigma_min: float, sigma_max: float) -> None:
    """Raise ValueError unless 0 < sigma_min < sigma_max."""
    if not 0 < sigma_min < sigma_max:
        raise ValueError(f"a path needs 0 < sigma_min < sigma_max, got {sigma_min} and {sigma_max}")


def _as_time(t: Tensor | float) -> Tensor:
    """Float64 view of a time, on the device of a tensor argument."""
    return torch.as_tensor(t, dtype=torch.float64)
