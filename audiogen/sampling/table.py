"""A sampler is data: a table of linear rows, built in float64 and run by the one loop in `loop.py`.

Row r calls D = denoise(x, labels[r]) and then forms three new values from the registers,

    (base, x, kept) <- weights[r] @ (base, x, y, D, C, slot 0, ..., slot K - 1, z_r),
    slots[stores[r]] <- kept,

where base is a state that a multi-stage or corrected step returns to, y the mean of the path, C the second
output of a denoiser that returns a pair, z_r fresh standard noise, and the slots keep what earlier rows
stored. Base and slots start at zero; all three values are formed from the old registers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

BASE, X, Y, D, C, SLOTS = range(6)  # columns of a weight row; the noise column is the last
NOISE = -1


@dataclass(frozen=True, eq=False)
class Plan:
    """A sampler on a fixed grid: immutable, comparable, and exact in JSON.

    labels: (R,) times given to the denoiser, NaN in a row without a call; (R, 2) for networks of two times,
    the present one and the one aimed at. ends: (R,) times at which x stands after each row. weights: (R, 3,
    6 + num_slots), rows new base, new x and kept value; may carry a gradient (learned grids). stores: R slot
    numbers for the kept value, -1 for none. order: order of convergence for the flow, weak order if
    stochastic. spec: how it was built. Sequences are taken too; all tensors become float64 on the CPU.
    """

    labels: Tensor
    ends: Tensor
    weights: Tensor
    stores: tuple[int, ...]
    num_slots: int = 0
    order: int = 1
    spec: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raise ValueError unless the columns fit together and every weight is finite."""
        for name in ("labels", "ends", "weights"):
            value = torch.as_tensor(getattr(self, name), dtype=torch.float64, device="cpu")
            if value.is_inference():  # a plan outlives the mode it was built in
                with torch.inference_mode(False):
                    value = value.clone()
            object.__setattr__(self, name, value)
        rows, width = len(self.stores), 6 + self.num_slots
        expected: dict[str, list[tuple[int, ...]]] = {
            "ends": [(rows,)],
            "labels": [(rows,), (rows, 2)],
            "weights": [(rows, 3, width)],
        }
        for name, shapes in expected.items():
            shape = tuple(getattr(self, name).shape)
            if not rows or shape not in shapes:
                raise ValueError(
                    f"a plan of {rows} rows (one per store) and {self.num_slots} slots needs at least one "
                    f"row and {name} of shape {shapes[0]}, got {shape}"
                )
        if not bool(self.ends.isfinite().all()) or bool(self.labels.isinf().any()):
            raise ValueError(
                f"times must be finite: labels {self.labels.tolist()}, ends {self.ends.tolist()}"
            )
        bad = (~self.weights.isfinite()).flatten(1).any(1).nonzero().flatten().tolist()
        if bad:
            raise ValueError(
                f"row {bad[0]} has a weight that is not finite: {self.weights[bad[0]].tolist()}; it goes "
                f"from t = {self.labels[bad[0]].tolist()} to {self.ends[bad[0]].item()}"
            )
        if not all(-1 <= slot < self.num_slots for slot in self.stores):
            raise ValueError(f"stores must name one of {self.num_slots} slots, or -1, got {self.stores}")

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.stores)

    def __eq__(self, other: object) -> bool:
        """Whether the two describe the same run, bit for bit."""
        return isinstance(other, Plan) and self._content == other._content

    def __hash__(self) -> int:
        """Hash of the content."""
        return hash(self._content)

    @cached_property
    def _content(self) -> str:
        return self.to_json()

    @property
    def present(self) -> Tensor:
        """(R,) times at which the denoiser sees x: the labels, or the first of each pair."""
        return self.labels if self.labels.ndim == 1 else self.labels[:, 0]

    @cached_property
    def calls(self) -> tuple[bool, ...]:
        """Whether each row calls the denoiser."""
        return tuple((~self.present.isnan()).tolist())

    @property
    def nfe(self) -> int:
        """Number of denoiser calls of one run."""
        return sum(self.calls)

    @property
    def stochastic(self) -> bool:
        """Whether any row draws noise."""
        return self._reads(NOISE)

    @property
    def uses_mean(self) -> bool:
        """Whether any row reads the mean y."""
        return self._reads(Y)

    @property
    def uses_carry(self) -> bool:
        """Whether any row reads the denoiser's second output."""
        return self._reads(C)

    def _reads(self, column: int) -> bool:
        return bool((self.weights[..., column] != 0).any())

    def to_json(self) -> str:
        """Serialise; `from_json` gives back an equal plan, bit for bit."""
        labels = [None if label != label else label for label in self.labels.tolist()]  # NaN is no JSON
        return json.dumps(
            {
                "labels": labels,
                "ends": self.ends.tolist(),
                "weights": self.weights.tolist(),
                "stores": self.stores,
                "num_slots": self.num_slots,
                "order": self.order,
                "spec": dict(self.spec),
            },
            allow_nan=False,
        )

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """Read what `to_json` wrote; raises ValueError if it is no plan."""
        table = json.loads(text)
        if not isinstance(table, dict) or set(table) != set(cls.__dataclass_fields__):
            raise ValueError(f"not a plan: expected an object with the keys {list(cls.__dataclass_fields__)}")
        table["labels"] = [float("nan") if label is None else label for label in table["labels"]]
        table["stores"] = tuple(table["stores"])
        return cls(**table)


class Rows:
    """Collects the rows of a plan; values are linear forms, vectors with one weight for each register.

    history: how many kept values later rows can read with `past`. scratch: further slots, numbered from 0,
    for the stages of one step. A form is built by arithmetic: `a * rows.x + b * rows.d`.
    """

    def __init__(self, history: int = 0, scratch: int = 0) -> None:
        self.history, self.num_slots = history, history + scratch
        units = torch.eye(6 + self.num_slots, dtype=torch.float64)
        self.base, self.x, self.y, self.d, self.c = units[:5]
        self.noise = units[NOISE]
        self._slots = units[SLOTS:]
        self._kept = 0
        self._rows: list[tuple[Tensor, Tensor, Tensor, int]] = []

    def past(self, j: int) -> Tensor:
        """The j-th last value kept before this row, j >= 1."""
        if not 1 <= j <= min(self.history, self._kept):
            raise ValueError(f"{self._kept} values were kept and {self.history} are remembered, not {j}")
        return self._slots[(self._kept - j) % self.history]

    def scratch(self, number: int) -> Tensor:
        """What an earlier row of this step put aside."""
        return self._slots[self.history + number]

    def add(
        self,
        label: Tensor | float | None,
        end: Tensor | float,
        *,
        x: Tensor,
        base: Tensor | None = None,
        keep: Tensor | None = None,
        aside: tuple[int, Tensor] | None = None,
    ) -> None:
        """Append a row. base stays as it is by default; keep goes to the history, aside to a scratch slot."""
        slot, value = -1, torch.zeros_like(self.x)
        if keep is not None and self.history:
            slot, value = self._kept % self.history, keep
            self._kept += 1
        elif aside is not None:
            slot, value = self.history + aside[0], aside[1]
        weights = torch.stack([self.base if base is None else base, x, value])
        time = torch.as_tensor(float("nan") if label is None else label, dtype=torch.float64)
        self._rows.append((time, torch.as_tensor(end, dtype=torch.float64), weights, slot))

    def plan(self, order: int, spec: Mapping[str, Any]) -> Plan:
        """The finished table."""
        labels, ends, weights, stores = zip(*self._rows, strict=True)
        table = (torch.stack(labels), torch.stack(ends), torch.stack(weights))
        return Plan(*table, stores, num_slots=self.num_slots, order=order, spec=spec)
