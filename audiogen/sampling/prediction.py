"""What a network predicts, and its conversion to and from the denoised data.

Every kind is a fixed mix o = p x0 + q eps of data and noise, and the state gives a second one, the centred
xb = x - mu y = alpha x0 + sigma eps. Two mixes determine data, noise and every other kind. The weights are
formed in float64 from the path's coefficients and applied in the dtype of the state, real or complex.
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
    """A kind of network output, described by weights that depend on the path's coefficients alone."""

    mean_rate: bool = False
    """Whether the output contains mu'(t) y, as a velocity does."""

    @abstractmethod
    def mix(self, c: Coefficients) -> Weights:
        """Weights (data, noise) of which the output consists; infinite where sigma = 0 for some kinds."""

    @abstractmethod
    def to_x0(self, c: Coefficients) -> Weights:
        """Weights (centred state, output) that give the denoised data."""


@dataclass(frozen=True)
class X0(Prediction):
    """The clean data itself."""

    def mix(self, c: Coefficients) -> Weights:
        """See `Prediction`; regular at every time."""
        return torch.ones_like(c.alpha), torch.zeros_like(c.alpha)

    def to_x0(self, c: Coefficients) -> Weights:
        """See `Prediction`; regular at every time."""
        return torch.zeros_like(c.alpha), torch.ones_like(c.alpha)


@dataclass(frozen=True)
class Eps(Prediction):
    """The noise eps (Ho et al. 2020)."""

    def mix(self, c: Coefficients) -> Weights:
        """See `Prediction`; regular at every time."""
        return torch.zeros_like(c.alpha), torch.ones_like(c.alpha)

    def to_x0(self, c: Coefficients) -> Weights:
        """See `Prediction`; infinite where alpha = 0."""
        return 1 / c.alpha, -c.sigma / c.alpha


@dataclass(frozen=True)
class AngleV(Prediction):
    """The angular velocity v = alpha eps - sigma x0 (Salimans and Ho 2022)."""

    def mix(self, c: Coefficients) -> Weights:
        """See `Prediction`; regular at every time."""
        return -c.sigma, c.alpha

    def to_x0(self, c: Coefficients) -> Weights:
        """See `Prediction`; regular at every time."""
        power = c.alpha**2 + c.sigma**2
        return c.alpha / power, -c.sigma / power


@dataclass(frozen=True)
class Score(Prediction):
    """The score, the gradient of log p_t(x) (Song et al. 2021), -eps / sigma.

    For complex states, whose noise has variance 1 in all, it is the gradient in the conjugate of x.
    """

    def mix(self, c: Coefficients) -> Weights:
        """See `Prediction`; infinite where sigma = 0."""
        return torch.zeros_like(c.alpha), -1 / c.sigma

    def to_x0(self, c: Coefficients) -> Weights:
        """See `Prediction`; infinite where alpha = 0."""
        return 1 / c.alpha, c.sigma**2 / c.alpha


@dataclass(frozen=True)
class Velocity(Prediction):
    """The velocity dx/dt of the path, noise minus data on the straight line (Lipman et al. 2023)."""

    mean_rate = True

    def mix(self, c: Coefficients) -> Weights:
        """See `Prediction`; infinite where sigma' is."""
        return c.dalpha, c.dsigma

    def to_x0(self, c: Coefficients) -> Weights:
        """See `Prediction`; infinite where sigma' is, or where alpha' sigma = alpha sigma'."""
        wronskian = c.dalpha * c.sigma - c.alpha * c.dsigma
        return -c.dsigma / wronskian, c.sigma / wronskian


@dataclass(frozen=True)
class EDM(Prediction):
    """The preconditioned output F with D = c_skip z + c_out F, z = xb / alpha (Karras et al. 2022, Table 1).

    sigma_data: standard deviation of the data. sigma_min: above 0, the form of consistency models, in which D
    is z itself where sigma / alpha = sigma_min (Song et al. 2023, appendix C); networks of that form are
    not called below it. The network's input is `input_scale` times the centred state.
    """

    sigma_data: float = 0.5
    sigma_min: float = 0.0

    def __post_init__(self) -> None:
        """Raise ValueError unless sigma_data > 0 and sigma_min >= 0."""
        if not (self.sigma_data > 0 and self.sigma_min >= 0):
            raise ValueError(
                f"EDM needs sigma_data > 0 and sigma_min >= 0, got {self.sigma_data} and {self.sigma_min}"
            )

    def _norm(self, c: Coefficients) -> Tensor:
        return torch.sqrt(c.sigma**2 + self.sigma_data**2 * c.alpha**2)

    def input_scale(self, c: Coefficients) -> Tensor:
        """c_in / alpha, which gives the network's input unit variance; regular where alpha = 0."""
        return 1 / self._norm(c)

    def mix(self, c: Coefficients) -> Weights:
        """See `Prediction`; infinite where sigma / alpha = sigma_min."""
        excess, norm = c.sigma - self.sigma_min * c.alpha, self._norm(c)
        scale = norm / (excess**2 + self.sigma_data**2 * c.alpha**2)
        return scale * excess / self.sigma_data, -scale * self.sigma_data * c.alpha * c.sigma / excess

    def to_x0(self, c: Coefficients) -> Weights:
        """See `Prediction`; regular at every time."""
        excess = c.sigma - self.sigma_min * c.alpha
        skip = self.sigma_data**2 * c.alpha / (excess**2 + self.sigma_data**2 * c.alpha**2)
        return skip, self.sigma_data * excess / self._norm(c)


def to_x0(
    kind: Prediction, out: Tensor, x: Tensor, t: Tensor | float, path: Path, *, y: Tensor | None = None
) -> Tensor:
    """Denoised data from a network's output.

    out, x, y: (B, ...); t: (B,) or a float. Returns (B, ...) in the dtype of x.
    """
    return convert(out, x, t, path, kind, X0(), y=y)


def from_x0(
    kind: Prediction, d: Tensor, x: Tensor, t: Tensor | float, path: Path, *, y: Tensor | None = None
) -> Tensor:
    """Network output that corresponds to denoised data `d`: the inverse of `to_x0`, and the training target.

    d, x, y: (B, ...); t: (B,) or a float. Returns (B, ...) in the dtype of x.
    """
    return convert(d, x, t, path, X0(), kind, y=y)


def convert(
    out: Tensor,
    x: Tensor,
    t: Tensor | float,
    path: Path,
    source: Prediction,
    target: Prediction,
    *,
    y: Tensor | None = None,
) -> Tensor:
    """Output of kind `target` that says the same as the output `out` of kind `source`.

    The conversion is direct: it does not pass through the data, which noise determines badly near alpha = 0.
    out, x, y: (B, ...); t: (B,) or a float. Returns (B, ...) in the dtype of x.
    """
    out = out.to(x.dtype)
    if source == target:
        return out
    c = path.at(torch.as_tensor(t, dtype=torch.float64, device=x.device))
    from_state, from_out = conversion(source, target, c)
    mean_rate = None if y is None else expand(c.dmu, x) * y
    if mean_rate is not None and source.mean_rate:
        out = out - mean_rate
    centred = x if y is None else x - expand(c.mu, x) * y
    out = expand(from_state, x) * centred + expand(from_out, x) * out
    return out + mean_rate if mean_rate is not None and target.mean_rate else out


def conversion(source: Prediction, target: Prediction, c: Coefficients) -> Weights:
    """Weights (centred state, output of kind `source`) that give the output of kind `target`.

    Float64 of the shape of the coefficients; not finite where the state and the source do not determine it.
    """
    if isinstance(target, X0):
        return source.to_x0(c)  # the same numbers as below, but regular where the mix of the source is not
    (p, q), (p_target, q_target) = source.mix(c), target.mix(c)
    determinant = c.alpha * q - c.sigma * p
    return (
        (p_target * q - q_target * p) / determinant,
        (c.alpha * q_target - c.sigma * p_target) / determinant,
    )


def denoiser(
    net: Denoiser, kind: Prediction, path: Path, *, labels: Sequence[float] | Tensor, y: Tensor | None = None
) -> Denoiser:
    """Wrap net(x, t), which predicts `kind`, as the denoise(x, t) that `run` calls.

    labels: the times it will be called at (`plan.labels`), NaN for rows without a call. Raises ValueError if
    the conversion is not finite at one of them, as for a noise prediction at pure noise.
    """
    times = torch.as_tensor(labels, dtype=torch.float64, device="cpu")
    if times.ndim != 1:
        raise ValueError(
            f"labels must be one time per row, got shape {tuple(times.shape)}: a network of two times "
            "returns the jump itself and needs no conversion"
        )
    times = times[~times.isnan()]
    finite = torch.stack(kind.to_x0(path.at(times))).isfinite().all(dim=0)
    if not bool(finite.all()):
        raise ValueError(
            f"{kind} cannot be converted to clean data on {path} at t = {times[~finite].tolist()}: "
            "start the grid elsewhere, or predict x0 or v"
        )
    return lambda x, t: to_x0(kind, net(x, t), x, t, path, y=y)
