"""A sampler is data: a table of linear rows, built in float64 and run by the one loop in `loop.py`.

Row r calls D = denoise(x, labels[r]) and then forms two new registers from the old ones,

    (base, x) <- weights[r] @ (base, x, y, D, slot 0, ..., slot K - 1, z_r),    slots[stores[r]] <- D,

where base is the state a multi-stage or corrected step returns to, y the mean of the path, the slots keep
earlier denoiser outputs and z_r is fresh standard noise. Base and slots start at zero; a slot is written
after the weights were applied.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from audiogen.sampling.coefficients import ddim_weights
from audiogen.sampling.grids import check_grid
from audiogen.sampling.paths import Path

BASE, X, Y, D, SLOTS = range(5)  # columns of a weight row; the noise column is the last
NOISE = -1


@dataclass(frozen=True)
class Plan:
    """A sampler on a fixed grid; immutable, comparable, and exact in JSON.

    labels: R times given to the denoiser. ends: R times at which x stands after each row. weights: R pairs
    (new base, new x) of rows with 5 + num_slots columns. stores: R slot numbers that keep the row's denoiser
    output, -1 for none. order: order of convergence (weak order if stochastic). spec: how it was built.
    """

    labels: tuple[float, ...]
    ends: tuple[float, ...]
    weights: tuple[tuple[tuple[float, ...], tuple[float, ...]], ...]
    stores: tuple[int, ...]
    num_slots: int = 0
    order: int = 1
    spec: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        """Raise ValueError unless the columns fit together and every weight is finite."""
        rows = len(self.labels)
        if not rows or not rows == len(self.ends) == len(self.weights) == len(self.stores):
            raise ValueError(
                f"a plan needs the same positive number of labels, ends, weights and stores, got {rows}, "
                f"{len(self.ends)}, {len(self.weights)} and {len(self.stores)}"
            )
        for r, pair in enumerate(self.weights):
            if [len(row) for row in pair] != [5 + self.num_slots] * 2:
                raise ValueError(f"row {r} must hold 2 lists of {5 + self.num_slots} weights, got {pair}")
            if not all(math.isfinite(w) for row in pair for w in row):
                raise ValueError(f"row {r} has a weight that is not finite: {pair}")
            if not -1 <= self.stores[r] < self.num_slots:
                raise ValueError(
                    f"row {r} stores into slot {self.stores[r]} of a plan with {self.num_slots} slots"
                )

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.labels)

    @property
    def nfe(self) -> int:
        """Number of denoiser calls of one run."""
        return len(self)

    @property
    def stochastic(self) -> bool:
        """Whether any row draws noise."""
        return any(row[NOISE] != 0 for pair in self.weights for row in pair)

    @property
    def uses_mean(self) -> bool:
        """Whether any row reads the mean y."""
        return any(row[Y] != 0 for pair in self.weights for row in pair)

    def to_json(self) -> str:
        """Serialise; `from_json` gives back an equal plan, bit for bit."""
        return json.dumps({name: getattr(self, name) for name in self.__dataclass_fields__}, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """Read what `to_json` wrote; raises ValueError if it is no plan."""
        table = json.loads(text)
        if not isinstance(table, dict) or set(table) != set(cls.__dataclass_fields__):
            raise ValueError(f"not a plan: expected an object with the keys {list(cls.__dataclass_fields__)}")
        weights = tuple((tuple(base), tuple(x)) for base, x in table["weights"])
        columns = {name: tuple(table[name]) for name in ("labels", "ends", "stores")}
        return cls(
            weights=weights, num_slots=table["num_slots"], order=table["order"], spec=table["spec"], **columns
        )


def ddim(path: Path, times: Sequence[float] | Tensor, *, eta: float = 0.0) -> Plan:
    """DDIM on a grid from noise to data (Song, Meng and Ermon 2021).

    times: N + 1 strictly decreasing times; if the last is 0, the last row returns the denoiser's output.
    eta: share of fresh noise in [0, 1], 0 = deterministic (order 1 for the flow), 1 = DDPM. NFE = N.
    """
    if not 0 <= eta <= 1:
        raise ValueError(f"eta must lie between 0 (deterministic) and 1 (DDPM), got {eta}")
    grid = _check_path_grid(path, times)
    step = ddim_weights(path, grid[:-1], grid[1:], eta=eta)
    zero = torch.zeros_like(step.x)
    rows = torch.stack([zero, step.x, step.y, step.data, step.noise], dim=-1).tolist()
    unused = (0.0,) * 5
    return Plan(
        labels=tuple(grid[:-1].tolist()),
        ends=tuple(grid[1:].tolist()),
        weights=tuple((unused, tuple(row)) for row in rows),
        stores=(-1,) * len(rows),
        spec={"solver": "ddim", "eta": eta, "path": _describe(path)},
    )


def ddpm(path: Path, times: Sequence[float] | Tensor) -> Plan:
    """DDPM ancestral sampling: the exact posterior between neighbouring times (Ho et al. 2020, equation 7).

    times: N + 1 strictly decreasing times, the last may be 0; a subset of a training grid needs no respaced
    table. NFE = N.
    """
    return ddim(path, times, eta=1.0)


def _check_path_grid(path: Path, times: Sequence[float] | Tensor) -> Tensor:
    """Return a grid on which the path has noise everywhere but at the end and a growing log-SNR."""
    grid = check_grid(times)
    sigma, lam = path.sigma(grid), path.lam(grid)
    if not bool((sigma[:-1] > 0).all()) or not bool((lam[1:] > lam[:-1]).all()):
        raise ValueError(
            f"{path} needs noise at every time but the last and a log-SNR that grows along the grid; "
            f"got log-SNR / 2 = {lam.tolist()} at times {grid.tolist()}"
        )
    return grid


def _describe(path: Path) -> dict[str, Any]:
    """Return the class name and parameters of a path."""
    return {"name": type(path).__name__, **vars(path)}
