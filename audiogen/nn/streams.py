"""Layers that stream, put together: one after another, side by side, beside the identity."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, cast

import torch
from torch import Tensor, nn


class StreamLayer(Protocol):
    """A layer over time whose outputs, chunk after chunk, joined, are those of the whole signal.

    lookahead: outputs that wait for further inputs. A layer with more than one output for an input says how
    many in `rate`.
    """

    @property
    def lookahead(self) -> int: ...  # noqa: D102

    def __call__(self, x: Tensor) -> Tensor:
        """(B, C_in, N) -> (B, C_out, rate N)."""
        ...

    def init_state(self, batch: int) -> Any:
        """The start of `batch` streams."""
        ...

    def stream(self, state: Any, x: Tensor, last: bool = False) -> tuple[Any, ...]:
        """The next inputs (B, C_in, n), n >= 0 -> state, the outputs (B, C_out, m) that are complete, ..."""
        ...


class Pointwise(nn.Module):
    """A function of each value alone."""

    lookahead = 0

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, N) -> (B, C, N)."""
        return self.function(x)

    def init_state(self, batch: int) -> None:
        """Nothing to remember."""

    def stream(self, state: None, x: Tensor, last: bool = False) -> tuple[None, Tensor]:
        """The next inputs (B, C, n) -> no state, their outputs (B, C, n)."""
        return None, self.function(x)


class Chain(nn.Sequential):
    """Stream layers one after another. The state of a stream holds theirs."""

    @property
    def rate(self) -> int:
        """Outputs for an input."""
        product = 1
        for layer in self._layers():
            product *= getattr(layer, "rate", 1)
        return product

    @property
    def lookahead(self) -> int:
        """Outputs that wait for further inputs."""
        waiting = 0
        for layer in self._layers():
            waiting = waiting * getattr(layer, "rate", 1) + layer.lookahead
        return waiting

    def init_state(self, batch: int) -> tuple[Any, ...]:
        """The start of every layer."""
        return tuple(layer.init_state(batch) for layer in self._layers())

    def stream(self, state: tuple[Any, ...], x: Tensor, last: bool = False) -> tuple[tuple[Any, ...], Tensor]:
        """The next inputs (B, C_in, n), n >= 0 -> state, the outputs (B, C_out, m) that are complete."""
        states = []
        for layer, before in zip(self._layers(), state, strict=True):
            after, x, *_ = layer.stream(before, x, last)
            states.append(after)
        return tuple(states), x

    def _layers(self) -> list[StreamLayer]:
        return cast(list[StreamLayer], list(self))


class ResidualState(NamedTuple):
    """The body's state, and the inputs (B, C, m) whose outputs are to come; None before the first."""

    body: tuple[Any, ...]
    waiting: Tensor | None


class Residual(nn.Module):
    """x plus what a chain of layers makes of x. In a stream the inputs wait for the chain's outputs."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.body = Chain(*layers)

    @property
    def lookahead(self) -> int:
        """Outputs that wait for further inputs."""
        return self.body.lookahead

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, N) -> (B, C, N)."""
        return x + self.body(x)

    def init_state(self, batch: int) -> ResidualState:
        """The start of the body."""
        return ResidualState(self.body.init_state(batch), None)

    def stream(self, state: ResidualState, x: Tensor, last: bool = False) -> tuple[ResidualState, Tensor]:
        """The next inputs (B, C, n), n >= 0 -> state, the outputs (B, C, m) that are complete."""
        body, y = self.body.stream(state.body, x, last)
        waiting = _queued(state.waiting, x)
        count = y.shape[-1]
        return ResidualState(body, waiting[..., count:]), waiting[..., :count] + y


class MeanState(NamedTuple):
    """The state of every branch, and its outputs (B, C, m) that wait for the slower ones."""

    branches: tuple[Any, ...]
    waiting: tuple[Tensor | None, ...]


class Mean(nn.Module):
    """The mean of branches that see the same input, each with a look-ahead of its own.

    In a stream the outputs of the quicker branches wait for those of the slowest.
    """

    def __init__(self, branches: Sequence[nn.Module]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    @property
    def lookahead(self) -> int:
        """Outputs that wait for further inputs: the slowest branch's."""
        return max(branch.lookahead for branch in self._branches())

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, N) -> (B, C_out, N)."""
        first, *rest = self._branches()
        total = first(x)
        for branch in rest:
            total = total + branch(x)
        return total / len(self.branches)

    def init_state(self, batch: int) -> MeanState:
        """The start of every branch."""
        states = tuple(branch.init_state(batch) for branch in self._branches())
        return MeanState(states, (None,) * len(states))

    def stream(self, state: MeanState, x: Tensor, last: bool = False) -> tuple[MeanState, Tensor]:
        """The next inputs (B, C_in, n), n >= 0 -> state, the outputs (B, C_out, m) that are complete."""
        states, queues = [], []
        for branch, before, waiting in zip(self._branches(), *state, strict=True):
            after, y, *_ = branch.stream(before, x, last)
            states.append(after)
            queues.append(_queued(waiting, y))
        count = min(queue.shape[-1] for queue in queues)
        total = queues[0][..., :count]
        for queue in queues[1:]:
            total = total + queue[..., :count]
        return MeanState(tuple(states), tuple(q[..., count:] for q in queues)), total / len(queues)

    def _branches(self) -> list[StreamLayer]:
        return cast(list[StreamLayer], list(self.branches))


class CropState(NamedTuple):
    """How many values are still to be dropped, and those (B, C, m) that may be the last; None: none yet."""

    skip: int
    held: Tensor | None


class Crop(nn.Module):
    """Everything but the first `start` and the last `end` values."""

    def __init__(self, start: int, end: int) -> None:
        super().__init__()
        self.start, self.lookahead = start, end

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, N) -> (B, C, max(0, N - start - end))."""
        return x[..., self.start : max(self.start, x.shape[-1] - self.lookahead)]

    def init_state(self, batch: int) -> CropState:
        """All of the start is to be dropped."""
        return CropState(self.start, None)

    def stream(self, state: CropState, x: Tensor, last: bool = False) -> tuple[CropState, Tensor]:
        """The next inputs (B, C, n), n >= 0 -> state, those (B, C, m) that are certain to stay."""
        skip = max(0, state.skip - x.shape[-1])
        kept = _queued(state.held, x[..., state.skip :])
        count = max(0, kept.shape[-1] - self.lookahead)
        return CropState(skip, kept[..., count:]), kept[..., :count]


def _queued(waiting: Tensor | None, x: Tensor) -> Tensor:
    """What waits, and x behind it."""
    return x if waiting is None else torch.cat((waiting, x), dim=-1)
