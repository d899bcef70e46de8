"""The last frames of streams in the order of time, out of a ring that takes the newest."""

from __future__ import annotations

import torch
from torch import Tensor

from audiogen.kernels.backend import cdiv, jit, launch, power_of_2, takes_kernel, tl


def ring_window_reference(frames: Tensor, ring: Tensor, position: Tensor, slots: Tensor) -> Tensor:
    """The last K frames of each stream, oldest first, the last one being the present (B, K, C).

    frames (B, C): the present one of each stream. ring (S, K, C), position (S,), slots (B,): as in
    `convnext_step_reference`; the ring is written in place. What has not come yet is zero.
    """
    size = ring.shape[1]
    now = position[slots].long()
    ring[slots, now % size] = frames
    order = (now.unsqueeze(1) + 1 + torch.arange(size, device=ring.device)) % size
    return ring[slots.unsqueeze(1), order]


def ring_window(frames: Tensor, ring: Tensor, position: Tensor, slots: Tensor) -> Tensor:
    """`ring_window_reference` in one launch on CUDA; the reference elsewhere.

    Raises ValueError for shapes or dtypes that do not fit together.
    """
    size, channels = ring.shape[1:]
    if frames.shape != (len(slots), channels) or position.shape != ring.shape[:1]:
        raise ValueError(
            f"a ring of {size} frames of {channels} needs frames (B, {channels}), slots (B,) and positions "
            f"({len(ring)},), got {tuple(frames.shape)}, {tuple(slots.shape)} and {tuple(position.shape)}"
        )
    if frames.dtype != ring.dtype or not ring.is_contiguous():
        raise ValueError(f"frames ({frames.dtype}) must have the dtype of a contiguous ring ({ring.dtype})")
    if not takes_kernel(frames, ring, position, slots):
        return ring_window_reference(frames, ring, position, slots)
    frames, slots = frames.contiguous(), slots.contiguous()
    window = frames.new_empty(len(frames), size, channels)
    if len(frames):
        block = min(256, power_of_2(channels))
        launch(
            _ring_window_kernel, (len(frames), size, cdiv(channels, block)), frames,
            frames, ring, position, slots, window, C=channels, K=size, BLOCK=block,
        )  # fmt: skip
    return window


@jit
def _ring_window_kernel(
    frames_ptr, ring_ptr, position_ptr, slots_ptr, window_ptr,
    C: tl.constexpr, K: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row, j = tl.program_id(0).to(tl.int64), tl.program_id(1)
    c = tl.program_id(2) * BLOCK + tl.arange(0, BLOCK)
    slot = tl.load(slots_ptr + row).to(tl.int64)
    now = tl.load(position_ptr + slot)
    # the entry of the present is the one that the oldest but K leaves: nobody reads it
    entry = ring_ptr + (slot * K + (now + 1 + j) % K) * C + c
    if j == K - 1:
        x = tl.load(frames_ptr + row * C + c, mask=c < C, other=0.0)
        tl.store(entry, x, mask=c < C)
    else:
        x = tl.load(entry, mask=c < C, other=0.0)
    tl.store(window_ptr + (row * K + j) * C + c, x, mask=c < C)
