"""Whether and how a Triton kernel runs; the only file that imports Triton, which need not be installed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

try:
    triton: Any = import_module("triton")
    tl: Any = import_module("triton.language")
except ImportError:  # builds of torch for the CPU alone, macOS and Windows come without it
    triton = tl = None

_INTERPRETED: ContextVar[bool] = ContextVar("interpreted", default=False)


def jit(function: Callable[..., Any]) -> Any:
    """`triton.jit`; without Triton the function stays as it is, and nothing ever launches it."""
    return function if triton is None else triton.jit(function)


@contextmanager
def interpreted() -> Iterator[None]:
    """Run kernels on CPU tensors too, in Triton's interpreter: for tests, thousands of times slower.

    Raises RuntimeError unless TRITON_INTERPRET=1 was in the environment before Triton was imported.
    """
    if triton is None or not triton.knobs.runtime.interpret:
        raise RuntimeError("set TRITON_INTERPRET=1 before Triton is imported, in a process of its own")
    token = _INTERPRETED.set(True)
    try:
        yield
    finally:
        _INTERPRETED.reset(token)


def takes_kernel(*tensors: Tensor) -> bool:
    """Whether a kernel runs on these tensors: all on CUDA, or all on the CPU within `interpreted`."""
    if triton is None:
        return False
    return all(t.is_cuda for t in tensors) or (_INTERPRETED.get() and all(t.is_cpu for t in tensors))


def wants_gradient(*tensors: Tensor | None) -> bool:
    """Whether autograd would record an operation on these tensors."""
    return torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)


def launch(kernel: Any, grid: Sequence[int], like: Tensor, *arguments: Any, **constants: Any) -> None:
    """kernel[grid](*arguments, **constants) on the device of `like`, whichever is the current one."""
    with torch.cuda.device(like.device) if like.is_cuda else nullcontext():
        kernel[tuple(grid)](*arguments, **constants)


def dot_type(x: Tensor) -> Any:
    """Type that the operands of a matrix product are converted to: the interpreter multiplies no bfloat16."""
    return tl.float32 if x.is_cpu or x.dtype == torch.float32 else tl.bfloat16


def cdiv(a: int, b: int) -> int:
    """a / b rounded up."""
    return -(-a // b)


def power_of_2(n: int) -> int:
    """Least power of two that is not below n >= 1: extents of a kernel's blocks are such."""
    return 1 << (n - 1).bit_length()
