"""Guidance: denoisers made of several denoisers, by plain function composition.

The weight is `w` everywhere and 1 means off: D_null + w (D_cond - D_null). Denoised data, noise, velocity and
score are affine in each other at a fixed state and time, so guidance of one is guidance of all.

What is combined are *branches*: the conditions first, the null last. Either denoisers, called one after
the other (less memory), or `batched`, which gets all outputs from one call (less latency):

    cfg((partial(denoise, cond=text), partial(denoise, cond=empty)), 3.0)
    cfg(batched(denoise, (text, empty)), 3.0)
    cfg((denoise, weaker_denoise), 2.0)  # autoguidance (Karras et al. 2024): a weaker network as the null
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor

from audiogen.sampling.loop import Denoiser, SplitDenoiser
from audiogen.sampling.paths import Path, append_dims
from audiogen.sampling.plans import interval_rows
from audiogen.sampling.table import Plan

Branches: TypeAlias = Sequence[Denoiser] | Callable[[Tensor, Tensor], Sequence[Tensor]]
"""Denoisers (condition 1, ..., condition J, null), or one function (x, t) -> their outputs in that order."""

Condition: TypeAlias = Tensor | None | Mapping[str, "Condition"] | Sequence["Condition"]
"""What a network is conditioned on: tensors (B, ...), nested in mappings and sequences; None for nothing."""

Weight: TypeAlias = float | Tensor
"""Guidance weight: one for all items, or a tensor (B,) with one per item."""


def batched(
    denoise: Callable[[Tensor, Tensor, Any], Tensor], conditions: Sequence[Condition]
) -> Callable[[Tensor, Tensor], tuple[Tensor, ...]]:
    """Branches from one call: all K conditions side by side in a batch of K B items, stacked here, once.

    denoise(x, t, condition): x (K B, ...), t (K B,), the conditions concatenated along their first dimension.
    conditions: K values of equal structure for the same B items. Raises ValueError if they differ in it.
    """
    stacked, copies = _stack(conditions), len(conditions)

    def branches(x: Tensor, t: Tensor) -> tuple[Tensor, ...]:
        repeats = (copies,) + (1,) * (x.ndim - 1)
        d = denoise(x.repeat(repeats), t.repeat(repeats[: t.ndim]), stacked)
        return d.chunk(copies)

    return branches


def _stack(conditions: Sequence[Any]) -> Any:
    """Concatenate conditions of equal structure, tensor by tensor."""
    first = conditions[0]
    if all(isinstance(c, Tensor) for c in conditions):
        return torch.cat(list(conditions))
    if all(c is None for c in conditions):
        return None
    if all(isinstance(c, Mapping) and c.keys() == first.keys() for c in conditions):
        return {key: _stack([c[key] for c in conditions]) for key in first}
    if all(isinstance(c, (list, tuple)) and len(c) == len(first) for c in conditions):
        return [_stack(parts) for parts in zip(*conditions, strict=True)]
    raise ValueError(
        "conditions of one batch need the same structure: give the null tensors like the condition's, or "
        f"call the branches one by one; got {[type(c).__name__ for c in conditions]}"
    )


def cfg(
    branches: Branches, w: Weight | Sequence[Weight], *, rescale: float = 0.0, mask: Tensor | None = None
) -> Denoiser:
    """Classifier-free guidance D_null + sum_j w_j (D_j - D_null) (Ho and Salimans 2022; Liu et al. 2022).

    w: 1 = off, 0 = null; one for each condition if there are several. rescale: share in [0, 1] of an output
    scaled back to the standard deviation of the first condition's, per item (Lin et al. 2024, equations 15
    and 16). mask: True at valid frames, broadcasting to x (B, ..., N); others do not count in that.
    """
    if not 0 <= rescale <= 1:
        raise ValueError(f"rescale must lie between 0 (off) and 1, got {rescale}")
    estimate, weights = _estimates(branches), _weights(w)

    def guided(x: Tensor, t: Tensor) -> Tensor:
        *conds, null = estimate(x, t)
        d = _combine(conds, null, weights)
        if rescale:
            ratio = _std(conds[0], mask) / _std(d, mask).clamp(min=torch.finfo(d.dtype).tiny)
            d = d * (1 + rescale * (append_dims(ratio, d.ndim) - 1))
        return d

    return guided


def cfg_pp(branches: Branches, w: Weight | Sequence[Weight]) -> SplitDenoiser:
    """CFG++ (Chung et al. 2024, Algorithm 2): data of the guided estimate, noise of the null one.

    w: in [0, 1], 0 = unconditional; for plans built with `ddim(..., split=True)`, which take the pair.
    """
    estimate, weights = _estimates(branches), _weights(w)
    if any(not isinstance(weight, Tensor) and not 0 <= weight <= 1 for weight in weights):
        raise ValueError(f"CFG++ interpolates: w must lie between 0 (null) and 1 (condition), got {w}")

    def guided(x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        *conds, null = estimate(x, t)
        return _combine(conds, null, weights), null

    return guided


@dataclass
class Momentum:
    """Running sum of guidance directions for `apg`; make a new one for each run.

    beta: weight of the sum so far, usually negative, which damps what repeats. average: the sum, like x. Not
    for runs that recompute network calls (remat), which would count twice.
    """

    beta: float
    average: Tensor | None = None

    def add(self, direction: Tensor) -> Tensor:
        """Take up a direction and return the new sum."""
        self.average = direction if self.average is None else direction + self.beta * self.average
        return self.average


def apg(
    branches: Branches,
    w: Weight,
    *,
    eta: float = 0.0,
    limit: float | None = None,
    momentum: Momentum | None = None,
    mask: Tensor | None = None,
) -> Denoiser:
    """Adaptive projected guidance (Sadat et al. 2025, Algorithm 1): large w without oversaturation.

    The direction D_cond - D_null is summed with `momentum` and clipped to the norm `limit` per item; of its
    part parallel to D_cond the share eta stays (eta = 1 without the others is `cfg`). mask: True at valid
    frames, broadcasting to x (B, ..., N); norms and projections leave the others out. Takes two branches.
    """
    estimate = _estimates(branches)

    def guided(x: Tensor, t: Tensor) -> Tensor:
        cond, null = _pair(estimate(x, t))
        direction = cond - null
        if momentum is not None:
            direction = momentum.add(direction)
        if limit is not None:
            norm = _dot(direction, direction, mask).sqrt()
            direction = direction * append_dims((limit / norm).clamp(max=1), direction.ndim)
        parallel = _projection(direction, cond, mask)
        return cond + (_per_item(w, cond) - 1) * (direction - (1 - eta) * parallel)

    return guided


def zero_star(branches: Branches, w: Weight, *, mask: Tensor | None = None) -> Denoiser:
    """CFG-Zero* on velocities: the null's is first scaled to fit the condition's (Fan et al. 2025).

    v_cond + (w - 1) (v_cond - s v_null), s = <v_null, v_cond> / |v_null|^2 per item. Unlike the others it
    depends on the quantity: branches (x, t) -> velocity, and the result goes through `prediction.denoiser`.
    mask: as in `apg`. Takes two branches. (Its zero-init is a plan whose grid starts later, at the same x.)
    """
    estimate = _estimates(branches)

    def guided(x: Tensor, t: Tensor) -> Tensor:
        cond, null = _pair(estimate(x, t))
        return cond + (_per_item(w, cond) - 1) * (cond - _projection(cond, null, mask))

    return guided


def in_interval(
    plan: Plan,
    path: Path,
    low: float,
    high: float,
    *,
    guided: Denoiser | SplitDenoiser,
    plain: Denoiser,
) -> list[Denoiser | SplitDenoiser]:
    """One denoiser per row for `run`: guided at half log-SNR in [low, high] (Kynkaanniemi et al. 2024).

    Rows outside call `plain`, usually the condition alone, and so cost one evaluation; a multistep plan keeps
    its history across the switch. For CFG++ plans plain's output is data and carry.
    """

    def both(x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        d = plain(x, t)
        return d, d

    outside: Denoiser | SplitDenoiser = both if plan.uses_carry else plain
    return [guided if inside else outside for inside in interval_rows(plan, path, low, high)]


def _estimates(branches: Branches) -> Callable[[Tensor, Tensor], list[Tensor]]:
    """All outputs, in the dtype of the state: differences times a large w need its precision."""
    if not callable(branches) and len(branches) < 2:
        raise ValueError(f"guidance needs a condition and a null, got {len(branches)} denoiser")

    def estimate(x: Tensor, t: Tensor) -> list[Tensor]:
        outputs = branches(x, t) if callable(branches) else [denoise(x, t) for denoise in branches]
        return [d.to(x.dtype) for d in outputs]

    return estimate


def _weights(w: Weight | Sequence[Weight]) -> tuple[Weight, ...]:
    return tuple(w) if isinstance(w, (list, tuple)) else (w,)  # type: ignore[return-value]


def _pair(outputs: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    if len(outputs) != 2:
        raise ValueError(f"this guidance takes two branches, the condition and the null, got {len(outputs)}")
    return outputs[0], outputs[1]


def _combine(conds: Sequence[Tensor], null: Tensor, weights: Sequence[Weight]) -> Tensor:
    """D_null + sum_j w_j (D_j - D_null), exact where a single weight is 0 or 1."""
    if len(conds) != len(weights):
        raise ValueError(
            f"guidance needs one w per condition and a null branch last: got {len(weights)} weights and "
            f"{len(conds) + 1} branches"
        )
    d = torch.lerp(null, conds[0], _per_item(weights[0], null))
    for cond, w in zip(conds[1:], weights[1:], strict=True):
        d = d + _per_item(w, null) * (cond - null)
    return d


def _per_item(w: Weight, like: Tensor) -> Weight:
    """The weight in a form that multiplies `like` (B, ...); a float stays one and needs no upload."""
    return append_dims(w.to(like.device, like.dtype), like.ndim) if isinstance(w, Tensor) else w


def _dot(a: Tensor, b: Tensor, mask: Tensor | None) -> Tensor:
    """Inner product of every item (B,), over valid frames; complex numbers count as pairs of real ones."""
    product = (a.conj() * b).real if a.is_complex() else a * b
    if mask is not None:
        product = torch.where(mask, product, 0)
    return product.flatten(1).sum(1)


def _projection(a: Tensor, onto: Tensor, mask: Tensor | None) -> Tensor:
    """Part of `a` along `onto`, per item; 0 along zero."""
    power = _dot(onto, onto, mask).clamp(min=torch.finfo(a.dtype).tiny)
    return append_dims(_dot(onto, a, mask) / power, a.ndim) * onto


def _std(d: Tensor, mask: Tensor | None) -> Tensor:
    """Standard deviation of every item (B,), over valid frames."""
    valid = torch.ones_like(d, dtype=torch.bool) if mask is None else mask.expand_as(d)
    count = valid.flatten(1).sum(1).clamp(min=1)
    mean = append_dims(torch.where(valid, d, 0).flatten(1).sum(1) / count, d.ndim)
    deviation = torch.where(valid, (d - mean).abs() ** 2, 0)
    return (deviation.flatten(1).sum(1) / count).sqrt()
