"""Time grids: float64 vectors of num_steps + 1 times running from noise to data, strictly decreasing."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from audiogen.sampling.paths import Path


def check_grid(times: Sequence[float] | Tensor) -> Tensor:
    """Return `times` as a float64 CPU vector, or raise ValueError unless it is a valid grid.

    A grid has at least two finite times, strictly decreasing, the last at least 0.
    """
    grid = torch.as_tensor(times, dtype=torch.float64, device="cpu").detach().clone()
    if grid.ndim != 1 or len(grid) < 2:
        raise ValueError(
            f"a time grid needs at least two times in one dimension, got shape {tuple(grid.shape)}"
        )
    if not bool(torch.isfinite(grid).all()):
        raise ValueError(f"a time grid must be finite, got {grid.tolist()}")
    if float(grid[-1]) < 0:
        raise ValueError(f"a time grid ends at t >= 0 (t = 0 is the data), got {float(grid[-1])}")
    rising = (grid[1:] >= grid[:-1]).nonzero()
    if len(rising):
        i = int(rising[0])
        raise ValueError(
            f"a time grid must decrease strictly from noise to data, but times {i} and {i + 1} are "
            f"{float(grid[i])} and {float(grid[i + 1])}: reverse it, or remove the repeated time"
        )
    return grid


def uniform_t(num_steps: int, *, start: float = 1.0, end: float = 0.0) -> Tensor:
    """Grid equally spaced in t; num_steps >= 1, returns (num_steps + 1,)."""
    return check_grid(_between(start, end, num_steps))


def quadratic(num_steps: int, *, start: float = 1.0, end: float = 0.0) -> Tensor:
    """Grid equally spaced in sqrt(t), denser towards the data; num_steps >= 1, returns (num_steps + 1,)."""
    _check_ends(start, end)
    return check_grid(_pinned(_between(start**0.5, end**0.5, num_steps) ** 2, start, end))


def uniform_lambda(path: Path, num_steps: int, *, start: float, end: float) -> Tensor:
    """Grid equally spaced in half log-SNR; alpha(start) and sigma(end) must not be 0.

    num_steps >= 1, returns (num_steps + 1,).
    """
    lam_start, lam_end = _finite_lambdas(path, start, end)
    return check_grid(_pinned(path.t_of_lam(_between(lam_start, lam_end, num_steps)), start, end))


def karras(path: Path, num_steps: int, *, start: float, end: float, rho: float = 7.0) -> Tensor:
    """Grid equally spaced in (sigma / alpha)^(1 / rho) (Karras et al. 2022, equation 5).

    alpha(start) and sigma(end) must not be 0: end above 0 and use `append_zero` for a last step to the data.
    rho: 1 is uniform in sigma / alpha, large values approach `uniform_lambda`. Returns (num_steps + 1,).
    """
    if rho <= 0:
        raise ValueError(f"rho must be positive, got {rho}")
    lam_start, lam_end = (torch.tensor(lam, dtype=torch.float64) for lam in _finite_lambdas(path, start, end))
    roots = _between(float(torch.exp(-lam_start / rho)), float(torch.exp(-lam_end / rho)), num_steps)
    return check_grid(_pinned(path.t_of_lam(-rho * torch.log(roots)), start, end))


def append_zero(times: Sequence[float] | Tensor) -> Tensor:
    """Grid with one more step, to the data at t = 0."""
    return check_grid(torch.cat([check_grid(times), torch.zeros(1, dtype=torch.float64)]))


def shift(times: Sequence[float] | Tensor, factor: float) -> Tensor:
    """Move a grid in [0, 1] towards the noise (factor > 1) or the data: t -> k t / (1 + (k - 1) t).

    On the straight line this subtracts log(factor) from the half log-SNR (Esser et al. 2024, equation 23);
    two shifts multiply.
    """
    if not factor > 0:
        raise ValueError(f"the shift factor must be positive, got {factor}")
    grid = check_grid(times)
    if float(grid[0]) > 1:
        raise ValueError(f"shift is defined for times in [0, 1], got a grid that starts at {float(grid[0])}")
    return check_grid(factor * grid / (1 + (factor - 1) * grid))


def _between(first: float, last: float, num_steps: int) -> Tensor:
    if num_steps < 1:
        raise ValueError(f"the number of steps must be at least 1, got {num_steps}")
    return torch.linspace(first, last, num_steps + 1, dtype=torch.float64)


def _pinned(grid: Tensor, start: float, end: float) -> Tensor:
    """Put the exact end points back: round-off must not move t = 1 or t = 0."""
    ends = torch.tensor([start, end], dtype=torch.float64)
    return torch.cat([ends[:1], grid[1:-1], ends[1:]])


def _check_ends(start: float, end: float) -> None:
    if not start > end >= 0:
        raise ValueError(f"a grid runs from a later time to an earlier one, at least 0; got {start} to {end}")


def _finite_lambdas(path: Path, start: float, end: float) -> tuple[float, float]:
    _check_ends(start, end)
    lams = path.lam(torch.tensor([start, end], dtype=torch.float64))
    if not bool(torch.isfinite(lams).all()):
        raise ValueError(
            f"the half log-SNR is {lams.tolist()} at t = {start} and {end}: "
            "start below pure noise and end above the data (append_zero adds the last step)"
        )
    return float(lams[0]), float(lams[1])
