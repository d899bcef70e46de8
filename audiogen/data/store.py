"""One compact tensor file for a whole corpus: ragged items laid end to end in safetensors."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from audiogen.files import replacing


class DataError(ValueError):
    """A data set that is missing or does not fit what was asked of it."""


def save_ragged(
    path: str | os.PathLike[str], columns: Mapping[str, Sequence[Tensor]], metadata: Mapping[str, Any]
) -> None:
    """Write ragged columns, each a list of tensors alike but for their last axis, atomically.

    Column `name` becomes the tensors `name` (items joined along the last axis) and `name.offsets` (items +
    1). metadata: anything JSON can hold.
    """
    from safetensors.torch import save_file

    tensors: dict[str, Tensor] = {}
    for name, items in columns.items():
        lengths = torch.tensor([0] + [item.shape[-1] for item in items], dtype=torch.int64)
        tensors[name] = torch.cat(list(items), dim=-1).contiguous()
        tensors[f"{name}.offsets"] = lengths.cumsum(0)
    with replacing(path) as temporary:
        save_file(tensors, temporary, metadata={key: json.dumps(value) for key, value in metadata.items()})


class Ragged:
    """Read access to a file of `save_ragged`: `store["mel"][3]` is item 3 of column mel."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        from safetensors import SafetensorError, safe_open

        if not Path(path).is_file():
            raise DataError(
                f"no prepared data at {path}; make it with `audiogen prepare` (see `audiogen prepare --help`)"
            )
        try:
            with safe_open(path, framework="pt") as file:
                self._tensors: dict[str, Tensor] = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
                self.metadata: dict[str, Any] = {k: json.loads(v) for k, v in (file.metadata() or {}).items()}
        except SafetensorError as error:
            raise DataError(f"{path} is not a prepared data file ({error}); make it again") from error

    def __contains__(self, column: str) -> bool:
        """Whether there is such a column."""
        return f"{column}.offsets" in self._tensors

    def __getitem__(self, column: str) -> RaggedColumn:
        """One column; KeyError names the ones there are."""
        if column not in self._tensors:
            names = sorted(name for name in self._tensors if not name.endswith(".offsets"))
            raise KeyError(f"no column {column!r}; there are {names}")
        return RaggedColumn(self._tensors[column], self._tensors[f"{column}.offsets"])


class RaggedColumn(Sequence[Tensor]):
    """The items of one column, as views."""

    def __init__(self, values: Tensor, offsets: Tensor) -> None:
        self.values = values
        self.offsets = offsets.tolist()

    def __len__(self) -> int:
        """Number of items."""
        return len(self.offsets) - 1

    def length(self, index: int) -> int:
        """Length of an item's last axis, without touching it."""
        return int(self.offsets[index + 1] - self.offsets[index])

    def __getitem__(self, index: int) -> Tensor:  # type: ignore[override]
        """Item `index`, a view (..., length)."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        return self.values[..., self.offsets[index] : self.offsets[index + 1]]
