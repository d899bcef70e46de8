"""What a network predicts, and its conversion to and from the denoised data.

Every kind is linear in the centred state xb = x - mu y and the network's output o, so a kind is two pairs of
weights: D = to_x0[0] xb + to_x0[1] o and o = from_x0[0] xb + from_x0[1] D. They are formed in float64 from
the path's coefficients and applied in the dtype of the state.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from audiogen.sampling.loop import Denoiser
from audiogen.sampling.paths import Coefficients, Path, expand

Weights = tuple[Tensor, Tensor]


class Prediction(ABC):
    """A kind of network output: weights of the centred state and of the output (or the denoised data)."""

    mean_rate: bool = False
    """Whether the output contains mu'(t) y, as a velocity does."""

    @abstractmethod
    def to_x0(self, c: Coefficients) -> Weights:
        """Weights (state, output) that give the denoised data."""

    @abstractmethod
    def from_x0(self, c: Coefficients) -> Weights:
        """Weights (state, denoised data) that give the output."""


@dataclass(frozen=True)
class X0(Prediction):
    """The clean data itself."""

    def to_x0(self, c: Coefficients) -> Weights:
        """See `Prediction`; regular at every time."""
        return torch.zeros_like(c.alpha), torch.ones_like(c.alpha)

    def from_x0(self, c: Coefficients) -> Weights:
        """See `Prediction`; regular at every time."""
        return torch.zeros_like(c.alpha), torch.ones_like(c.alpha)


@dataclass(frozen=True)
class Eps(Prediction):
    """The noise eps (Ho et al. 2020)."""

    def to_x0(self, c: Coefficients) -> Weights:
        """See `Prediction`; infinite where alpha = 0."""
        return 1 / c.alpha, -c.sigma / c.alpha

    def from_x0(self, c: Coefficients) -> Weights:
        """See `Prediction`; infinite where sigma = 0."""
        return 1 / c.sigma, -c.alpha / c.sigma


@dataclass(frozen=True)
class AngleV(Prediction):
    """The angular velocity v = alpha eps - sigma x0 (Salimans and Ho 2022)."""

    def to_x0(self, c: Coefficients) -> Weights:
        """See `Prediction`; regular at every time."""
        power = c.alpha**2 + c.sigma**2
        return c.alpha / power, -c.sigma / power

    def from_x0(self, c: Coefficients) -> Weights:
        """See `Prediction`; infinite where sigma = 0."""
        return c.alpha / c.sigma, -(c.alpha**2 + c.sigma**2) / c.sigma


@dataclass(frozen=True)
class Score(Prediction):
    """The score, the gradient of log p_t(x) (Song et al. 2021)."""

    def to_x0(self, c: Coefficients) -> Weights:
        """See `Prediction`; infinite where alpha = 0."""
        return 1 / c.alpha, c.sigma**2 / c.alpha

    def from_x0(self, c: Coefficients) -> Weights:
        """See `Prediction`; infinite where sigma = 0."""
        return -1 / c.sigma**2, c.alpha / c.sigma**2


@dataclass(frozen=True)
class Velocity(Prediction):
    """The velocity dx/dt of the path, noise minus data on the straight line (Lipman et al. 2023)."""

    mean_rate = True

    def to_x0(self, c: Coefficients) -> Weights:
        """See `Prediction`; infinite where sigma' is, or where alpha' sigma = alpha sigma'."""
        wronskian = c.dalpha * c.sigma - c.alpha * c.dsigma
        return -c.dsigma / wronskian, c.sigma / wronskian

    def from_x0(self, c: Coefficients) -> Weights:
        """See `Prediction`; infinite where sigma = 0."""
        return c.dsigma / c.sigma, (c.dalpha * c.sigma - c.alpha * c.dsigma) / c.sigma


@dataclass(frozen=True)
class EDM(Prediction):
    """The preconditioned output F with D = c_skip z + c_out F, z = xb / alpha (Karras et al. 2022, Table 1).

    sigma_data: standard deviation of the data. The network's input is `input_scale` times the centred state.
    """

    sigma_data: float = 0.5

    def _norm(self, c: Coefficients) -> Tensor:
        return torch.sqrt(c.sigma**2 + self.sigma_data**2 * c.alpha**2)

    def input_scale(self, c: Coefficients) -> Tensor:
        """c_in / alpha, which gives the network's input unit variance; regular where alpha = 0."""
        return 1 / self._norm(c)

    def to_x0(self, c: Coefficients) -> Weights:
        """See `Prediction`; regular at every time."""
        norm = self._norm(c)
        return self.sigma_data**2 * c.alpha / norm**2, self.sigma_data * c.sigma / norm

    def from_x0(self, c: Coefficients) -> Weights:
        """See `Prediction`; infinite where sigma = 0."""
        norm = self._norm(c)
        return -self.sigma_data * c.alpha / (c.sigma * norm), norm / (self.sigma_data * c.sigma)


def to_x0(
    kind: Prediction, out: Tensor, x: Tensor, t: Tensor | float, path: Path, *, y: Tensor | None = None
) -> Tensor:
    """Denoised data from a network's output.

    out, x, y: (B, ...); t: (B,) or a float. Returns (B, ...) in the dtype of x.
    """
    c = _at(path, t, x)
    from_state, from_out = kind.to_x0(c)
    out = out.to(x.dtype)
    if y is not None and kind.mean_rate:
        out = out - expand(c.dmu, x) * y
    return expand(from_state, x) * _centre(x, c, y) + expand(from_out, x) * out


def from_x0(
    kind: Prediction, d: Tensor, x: Tensor, t: Tensor | float, path: Path, *, y: Tensor | None = None
) -> Tensor:
    """Network output that corresponds to denoised data `d`: the inverse of `to_x0`, and the training target.

    d, x, y: (B, ...); t: (B,) or a float. Returns (B, ...) in the dtype of x.
    """
    c = _at(path, t, x)
    from_state, from_data = kind.from_x0(c)
    out = expand(from_state, x) * _centre(x, c, y) + expand(from_data, x) * d.to(x.dtype)
    return out + expand(c.dmu, x) * y if y is not None and kind.mean_rate else out


def denoiser(
    net: Denoiser, kind: Prediction, path: Path, *, labels: Sequence[float], y: Tensor | None = None
) -> Denoiser:
    """Wrap net(x, t), which predicts `kind`, as the denoise(x, t) that `run` calls.

    labels: the times it will be called at (`plan.labels`). Raises ValueError if the conversion is not finite
    at one of them, as for a noise prediction at pure noise.
    """
    times = torch.tensor(labels, dtype=torch.float64)
    finite = torch.stack(kind.to_x0(path.at(times))).isfinite().all(dim=0)
    if not bool(finite.all()):
        raise ValueError(
            f"{kind} cannot be converted to clean data on {path} at t = {times[~finite].tolist()}: "
            "start the grid elsewhere, or predict x0 or v"
        )
    return lambda x, t: to_x0(kind, net(x, t), x, t, path, y=y)


def _at(path: Path, t: Tensor | float, x: Tensor) -> Coefficients:
    return path.at(torch.as_tensor(t, dtype=torch.float64, device=x.device))


def _centre(x: Tensor, c: Coefficients, y: Tensor | None) -> Tensor:
    return x if y is None else x - expand(c.mu, x) * y
