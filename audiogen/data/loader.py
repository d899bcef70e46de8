"""A loader whose every batch is a function of (seed, epoch, position), so that training resumes exactly."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, TypeVar

Plan = TypeVar("Plan")
Batch = TypeVar("Batch")


class ResumableLoader(Generic[Plan, Batch]):
    """Yields `make(plan)` for each plan of the epoch; its state is two integers.

    plan_epoch: epoch -> the batches of that epoch, in order; every epoch has the same number of them.
    make: turns one plan (say, item indices) into a batch.
    """

    def __init__(self, plan_epoch: Callable[[int], Sequence[Plan]], make: Callable[[Plan], Batch]) -> None:
        self.plan_epoch = plan_epoch
        self.make = make
        self.epoch = 0
        self.position = 0
        self._length = len(plan_epoch(0))

    def __len__(self) -> int:
        """Batches an epoch."""
        return self._length

    def __iter__(self) -> Iterator[Batch]:
        """The rest of this epoch, or the next one if nothing is left of it."""
        if self.position >= self._length:
            self.epoch += 1
            self.position = 0
        plans = self.plan_epoch(self.epoch)
        while self.position < self._length:
            self.position += 1  # before the yield: a state taken while the batch is in use counts it as used
            yield self.make(plans[self.position - 1])

    def state_dict(self) -> dict[str, Any]:
        """Where the next batch comes from; Lightning stores it in checkpoints."""
        return {"epoch": self.epoch, "position": self.position}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state` was taken."""
        self.epoch = int(state["epoch"])
        self.position = int(state["position"])
