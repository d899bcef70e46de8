"""One time step of a causal ConvNeXt block for many streams."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiogen.kernels.backend import (
    cdiv,
    dot_type,
    jit,
    launch,
    power_of_2,
    takes_kernel,
    tl,
    wants_gradient,
)
from audiogen.kernels.ring_window import ring_window_reference

EPS = 1e-6
FEW = 4  # streams up to which a row is a matrix-vector product; from there on tiles go to the tensor cores
PROGRAMS = 128  # about one for each multiprocessor of a large card (132 on H100 and H200)


class ConvNeXtWeights(NamedTuple):
    """Weights of a block, all of one dtype and contiguous; C channels, K taps, H hidden units.

    depthwise (K, C), from the oldest tap to the present; expand (H, C); contract (C, H); the rest vectors.
    """

    depthwise: Tensor
    depthwise_bias: Tensor
    norm_scale: Tensor
    norm_shift: Tensor
    expand: Tensor
    expand_bias: Tensor
    contract: Tensor
    contract_bias: Tensor
    scale: Tensor

    @classmethod
    def of(cls, block: nn.Module, dtype: torch.dtype = torch.float32) -> ConvNeXtWeights:
        """Copies of the weights of a block with `depthwise`, `norm`, `expand`, `contract` and `scale`."""
        part: Any = block
        found = (
            part.depthwise.weight[:, 0].T,
            part.depthwise.bias,
            part.norm.weight,
            part.norm.bias,
            part.expand.weight,
            part.expand.bias,
            part.contract.weight,
            part.contract.bias,
            part.scale,
        )
        return cls(*(value.detach().to(dtype, copy=True).contiguous() for value in found))


def convnext_step_reference(
    x: Tensor, ring: Tensor, position: Tensor, slots: Tensor, weights: ConvNeXtWeights
) -> Tensor:
    """x + scale contract(gelu(expand(norm(depthwise(history, x))))): `ConvNeXtBlock`, causal, one frame.

    x (B, C): the frame of each stream. ring (S, K, C): the last K frames of every slot, written in place; the
    frame of step p lies in entry p mod K. position (S,) int: steps that each slot has seen, to be advanced by
    the caller once all blocks are done. slots (B,) int, in [0, S) and distinct: the slot of each stream; the
    others are neither read nor written. A slot whose ring and position are zero begins a new stream.
    Convolution and norm are formed in float32 at least. Returns (B, C).
    """
    wide = torch.promote_types(x.dtype, torch.float32)
    window = ring_window_reference(x, ring, position, slots).to(wide)
    y = (window * weights.depthwise.to(wide)).sum(1) + weights.depthwise_bias.to(wide)
    y = F.layer_norm(y, y.shape[1:], weights.norm_scale.to(wide), weights.norm_shift.to(wide), EPS)
    y = F.gelu(F.linear(y.to(x.dtype), weights.expand, weights.expand_bias))
    return x + weights.scale * F.linear(y, weights.contract, weights.contract_bias)


def convnext_step(
    x: Tensor, ring: Tensor, position: Tensor, slots: Tensor, weights: ConvNeXtWeights
) -> Tensor:
    """`convnext_step_reference` in two launches on CUDA; the reference elsewhere and under autograd.

    Float32 and bfloat16; float32 products are formed of three TF32 ones, which keeps about 21 bits.
    Raises ValueError for shapes or dtypes that do not fit together.
    """
    _check(x, ring, position, slots, weights)
    if not takes_kernel(x, ring, position, slots, *weights) or wants_gradient(x, *weights):
        return convnext_step_reference(x, ring, position, slots, weights)
    x, slots = x.contiguous(), slots.contiguous()
    if len(x) == 0:
        return x
    if len(x) <= FEW:
        return _by_rows(x, ring, position, slots, weights)
    return _by_tiles(x, ring, position, slots, weights)


def _check(x: Tensor, ring: Tensor, position: Tensor, slots: Tensor, weights: ConvNeXtWeights) -> None:
    """Raise ValueError where an operand has another shape or dtype than the step needs."""
    taps, channels = weights.depthwise.shape
    if x.shape != (len(slots), channels) or ring.shape != (len(position), taps, channels):
        raise ValueError(
            f"a step of {channels} channels and {taps} taps needs x (B, {channels}), slots (B,), ring "
            f"(S, {taps}, {channels}) and position (S,), got x {tuple(x.shape)}, slots {tuple(slots.shape)}, "
            f"ring {tuple(ring.shape)} and position {tuple(position.shape)}"
        )
    if len({x.dtype, ring.dtype, *(w.dtype for w in weights)}) > 1 or not ring.is_contiguous():
        raise ValueError(
            f"x ({x.dtype}), ring ({ring.dtype}) and weights ({weights.expand.dtype}) must have one dtype, "
            "and the ring must be contiguous: convert the weights with ConvNeXtWeights.of(block, dtype)"
        )


class Tiles(NamedTuple):
    """How a step of many streams is cut.

    A program of the first launch takes `rows` streams and `each` tiles of `columns` hidden units; `splits` of
    them share the hidden units. One of the second takes `rows` streams and `columns` channels.
    """

    rows: int
    columns: int
    splits: int
    each: int


def tiles(streams: int, channels: int, hidden: int) -> Tiles:
    """Tiles that keep every multiprocessor busy, and past that recompute little of the convolution.

    Few streams: every tile of hidden units is a program. Many: a program loops over several.
    """
    rows = 32 if streams >= 512 and channels <= 256 else 16  # more would not fit the registers
    columns = 16 if streams <= 64 else 32
    parts = cdiv(hidden, columns)
    splits = max(1, min(parts, PROGRAMS // cdiv(streams, rows)))
    each = cdiv(parts, splits)
    return Tiles(rows, columns, cdiv(parts, each), each)


def _by_rows(x: Tensor, ring: Tensor, position: Tensor, slots: Tensor, weights: ConvNeXtWeights) -> Tensor:
    (B, C), H = x.shape, len(weights.expand)
    h, y = x.new_empty(B, H), torch.empty_like(x)
    block = power_of_2(C)
    few = max(1, min(8, 4096 // block))
    launch(
        _expand_row_kernel, (B, cdiv(H, few)), x,
        x, ring, position, slots, *weights[:6], h, B,
        C=C, H=H, EPS=EPS, K=ring.shape[1], BLOCK=block, FEW=few,
    )  # fmt: skip
    block = min(1024, power_of_2(H))
    launch(
        _contract_row_kernel, (B, cdiv(C, 4)), x,
        h, x, *weights[6:], y, C=C, H=H, BLOCK=block, FEW=4,
    )  # fmt: skip
    return y


def _by_tiles(x: Tensor, ring: Tensor, position: Tensor, slots: Tensor, weights: ConvNeXtWeights) -> Tensor:
    (B, C), H = x.shape, len(weights.expand)
    cut = tiles(B, C, H)
    normed, h, y = x.new_empty(cut.splits, B, C), x.new_empty(B, H), torch.empty_like(x)
    block = power_of_2(C)
    options = {"C": C, "H": H, "ROWS": cut.rows, "COLUMNS": cut.columns, "STEP": 64, "DOT": dot_type(x)}
    launch(
        _expand_tile_kernel, (cdiv(B, cut.rows), cut.splits), x,
        x, ring, position, slots, *weights[:6], normed, h, B,
        EPS=EPS, K=ring.shape[1], BLOCK=block, EACH=cut.each, **options,
        num_warps=8 if cut.rows * block > 4096 else 4,
    )  # fmt: skip
    launch(
        _contract_tile_kernel, (cdiv(B, cut.rows), cdiv(C, cut.columns)), x,
        h, x, *weights[6:], y, B, **options, num_warps=4,
    )  # fmt: skip
    return y


@jit
def _normed_frames(
    x_ptr, ring_ptr, position_ptr, slots_ptr, depthwise_ptr, bias_ptr, scale_ptr, shift_ptr,
    rows, writes, B, C: tl.constexpr, EPS: tl.constexpr, K: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """norm(depthwise(history, x)) of the streams `rows`, (rows, BLOCK); the frame goes into the ring.

    Nobody reads the entry that is written: the present frame comes from x. So any number of programs may
    compute the same stream, of which one `writes`.
    """
    c = tl.arange(0, BLOCK)
    live, inside = rows < B, c < C
    mask = live[:, None] & inside[None, :]
    slot = tl.load(slots_ptr + rows, mask=live, other=0).to(tl.int64)
    now = tl.load(position_ptr + slot, mask=live, other=0)
    history = ring_ptr + (slot * K * C)[:, None] + c[None, :]
    x = tl.load(x_ptr + rows[:, None] * C + c[None, :], mask=mask, other=0.0)
    if writes:
        tl.store(history + (now % K * C)[:, None], x, mask=mask)
    present = tl.load(depthwise_ptr + (K - 1) * C + c, mask=inside, other=0.0).to(tl.float32)
    y = tl.load(bias_ptr + c, mask=inside, other=0.0).to(tl.float32)[None, :]
    y += x.to(tl.float32) * present[None, :]
    for j in tl.static_range(K - 1):
        past = tl.load(history + ((now + 1 + j) % K * C)[:, None], mask=mask, other=0.0).to(tl.float32)
        y += past * tl.load(depthwise_ptr + j * C + c, mask=inside, other=0.0).to(tl.float32)[None, :]
    y = tl.where(inside[None, :], y - (tl.sum(tl.where(inside[None, :], y, 0.0), 1) / C)[:, None], 0.0)
    y *= tl.rsqrt(tl.sum(y * y, 1) / C + EPS)[:, None]
    scale = tl.load(scale_ptr + c, mask=inside, other=0.0).to(tl.float32)
    return y * scale[None, :] + tl.load(shift_ptr + c, mask=inside, other=0.0).to(tl.float32)[None, :]


@jit
def _gelu(x):
    return 0.5 * x * (1.0 + tl.erf(x * 0.7071067811865476))


@jit
def _expand_row_kernel(
    x_ptr, ring_ptr, position_ptr, slots_ptr, depthwise_ptr, bias_ptr, scale_ptr, shift_ptr,
    expand_ptr, expand_bias_ptr, h_ptr, B,
    C: tl.constexpr, H: tl.constexpr, EPS: tl.constexpr, K: tl.constexpr, BLOCK: tl.constexpr,
    FEW: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0)
    y = _normed_frames(
        x_ptr, ring_ptr, position_ptr, slots_ptr, depthwise_ptr, bias_ptr, scale_ptr, shift_ptr,
        row + tl.arange(0, 1), tl.program_id(1) == 0, B, C, EPS, K, BLOCK,
    )  # fmt: skip
    y = y.to(h_ptr.dtype.element_ty).to(tl.float32)
    c, n = tl.arange(0, BLOCK), tl.program_id(1) * FEW + tl.arange(0, FEW)
    mask = (n < H)[:, None] & (c < C)[None, :]
    w = tl.load(expand_ptr + n[:, None] * C + c[None, :], mask=mask, other=0.0).to(tl.float32)
    h = tl.sum(w * y, 1) + tl.load(expand_bias_ptr + n, mask=n < H, other=0.0).to(tl.float32)
    tl.store(h_ptr + row * H + n, _gelu(h), mask=n < H)


@jit
def _contract_row_kernel(
    h_ptr, x_ptr, contract_ptr, contract_bias_ptr, scale_ptr, y_ptr,
    C: tl.constexpr, H: tl.constexpr, BLOCK: tl.constexpr, FEW: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0)
    n, k = tl.program_id(1) * FEW + tl.arange(0, FEW), tl.arange(0, BLOCK)
    total = tl.load(contract_bias_ptr + n, mask=n < C, other=0.0).to(tl.float32)
    for start in range(0, H, BLOCK):
        inside = start + k < H
        h = tl.load(h_ptr + row * H + start + k, mask=inside, other=0.0).to(tl.float32)
        mask = (n < C)[:, None] & inside[None, :]
        w = tl.load(contract_ptr + n[:, None] * H + start + k[None, :], mask=mask, other=0.0)
        total += tl.sum(w.to(tl.float32) * h[None, :], 1)
    scale = tl.load(scale_ptr + n, mask=n < C, other=0.0).to(tl.float32)
    x = tl.load(x_ptr + row * C + n, mask=n < C, other=0.0).to(tl.float32)
    tl.store(y_ptr + row * C + n, x + scale * total, mask=n < C)


@jit
def _product(
    a_ptr, b_ptr, rows, columns, B, N: tl.constexpr, SIZE: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, STEP: tl.constexpr, DOT: tl.constexpr,
):  # fmt: skip
    """a[rows] b[columns]^T, (ROWS, COLUMNS) in float32; a (B, SIZE) and b (N, SIZE), zeros beyond."""
    k = tl.arange(0, STEP)
    total = tl.zeros((ROWS, COLUMNS), tl.float32)
    for start in range(0, SIZE, STEP):
        inside = start + k < SIZE
        a_mask, b_mask = (rows < B)[:, None] & inside[None, :], (columns < N)[None, :] & inside[:, None]
        a = tl.load(a_ptr + rows[:, None] * SIZE + start + k[None, :], mask=a_mask, other=0.0)
        b = tl.load(b_ptr + columns[None, :] * SIZE + start + k[:, None], mask=b_mask, other=0.0)
        total = tl.dot(a.to(DOT), b.to(DOT), total, input_precision="tf32x3")
    return total


@jit
def _expand_tile_kernel(
    x_ptr, ring_ptr, position_ptr, slots_ptr, depthwise_ptr, bias_ptr, scale_ptr, shift_ptr,
    expand_ptr, expand_bias_ptr, normed_ptr, h_ptr, B,
    C: tl.constexpr, H: tl.constexpr, EPS: tl.constexpr, K: tl.constexpr, BLOCK: tl.constexpr,
    EACH: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, STEP: tl.constexpr, DOT: tl.constexpr,
):  # fmt: skip
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    split = tl.program_id(1)
    y = _normed_frames(
        x_ptr, ring_ptr, position_ptr, slots_ptr, depthwise_ptr, bias_ptr, scale_ptr, shift_ptr,
        rows, split == 0, B, C, EPS, K, BLOCK,
    )  # fmt: skip
    # a program's own copy in memory, which its cache holds: registers cannot be cut along channels
    own = normed_ptr + split * B * C
    c = tl.arange(0, BLOCK)
    tl.store(own + rows[:, None] * C + c[None, :], y, mask=(rows < B)[:, None] & (c < C)[None, :])
    tl.debug_barrier()  # other threads of the program read it
    for i in range(EACH):
        n = (split * EACH + i) * COLUMNS + tl.arange(0, COLUMNS)
        h = _product(own, expand_ptr, rows, n, B, H, C, ROWS, COLUMNS, STEP, DOT)
        h += tl.load(expand_bias_ptr + n, mask=n < H, other=0.0).to(tl.float32)[None, :]
        mask = (rows < B)[:, None] & (n < H)[None, :]
        tl.store(h_ptr + rows[:, None] * H + n[None, :], _gelu(h), mask=mask)


@jit
def _contract_tile_kernel(
    h_ptr, x_ptr, contract_ptr, contract_bias_ptr, scale_ptr, y_ptr, B,
    C: tl.constexpr, H: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, STEP: tl.constexpr,
    DOT: tl.constexpr,
):  # fmt: skip
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    n = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    y = _product(h_ptr, contract_ptr, rows, n, B, C, H, ROWS, COLUMNS, STEP, DOT)
    y += tl.load(contract_bias_ptr + n, mask=n < C, other=0.0).to(tl.float32)[None, :]
    scale = tl.load(scale_ptr + n, mask=n < C, other=0.0).to(tl.float32)
    place = rows[:, None] * C + n[None, :]
    mask = (rows < B)[:, None] & (n < C)[None, :]
    x = tl.load(x_ptr + place, mask=mask, other=0.0).to(tl.float32)
    tl.store(y_ptr + place, x + scale[None, :] * y, mask=mask)
