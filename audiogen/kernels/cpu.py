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
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

MOST = 64  # frames in a batch: of more, libraries make good use of several cores
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
    """Whether layers with products run here too: with so few rows libraries spend time on preparations."""
    return 0 < rows <= MOST and takes_loops(x)


def arrays(*modules: nn.Module) -> list[tuple[Array, ...]]:
    """What loops see of each module's parameters, in the order of their making.

    It stays true while parameters change in place, not when they move or others take their places.
    """
    return [tuple(_array(x) for x in module.parameters()) for module in modules]


def _array(x: Tensor) -> Array:
    """What a loop sees of a tensor of the CPU."""
    return np.ascontiguousarray((x.detach() if x.requires_grad else x).numpy())


def _parts(x: Tensor) -> Array:
    """Complex (B, n, F) -> real and imaginary parts side by side (B, n, 2 F)."""
    return _array(x).view(np.float32)


def _rows(x: Array) -> Array:
    """All but the last dimension in one."""
    return x.reshape(-1, x.shape[-1])


def advance(cycles: Tensor, before: Tensor, f0: Tensor, period_s: float) -> tuple[Tensor, Tensor]:
    """Cycles and F0 before (B,), F0 (B, N), float64 -> cycles and slopes (B, N), as `nn.source.advance`."""
    out, slopes = np.empty(f0.shape), np.empty(f0.shape)
    _loops().advance(*(_array(value) for value in (cycles, before, f0)), period_s, out, slopes)
    return torch.from_numpy(out), torch.from_numpy(slopes)


def pulses(cycles: Tensor, f0: Tensor, slopes: Tensor, window: Tensor, sample_rate: int) -> Tensor:
    """`pulse_frames` times window (W,): cycles, f0, slopes (B, N) -> (B, N, W), float32."""
    out = np.empty((*f0.shape, len(window)), np.float32)
    rows = (_array(value).astype(np.float32).reshape(-1) for value in (cycles, f0, slopes))
    _loops().pulses(*rows, _array(window), sample_rate, _rows(out))
    return torch.from_numpy(out)


def voice(
    head: Tensor, pulses: Tensor, noise: Tensor, log_max: float, loudest: float
) -> tuple[Tensor, Tensor]:
    """What shapes a source (B, N, 3 F), see `Vocos.read`, and its spectra -> magnitude, spectrum (B, N, F).

    pulses (B, N, F), noise (N, F): complex. Logarithms of magnitude and noise are at most log_max, loudest.
    """
    magnitude, out = np.empty(pulses.shape, np.float32), np.empty(pulses.shape, np.complex64)
    inputs = map(_rows, (_array(head), _parts(pulses), _parts(noise.expand_as(pulses))))
    limits = (np.float32(log_max), np.float32(loudest))
    _loops().voice(*inputs, *limits, _rows(magnitude), _rows(out.view(np.float32)))
    return torch.from_numpy(magnitude), torch.from_numpy(out)


def overlap(
    rest: Tensor, frames: Tensor, window: Tensor, sums: Tensor, start: int, end: int | None, hops: int
) -> tuple[Tensor, Tensor]:
    """Windowed overlap-add of frames (B, n, W) onto what earlier ones left (B, W - hop).

    sums (K + 1, hop): row k is what the first k hops of the squared window sum to. start: frames before
    these. end: frames in all, None while more may come. Returns the first hops (B, hops, hop) over the
    squared windows they hold, and what is left (B, W - hop) from hop n on.
    """
    done, after = np.empty((len(rest), hops, sums.shape[1]), np.float32), np.empty(rest.shape, np.float32)
    inputs = (_array(value) for value in (rest, frames, window, sums))
    _loops().overlap(*inputs, start, 1 << 62 if end is None else end, done, after)
    return torch.from_numpy(done), torch.from_numpy(after)


def resynthesise(
    rest: Tensor,
    frames: Tensor,
    window: Tensor,
    sums: Tensor,
    start: int,
    end: int | None,
    stretch: tuple[int, int],
    audio: Tensor,
    padding: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """What `overlap` makes of frames (B, n, W), from stretch[0] to stretch[1], behind audio (B, T), cut anew.

    padding: zeros that follow. rest, window, sums, start, end: as in `overlap`. Returns windowed frames
    (B, m, W) a hop apart, what is left to overlap, and what is left of the samples from hop m on.
    """
    (batch, _, size), hop, (skip, samples) = frames.shape, sums.shape[1], stretch
    seen = audio.shape[1] + samples - skip + padding
    count = max(0, (seen - size) // hop + 1)
    out, after = np.empty((batch, count, size), np.float32), np.empty(rest.shape, np.float32)
    left = np.empty((batch, seen - count * hop), np.float32)
    inputs, last = (_array(value) for value in (rest, frames, window, sums)), 1 << 62 if end is None else end
    _loops().resynthesise(*inputs, start, last, skip, samples, _array(audio), padding, out, after, left)
    return torch.from_numpy(out), torch.from_numpy(after), torch.from_numpy(left)


class Projected(NamedTuple):
    """Spectra and their magnitudes (B, m, F), and the spectra before and magnitudes of frames that wait."""

    spectrum: Tensor
    magnitude: Tensor
    before: Tensor
    wanted: Tensor


def project(
    before: tuple[Tensor, Tensor], consistent: Tensor, magnitude: tuple[Tensor, Tensor], momentum: float
) -> Projected:
    """Complex spectra (B, m, F) extrapolated beyond those before and `consistent`, with the magnitudes.

    before and magnitude (B, ., F): of the frames that waited and of those that follow them, more than m.
    """
    batch, count, bins = consistent.shape
    waiting = sum(part.shape[1] for part in before) - count
    out, after = np.empty((batch, count, bins), np.complex64), np.empty((batch, waiting, bins), np.complex64)
    done, wanted = np.empty((batch, count, bins), np.float32), np.empty((batch, waiting, bins), np.float32)
    spectra, sizes = (_parts(x) for x in (*before, consistent)), (_array(x) for x in magnitude)
    results = (out.view(np.float32), done, after.view(np.float32), wanted)
    _loops().project(*spectra, *sizes, np.float32(1 + momentum), *results)
    return Projected(*map(torch.from_numpy, (out, done, after, wanted)))


def depthwise_norm(seen: Tensor, taps: Tensor, bias: Tensor, dilation: int, norm: nn.LayerNorm) -> Tensor:
    """Depthwise convolution and layer norm: padded inputs (B, N + span, C), taps (C, K) -> (B, N, C)."""
    batch, count, channels = seen.shape
    out = np.empty((batch, count - dilation * (taps.shape[1] - 1), channels), np.float32)
    inputs = (_array(value) for value in (seen, taps, bias))
    scale, shift, epsilon = _array(norm.weight), _array(norm.bias), np.float32(norm.eps)
    _loops().depthwise_norm(*inputs, dilation, scale, shift, epsilon, out)
    return torch.from_numpy(out)


class Span(NamedTuple):
    """How far a convolution over time sees: inputs before an output's own, and beyond it."""

    back: int
    ahead: int


class Chunk:
    """Where the next inputs (B, n, C) of a convolution stand after its state (B, R, C).

    after (B, A, C): the state to come, to be filled. count: outputs that are complete. last: zeros follow.
    """

    def __init__(self, x: Array, state: Array, span: Span, last: bool) -> None:
        self.x, self.state = x, state
        self.padding, self.lookback = span.ahead if last else 0, span.back
        seen = state.shape[1] + x.shape[1] + self.padding
        self.count = max(0, seen - span.back - span.ahead)
        self.after = np.empty((len(x), seen - self.count, x.shape[2]), x.dtype)

    def out(self, channels: int) -> Array:
        """Room for the outputs (B, count, channels)."""
        return np.empty((len(self.x), self.count, channels), self.x.dtype)

    def seen(self) -> Array:
        """All that is there for the outputs, (B, M, C)."""
        zeros = np.zeros((len(self.x), self.padding, self.x.shape[2]), self.x.dtype)
        return np.concatenate((self.state, self.x, zeros), axis=1)


def stack(
    stem: Tensor,
    states: Sequence[Tensor],
    mel: Tensor,
    epsilon: float,
    spans: tuple[Span, Span],
    weights: Sequence[tuple[Array, ...]],
    last: bool,
) -> tuple[Tensor, tuple[Tensor, ...], Tensor]:
    """A `Vocos` up to its head on few frames (B, M, n), past PyTorch.

    stem (B, M, R), states (B, C, R): of the first convolution and of the blocks. epsilon: of the norms.
    spans: of the first convolution and of the blocks'. weights: of stem, its norm, blocks, norm before the
    head, head. last: nothing follows. Returns the states, outputs (B, m, O).
    """
    loops, small = _loops(), np.float32(epsilon)
    first, first_norm, *blocks, head_norm, head = weights
    chunk = Chunk(_array(mel.mT), _array(stem.mT), spans[0], last)
    seen, x = chunk.seen(), chunk.out(len(first[1]))
    chunk.after[:] = seen[:, chunk.count :]
    # weights pass through the caches, so that little else should be needed from here on
    if chunk.count:
        loops.convolve(seen, *first, x)
        loops.normalise_rows(_rows(x), *first_norm, small)
    kept = []
    for state, (gain, taps, *others) in zip(states, blocks, strict=True):
        block = Chunk(x, _array(state.mT), spans[1], last)
        x = block.out(x.shape[2])
        kept.append(block.after)
        if block.count:
            sizes = (block.padding, block.lookback)
            loops.convnext(block.x, block.state, *sizes, block.after, x, small, gain, taps[:, 0], *others)
        else:
            block.after[:] = block.seen()
    out = np.empty((*x.shape[:2], len(head[1])), np.float32)
    if x.shape[1]:
        loops.normalise_rows(_rows(x), *head_norm, small)
        loops.linear(_rows(x), *head, _rows(out))
    return _state(chunk.after), tuple(map(_state, kept)), torch.from_numpy(out)


def track(
    mel: Tensor,
    states: Sequence[Tensor],
    lowest: float,
    near: int,
    span: Span,
    weights: Sequence[tuple[Array, ...]],
    last: bool,
) -> tuple[tuple[Tensor, ...], Tensor, Tensor]:
    """An `F0Tracker`, float64, on few frames (B, n_mels, n), past PyTorch.

    states (B, C, R), span and weights: of its convolutions; the last weights are its head's. last: nothing
    follows. Returns states, scores (B, m, classes), F0 (B, m): the mean of the classes within `near` of the
    best, half semitones from `lowest` on.
    """
    loops = _loops()
    *layers, head = weights
    x, kept = _array(mel.mT).astype(np.float64), []
    for k, (state, layer) in enumerate(zip(states, layers, strict=True)):
        chunk = Chunk(x, _array(state.mT), span, last)
        kept.append(chunk.after)
        x = chunk.out(len(layer[1]))
        if chunk.count:
            sizes = (chunk.padding, chunk.lookback)
            loops.tracker_layer(chunk.x, chunk.state, *sizes, chunk.after, k > 0, *layer, x)
        else:
            chunk.after[:] = chunk.seen()
    scores, f0 = np.empty((*x.shape[:2], len(head[1]))), np.empty(x.shape[:2])
    if x.shape[1]:
        loops.linear(_rows(x), *head, _rows(scores))
        loops.frequency(_rows(scores), lowest, near, f0.reshape(-1))
    return tuple(map(_state, kept)), torch.from_numpy(scores), torch.from_numpy(f0)


def _state(after: Array) -> Tensor:
    """What a loop left (B, A, C) as the state (B, C, A) of a layer."""
    return torch.from_numpy(after).mT
