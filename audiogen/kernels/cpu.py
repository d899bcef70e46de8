"""Loops over frames that take one pass on a CPU where PyTorch takes many, compiled by Numba.

They run within `fused` alone: Numba has to be imported and to compile each loop once on a machine, which is
seconds that few frames do not repay. Without Numba, elsewhere and under autograd the layers do the same with
PyTorch, to rounding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

MOST = 24  # rows of products that are made here: of more, libraries make the better use of a core
_FUSED: ContextVar[bool] = ContextVar("fused", default=False)

Array = np.ndarray[Any, np.dtype[Any]]


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


def takes_products(x: Tensor, rows: int) -> bool:
    """Whether layers with products run as loops on x: so few rows that libraries waste time on preparations."""
    return 0 < rows <= MOST and takes_loops(x)


class Arrays:
    """What loops see of modules' parameters: looked at once, and again when these have moved.

    What changes in place is seen as it is. A copy of the module that has this looks at its own parameters.
    """

    def __init__(self) -> None:
        self._places: list[int] = []
        self._arrays: list[tuple[Array, ...]] = []

    def __call__(self, *modules: nn.Module) -> list[tuple[Array, ...]]:
        """The arrays of each in the order of their making."""
        found = [list(_parameters(module)) for module in modules]
        places = [x.data_ptr() for parameters in found for x in parameters]
        if places != self._places:
            self._arrays = [tuple(_array(x) for x in parameters) for parameters in found]
            self._places = places
        return self._arrays

    def __reduce__(self) -> tuple[type[Arrays], tuple[()]]:
        return Arrays, ()


def _parameters(module: nn.Module) -> Iterator[Tensor]:
    """Those of `module.parameters()`, in a tenth of the time, without a look for those that come twice."""
    for parameter in module._parameters.values():
        if parameter is not None:
            yield parameter
    for child in module._modules.values():
        if child is not None:
            yield from _parameters(child)


def _array(x: Tensor) -> Array:
    """What a loop sees of a tensor."""
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


def stack(
    seen: Tensor, states: Sequence[Tensor], epsilon: float, arrays: Sequence[tuple[Array, ...]]
) -> tuple[tuple[Tensor, ...], Tensor]:
    """A causal `Vocos` up to its head on few frames, past PyTorch.

    seen (B, M, n + K - 1): padded mels. states (B, C, R): of the blocks. epsilon: of the norms. arrays: of stem,
    its norm, blocks, norm before the head, head. Returns states and the outputs (B, n, O).
    """
    loops, epsilon_ = _loops(), np.float32(epsilon)
    stem, stem_norm, *blocks, head_norm, head = arrays
    batch, count = len(seen), seen.shape[2] - stem[0].shape[2] + 1
    x = np.empty((batch, count, len(stem[1])), np.float32)
    rows = x.reshape(batch * count, -1)
    loops.convolve(_array(seen.mT), *stem, x)
    loops.normalise_rows(rows, *stem_norm, epsilon_)
    after = []
    for state, (gain, taps, *others) in zip(states, blocks, strict=True):
        before = _array(state.mT)
        after.append(np.empty_like(before))
        loops.convnext(x, before, after[-1], epsilon_, gain, taps[:, 0], *others)
    loops.normalise_rows(rows, *head_norm, epsilon_)
    out = np.empty((batch, count, len(head[1])), np.float32)
    loops.linear(rows, *head, out.reshape(batch * count, -1))
    return tuple(torch.from_numpy(state).mT for state in after), torch.from_numpy(out)


def track(
    mel: Tensor, states: Sequence[Tensor], lowest: float, near: int, arrays: Sequence[tuple[Array, ...]]
) -> tuple[tuple[Tensor, ...], Tensor, Tensor]:
    """A causal `F0Tracker` on few frames (B, n_mels, n), float64, past PyTorch.

    states (B, C, R) and arrays: of its convolutions; then those of its head. Returns states, scores
    (B, n, classes), F0 (B, n): the mean of the classes within `near` of the best, half semitones from `lowest`.
    """
    loops = _loops()
    *layers, head = arrays
    batch, _, count = mel.shape
    x, after = _array(mel.mT), []
    for k, (state, (weight, bias)) in enumerate(zip(states, layers, strict=True)):
        before, out = _array(state.mT), np.empty((batch, count, len(bias)))
        after.append(np.empty_like(before))
        loops.tracker_layer(x, before, after[-1], weight, bias, k > 0, out)
        x = out
    scores, f0 = np.empty((batch, count, len(head[1]))), np.empty((batch, count))
    loops.linear(x.reshape(batch * count, -1), *head, scores.reshape(batch * count, -1))
    loops.frequency(scores.reshape(batch * count, -1), lowest, near, f0.reshape(-1))
    return tuple(torch.from_numpy(state).mT for state in after), *map(torch.from_numpy, (scores, f0))
