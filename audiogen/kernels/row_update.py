"""A weighted sum of several tensors in one pass over memory: a row of a sampler's plan."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from audiogen.kernels.backend import cdiv, jit, launch, takes_kernel, tl, wants_gradient

MOST = 8  # inputs of one launch
BLOCK = 1024


def row_update_reference(weights: Tensor, values: Sequence[Tensor | None]) -> Tensor:
    """Sum of weights[k] * values[k] over the values that are not None, which stands for zeros.

    weights (W,) on the device of the values, so that no number is sent there or waited for; values: W tensors
    of one shape and dtype, at least one of them present. Summed in the wider of the two dtypes; returned in
    that of the values.
    """
    present = [(k, value) for k, value in enumerate(values) if value is not None]
    dtype = present[0][1].dtype
    wide = torch.promote_types(dtype, weights.dtype)
    return torch.stack([weights[k] * value.to(wide) for k, value in present]).sum(0).to(dtype)


def row_update(weights: Tensor, values: Sequence[Tensor | None]) -> Tensor:
    """`row_update_reference` in one pass on CUDA, of up to 8 values; else, and under autograd, the reference.

    Raises ValueError if no value is present, or if one has another shape than the first.
    """
    present = [(k, value) for k, value in enumerate(values) if value is not None]
    tensors = [value for _, value in present]
    if not tensors or len(values) != len(weights) or any(v.shape != tensors[0].shape for v in tensors):
        raise ValueError(
            f"a row update needs one weight ({tuple(weights.shape)}) for each of {len(values)} values, and "
            f"values of one shape of which one is present, got {[tuple(v.shape) for v in tensors]}"
        )
    fits = len(tensors) <= MOST and len({v.dtype for v in tensors}) == 1
    fits = fits and torch.promote_types(tensors[0].dtype, weights.dtype) == weights.dtype
    if not fits or not takes_kernel(weights, *tensors) or wants_gradient(weights, *tensors):
        return row_update_reference(weights, values)
    tensors = [value.contiguous() for value in tensors]
    out = torch.empty_like(tensors[0])
    if size := out.numel():
        spare = MOST - len(tensors)
        columns = {f"K{j}": k for j, k in enumerate([k for k, _ in present] + [0] * spare)}
        launch(
            _row_update_kernel, (cdiv(size, BLOCK),), out,
            weights.contiguous(), *tensors, *tensors[:1] * spare, out, size,
            COUNT=len(tensors), **columns, BLOCK=BLOCK,
        )  # fmt: skip
    return out


@jit
def _row_update_kernel(
    weights_ptr, p0, p1, p2, p3, p4, p5, p6, p7, out_ptr, size,
    COUNT: tl.constexpr, K0: tl.constexpr, K1: tl.constexpr, K2: tl.constexpr, K3: tl.constexpr,
    K4: tl.constexpr, K5: tl.constexpr, K6: tl.constexpr, K7: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = i < size
    total = _term(weights_ptr, p0, K0, i, inside)
    if COUNT > 1:
        total += _term(weights_ptr, p1, K1, i, inside)
    if COUNT > 2:
        total += _term(weights_ptr, p2, K2, i, inside)
    if COUNT > 3:
        total += _term(weights_ptr, p3, K3, i, inside)
    if COUNT > 4:
        total += _term(weights_ptr, p4, K4, i, inside)
    if COUNT > 5:
        total += _term(weights_ptr, p5, K5, i, inside)
    if COUNT > 6:
        total += _term(weights_ptr, p6, K6, i, inside)
    if COUNT > 7:
        total += _term(weights_ptr, p7, K7, i, inside)
    tl.store(out_ptr + i, total.to(out_ptr.dtype.element_ty), mask=inside)


@jit
def _term(weights_ptr, value_ptr, column: tl.constexpr, i, inside):
    weight = tl.load(weights_ptr + column)
    return weight * tl.load(value_ptr + i, mask=inside, other=0.0).to(weight.dtype)
