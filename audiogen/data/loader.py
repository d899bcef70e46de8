"""A loader whose every batch is a function of (seed, epoch, position), so that training resumes exactly.

Under DDP the ranks share the batches of an epoch among them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, TypeVar

from torch import distributed

Plan = TypeVar("Plan")
Batch = TypeVar("Batch")


def rank_and_ranks() -> tuple[int, int]:
    """Number of this process among those that train together, and how many there are; (0, 1) alone."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


class ResumableLoader(Generic[Plan, Batch]):
    """Yields `make(plan)` for each plan of the epoch that is this rank's; its state is two integers.

    plan_epoch: epoch -> the batches of that epoch, in order; every epoch has the same number of them.
    make: turns one plan (say, item indices) into a batch. share: rank and number of ranks; None asks torch.
    Of W ranks, rank r has the plans r, r + W, r + 2 W ... Ranks step together, so all have equally many: the
    last ones begin the epoch's plans again where their number is no multiple of W.
    """

    def __init__(
        self,
        plan_epoch: Callable[[int], Sequence[Plan]],
        make: Callable[[Plan], Batch],
        share: tuple[int, int] | None = None,
    ) -> None:
        self.plan_epoch = plan_epoch
        self.make = make
        self.rank, self.ranks = share or rank_and_ranks()
        self.epoch = 0
        self.position = 0
        self._length = -(-len(plan_epoch(0)) // self.ranks)

    def __len__(self) -> int:
        """Batches an epoch, of one rank."""
        return self._length

    def __iter__(self) -> Iterator[Batch]:
        """The rest of this epoch, or the next one if nothing is left of it."""
        if self.position >= self._length:
            self.epoch += 1
            self.position = 0
        plans = self.plan_epoch(self.epoch)
        while self.position < self._length:
            number = self.position * self.ranks + self.rank
            self.position += 1  # before the yield: a state taken while the batch is in use counts it as used
            yield self.make(plans[number % len(plans)])

    def state_dict(self) -> dict[str, Any]:
        """Where the next batch comes from, counted over all ranks; checkpoints hold that of rank 0."""
        return {"epoch": self.epoch, "position": self.position * self.ranks}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state` was taken, perhaps by another number of ranks."""
        self.epoch = int(state["epoch"])
        self.position = -(-int(state["position"]) // self.ranks)
