"""Snake activations, also between up- and downsampling that keep aliases out (Lee et al. 2023)."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from audiogen.kernels.backend import cdiv, jit, launch, power_of_2, takes_kernel, tl, wants_gradient

EPS = 1e-9
TAPS = 12


def snake_reference(x: Tensor, alpha: Tensor, beta: Tensor | None = None) -> Tensor:
    """x + sin(alpha x)^2 / (beta + 1e-9); beta is alpha for Snake (Ziyin et al. 2020), its own for SnakeBeta.

    x (B, C, T); alpha, beta (C,), positive. Returns (B, C, T).
    """
    alpha, beta = (p.unsqueeze(1) for p in (alpha, alpha if beta is None else beta))
    return x + torch.sin(alpha * x).square() / (beta + EPS)


@lru_cache(maxsize=1)
def filter_taps() -> tuple[float, ...]:
    """Low-pass filter of 12 taps for a factor of two: a sinc under a Kaiser window, of sum one.

    Cutoff a quarter of the higher rate, half a transition 0.3 of it; Kaiser's formulas (1974) give the
    attenuation, 51 dB, and from it the window's shape (the formula for more than 50 dB).
    """
    cutoff, half_width = 0.25, 0.3
    attenuation = 2.285 * (TAPS / 2 - 1) * math.pi * 4 * half_width + 7.95
    shape = 0.1102 * (attenuation - 8.7)
    window = torch.kaiser_window(TAPS, periodic=False, beta=shape, dtype=torch.float64)
    time = torch.arange(TAPS, dtype=torch.float64) - (TAPS - 1) / 2
    taps = window * torch.sinc(2 * cutoff * time)
    return tuple((taps / taps.sum()).tolist())


def antialiased_snake_reference(x: Tensor, alpha: Tensor, beta: Tensor | None = None) -> Tensor:
    """`snake_reference` at twice the rate: upsampled before and downsampled after (Lee et al. 2023, Fig. 1).

    Both filters are `filter_taps`, both continue their input by its first and last value. x (B, C, T >= 1);
    alpha, beta (C,). Returns (B, C, T).
    """
    channels = x.shape[1]
    taps = torch.tensor(filter_taps(), dtype=x.dtype, device=x.device).expand(channels, 1, TAPS)
    half = TAPS // 2
    up = F.conv_transpose1d(F.pad(x, (3, 3), mode="replicate"), 2 * taps, stride=2, groups=channels)
    # three samples were put before x, and the filter begins 5 before its middle
    up = up[..., half + half - 1 : -(half + half - 1)]
    y = snake_reference(up, alpha, beta)
    return F.conv1d(F.pad(y, (half - 1, half), mode="replicate"), taps, stride=2, groups=channels)


def snake(x: Tensor, alpha: Tensor, beta: Tensor | None = None) -> Tensor:
    """`snake_reference` in one pass over memory on CUDA; the reference elsewhere and under autograd."""
    beta = alpha if beta is None else beta
    if not takes_kernel(x, alpha, beta) or wants_gradient(x, alpha, beta) or x.numel() == 0:
        return snake_reference(x, alpha, beta)
    x = x.contiguous()
    y, (B, C, T) = torch.empty_like(x), x.shape
    block = min(1024, power_of_2(T))
    launch(_snake_kernel, (B * C, cdiv(T, block)), x, x, alpha, beta, y, C, T, EPS=EPS, BLOCK=block)
    return y


def antialiased_snake(x: Tensor, alpha: Tensor, beta: Tensor | None = None) -> Tensor:
    """`antialiased_snake_reference` in one pass over memory on CUDA, the reference elsewhere.

    Under autograd the kernel runs too, and so does its backward, in two passes that recompute what lies
    between; second derivatives are those of the reference alone.
    """
    beta = alpha if beta is None else beta
    if not takes_kernel(x, alpha, beta) or x.numel() == 0:
        return antialiased_snake_reference(x, alpha, beta)
    y: Tensor = _AntialiasedSnake.apply(x, alpha, beta)  # type: ignore[no-untyped-call]
    return y


class _AntialiasedSnake(torch.autograd.Function):
    """The kernels as one differentiable function of x, alpha and beta."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
        """Keep the inputs and nothing of the doubled rate."""
        x, alpha, beta = x.contiguous(), alpha.contiguous(), beta.contiguous()
        ctx.save_for_backward(x, alpha, beta)
        y, (B, C, T) = torch.empty_like(x), x.shape
        block = min(512, power_of_2(T))
        launch(
            _forward_kernel, (B * C, cdiv(T, block)), x,
            x, alpha, beta, y, C, T, FILTER=filter_taps(), EPS=EPS, BLOCK=block,
        )  # fmt: skip
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, dy: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Gradient of the doubled rate into memory, and from there that of x."""
        x, alpha, beta = ctx.saved_tensors  # type: ignore[attr-defined]
        dy, (B, C, T) = dy.contiguous(), x.shape
        block = min(512, power_of_2(T))
        blocks = cdiv(T, block)
        du = x.new_empty(B, C, 2 * T, dtype=torch.float32)
        sums = x.new_empty(2, B, C, blocks, dtype=torch.float32)
        launch(
            _backward_up_kernel, (B * C, blocks), x,
            x, dy, alpha, beta, du, sums, C, T, B * C * blocks, FILTER=filter_taps(), EPS=EPS, BLOCK=block,
        )  # fmt: skip
        dx = torch.empty_like(x)
        launch(_backward_down_kernel, (B * C, blocks), x, du, dx, T, FILTER=filter_taps(), BLOCK=block)
        dalpha, dbeta = sums.sum((1, 3))
        return dx, dalpha.to(alpha.dtype), dbeta.to(beta.dtype)


@jit
def _snake_kernel(x_ptr, alpha_ptr, beta_ptr, y_ptr, C, T, EPS: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    t = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    alpha = tl.load(alpha_ptr + row % C).to(tl.float32)
    beta = tl.load(beta_ptr + row % C).to(tl.float32)
    x = tl.load(x_ptr + row * T + t, mask=t < T, other=0.0).to(tl.float32)
    s = tl.sin(alpha * x)
    tl.store(y_ptr + row * T + t, x + s * s / (beta + EPS), mask=t < T)


@jit
def _upsampled(x_ptr, T, t, SHIFT: tl.constexpr, ODD: tl.constexpr, FILTER: tl.constexpr):
    """Value 2 (t + SHIFT) + ODD of the doubled rate; beyond its ends x repeats its first and last value."""
    u = 0.0
    for i in tl.static_range(6):
        x = tl.load(x_ptr + tl.minimum(tl.maximum(t + (SHIFT + ODD + i - 3), 0), T - 1)).to(tl.float32)
        u += 2 * FILTER[11 - ODD - 2 * i] * x
    return u


@jit
def _activated(u, alpha, beta, EPS: tl.constexpr):
    s = tl.sin(alpha * u)
    return u + s * s / (beta + EPS)


@jit
def _forward_kernel(
    x_ptr, alpha_ptr, beta_ptr, y_ptr, C, T,
    FILTER: tl.constexpr, EPS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    t = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    alpha = tl.load(alpha_ptr + row % C).to(tl.float32)
    beta = tl.load(beta_ptr + row % C).to(tl.float32)
    x_ptr += row * T
    first = _activated(_upsampled(x_ptr, T, 0, 0, 0, FILTER), alpha, beta, EPS)
    last = _activated(_upsampled(x_ptr, T, T - 1, 0, 1, FILTER), alpha, beta, EPS)
    y = tl.zeros((BLOCK,), tl.float32)
    for k in tl.static_range(12):
        m = 2 * t + (k - 5)
        u = _upsampled(x_ptr, T, t, (k + 1) // 2 - 3, (k + 1) % 2, FILTER)
        a = _activated(u, alpha, beta, EPS)
        y += FILTER[k] * tl.where(m < 0, first, tl.where(m > 2 * T - 1, last, a))
    tl.store(y_ptr + row * T + t, y, mask=t < T)


@jit
def _spread(dy_ptr, T, t, ODD: tl.constexpr, FILTER: tl.constexpr):
    """Gradient of value 2 t + ODD of the doubled rate after the activation, from that of the output."""
    d = 0.0
    for i in tl.static_range(6):
        q = t + (ODD + i - 3)
        g = tl.load(dy_ptr + q, mask=(q >= 0) & (q < T), other=0.0).to(tl.float32)
        d += FILTER[11 - ODD - 2 * i] * g
    # what the downsampling read before the first value and after the last was that value
    for s in tl.static_range(3):
        near = s if ODD == 0 else T - 1 - s
        edge = (t == 0) if ODD == 0 else (t == T - 1)
        g = tl.load(dy_ptr + near + 0 * t, mask=edge & (near >= 0) & (near < T), other=0.0).to(tl.float32)
        for k in tl.static_range(5 - 2 * s):
            d += (FILTER[k] if ODD == 0 else FILTER[11 - k]) * g
    return d


@jit
def _backward_up_kernel(
    x_ptr, dy_ptr, alpha_ptr, beta_ptr, du_ptr, sums_ptr, C, T, count,
    FILTER: tl.constexpr, EPS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Gradient of values 2 t and 2 t + 1 before the activation; sums for alpha and beta of this block."""
    row = tl.program_id(0).to(tl.int64)
    t = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    alpha = tl.load(alpha_ptr + row % C).to(tl.float32)
    beta = tl.load(beta_ptr + row % C).to(tl.float32) + EPS
    dalpha, dbeta = tl.zeros((BLOCK,), tl.float32), tl.zeros((BLOCK,), tl.float32)
    for odd in tl.static_range(2):
        u = _upsampled(x_ptr + row * T, T, t, 0, odd, FILTER)
        d = tl.where(t < T, _spread(dy_ptr + row * T, T, t, odd, FILTER), 0.0)
        sine, twice = tl.sin(alpha * u), tl.sin(2 * alpha * u) / beta
        dalpha += d * u * twice
        dbeta -= d * sine * sine / (beta * beta)
        tl.store(du_ptr + (row * T + t) * 2 + odd, d * (1 + alpha * twice), mask=t < T)
    place = row * tl.num_programs(1) + tl.program_id(1)
    tl.store(sums_ptr + place, tl.sum(dalpha, 0))
    tl.store(sums_ptr + count + place, tl.sum(dbeta, 0))


@jit
def _backward_down_kernel(du_ptr, dx_ptr, T, FILTER: tl.constexpr, BLOCK: tl.constexpr):
    """Gradient of x from that of the doubled rate; its ends also gather what was read beyond them."""
    row = tl.program_id(0).to(tl.int64)
    t = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    du_ptr += row * T * 2
    dx = tl.zeros((BLOCK,), tl.float32)
    for k in tl.static_range(12):
        for s in tl.static_range(4):
            # s = 0: x[t] itself; s > 0: x[-s] for the first value, x[T - 1 + s] for the last
            if s == 0:
                m = 2 * t + (k - 5)
                d = tl.load(du_ptr + m, mask=(m >= 0) & (m < 2 * T), other=0.0)
                dx += 2 * FILTER[k] * d
            else:
                if k >= 5 + 2 * s:
                    m = k - 5 - 2 * s + 0 * t
                    d = tl.load(du_ptr + m, mask=(t == 0) & (m < 2 * T), other=0.0)
                    dx += 2 * FILTER[k] * d
                if k <= 6 - 2 * s:
                    m = 2 * T + (2 * s + k - 7) + 0 * t
                    d = tl.load(du_ptr + m, mask=(t == T - 1) & (m >= 0), other=0.0)
                    dx += 2 * FILTER[k] * d
    tl.store(dx_ptr + row * T + t, dx, mask=t < T)
