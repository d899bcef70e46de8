"""Noising paths that end around a given mean y: shifted priors, mean-reverting processes and bridges.

With u = x - mu y each of them obeys the equations of a path without a mean, so no solver knows of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from audiogen.sampling.paths import Path, VarianceExploding, VPLinear, check_noise_range

_NODES = 64
_BISECTIONS = 8
_NEWTON_STEPS = 4
_LAST_LOGIT = 600.0  # beyond it t is 0 or 1 in float64


@dataclass(frozen=True)
class ShiftedPrior(VarianceExploding):
    """Path alpha = 1, mu = t, sigma = t, t >= 0: the noise is drawn around y (Ye et al. 2023, CoMoSpeech)."""

    def _mu(self, t: Tensor) -> Tensor:
        return t.clone()

    def _derivs(self, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return torch.zeros_like(t), torch.ones_like(t), torch.ones_like(t)


@dataclass(frozen=True)
class GradTTS(VPLinear):
    """VP-linear path towards N(y, 1), mu = 1 - alpha, t in [0, 1] (Popov et al. 2021, Grad-TTS)."""

    beta_min: float = 0.05
    beta_max: float = 20.0

    def _mu(self, t: Tensor) -> Tensor:
        return -torch.expm1(-self._integral(t) / 2)

    def _derivs(self, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        dalpha, _, dsigma = super()._derivs(t)
        return dalpha, -dalpha, dsigma


@dataclass(frozen=True)
class OUVE(Path):
    """Ornstein-Uhlenbeck process with exploding variance, t in [0, 1] (Richter et al. 2023, SGMSE+).

    dx = theta (y - x) dt + g dw, g^2 = 2 ln(r) sigma_min^2 r^{2t}, r = sigma_max / sigma_min. Networks of the
    paper know times from 0.03. At t = 1 a share e^{-theta} of x0 - y is left: a start from N(y, sigma(1)^2)
    carries that bias, which the flow keeps and a stochastic solver forgets.
    """

    theta: float = 1.5
    sigma_min: float = 0.05
    sigma_max: float = 0.5

    def __post_init__(self) -> None:
        """Raise ValueError unless the process contracts towards y and its noise grows."""
        if not self.theta > 0:
            raise ValueError(f"theta, the stiffness of the process, must be positive, got {self.theta}")
        check_noise_range(self.sigma_min, self.sigma_max)

    @property
    def _log_ratio(self) -> float:
        return math.log(self.sigma_max / self.sigma_min)

    @property
    def _growth(self) -> float:
        return 2 * (self.theta + self._log_ratio)

    @property
    def _scale(self) -> float:
        """Factor s in sigma^2 / alpha^2 = s (e^{growth t} - 1)."""
        return 2 * self.sigma_min**2 * self._log_ratio / self._growth

    def _alpha(self, t: Tensor) -> Tensor:
        return torch.exp(-self.theta * t)

    def _mu(self, t: Tensor) -> Tensor:
        return -torch.expm1(-self.theta * t)

    def _sigma(self, t: Tensor) -> Tensor:
        return self._alpha(t) * torch.sqrt(self._scale * torch.expm1(self._growth * t))

    def _lam(self, t: Tensor) -> Tensor:
        return -torch.log(self._scale * torch.expm1(self._growth * t)) / 2

    def _t_of_lam(self, lam: Tensor) -> Tensor:
        return torch.log1p(torch.exp(-2 * lam) / self._scale) / self._growth

    def _derivs(self, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        alpha, sigma = self._alpha(t), self._sigma(t)
        return -self.theta * alpha, self.theta * alpha, self._diffusion(t) / (2 * sigma) - self.theta * sigma

    def _drift(self, t: Tensor) -> Tensor:
        return torch.full_like(t, -self.theta)

    def _diffusion(self, t: Tensor) -> Tensor:
        return 2 * self._log_ratio * self.sigma_min**2 * torch.exp(2 * self._log_ratio * t)


@dataclass(frozen=True)
class BBED(Path):
    """Brownian bridge with exponential diffusion (Lay et al. 2023): alpha = 1 - t, mu = t, g^2 = c k^{2t}.

    sigma^2 = c (1 - t)^2 Int_0^t k^{2s} / (1 - s)^2 ds vanishes at both ends. At t = 1 the state is y itself
    and no score exists: the paper starts at t = 0.999.
    """

    k: float = 2.6
    c: float = 0.52

    def __post_init__(self) -> None:
        """Raise ValueError unless the noise is real and does not fall."""
        if not (self.k >= 1 and self.c > 0):
            raise ValueError(f"a Brownian bridge needs k >= 1 and c > 0, got k = {self.k} and c = {self.c}")

    @property
    def _growth(self) -> float:
        return 2 * math.log(self.k)

    def _bridge(self, log_gap: Tensor) -> Tensor:
        """Integral J with sigma^2 = c (1 - t) J, at log_gap = -log(1 - t).

        With s = 1 - (1 - t) e^v it is Int_0^log_gap e^{growth s - v} dv: entire and positive, so a Gauss rule
        is exact to rounding at both ends, where the published form in Ei cancels.
        """
        nodes, weights = _gauss_rule(log_gap.device)
        span = log_gap.unsqueeze(-1)
        s = -torch.expm1(-span * (1 - nodes))
        return log_gap * (torch.exp(self._growth * s - span * nodes) * weights).sum(-1)

    def _bridge_at(self, t: Tensor) -> Tensor:
        return self._bridge(-torch.log1p(-t).clamp(min=-_LAST_LOGIT))

    def _alpha(self, t: Tensor) -> Tensor:
        return 1 - t

    def _mu(self, t: Tensor) -> Tensor:
        return t.clone()

    def _sigma(self, t: Tensor) -> Tensor:
        return torch.sqrt(self.c * (1 - t) * self._bridge_at(t))

    def _lam(self, t: Tensor) -> Tensor:
        return (torch.log1p(-t) - torch.log(self.c * self._bridge_at(t))) / 2

    def _t_of_lam(self, lam: Tensor) -> Tensor:
        # log(e^{-2 lam} / c) as a function of z = logit t lies between z and z + growth and increases;
        # from a start that is not close Newton's method would cycle for a large k
        target = (-2 * lam - math.log(self.c)).clamp(-_LAST_LOGIT, _LAST_LOGIT)
        low, high = target - self._growth, target
        for _ in range(_BISECTIONS):
            z = (low + high) / 2
            below = self._log_ratio(z)[0] < target
            low, high = torch.where(below, z, low), torch.where(below, high, z)
        z = (low + high) / 2
        for _ in range(_NEWTON_STEPS):
            value, slope = self._log_ratio(z)
            z = z - (value - target) / slope
        return torch.sigmoid(z)

    def _log_ratio(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """log(sigma^2 / (c alpha^2)) = log(J / (1 - t)) at t = sigmoid(z), and its derivative in z."""
        t, log_gap = torch.sigmoid(z), torch.logaddexp(torch.zeros_like(z), z)
        bridge = self._bridge(log_gap)
        return torch.log(bridge) + log_gap, t * torch.exp(self._growth * t) / bridge

    def _derivs(self, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        dsigma = (self._diffusion(t) - 2 * self.c * self._bridge_at(t)) / (2 * self._sigma(t))
        return -torch.ones_like(t), torch.ones_like(t), dsigma

    def _diffusion(self, t: Tensor) -> Tensor:
        return self.c * torch.exp(self._growth * t)


@dataclass(frozen=True)
class SBVE(Path):
    """Schroedinger bridge with exploding variance between data and y, t in [0, 1] (Jukic et al. 2024).

    With p = (k^{2t} - 1) / (k^2 - 1) and r^2 = c (k^2 - 1) / (2 ln k): alpha = 1 - p, mu = p and
    sigma^2 = r^2 p (1 - p), so sigma vanishes at both ends and at t = 1 the state is y itself. The forward
    process is the Brownian bridge in the clock p, with g^2 = c k^{2t}.
    """

    k: float = 2.6
    c: float = 0.4

    def __post_init__(self) -> None:
        """Raise ValueError unless the noise is real and grows."""
        if not (self.k > 1 and self.c > 0):
            raise ValueError(f"a Schroedinger bridge needs k > 1 and c > 0, got k = {self.k}, c = {self.c}")

    @property
    def _growth(self) -> float:
        return 2 * math.log(self.k)

    @property
    def _variance(self) -> float:
        """Variance r^2 that the process without its end fixed has at t = 1."""
        return self.c * math.expm1(self._growth) / self._growth

    def _alpha(self, t: Tensor) -> Tensor:
        # 1 - p without cancellation near t = 1
        return torch.exp(self._growth * t) * torch.expm1(self._growth * (1 - t)) / math.expm1(self._growth)

    def _mu(self, t: Tensor) -> Tensor:
        return torch.expm1(self._growth * t) / math.expm1(self._growth)

    def _sigma(self, t: Tensor) -> Tensor:
        return torch.sqrt(self._variance * self._alpha(t) * self._mu(t))

    def _lam(self, t: Tensor) -> Tensor:
        return (torch.log(self._alpha(t)) - torch.log(self._variance * self._mu(t))) / 2

    def _t_of_lam(self, lam: Tensor) -> Tensor:
        p = torch.sigmoid(-2 * lam - math.log(self._variance))
        return torch.log1p(p * math.expm1(self._growth)) / self._growth

    def _derivs(self, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        rate = self._diffusion(t) / self._variance
        dsigma = self._variance * rate * (self._alpha(t) - self._mu(t)) / (2 * self._sigma(t))
        return -rate, rate, dsigma

    def _diffusion(self, t: Tensor) -> Tensor:
        return self.c * torch.exp(self._growth * t)


@lru_cache
def _gauss_rule(device: torch.device) -> tuple[Tensor, Tensor]:
    """Nodes and weights of the Gauss-Legendre rule on [0, 1] (Golub and Welsch 1969)."""
    with torch.inference_mode(False):  # cached tensors must also serve under autograd
        k = torch.arange(1, _NODES, dtype=torch.float64)
        off_diagonal = k / torch.sqrt(4 * k**2 - 1)
        nodes, vectors = torch.linalg.eigh(torch.diag(off_diagonal, -1))  # it reads the lower triangle
        return ((1 + nodes) / 2).to(device), vectors[0].square().to(device)
