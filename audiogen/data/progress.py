"""How the preparation of data shows how far it is."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, TypeVar

Item = TypeVar("Item", covariant=True)


class Progress(Protocol):
    """Shows how far an iteration is: progress(items, description, total)."""

    def __call__(self, items: Iterable[Item], description: str, total: int) -> Iterable[Item]:
        """Yield the items unchanged."""
        ...


def quiet(items: Iterable[Item], description: str, total: int) -> Iterable[Item]:
    """No progress display."""
    return items
