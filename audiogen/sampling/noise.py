"""Noise that belongs to an item, not to a batch: a function of its seed, the draw, the channel and the frame.

Philox-4x32-10 (Salmon et al. 2011) in int64 tensor operations, then Box-Muller. Nothing is sequential, so the
noise of an item is the same alone or in any batch, in any padding, and from any first frame.

Complex noise has total variance 1, that is 1/2 in each component, as `torch.randn` has it; this is the only
place that fixes it. Its real part is the real noise of the same place times sqrt(1/2).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import chain, product

import torch
from torch import Tensor

_MASK = 0xFFFFFFFF
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10
_LANES = 4  # random words per counter: four neighbouring channels share one
# Counters whose words are made in one pass on a CPU: its temporaries stay in the cache, and torch does not
# spread so small a block over threads, which would wait for each other after each of a hundred operations.
_BLOCK = (1 << 15) - 1
# Counters whose noise is made together: few and large Box-Muller steps, or launches, in bounded memory.
_PART = {"cpu": 1 << 18, "other": 1 << 22}


class ItemNoise:
    """Standard Gaussian noise of B items, each with its own 64-bit seed.

    seeds: B integers, taken modulo 2^64. device: where noise is wanted; the keys are moved there once.
    first_frame: index of the first frame of the tensors to fill, for chunks of a longer signal.
    Called as noise(row, x) it returns noise like x, shape (B, ..., N); `start` draws the initial state. Equal
    arguments give equal noise; the draws of different rows, channels, frames and seeds are independent.
    """

    def __init__(
        self, seeds: Sequence[int], *, device: torch.device | str | None = None, first_frame: int = 0
    ) -> None:
        """Form the round keys; raises ValueError without seeds or with a first frame outside [0, 2^32)."""
        if not len(seeds):
            raise ValueError("ItemNoise needs one seed per item, got none")
        if not 0 <= first_frame <= _MASK:
            raise ValueError(f"first_frame must lie in [0, 2^32), got {first_frame}")
        self.seeds = tuple(int(seed) for seed in seeds)
        self.first_frame = first_frame
        keys = [[[(seed & _MASK), (seed >> 32 & _MASK)] for seed in self.seeds]] * _ROUNDS
        weyl = torch.tensor([[[(w * r) & _MASK for w in _WEYL]] for r in range(_ROUNDS)])
        # (rounds, 2, B, 1, 1): both words of every item's key in every round
        self._keys = ((torch.tensor(keys) + weyl) & _MASK).mT[..., None, None].to(device)

    def start(self, channels: int, frames: int, *, dtype: torch.dtype = torch.float32) -> Tensor:
        """Initial noise (B, channels, frames); row r of a plan uses other draws than this one."""
        x = torch.empty(len(self.seeds), channels, frames, dtype=dtype, device=self._keys.device)
        return self.combine(x, {0: 1.0})

    def __call__(self, row: int, x: Tensor) -> Tensor:
        """Noise of row `row` >= 0, of the shape and dtype of x (B, ..., N); x itself is not read."""
        return self.combine(x, {row + 1: 1.0})

    def combine(self, x: Tensor, draws: Mapping[int, float], *, stream: int = 0) -> Tensor:
        """Weighted sum of independent draws, sum_k draws[k] * (noise of draw k), like x (B, ..., N).

        draws: weight of every draw, numbered in [0, 2^32). stream: 0 for `start` (draw 0) and row r (r + 1),
        others for noise of another use. Raises ValueError unless x holds the items, on their device.
        """
        items, device = len(self.seeds), self._keys.device
        numbers = x.is_floating_point() or x.is_complex()
        if x.ndim < 2 or len(x) != items or not numbers or x.device != device:
            raise ValueError(
                f"noise for {items} items on {device} needs a floating or complex x of shape "
                f"({items}, ..., N) there, got {x.dtype} {tuple(x.shape)} on {x.device}"
            )
        out = torch.empty(items, math.prod(x.shape[1:-1]), x.shape[-1], dtype=x.dtype, device=device)
        if x.is_complex():
            half = {draw: weight * math.sqrt(0.5) for draw, weight in draws.items()}
            for component, part in enumerate(torch.view_as_real(out).unbind(-1)):
                self._fill(part, half, 2 * stream + component)
        else:
            self._fill(out, draws, 2 * stream)
        return out.reshape(x.shape)

    def _fill(self, out: Tensor, draws: Mapping[int, float], stream: int) -> None:
        """Write the weighted sum of draws into the real tensor out (B, channels, frames)."""
        items, channels, frames = out.shape
        blocks = max(1, -(-channels // _LANES))
        limit = _PART.get(out.device.type, _PART["other"])
        rows, width = max(1, limit // (blocks * max(1, frames))), max(1, limit // blocks)
        for row, first in product(range(0, items, rows), range(0, frames, width)):
            part = out[row : row + rows, :, first : first + width]
            frame = torch.arange(part.shape[-1], device=out.device) + (self.first_frame + first)
            lanes = _weighted_lanes(self._keys[:, :, row : row + rows], frame, blocks, draws, stream)
            for lane, value in enumerate(chain(*lanes)):
                target = part[:, lane::_LANES]
                target.copy_(value[:, : target.shape[1]])


def _weighted_lanes(
    keys: Tensor, frame: Tensor, blocks: int, draws: Mapping[int, float], stream: int
) -> tuple[Tensor, Tensor]:
    """Weighted sum of draws in float64: two of the lanes and two more, each (2, B, blocks, frames).

    keys: of B items. The order of the sum, and with it every bit, is that of the draws.
    """
    limit = _PART.get(frame.device.type, _PART["other"])
    together = max(1, limit // (keys.shape[2] * blocks * len(frame)))
    terms = list(draws.items())
    total: tuple[Tensor, Tensor] | None = None
    for some in (terms[n : n + together] for n in range(0, len(terms), together)):
        words = _words(keys, frame, blocks, [draw for draw, _ in some], stream)
        cosines, sines = _box_muller(words[:2], words[2:])
        for k, (_, weight) in enumerate(some):
            # product, then sum: a fused operation would round differently at the end of a vector register
            c, s = cosines[:, k].mul_(weight), sines[:, k].mul_(weight)
            total = (c, s) if total is None else (total[0].add_(c), total[1].add_(s))
    assert total is not None, "a sum has terms"
    return total


def _words(keys: Tensor, frame: Tensor, blocks: int, draws: Sequence[int], stream: int) -> Tensor:
    """Random words of some draws, int64 (4, draws, B, blocks, frames)."""
    items, frames, device = keys.shape[2], len(frame), frame.device
    block = torch.arange(blocks, device=device)[:, None]
    # filled on the device: a copy from the host would make it wait
    number = torch.stack([torch.full((1, 1, 1), draw, device=device) for draw in draws])
    words = torch.empty(4, len(draws), items, blocks, frames, dtype=torch.int64, device=device)
    many, rows, width = len(draws), items, frames
    if device.type == "cpu":
        many = max(1, _BLOCK // (items * blocks * frames))
        rows, width = max(1, _BLOCK // (blocks * frames)), max(1, _BLOCK // blocks)
    for k, i, n in product(range(0, len(draws), many), range(0, items, rows), range(0, frames, width)):
        made = philox(
            frame[n : n + width],
            block,
            number[k : k + many],
            torch.full_like(block, stream),
            keys[:, :, i : i + rows],
        )
        for word, value in zip(words, made, strict=True):
            word[k : k + many, i : i + rows, :, n : n + width] = value
    return words


def philox(
    c0: Tensor, c1: Tensor, c2: Tensor, c3: Tensor, keys: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Four 32-bit random words for every 128-bit counter (Salmon et al. 2011, Philox-4x32-10).

    c0..c3: broadcastable int64 tensors of 32-bit counter words; keys: (10, 2, ...), for every round the key
    plus the round times the Weyl constants. Returns four int64 tensors with values in [0, 2^32).
    """
    first, second = _MULTIPLIERS
    shape = (c0 + c1 + c2 + c3 + keys[0, 0]).shape
    c0, c1, c2, c3 = (c.expand(shape).clone() for c in (c0, c1, c2, c3))
    for key0, key1 in keys:
        # int64 products wrap modulo 2^64, which keeps every bit; the shift is arithmetic, hence the mask. The
        # low words keep the high bits of their product: they are only xor-ed, before that mask or the last.
        c0 *= first
        c2 *= second
        high0, high2 = c0 >> 32, c2 >> 32
        high2 ^= c1
        high2 ^= key0
        high2 &= _MASK
        high0 ^= c3
        high0 ^= key1
        high0 &= _MASK
        c0, c1, c2, c3 = high2, c2, high0, c0
    return c0, c1 & _MASK, c2, c3 & _MASK


def _box_muller(radius_words: Tensor, angle_words: Tensor) -> tuple[Tensor, Tensor]:
    """Two independent standard normals per pair of 32-bit words; float64, at most 6.8 in size."""
    radius = radius_words.double().add_(0.5).mul_(2.0**-32).log_().mul_(-2).sqrt_()
    angle = angle_words.double().mul_(2 * math.pi * 2.0**-32)
    return torch.cos(angle).mul_(radius), angle.sin_().mul_(radius)
