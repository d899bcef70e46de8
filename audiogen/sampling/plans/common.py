"""What the builders share: checked grids, states at their times, and estimates as linear forms."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from audiogen.sampling.grids import check_grid
from audiogen.sampling.paths import Path
from audiogen.sampling.table import Rows


class Knot(NamedTuple):
    """The path at one time, 0-dim float64 tensors; lam = log(alpha / sigma)."""

    t: Tensor
    alpha: Tensor
    mu: Tensor
    sigma: Tensor
    lam: Tensor

    @property
    def level(self) -> Tensor:
        """Noise level sigma / alpha."""
        return self.sigma / self.alpha

    @property
    def clean(self) -> bool:
        """Whether no noise is left."""
        return bool(self.sigma == 0)

    @property
    def pure(self) -> bool:
        """Whether no data is left."""
        return bool(self.alpha == 0)


def knots(path: Path, times: Tensor) -> list[Knot]:
    """The path at every time of a vector."""
    columns = (times, path.alpha(times), path.mu(times), path.sigma(times), path.lam(times))
    return [Knot(*values) for values in zip(*(column.unbind() for column in columns), strict=True)]


def knot(path: Path, t: Tensor | float) -> Knot:
    """The path at one time."""
    return knots(path, torch.as_tensor(t, dtype=torch.float64).reshape(1))[0]


def knot_at_lam(path: Path, lam: Tensor) -> Knot:
    """The path where half the log-SNR is `lam`."""
    return knot(path, path.t_of_lam(lam))


def check_path_grid(path: Path, times: Sequence[float] | Tensor, *, pure: bool = True) -> Tensor:
    """A grid on which the path has noise everywhere but at the ends and a growing log-SNR.

    A start without noise (a Schroedinger bridge) is the path's mean. pure: whether the grid may start at pure
    noise. Raises ValueError otherwise.
    """
    grid = check_grid(times)
    alpha, sigma, lam = (f(grid.detach()) for f in (path.alpha, path.sigma, path.lam))
    inner = slice(1 if float(sigma[0]) == 0 and float(alpha[0]) == 0 else 0, -1)
    if not bool((sigma[inner] > 0).all()) or not bool((lam[1:] > lam[:-1])[inner.start :].all()):
        raise ValueError(
            f"{path} needs noise at every time but the last and a log-SNR that grows along the grid; "
            f"got log-SNR / 2 = {lam.tolist()} at times {grid.tolist()}"
        )
    if not pure and float(alpha[0]) == 0:
        raise ValueError(
            f"this solver divides by alpha, which is 0 on {path} at t = {float(grid[0])}: start the grid a "
            "little below pure noise, or use ddim or multistep"
        )
    return grid


def describe(path: Path) -> dict[str, Any]:
    """Class name and parameters of a path."""
    return {"name": type(path).__name__, **vars(path)}


def spec(solver: str, path: Path, **options: Any) -> dict[str, Any]:
    """How a plan was built, for its JSON."""
    return {"solver": solver, **options, "path": describe(path)}


def noise_estimate(rows: Rows, k: Knot) -> Tensor:
    """The row's estimate of the noise, (x - mu y - alpha D) / sigma."""
    return (rows.x - k.mu * rows.y - k.alpha * rows.d) / k.sigma


def velocity_estimate(rows: Rows, path: Path, k: Knot) -> Tensor:
    """The row's estimate of dx / dt, alpha' D + mu' y + sigma' eps.

    Where sigma is a constant times t near the data this is finite, elsewhere infinite at sigma = 0.
    """
    dalpha, dmu, dsigma = path.derivs(k.t)
    return dalpha * rows.d + dmu * rows.y + dsigma * noise_estimate(rows, k)


def combined(weights: Iterable[Tensor | float], forms: Sequence[Tensor]) -> Tensor:
    """Weighted sum of linear forms."""
    return sum((w * form for w, form in zip(weights, forms, strict=True)), torch.zeros_like(forms[0]))


def moved(rows: Rows, state: Tensor, s: Knot, t: Knot, data: Tensor, carry: Tensor | float) -> Tensor:
    """State at t: mu_t y + carry (state - mu_s y) + data, where `data` already holds its weights."""
    return carry * state + (t.mu - carry * s.mu) * rows.y + data
