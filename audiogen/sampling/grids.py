"""Time grids: float64 vectors of num_steps + 1 times running from noise to data, strictly decreasing.

Most grids are a map from u, the share of the steps taken, to time; some re-time or pick from a given grid.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction

import torch
from torch import Tensor

from audiogen.sampling.paths import Path

_FRACTION_TERMS = 1000  # a and b up to 1e5 need fewer

# steps kept of 32 equal ones, counted from the noise (F5-TTS, model/utils.py)
EPSS = {
    5: (0, 2, 4, 8, 16, 32),
    6: (0, 2, 4, 6, 8, 16, 32),
    7: (0, 2, 4, 6, 8, 16, 24, 32),
    10: (0, 2, 4, 6, 8, 12, 16, 20, 24, 28, 32),
    12: (0, 2, 4, 6, 8, 10, 12, 14, 16, 20, 24, 28, 32),
    16: (0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32),
}


def check_grid(times: Sequence[float] | Tensor) -> Tensor:
    """Return `times` as a float64 CPU vector, or raise ValueError unless it is a valid grid.

    A grid has at least two finite times, strictly decreasing, the last at least 0. One that requires a
    gradient keeps it: what is built from it can be optimised over the times.
    """
    vector = torch.as_tensor(times, dtype=torch.float64, device="cpu").clone()
    grid = vector.detach()
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
    return vector


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


def polyexponential(path: Path, num_steps: int, *, start: float, end: float, rho: float = 1.0) -> Tensor:
    """Grid with log(sigma / alpha) proportional to (1 - u)^rho between its ends.

    rho: 1, the exponential grid, is `uniform_lambda`; larger values are denser at the data (k-diffusion).
    alpha(start) and sigma(end) must not be 0. Returns (num_steps + 1,).
    """
    if rho <= 0:
        raise ValueError(f"rho must be positive, got {rho}")
    lam_start, lam_end = _finite_lambdas(path, start, end)
    lams = lam_end + (lam_start - lam_end) * _between(1.0, 0.0, num_steps) ** rho
    return check_grid(_pinned(path.t_of_lam(lams), start, end))


def cosine(num_steps: int, *, start: float = 1.0, end: float = 0.0) -> Tensor:
    """Grid equally spaced in arccos t, denser at the noise: t = cos(pi u / 2) from 1 to 0.

    It is `sway` of `uniform_t`, and equally spaced in angle where alpha = sin(pi (1 - t) / 2).
    """
    _check_ends(start, end, within=1.0)
    angles = _between(math.acos(start), math.acos(end), num_steps)
    return check_grid(_pinned(torch.cos(angles), start, end))


def falling_angles(num_steps: int) -> Tensor:
    """Grid of MeLoDy on `VPCosine`: steps of the angle pi t / 2 shrink linearly (Lam et al. 2023, appendix).

    Step t of T, counted from the data, is pi / (6 T) + 2 pi t / (3 T (T + 1)): for many steps five thirds of
    the mean step at the noise, a third of it at the data. num_steps >= 1, returns (num_steps + 1,).
    """
    t = _between(num_steps, 0.0, num_steps)  # T, ..., 0: steps that are left
    left = t / (3 * num_steps) + 2 * t * (t + 1) / (3 * num_steps * (num_steps + 1))
    return check_grid(_pinned(left, 1.0, 0.0))


def sigmoid(
    num_steps: int, *, steepness: float, centre: float = 0.5, start: float = 1.0, end: float = 0.0
) -> Tensor:
    """Grid along a logistic curve in u, denser at both ends: S(a (u - b)), scaled to run from start to end.

    steepness a > 0: towards 0 the grid is uniform. centre b: the u of the longest steps.
    """
    if not steepness > 0:
        raise ValueError(f"the steepness must be positive, got {steepness}; uniform_t is the limit 0")
    _check_ends(start, end)
    curve = torch.sigmoid(steepness * (_between(0.0, 1.0, num_steps) - centre))
    return check_grid(
        _pinned(start + (end - start) * (curve - curve[0]) / (curve[-1] - curve[0]), start, end)
    )


def logit_normal(
    num_steps: int, *, mean: float = 0.0, std: float = 1.0, start: float = 1.0, end: float = 0.0
) -> Tensor:
    """Grid at equal quantiles of t = 1 / (1 + e^-n), n ~ N(mean, std^2), as many models are trained.

    Esser et al. 2024, equation 19. mean > 0 moves it to the noise. start, end: within [0, 1].
    """
    if not std > 0:
        raise ValueError(f"std must be positive, got {std}")

    def cdf(t: Tensor) -> Tensor:
        return torch.special.ndtr((torch.logit(t) - mean) / std)

    def quantile(q: Tensor) -> Tensor:
        return torch.sigmoid(mean + std * math.sqrt(2) * torch.erfinv(2 * q - 1))

    return _at_quantiles(cdf, quantile, num_steps, start, end)


def beta(num_steps: int, *, a: float = 0.6, b: float = 0.6, start: float = 1.0, end: float = 0.0) -> Tensor:
    """Grid at equal quantiles of Beta(a, b), denser at both ends where a, b < 1 (Lee et al. 2024).

    start, end: within [0, 1].
    """
    return _at_quantiles(lambda t: beta_cdf(t, a, b), lambda q: beta_quantile(q, a, b), num_steps, start, end)


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
    grid = _unit_grid(times, "shift")
    return check_grid(factor * grid / (factor * grid + (1 - grid)))


def shift_of_length(
    length: float,
    *,
    lengths: tuple[float, float] = (256, 4096),
    log_factors: tuple[float, float] = (0.5, 1.15),
) -> float:
    """Factor for `shift` that grows with the length of the signal: e^m, m linear in the length.

    lengths: frames (or patches) where log factors `log_factors` hold; m stays there outside. A longer signal
    needs more noise for the same loss of detail (Esser et al. 2024, section 5.3.2). The defaults are those of
    FLUX and of Stable Audio's latents.
    """
    (shortest, longest), (low, high) = lengths, log_factors
    if not shortest < longest:
        raise ValueError(f"lengths must be (shortest, longest), got {lengths}")
    share = (min(max(length, shortest), longest) - shortest) / (longest - shortest)
    return math.exp(low + share * (high - low))


def sway(times: Sequence[float] | Tensor, coefficient: float = -1.0) -> Tensor:
    """Move a grid in [0, 1] towards the noise (coefficient < 0) or the data: t -> t + s (t - sin(pi t / 2)).

    Sway sampling of F5-TTS (Chen et al. 2024, equation 7, there in u = 1 - t). coefficient s: -1 to
    2 / (pi - 2), 0 changes nothing; -1 makes `uniform_t` the cosine grid t = cos(pi u / 2).
    """
    if not -1 <= coefficient <= 2 / (math.pi - 2):
        raise ValueError(f"the sway coefficient must lie between -1 and 2 / (pi - 2), got {coefficient}")
    grid = _unit_grid(times, "sway")
    return check_grid(grid + coefficient * (grid - torch.sin(grid * (math.pi / 2))))


def beta_cdf(x: Tensor, a: float, b: float) -> Tensor:
    """Distribution function of Beta(a, b), the regularised incomplete beta function I_x(a, b).

    x: any shape, in [0, 1]; a, b > 0. Continued fraction (DLMF 8.17.22), to about 1e-13 for a, b up to 100.
    """
    if not (a > 0 and b > 0):
        raise ValueError(f"the parameters of a Beta distribution must be positive, got {a} and {b}")
    x = torch.as_tensor(x, dtype=torch.float64)
    swapped = x > (a + 1) / (a + b + 2)  # there the fraction converges for 1 - x
    y = torch.where(swapped, 1 - x, x)
    one = torch.ones_like(x)
    p, q = torch.where(swapped, b * one, a * one), torch.where(swapped, a * one, b * one)
    log_beta = math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
    front = torch.exp(torch.xlogy(p, y) + torch.xlogy(q, 1 - y) - log_beta) / p
    tail = front / _beta_fraction(y, p, q)
    return torch.where(swapped, 1 - tail, tail)


def _beta_fraction(x: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """1 + d_1 / (1 + d_2 / (1 + ...)) of DLMF 8.17.22, by the modified Lentz algorithm."""
    value, upper, lower = torch.ones_like(x), torch.ones_like(x), torch.zeros_like(x)
    for n in range(1, _FRACTION_TERMS):
        m = n // 2
        if n % 2:
            d = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        else:
            d = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        lower, upper = 1 / (1 + d * lower), 1 + d / upper
        value = value * upper * lower
        if bool(((upper * lower - 1).abs() < 1e-15).all()):
            break
    return value


def beta_quantile(q: Tensor, a: float, b: float) -> Tensor:
    """Inverse of `beta_cdf` by bisection, to 1e-15; q: any shape, in [0, 1]."""
    q = torch.as_tensor(q, dtype=torch.float64)
    low, high = torch.zeros_like(q), torch.ones_like(q)
    for _ in range(50):
        middle = (low + high) / 2
        below = beta_cdf(middle, a, b) < q
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return torch.where(q < 1, (low + high) / 2, 1.0)


def trailing_indices(num_train_steps: int, num_steps: int) -> Tensor:
    """Steps of a table that end a stride, from T - 1 on; (num_steps,) int64 (Lin et al. 2024, table 2).

    The one spacing that starts at the table's noisiest step for any num_steps and skips as much at the data.
    """
    _check_subset(num_train_steps, num_steps)
    ends = [Fraction(num_train_steps * (num_steps - i), num_steps) for i in range(num_steps)]
    return torch.tensor([round(end) - 1 for end in ends])


def leading_indices(num_train_steps: int, num_steps: int, *, offset: int = 0) -> Tensor:
    """Steps of a table at multiples of T // N, plus an offset; (num_steps,) int64, decreasing.

    It never visits the noisiest step, so a model sees less noise than it was trained on: for parity only.
    """
    _check_subset(num_train_steps, num_steps)
    stride = num_train_steps // num_steps
    if not 0 <= offset <= num_train_steps - 1 - (num_steps - 1) * stride:
        raise ValueError(f"an offset of {offset} leaves the table of {num_train_steps} steps: use 0 or 1")
    return torch.arange(num_steps - 1, -1, -1) * stride + offset


def linspace_indices(num_train_steps: int, num_steps: int) -> Tensor:
    """Steps of a table equally spaced from T - 1 to 0, rounded; (num_steps,) int64, decreasing."""
    _check_subset(num_train_steps, num_steps)
    span = max(num_steps - 1, 1)
    return torch.tensor([round(Fraction((num_train_steps - 1) * (span - i), span)) for i in range(num_steps)])


def at_indices(table: Sequence[float] | Tensor, indices: Tensor) -> Tensor:
    """Grid through steps of a table and on to the data at t = 0; len(indices) + 1 times.

    table: (T,) increasing times of the training steps, such as `Tabulated.times`. indices: decreasing.
    """
    times = torch.as_tensor(table, dtype=torch.float64)
    if int(indices.min()) < 0 or int(indices.max()) >= len(times):
        raise ValueError(f"the table has steps 0 to {len(times) - 1}, got indices {indices.tolist()}")
    return append_zero(times[indices])


def epss(num_steps: int) -> Tensor:
    """Grid of F5-TTS for few steps: a hand-picked subset of 32 equal ones (empirically pruned sampling).

    num_steps: 5, 6, 7, 10, 12 or 16. F5-TTS applies `sway` to it.
    """
    if num_steps not in EPSS:
        raise ValueError(f"there are such grids for {sorted(EPSS)} steps, got {num_steps}")
    return check_grid(1 - torch.tensor(EPSS[num_steps], dtype=torch.float64) / 32)


def resample_grid(path: Path, times: Sequence[float] | Tensor, num_steps: int) -> Tensor:
    """Grid of the same shape with another number of steps: log(sigma / alpha) linear between the given times.

    As for the published grids of Align Your Steps (Sabour et al. 2024), which exist for few numbers of steps.
    A last step to sigma = 0 is kept as one step; alpha(start) must not be 0. Returns (num_steps + 1,).
    """
    grid = check_grid(times).detach()
    to_data = int(float(path.sigma(grid[-1])) == 0)
    inner = grid[: len(grid) - to_data]
    if len(inner) < 2 or num_steps - to_data < 1:
        raise ValueError(
            f"besides the last step to the data, one of {len(inner) - 1} steps must become one of "
            f"{num_steps - to_data}: both must be at least 1"
        )
    start, end = float(inner[0]), float(inner[-1])
    _finite_lambdas(path, start, end)
    lams = path.lam(inner)
    places = _between(0.0, len(inner) - 1, num_steps - to_data)
    left = places.floor().long().clamp(max=len(inner) - 2)
    resampled = torch.lerp(lams[left], lams[left + 1], places - left)
    found = check_grid(_pinned(path.t_of_lam(resampled), start, end))
    return torch.cat([found, grid[-1:]]) if to_data else found


def _check_subset(num_train_steps: int, num_steps: int) -> None:
    if not 1 <= num_steps <= num_train_steps:
        raise ValueError(
            f"the number of steps must lie between 1 and the {num_train_steps} of the table, got {num_steps}"
        )


def _between(first: float, last: float, num_steps: int) -> Tensor:
    if num_steps < 1:
        raise ValueError(f"the number of steps must be at least 1, got {num_steps}")
    return torch.linspace(first, last, num_steps + 1, dtype=torch.float64)


def _pinned(grid: Tensor, start: float, end: float) -> Tensor:
    """Put the exact end points back: round-off must not move t = 1 or t = 0."""
    ends = torch.tensor([start, end], dtype=torch.float64)
    return torch.cat([ends[:1], grid[1:-1], ends[1:]])


def _check_ends(start: float, end: float, within: float = math.inf) -> None:
    if not start > end >= 0:
        raise ValueError(f"a grid runs from a later time to an earlier one, at least 0; got {start} to {end}")
    if start > within:
        raise ValueError(f"this grid is defined for times in [0, {within:g}], got a start of {start}")


def _unit_grid(times: Sequence[float] | Tensor, what: str) -> Tensor:
    grid = check_grid(times)
    if float(grid.detach()[0]) > 1:
        raise ValueError(f"{what} is defined for times in [0, 1], got a grid that starts at {float(grid[0])}")
    return grid


def _at_quantiles(
    cdf: Callable[[Tensor], Tensor],
    quantile: Callable[[Tensor], Tensor],
    num_steps: int,
    start: float,
    end: float,
) -> Tensor:
    """Grid at equal steps of a distribution function on [0, 1]."""
    _check_ends(start, end, within=1.0)
    first, last = cdf(torch.tensor([start, end], dtype=torch.float64)).tolist()
    return check_grid(_pinned(quantile(_between(first, last, num_steps)), start, end))


def _finite_lambdas(path: Path, start: float, end: float) -> tuple[float, float]:
    _check_ends(start, end)
    lams = path.lam(torch.tensor([start, end], dtype=torch.float64))
    if not bool(torch.isfinite(lams).all()):
        raise ValueError(
            f"the half log-SNR is {lams.tolist()} at t = {start} and {end}: "
            "start below pure noise and end above the data (append_zero adds the last step)"
        )
    return float(lams[0]), float(lams[1])
