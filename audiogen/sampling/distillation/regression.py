"""What all distillations share: where a network is called, what it should answer, and how far it is off."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

Distance: TypeAlias = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""distance(estimate, target, mask) -> one number per item (B,); estimate and target (B, ...)."""


class Example(NamedTuple):
    """Inputs of a network and its answer to them, made in one call so that they belong together.

    x: (B, ...) state. labels: what the network is told of it, (t,) with t (B,) or, for networks of two
    times, (B, 2); (t, w) with w (B,) for those that know their guidance. target: (B, ...) without gradient.
    weight: (B,) of the items, None = 1.
    """

    x: Tensor
    labels: tuple[Tensor, ...]
    target: Tensor
    weight: Tensor | None = None


def mean_square(estimate: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean square of the difference over the real elements of each item.

    estimate, target: (B, ...), real or complex; mask: (B, 1, N) or like, nonzero = real. Returns (B,).
    """
    size, count = _differences(estimate, target, mask)
    return size.square().sum(1) / count


def mean_absolute(estimate: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean modulus of the difference over the real elements of each item; arguments as in `mean_square`."""
    size, count = _differences(estimate, target, mask)
    return size.sum(1) / count


def pseudo_huber(
    estimate: Tensor, target: Tensor, mask: Tensor | None = None, *, scale: float = 0.00054
) -> Tensor:
    """Pseudo-Huber distance sqrt(|a - b|^2 + c^2) - c with c = scale sqrt(number of real elements).

    The norm is that of a whole item (Song and Dhariwal 2024, section 3.3). Arguments as in `mean_square`.
    """
    size, count = _differences(estimate, target, mask)
    power, c = size.square().sum(1), scale * count.sqrt()
    return power / (torch.sqrt(power + c**2) + c)  # without the difference, which cancels for small errors


def regression_loss(
    network: Callable[..., Tensor],
    example: Example,
    *,
    mask: Tensor | None = None,
    distance: Distance = mean_square,
) -> Tensor:
    """Weighted mean over items of the distance between network(x, *labels) and the target; 0-dim.

    mask: (B, 1, N) or like, nonzero = real.
    """
    distances = distance(network(example.x, *example.labels), example.target, mask)
    return (distances if example.weight is None else example.weight.to(distances.dtype) * distances).mean()


def _differences(estimate: Tensor, target: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Moduli of the differences (B, K), 0 outside the mask, and the number of real elements (B,)."""
    # shapes that merely broadcast would pair every item with every other
    if estimate.shape != target.shape or (mask is not None and mask.ndim != target.ndim):
        raise ValueError(
            f"estimate and target must have one shape and the mask their rank, got {tuple(estimate.shape)}, "
            f"{tuple(target.shape)} and {None if mask is None else tuple(mask.shape)}"
        )
    difference = (estimate - target).flatten(1)
    if mask is None:
        return difference.abs(), torch.full_like(difference[:, 0].real, difference.shape[1])
    real = mask.bool().expand_as(target).flatten(1)
    count = real.sum(1).clamp(min=1).to(difference.dtype.to_real())
    return difference.masked_fill(~real, 0).abs(), count
