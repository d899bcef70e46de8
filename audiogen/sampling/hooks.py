"""Hooks that make a sample agree with what is known: by replacement, or by gradients of a loss.

x hooks edit the state after a row, d hooks the denoised estimate within it (see `loop.run`). The history of a
multistep plan holds edited estimates, and a state kept in base is not edited: prefer d hooks where the edit
changes from row to row, and plans without a base where a mask is soft.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from audiogen.sampling.grids import check_grid
from audiogen.sampling.loop import Denoiser
from audiogen.sampling.paths import Path, expand
from audiogen.sampling.plans import concat, ddpm
from audiogen.sampling.plans.common import knot, moved, spec
from audiogen.sampling.table import Plan, Rows

XHook: TypeAlias = Callable[[Tensor, int], Tensor]
DHook: TypeAlias = Callable[[Tensor, Tensor, int], Tensor]
Loss: TypeAlias = Callable[[Tensor], Tensor]
"""Differentiable loss (B,) of denoised data (B, ...), one value per item so that items stay independent."""
Noise: TypeAlias = Tensor | Callable[[int, Tensor], Tensor]
"""Standard noise: a tensor for the whole run, or noise(row, x), fresh in every row (`ItemNoise`)."""


def inpaint_state(
    plan: Plan, path: Path, known: Tensor, mask: Tensor, noise: Noise, *, y: Tensor | None = None
) -> XHook:
    """x hook that puts the known part on the path after every row; exact where the plan ends at t = 0.

    known, y: (B, ...); mask: where it is known, bool or a weight in [0, 1], broadcasting to x. noise: fixed,
    usually the start of the run, with which the known part of an ODE moves along one straight conditional
    path, or fresh (Lugmayr et al. 2022, equation 8). Where data shows at the first time, or another noise is
    used, begin with the known part of x replaced too: path.add_noise(known, noise, t, y=y).
    """
    state = _on_path(plan, path, known, noise, y)
    return lambda x, row: _blend(x, state(x, row), mask)


def inpaint_estimate(known: Tensor, mask: Tensor) -> DHook:
    """d hook that replaces the known part of the denoised data; the state follows smoothly.

    known: (B, ...); mask: where it is known, bool or a weight in [0, 1], broadcasting to x. Exact up to
    rounding at the end of a plan that ends without noise.
    """
    return lambda d, x, row: _blend(d, known, mask)


def continue_from(plan: Plan, path: Path, prefix: Tensor, noise: Noise, *, y: Tensor | None = None) -> XHook:
    """x hook for chunks: the first frames are the end of the chunk before, put on the path after every row.

    prefix: (B, ..., P) finished frames; noise, y: as in `inpaint_state`, for this chunk. Overlapping chunks
    share the noise of a frame with ItemNoise(seeds, first_frame=...), or a start drawn from it.
    """
    frames = prefix.shape[-1]
    fixed = noise[..., :frames] if isinstance(noise, Tensor) else noise
    state = _on_path(plan, path, prefix, fixed, None if y is None else y[..., :frames])
    return lambda x, row: torch.cat([state(x[..., :frames], row), x[..., frames:]], dim=-1)


def _on_path(
    plan: Plan, path: Path, known: Tensor, noise: Noise, y: Tensor | None
) -> Callable[[Tensor, int], Tensor]:
    """Function (x, row) -> the known data as a state like x at the end of the row."""
    alphas, mus, sigmas = (f(plan.ends).tolist() for f in (path.alpha, path.mu, path.sigma))

    def state(x: Tensor, row: int) -> Tensor:
        out = alphas[row] * known
        if y is not None:
            out = out + mus[row] * y
        if sigmas[row]:
            out = out + sigmas[row] * (noise(row, x) if callable(noise) else noise)
        return out.to(x.dtype)

    return state


def _blend(x: Tensor, known: Tensor, mask: Tensor) -> Tensor:
    known = known.to(x.dtype)
    return torch.where(mask, known, x) if mask.dtype == torch.bool else torch.lerp(x, known, mask.to(x.dtype))


def renoise(path: Path, start: float | Tensor, end: float | Tensor) -> Plan:
    """One row without a network call: the forward process from `start` back to the later time `end`."""
    s, t = knot(path, start), knot(path, end)
    if not s.t < t.t or s.pure:
        raise ValueError(f"noise is added from a time with data to a later one, got {s.t:g} to {t.t:g}")
    carry = t.alpha / s.alpha
    fresh = (t.sigma**2 - (carry * s.sigma) ** 2).clamp(min=0).sqrt()
    rows = Rows()
    rows.add(None, t.t, x=moved(rows, rows.x, s, t, fresh * rows.noise, carry))
    return rows.plan(1, spec("renoise", path))


def repaint(
    path: Path,
    times: Sequence[float] | Tensor,
    *,
    resamples: int = 10,
    jump: int = 1,
    solver: Callable[[Path, Tensor], Plan] = ddpm,
) -> Plan:
    """Plan of RePaint: every `jump` steps are taken `resamples` times, with noise put back in between.

    Run it with `inpaint_state` made for this plan: the repeats bring the unknown part to agree with the known
    one (Lugmayr et al. 2022, Algorithm 1). times: N + 1 decreasing times. NFE = N * resamples.
    """
    if resamples < 1 or jump < 1:
        raise ValueError(f"resamples and jump must be 1 or more, got {resamples} and {jump}")
    grid = check_grid(times)
    pieces: list[Plan] = []
    for first in range(0, len(grid) - 1, jump):
        piece = grid[first : first + jump + 1]
        steps = solver(path, piece)
        pieces += [steps, *[renoise(path, piece[-1], piece[0]), steps] * (resamples - 1)]
    return concat(*pieces)


def dps(
    denoise: Denoiser,
    loss: Loss,
    path: Path,
    *,
    strength: float | Callable[[Tensor], Tensor] = 1.0,
) -> Denoiser:
    """Diffusion posterior sampling (Chung et al. 2023): D - strength (sigma^2 / alpha) grad_x loss(D(x)).

    The gradient goes through the network. This form adds strength * grad_x(-loss) to the score, so it serves
    every plan: a row whose weight of D is w moves x by -zeta grad_x loss, zeta = w strength sigma^2 / alpha.
    strength: 1 for a loss -log p(b | x0), or a function of t (B,). With loss |b - A D|^2 / 2 it is
    1 / std^2, or 1 / (std^2 + `residual_variance`) for PiGDM (Song et al. 2023), exact for Gaussian data if
    A has orthonormal rows. No correction at pure noise, alpha = 0, where D does not depend on x.
    """

    def guided(x: Tensor, t: Tensor) -> Tensor:
        d, gradient = _gradient(loss, lambda state: denoise(state, t.clone()).to(x.dtype), x)
        alpha, sigma = path.alpha(t), path.sigma(t)
        scale = torch.where(alpha > 0, sigma**2 / alpha, 0)
        scale = scale * (strength(t) if callable(strength) else strength)
        return d - expand(scale, x) * gradient

    return guided


def mpgd(loss: Loss, step: float | Sequence[float]) -> DHook:
    """d hook D - step grad_D loss(D): manifold-preserving guidance, no network gradient (He et al. 2024).

    step: for all rows or one for each. For loss |b - A D|^2 / 2 with noise of standard deviation std and
    r = `residual_variance` at plan.labels, r / (r + std^2) is exact for independent Gaussian data seen
    directly. FlowChef's x -= s grad_D loss (Patel et al. 2024) is step = s / w, w the row's weight of D.
    """

    def d_hook(d: Tensor, x: Tensor, row: int) -> Tensor:
        d, gradient = _gradient(loss, lambda data: data, d)
        return d - (step if isinstance(step, (int, float)) else step[row]) * gradient

    return d_hook


def residual_variance(path: Path, t: Tensor | float, data_std: float = 1.0) -> Tensor:
    """Variance of Gaussian data given x_t, v sigma^2 / (alpha^2 v + sigma^2) with v = data_std^2; like t."""
    variance, power = data_std**2, path.sigma(t) ** 2
    return power * variance / (path.alpha(t) ** 2 * variance + power)


def _gradient(loss: Loss, through: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    """through(x) and the gradient of loss(through(x)) in x; both with a graph only if x already has one."""
    keep = torch.is_grad_enabled() and x.requires_grad
    with torch.inference_mode(False), torch.enable_grad():
        start = x if keep else x.detach().clone().requires_grad_()
        d = through(start)
        values = loss(d)
        if values.shape != x.shape[:1] or not values.requires_grad:
            raise ValueError(
                f"the loss must give one value per item, shape {tuple(x.shape[:1])}, that depends on the "
                f"denoised data, and the denoiser must allow gradients; got shape {tuple(values.shape)}"
            )
        (gradient,) = torch.autograd.grad(values.sum(), start, create_graph=keep)
    return (d if keep else d.detach()), gradient
