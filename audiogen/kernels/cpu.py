"""Loops over frames that take one pass on a CPU where PyTorch takes many, compiled by Numba.

They run within `fused` alone: Numba has to be imported and to compile each loop once on a machine, which is
seconds that few frames do not repay. Without Numba, elsewhere and under autograd the layers do the same with
PyTorch, to rounding.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

_FUSED: ContextVar[bool] = ContextVar("fused", default=False)


@contextmanager
def fused(on: bool = True) -> Iterator[None]:
    """Let layers run these loops where they can."""
    token = _FUSED.set(on)
    try:
        yield
    finally:
        _FUSED.reset(token)


@cache
def _loops() -> Any:
    """The compiled loops, None without Numba."""
    try:
        return import_module("audiogen.kernels.cpu_numba")
    except ImportError:
        return None


def takes_loops(x: Tensor) -> bool:
    """Whether the loops run on this tensor: float32 or complex64 on the CPU, no gradients, within `fused`."""
    wanted = _FUSED.get() and x.is_cpu and x.dtype in (torch.float32, torch.complex64)
    return wanted and not torch.is_grad_enabled() and _loops() is not None


def _array(x: Tensor) -> np.ndarray[Any, np.dtype[np.float32]]:
    """What a loop sees of a float32 tensor."""
    return (x.detach() if x.requires_grad else x).contiguous().numpy()


def _parts(x: Tensor) -> Tensor:
    """Complex (B, n, F) -> float (B n, 2 F)."""
    return torch.view_as_real(x.contiguous()).view(-1, 2 * x.shape[-1])


def pulses(cycles: Tensor, f0: Tensor, slopes: Tensor, window: Tensor, sample_rate: int) -> Tensor:
    """`pulse_frames` times window (W,): cycles, f0, slopes (B, N) -> (B, N, W), float32."""
    out = window.new_empty(*f0.shape, len(window))
    rows = (_array(value.float().flatten()) for value in (cycles, f0, slopes))
    _loops().pulses(*rows, _array(window), sample_rate, out.flatten(0, 1).numpy())
    return out


def voice(
    head: Tensor, pulses: Tensor, noise: Tensor, log_max: float, loudest: float
) -> tuple[Tensor, Tensor]:
    """What shapes a source (B, N, 3 F), see `Vocos.read`, and its spectra -> magnitude, spectrum (B, N, F).

    pulses (B, N, F), noise (N, F): complex. Logarithms of magnitude and noise are at most log_max, loudest.
    """
    magnitude, out = head.new_empty(pulses.shape), pulses.new_empty(pulses.shape)
    arrays = (_array(value) for value in (head.flatten(0, 1), _parts(pulses), _parts(noise.expand_as(out))))
    limits = (np.float32(log_max), np.float32(loudest))
    _loops().voice(*arrays, *limits, magnitude.flatten(0, 1).numpy(), _parts(out).numpy())
    return magnitude, out


def overlap(
    rest: Tensor, frames: Tensor, window: Tensor, sums: Tensor, start: int, end: int | None, hops: int
) -> tuple[Tensor, Tensor]:
    """Windowed overlap-add of frames (B, n, W) onto what earlier ones left (B, W - hop).

    sums (K + 1, hop): row k is what the first k hops of the squared window sum to. start: frames before
    these. end: frames in all, None while more may come. Returns the first hops (B, hops, hop) over the
    squared windows they hold, and what is left (B, W - hop) from hop n on.
    """
    done, after = rest.new_empty(len(rest), hops, sums.shape[1]), rest.new_empty(rest.shape)
    arrays = (_array(value) for value in (rest, frames, window, sums))
    _loops().overlap(*arrays, start, 1 << 62 if end is None else end, done.numpy(), after.numpy())
    return done, after


def project(before: Tensor, consistent: Tensor, magnitude: Tensor, momentum: float) -> Tensor:
    """Complex spectra (B, N, F) extrapolated beyond `before` and `consistent`, with magnitudes (B, N, F)."""
    out = consistent.new_empty(consistent.shape)
    spectra = (_array(_parts(value)) for value in (before, consistent))
    ahead = np.float32(1 + momentum)
    _loops().project(*spectra, _array(magnitude.flatten(0, 1)), ahead, _parts(out).numpy())
    return out


def depthwise_norm(seen: Tensor, taps: Tensor, bias: Tensor, dilation: int, norm: nn.LayerNorm) -> Tensor:
    """Depthwise convolution and layer norm: padded inputs (B, N + span, C), taps (C, K) -> (B, N, C)."""
    batch, count, channels = seen.shape
    out = seen.new_empty(batch, count - dilation * (taps.shape[1] - 1), channels)
    arrays = (_array(value) for value in (seen, taps, bias))
    scale, shift, epsilon = _array(norm.weight), _array(norm.bias), np.float32(norm.eps)
    _loops().depthwise_norm(*arrays, dilation, scale, shift, epsilon, out.numpy())
    return out
