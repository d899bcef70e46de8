"""A search for the best start: what it remembers, restarts of one task, and where noise lies."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from audiogen.sampling.paths import append_dims


class Record:
    """The best start of each item so far, its loss, and the losses of all steps."""

    def __init__(self, start: Tensor) -> None:
        self.best = start.detach().clone()
        self.lowest = torch.full(start.shape[:1], math.inf, device=start.device)
        self.history: list[Tensor] = []

    def add(self, start: Tensor, losses: Tensor) -> None:
        """Take the losses of a start (B, ...). Raises ValueError unless they are (B,)."""
        if losses.shape != start.shape[:1]:
            raise ValueError(
                f"loss must give one number for each of {len(start)} items, got {tuple(losses.shape)}"
            )
        self.history.append(losses.detach())
        better = self.history[-1] < self.lowest
        self.best = torch.where(append_dims(better, start.ndim), start.detach(), self.best)
        self.lowest = torch.where(better, self.history[-1], self.lowest)

    def done(self, enough: float | None, restarts: int) -> bool:
        """Whether every task has an item whose loss is `enough` or less."""
        return enough is not None and bool((self.lowest.view(-1, restarts).amin(1) <= enough).all())

    def losses(self) -> Tensor:
        """All losses (steps, B)."""
        return torch.stack(self.history) if self.history else self.lowest.new_empty(0, len(self.lowest))


def check_tasks(items: int, restarts: int) -> None:
    """Raise ValueError unless so many items are whole tasks of so many restarts."""
    if restarts < 1 or items % restarts:
        raise ValueError(f"{items} items are no whole tasks of {restarts} restarts each")


def best_restarts(losses: Tensor, restarts: int) -> Tensor:
    """Numbers (B / restarts,) of the best item of every task, whose restarts follow each other.

    losses: (B,), or (steps, B), of which an item's lowest counts. Raises ValueError for no whole tasks.
    """
    lowest = losses if losses.ndim == 1 else losses.amin(0)
    check_tasks(len(lowest), restarts)
    offset = torch.arange(0, len(lowest), restarts, device=losses.device)
    return offset + lowest.view(-1, restarts).argmin(1)


def on_shell(start: Tensor, like: Tensor | None = None) -> Tensor:
    """Start (B, ...) scaled to the norm sqrt(dim) that noise of so many dimensions has, item by item.

    like: (B, ...), whose norms it gets in place of that.
    """
    norms = start.flatten(1).norm(dim=1)
    wanted = torch.full_like(norms, math.sqrt(start[0].numel()))
    if like is not None:
        wanted = like.flatten(1).norm(dim=1)
    return start * append_dims(wanted / norms, start.ndim)
