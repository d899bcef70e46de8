"""The path of a discrete DDPM table, known at its knots only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from audiogen.sampling.paths import VariancePreserving


@dataclass(frozen=True, repr=False)
class Tabulated(VariancePreserving):
    """Variance-preserving path through knots of the half log-SNR, which is piecewise linear in between.

    times: increasing, above 0, the last is `t_max`. lams: decreasing, finite. Before the first knot
    sigma / alpha falls linearly to 0 at t = 0; after the last the last slope goes on. At a knot the
    derivatives are those of the data's side. Posteriors between any two knots are those of the DDPM, so a
    subset of the steps needs no respaced table.
    """

    times: tuple[float, ...]
    lams: tuple[float, ...]

    def __post_init__(self) -> None:
        """Keep tuples, whatever sequence came in; raise ValueError unless the knots describe a path."""
        object.__setattr__(self, "times", tuple(map(float, self.times)))
        object.__setattr__(self, "lams", tuple(map(float, self.lams)))
        if len(self.times) != len(self.lams) or len(self.times) < 2:
            raise ValueError(
                f"a table needs two or more knots, got {len(self.times)} times and {len(self.lams)} log-SNRs"
            )
        times, lams = (torch.tensor((*v,), dtype=torch.float64) for v in ((0.0, *self.times), self.lams))
        if not bool((times.diff() > 0).all()):
            raise ValueError("the times of a table must be above 0 and increase from the data to the noise")
        if not bool(lams.isfinite().all()) or not bool((lams.diff() < 0).all()):
            raise ValueError(
                "the half log-SNRs of a table must be finite and decrease: every beta must lie in (0, 1); "
                "leave out a last entry without any data (zero terminal SNR)"
            )

    @classmethod
    def from_betas(cls, betas: Sequence[float] | Tensor) -> Tabulated:
        """Path of N noise variances beta_1 .. beta_N at the times n / N (Ho et al. 2020, equation 4).

        A network that counts its steps from 0 is called with the label N t - 1 at time t.
        """
        log_kept = torch.log1p(-_vector(betas)).cumsum(0)
        return cls._uniform((log_kept - torch.log(-torch.expm1(log_kept))) / 2)

    @classmethod
    def from_alphas_cumprod(cls, alphas_cumprod: Sequence[float] | Tensor) -> Tabulated:
        """Path of N shares of variance that are kept, alpha^2, at the times n / N.

        A table in float32 has log-SNRs that are wrong by about 1e-4: prefer `from_betas`.
        """
        return cls._uniform(torch.logit(_vector(alphas_cumprod)) / 2)

    @classmethod
    def _uniform(cls, lams: Tensor) -> Tabulated:
        return cls(tuple(n / len(lams) for n in range(1, len(lams) + 1)), tuple(lams.tolist()))

    def __repr__(self) -> str:
        return f"Tabulated({len(self.times)} knots, t = {self.times[0]:g} to {self.times[-1]:g})"

    @property
    def t_max(self) -> float:
        """Time of the last knot."""
        return self.times[-1]

    def _alpha(self, t: Tensor) -> Tensor:
        return torch.sqrt(torch.sigmoid(2 * self._lam(t)))

    def _sigma(self, t: Tensor) -> Tensor:
        return torch.sqrt(torch.sigmoid(-2 * self._lam(t)))

    def _lam(self, t: Tensor) -> Tensor:
        times, lams = _knots(self, t.device)
        head = lams[0] - torch.log(t / times[0])
        return torch.where(t <= times[0], head, _interpolate(times, lams, t))

    def _t_of_lam(self, lam: Tensor) -> Tensor:
        times, lams = _knots(self, lam.device)
        head = times[0] * torch.exp(lams[0] - lam)
        return torch.where(lam >= lams[0], head, _interpolate(-lams, times, -lam))

    def _noise_rate(self, t: Tensor) -> Tensor:
        """-sigma d(lam)/dt, finite also at t = 0."""
        times, lams = _knots(self, t.device)
        i = _segment(times, t)
        slope = (lams[i] - lams[i - 1]) / (times[i] - times[i - 1])
        head = self._alpha(t) * torch.exp(-lams[0]) / times[0]
        return torch.where(t <= times[0], head, -self._sigma(t) * slope)

    def _derivs(self, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        alpha, rate = self._alpha(t), self._noise_rate(t)
        return -alpha * self._sigma(t) * rate, torch.zeros_like(t), alpha**2 * rate

    def _drift(self, t: Tensor) -> Tensor:
        return -self._sigma(t) * self._noise_rate(t)


def _vector(values: Sequence[float] | Tensor) -> Tensor:
    vector = torch.as_tensor(values, dtype=torch.float64, device="cpu")
    if vector.ndim != 1:
        raise ValueError(f"a table is one-dimensional, got shape {tuple(vector.shape)}")
    return vector


@lru_cache
def _knots(path: Tabulated, device: torch.device) -> tuple[Tensor, Tensor]:
    """Knots as tensors, moved to a device once: a copy in every step would make the device wait."""
    with torch.inference_mode(False):  # cached tensors must also serve under autograd
        return (
            torch.tensor(path.times, dtype=torch.float64, device=device),
            torch.tensor(path.lams, dtype=torch.float64, device=device),
        )


def _segment(knots: Tensor, x: Tensor) -> Tensor:
    """Index i of the segment (knots[i - 1], knots[i]] that holds x; the outer ones go on for ever."""
    return torch.searchsorted(knots, x.detach().contiguous()).clamp(1, len(knots) - 1)


def _interpolate(knots: Tensor, values: Tensor, x: Tensor) -> Tensor:
    """Piecewise-linear function through increasing knots, exact at them."""
    i = _segment(knots, x)
    return torch.lerp(values[i - 1], values[i], (x - knots[i - 1]) / (knots[i] - knots[i - 1]))
