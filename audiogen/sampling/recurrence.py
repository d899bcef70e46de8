"""One row of a plan applied to the registers: new base, new x and kept value as weighted sums.

Four forms of one meaning: `apply_row` with the weights in a tensor (differentiable in them, and no number
of the schedule enters a compiled graph), `Step.out_of_place` for gradients through the state,
`apply_in_place`, which is bound by memory and therefore takes few passes over it and reuses buffers, and
`apply_fused`, whose sums a kernel of the caller's forms in one pass each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

import torch
from torch import Tensor

from audiogen.sampling.table import BASE, SLOTS, C, Plan, X

Values: TypeAlias = Sequence[Tensor | None]
"""Registers in the order of a plan's columns; None stands for zeros."""
Update: TypeAlias = Callable[[Tensor, Values], Tensor]
"""update(weights (W,), values) -> sum of weights[k] * values[k] over the values present, as a new tensor."""
Terms: TypeAlias = tuple[tuple[int, float], ...]
"""(column, weight) pairs. In the terms of x the column after the last one is the new base of the same row."""

_LOST = 1e-15  # a weight this much below its row's largest is a rounding error of the rewriting


@dataclass(frozen=True)
class Step:
    """The nonzero weights of one row, and the columns it reads at all."""

    base: Terms
    x: Terms
    kept: Terms
    columns: frozenset[int]
    reads_noise: bool
    reads_carry: bool

    def out_of_place(self, values: Values) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """New base, new x, kept value; None where nothing has a weight. No register is changed."""
        base = _sum(self.base, values)
        return base, _sum(self.x, (*values, base)), _sum(self.kept, values)


def program(plan: Plan, filled: Sequence[int] = (), *, to_be_continued: bool = False) -> list[Step]:
    """The rows of a plan as sums to form. filled: slots that an earlier part of the plan has stored.

    A base that no later row reads is not formed, unless the run is to be continued. Raises ValueError where
    a row reads a slot that nothing was stored in.
    """
    programs = plan.__dict__.setdefault("_programs", {})  # a plan is immutable: work this out once
    if (key := (frozenset(filled), to_be_continued)) in programs:
        found: list[Step] = programs[key]
        return found
    written, steps = set(filled), []
    table = plan.weights.detach().tolist()
    wanted = _base_wanted(table, to_be_continued)
    for row, weights in enumerate(table):
        noise = len(weights[0]) - 1
        base, x, kept = ([(k, w) for k, w in enumerate(line) if w != 0] for line in weights)
        x = _through_base(weights[0], weights[1], x)
        if not wanted[row] and not any(k == len(weights[0]) for k, _ in x):
            base = []
        columns = frozenset(k for k, _ in (*base, *x, *kept))
        if missing := sorted({k - SLOTS for k in columns if SLOTS <= k < noise} - written):
            raise ValueError(
                f"row {row} reads slot {missing[0]}, which no earlier row stores: run the plan from its "
                "start, or pass the registers of the run of its head"
            )
        if plan.stores[row] >= 0:
            written.add(plan.stores[row])
        x.sort(key=lambda term: term[0] != X)  # the old x may be written over: it must come first
        steps.append(Step(tuple(base), tuple(x), tuple(kept), columns, noise in columns, C in columns))
    programs[key] = steps
    return steps


def _base_wanted(table: Sequence[Sequence[Sequence[float]]], wanted: bool) -> list[bool]:
    """Whether the base that each row leaves is read later; `wanted`: whether the last one's is."""
    answers = []
    for base, x, kept in reversed(table):
        answers.append(wanted)
        wanted = x[BASE] != 0 or kept[BASE] != 0 or (wanted and base[BASE] != 0)
    return answers[::-1]


def _through_base(
    base: Sequence[float], x: Sequence[float], terms: list[tuple[int, float]]
) -> list[tuple[int, float]]:
    """The terms of x, by way of the new base where that leaves fewer of them (a corrector's prediction)."""
    if base[BASE] == 0 or x[BASE] == 0 or sum(w != 0 for w in base) == 1:
        return terms
    factor = x[BASE] / base[BASE]
    rest = [a - factor * b for a, b in zip(x, base, strict=True)]
    limit = _LOST * max(map(abs, x))
    fewer = [(k, w) for k, w in enumerate(rest) if k != BASE and abs(w) > limit]
    return [(len(base), factor), *fewer] if len(fewer) + 1 < len(terms) else terms


def apply_row(weights: Tensor, values: Values) -> tuple[Tensor, Tensor, Tensor]:
    """New base, new x and kept value by weights (3, W) on the device of the state, in its dtype."""
    sums = []
    for line in weights:
        terms = [line[k] * value for k, value in enumerate(values) if value is not None]
        sums.append(torch.stack(terms).sum(0) if len(terms) > 1 else terms[0])
    return sums[0], sums[1], sums[2]


def fused_table(steps: Sequence[Step], width: int, dtype: torch.dtype) -> Tensor:
    """(R, 3, width + 1) weights of the sums that `apply_fused` forms; the last column is the new base."""
    table = torch.zeros(len(steps), 3, width + 1, dtype=torch.float64)
    for row, step in enumerate(steps):
        for line, terms in enumerate((step.base, step.x, step.kept)):
            for k, weight in terms:
                table[row, line, k] = weight
    return table.to(dtype)


def apply_fused(step: Step, weights: Tensor, values: Values, update: Update) -> tuple[Tensor | None, ...]:
    """New base, new x, kept value; each is a register as it is, or one call of `update`.

    weights: (3, W + 1), the row of `fused_table` on the device of the state.
    """
    registers = [*values, None]
    outputs: list[Tensor | None] = []
    for line, terms in zip(weights, (step.base, step.x, step.kept), strict=True):
        present = {k: w for k, w in terms if registers[k] is not None}
        if list(present.values()) == [1.0]:
            outputs.append(registers[next(iter(present))])
        elif present:
            outputs.append(update(line, [v if k in present else None for k, v in enumerate(registers)]))
        else:
            outputs.append(None)
        if len(outputs) == 1:
            registers[-1] = outputs[0]  # x may be formed from the new base
    return tuple(outputs)


class Buffers:
    """The tensors that one run may write to."""

    def __init__(self) -> None:
        self._tensors: list[Tensor] = []

    def __contains__(self, tensor: Tensor) -> bool:
        """Whether `tensor` is one of them."""
        return any(tensor is t for t in self._tensors)

    def take(self, like: Tensor, live: Sequence[Tensor]) -> Tensor:
        """One that shares no memory with any of `live`; a fresh one only where there is none."""
        for tensor in self._tensors:
            if tensor.dtype == like.dtype and not shares_memory(tensor, live):
                return tensor
        self._tensors.append(torch.empty_like(like, memory_format=torch.contiguous_format))
        return self._tensors[-1]


def shares_memory(tensor: Tensor, others: Sequence[Tensor]) -> bool:
    """Whether writing to `tensor` could change one of `others`."""
    place = tensor.untyped_storage().data_ptr()
    return any(other.untyped_storage().data_ptr() == place for other in others)


def apply_in_place(step: Step, values: Values, buffers: Buffers) -> tuple[Tensor | None, ...]:
    """New base, new x, kept value; each is a register as it is, or one of `buffers`."""
    registers = [*values, None]
    live = [value for value in values if value is not None]
    outputs: list[Tensor | None] = []
    overwritten = {"x": values[X]}
    if all(k != BASE for k, _ in step.x):
        overwritten["base"] = values[BASE]
    for name in ("kept", "base", "x"):
        terms = [(r, w) for k, w in getattr(step, name) if (r := registers[k]) is not None]
        output = None
        if len(terms) == 1 and terms[0][1] == 1:
            output = terms[0][0]
        elif terms:
            output = _destination(overwritten.get(name), live, terms, buffers)
            _accumulate(output, terms)
        outputs.append(output)
        if output is not None:
            live.append(output)  # a register that stays is needed twice
        if name == "base":
            registers[-1] = output
    kept, base, new = outputs
    return base, new, kept


def _destination(
    old: Tensor | None, live: Sequence[Tensor], terms: Sequence[tuple[Tensor, float]], buffers: Buffers
) -> Tensor:
    """Where to write: over the old value if it is ours and nothing else needs it, else in a free buffer."""
    if old is not None and old in buffers and sum(shares_memory(old, [v]) for v in live) == 1:
        return old
    return buffers.take(terms[0][0], live)


def _accumulate(into: Tensor, terms: Sequence[tuple[Tensor, float]]) -> None:
    """into <- sum of weight * register; `into` may be the first register."""
    (first, weight), *rest = terms
    shares = _mixing(tuple(w for _, w in terms)) if rest and not into.is_complex() else None
    if shares:
        for (register, _), share in zip(rest, shares, strict=True):
            first = torch.lerp(first, register, share, out=into)
        return
    if first is into:
        into.mul_(weight)
    else:
        torch.mul(first, weight, out=into)
    for register, weight in rest:
        into.add_(register, alpha=weight)


@lru_cache(maxsize=4096)
def _mixing(weights: tuple[float, ...]) -> tuple[float, ...] | None:
    """Shares of a chain of interpolations that forms the same sum, one pass over the memory less.

    None unless the weights add up to one, as on paths where alpha + sigma or alpha is constant, and no
    partial sum is so small that digits would be lost.
    """
    total, shares = weights[0], []
    for weight in weights[1:]:
        total += weight
        if abs(total) < 0.25:
            return None
        shares.append(weight / total)
    return tuple(shares) if abs(total - 1) < 1e-14 else None


def _sum(terms: Terms, values: Values) -> Tensor | None:
    """Weighted sum, bit for bit as in place; None, which stands for zeros, where nothing has a weight."""
    present = [(register, w) for k, w in terms if (register := values[k]) is not None]
    if not present:
        return None
    (total, weight), *rest = present
    shares = _mixing(tuple(w for _, w in present)) if rest and not total.is_complex() else None
    if shares:
        for (register, _), share in zip(rest, shares, strict=True):
            total = torch.lerp(total, register, share)
        return total
    total = total if weight == 1 else total * weight
    for register, weight in rest:
        total = torch.add(total, register, alpha=weight)
    return total
