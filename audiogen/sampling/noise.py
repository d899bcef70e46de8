"""Noise that belongs to an item, not to a batch: a function of its seed, the draw, the channel and the frame.

Philox-4x32-10 (Salmon et al. 2011) in int64 tensor operations, then Box-Muller. Nothing is sequential, so the
noise of an item is the same alone or in any batch, in any padding, and from any first frame.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

_MASK = 0xFFFFFFFF
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10
_LANES = 4  # random words per counter: four neighbouring channels share one


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
        return self._draw(0, channels, frames).to(dtype)

    def __call__(self, row: int, x: Tensor) -> Tensor:
        """Noise of row `row` >= 0, of the shape and dtype of x (B, ..., N); x itself is not read."""
        items, device = len(self.seeds), self._keys.device
        if x.ndim < 2 or len(x) != items or not x.is_floating_point() or x.device != device:
            raise ValueError(
                f"noise for {items} items on {device} needs a floating x of shape ({items}, ..., N) there,"
                f" got {x.dtype} {tuple(x.shape)} on {x.device}"
            )
        noise = self._draw(row + 1, math.prod(x.shape[1:-1]), x.shape[-1])
        return noise.to(x.dtype).reshape(x.shape)

    def _draw(self, draw: int, channels: int, frames: int) -> Tensor:
        """Float64 noise (B, channels, frames)."""
        device = self._keys.device
        frame = torch.arange(self.first_frame, self.first_frame + frames, device=device)
        block = torch.arange(-(-channels // _LANES), device=device)[:, None]
        zero = torch.zeros_like(block)
        words = philox(frame, block, zero + draw, zero, self._keys)
        normal = torch.cat(
            _box_muller(torch.stack(words[:2]), torch.stack(words[2:]))
        )  # (4, B, blocks, frames)
        return normal.permute(1, 2, 0, 3).flatten(1, 2)[:, :channels]


def philox(
    c0: Tensor, c1: Tensor, c2: Tensor, c3: Tensor, keys: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Four 32-bit random words for every 128-bit counter (Salmon et al. 2011, Philox-4x32-10).

    c0..c3: broadcastable int64 tensors of 32-bit counter words; keys: (10, 2, ...), for every round the key
    plus the round times the Weyl constants. Returns four int64 tensors with values in [0, 2^32).
    """
    first, second = _MULTIPLIERS
    for key0, key1 in keys:
        # int64 products wrap modulo 2^64, which keeps every bit; the shift is arithmetic, hence the mask
        p0, p1 = c0 * first, c2 * second
        c0, c1 = ((p1 >> 32) & _MASK) ^ c1 ^ key0, p1 & _MASK
        c2, c3 = ((p0 >> 32) & _MASK) ^ c3 ^ key1, p0 & _MASK
    return c0, c1, c2, c3


def _box_muller(radius_words: Tensor, angle_words: Tensor) -> tuple[Tensor, Tensor]:
    """Two independent standard normals per pair of 32-bit words; float64, at most 6.8 in size."""
    radius = torch.sqrt(-2 * torch.log((radius_words.double() + 0.5) * 2.0**-32))
    angle = angle_words.double() * (2 * math.pi * 2.0**-32)
    return radius * torch.cos(angle), radius * torch.sin(angle)
