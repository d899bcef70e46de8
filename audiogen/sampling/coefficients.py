"""The numbers of the exponential integrators: phi functions, quadrature weights and the first-order step."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from audiogen.sampling.paths import Path

_SERIES_RADIUS = 1.0  # the recurrence below divides by z k times: it loses digits inside this radius
_SERIES_TERMS = 20


def phi(k: int, z: Tensor | float) -> Tensor:
    """phi_k(z) of exponential integrators: phi_0 = e^z, phi_{k+1}(z) = (phi_k(z) - 1/k!) / z.

    k: 0 or more; z: any shape. Returns float64 of the shape of z, accurate to about 1e-14 relative for k <= 4
    (Hochbruck and Ostermann 2010).
    """
    if k < 0:
        raise ValueError(f"phi is defined for k >= 0, got k = {k}")
    z = torch.as_tensor(z, dtype=torch.float64)
    if k == 0:
        return torch.exp(z)
    near = z.abs() < _SERIES_RADIUS
    z_near, z_far = (
        torch.where(near, z, 0.0),
        torch.where(near, _SERIES_RADIUS, z),
    )  # both stay finite under autograd
    series = torch.zeros_like(z)
    for n in reversed(range(_SERIES_TERMS)):
        series = series * z_near + 1 / math.factorial(n + k)
    recurrence = torch.expm1(z_far) / z_far
    for j in range(1, k):
        recurrence = (recurrence - 1 / math.factorial(j)) / z_far
    return torch.where(near, series, recurrence)


def exponential_weights(nodes: Tensor, h: Tensor | float) -> Tensor:
    """Weights w_k with sum_k w_k p(nodes_k) = Int_0^1 h e^{-h (1 - u)} p(u) du for polynomials p, degree < K.

    nodes: (..., K) distinct positions, 0 = start of the step and 1 = its end; h: (...) > 0, the step in half
    log-SNR (times 1 + kappa for a stochastic solver). Returns float64 (..., K) with the sum 1 - e^{-h}.
    """
    nodes = torch.as_tensor(nodes, dtype=torch.float64)
    h = torch.as_tensor(h, dtype=torch.float64, device=nodes.device)
    degrees = range(nodes.shape[-1])
    moments = torch.stack([h * math.factorial(j) * phi(j + 1, -h) for j in degrees], dim=-1)
    return _exact_to_degree(nodes, moments)


def _exact_to_degree(nodes: Tensor, moments: Tensor) -> Tensor:
    """Weights (..., K) of values at nodes (..., K) that give the moments of 1, u, ..., u^(K - 1)."""
    powers = torch.stack([nodes**j for j in range(nodes.shape[-1])], dim=-2)
    weights: Tensor = torch.linalg.solve(powers, moments.unsqueeze(-1))
    return weights.squeeze(-1)


def lagrange(nodes: Tensor, at: Tensor) -> Tensor:
    """Lagrange polynomials of distinct nodes (K,) at the places `at` (...,) -> (K, ...)."""
    basis = []
    for j, node in enumerate(nodes):
        others = torch.cat([nodes[:j], nodes[j + 1 :]])
        basis.append(((at[..., None] - others) / (node - others)).prod(-1))
    return torch.stack(basis)


class StepWeights(NamedTuple):
    """Weights of one first-order step x' = x * state + y * mean + data * denoised + noise * z, float64."""

    x: Tensor
    y: Tensor
    data: Tensor
    noise: Tensor


def ddim_weights(path: Path, start: Tensor, end: Tensor, *, eta: float = 0.0) -> StepWeights:
    """First-order step from times `start` to the earlier times `end` (Song et al. 2021, equation 12).

    start, end: any one shape, start > end. eta: 0 for the flow, 1 for the exact posterior of DDPM, that is
    q(x_end | x_start, x0). Finite where alpha(start) = 0; no state or noise is left where sigma(end) = 0.
    """
    shrink = path.sigma(end) / path.sigma(start)
    step = path.lam(end) - path.lam(
        start
    )  # > 0, infinite when the start is pure noise or the end is the data
    fresh = -torch.expm1(-2 * step) * eta**2  # share of the variance that is drawn anew
    # equal at eta = 1, where the difference under the root loses its digits in a long step
    keep = torch.exp(-step) if eta == 1 else torch.sqrt(1 - fresh)
    carry = shrink * keep
    # a path without noise at its start (a bridge) is its mean there: nothing to carry
    bare = path.sigma(start) == 0
    carry = torch.where(bare, 0.0, carry)
    fresh = torch.where(bare, eta**2, fresh)
    return StepWeights(
        x=carry,
        y=path.mu(end) - carry * path.mu(start),
        data=path.alpha(end) - carry * path.alpha(start),
        # the root has no slope at zero, which would spoil gradients in the times
        noise=path.sigma(end) * torch.sqrt(fresh) if eta else torch.zeros_like(carry),
    )


def polynomial_weights(nodes: Tensor) -> Tensor:
    """Weights w_k with sum_k w_k p(nodes_k) = Int_0^1 p(u) du for polynomials p of degree < K.

    nodes: (..., K) distinct positions, 0 = start of the step and 1 = its end. Returns float64 (..., K).
    """
    nodes = torch.as_tensor(nodes, dtype=torch.float64)
    degrees = range(nodes.shape[-1])
    moments = torch.stack([torch.full_like(nodes[..., 0], 1 / (j + 1)) for j in degrees], dim=-1)
    return _exact_to_degree(nodes, moments)


def clock_weights(
    lams: Sequence[Tensor], start: Tensor, end: Tensor, clock: Callable[[Tensor], Tensor], points: int = 24
) -> Tensor:
    """Weights w_j = Int l_j(clock) d(sigma / alpha) over a step, with Lagrange polynomials l_j.

    start, end: log-SNR / 2 at the ends of the step; lams: K values of it whose clocks are the nodes; clock:
    a monotone function of it. Gauss-Legendre quadrature with `points` points. Returns float64 (K,).
    """
    positions, shares = gauss_legendre(points)
    lam = start + (end - start) * (positions + 1) / 2
    measure = -torch.exp(-lam) * (end - start) / 2 * shares
    nodes, at = torch.stack([clock(value) for value in lams]), clock(lam)
    return (measure * lagrange(nodes, at)).sum(-1)


def gauss_legendre(points: int) -> tuple[Tensor, Tensor]:
    """Nodes in (-1, 1) and weights of Gauss-Legendre quadrature, float64 (Golub and Welsch 1969)."""
    k = torch.arange(1, points, dtype=torch.float64)
    off_diagonal = k / torch.sqrt(4 * k**2 - 1)
    nodes, vectors = torch.linalg.eigh(torch.diag(off_diagonal, 1) + torch.diag(off_diagonal, -1))
    return nodes, 2 * vectors[0] ** 2
