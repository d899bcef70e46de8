"""A step recorded once as a CUDA graph and replayed: no launch waits, and no Python runs in between."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

import torch
from torch import Tensor

Result = TypeVar("Result")


class GraphRunner(Generic[Result]):
    """Calls `step(*inputs)` by replaying its CUDA graph; on a CPU it calls the step.

    step: a function of tensors that waits for nothing and whose shapes do not depend on values. State that it
    changes in place (rings, positions) must be tensors that stay where they are. examples: inputs of the
    shapes, dtypes and device of every later call. On CUDA the step runs on the examples `warm_up` times
    before it is recorded, also on its state: give it examples that change nothing of worth, such as a spare
    slot.
    """

    def __init__(self, step: Callable[..., Result], *examples: Tensor, warm_up: int = 3) -> None:
        if not examples:
            raise ValueError("a graph needs an example of every input: GraphRunner(step, x, ...)")
        self._step = step
        with torch.inference_mode(False):  # later calls may come outside the mode it is made in
            self._inputs = tuple(example.detach().clone() for example in examples)
        self._graph: torch.cuda.CUDAGraph | None = None
        if self._inputs[0].is_cuda:
            self._record(warm_up)

    def _record(self, warm_up: int) -> None:
        device = self._inputs[0].device
        with torch.cuda.device(device), torch.no_grad():
            side = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
            side.wait_stream(torch.cuda.current_stream(device))
            with torch.cuda.stream(side):  # compiles kernels and fills caches, which a capture must not
                for _ in range(warm_up):
                    self._step(*self._inputs)
            torch.cuda.current_stream(device).wait_stream(side)
            self._graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self._graph):
                self._result = self._step(*self._inputs)

    @property
    def recorded(self) -> bool:
        """Whether calls replay a graph."""
        return self._graph is not None

    def __call__(self, *inputs: Tensor) -> Result:
        """Run the step on inputs like the examples; on CUDA the result is overwritten by the next call.

        Raises ValueError for an input of another shape or dtype than its example.
        """
        if len(inputs) != len(self._inputs):
            raise ValueError(f"the step takes {len(self._inputs)} inputs, got {len(inputs)}")
        for number, (given, static) in enumerate(zip(inputs, self._inputs, strict=True)):
            if given.shape != static.shape or given.dtype != static.dtype:
                raise ValueError(
                    f"input {number} is {tuple(given.shape)} {given.dtype}, but its example was "
                    f"{tuple(static.shape)} {static.dtype}: make a runner of its own for it"
                )
        with torch.no_grad():
            if self._graph is None:
                return self._step(*inputs)
            for given, static in zip(inputs, self._inputs, strict=True):
                static.copy_(given, non_blocking=True)
            self._graph.replay()
            return self._result
