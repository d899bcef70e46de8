"""Kernels compile for Hopper, on any machine: the interpreter accepts more than the compiler."""

import importlib
import inspect

import pytest
import torch

from audiogen.kernels import backend, convnext_step, overlap_add, polar, ring_window, row_update, snake
from audiogen.nn.convnext import ConvNeXtBlock

SHARED_BYTES = 227 * 1024  # of one program on H100 and H200
TYPES = {torch.float32: "*fp32", torch.bfloat16: "*bf16", torch.int64: "*i64", torch.int32: "*i32"}


def convnext(streams, dtype):
    weights = convnext_step.ConvNeXtWeights.of(ConvNeXtBlock(48, 80), dtype)
    ring, position = torch.zeros(streams, 7, 48, dtype=dtype), torch.zeros(streams, dtype=torch.int64)
    x = torch.zeros(streams, 48, dtype=dtype)
    convnext_step.convnext_step(x, ring, position, torch.arange(streams), weights)


def overlapped(dtype):
    carried = torch.zeros(2, 3, 192)
    slots = torch.arange(2)
    overlap_add.overlap_add(torch.zeros(2, 256, dtype=dtype), *carried, slots, torch.zeros(256))


def windows(dtype):
    ring, position = torch.zeros(2, 7, 80, dtype=dtype), torch.zeros(2, dtype=torch.int64)
    ring_window.ring_window(torch.zeros(2, 80, dtype=dtype), ring, position, torch.arange(2))


def snakes(dtype):
    x, alpha = torch.zeros(1, 2, 100, dtype=dtype, requires_grad=True), torch.ones(2, dtype=dtype)
    snake.antialiased_snake(x, alpha).sum().backward()
    snake.snake(x.detach(), alpha)


def rows(dtype):
    row_update.row_update(torch.zeros(8), [torch.zeros(5, dtype=dtype)] * 8)


@pytest.mark.parametrize(
    ("module", "call", "dtype", "launches"),
    [
        pytest.param(convnext_step, lambda dtype: convnext(1, dtype), torch.bfloat16, 2, id="rows"),
        pytest.param(convnext_step, lambda dtype: convnext(20, dtype), torch.float32, 2, id="tiles"),
        pytest.param(convnext_step, lambda dtype: convnext(20, dtype), torch.bfloat16, 2, id="tiles16"),
        pytest.param(overlap_add, overlapped, torch.float32, 1, id="overlap_add"),
        pytest.param(
            polar, lambda _: polar.polar(torch.zeros(2, 1539), 513, 4.0), torch.float32, 1, id="polar"
        ),
        pytest.param(ring_window, windows, torch.bfloat16, 1, id="ring_window"),
        pytest.param(snake, snakes, torch.bfloat16, 4, id="snake"),
        pytest.param(row_update, rows, torch.float32, 1, id="row_update"),
    ],
)
def test_kernel_compiles_for_hopper_and_fits_its_shared_memory(module, call, dtype, launches, monkeypatch):
    compiler = importlib.import_module("triton.compiler")
    target = importlib.import_module("triton.backends.compiler").GPUTarget("cuda", 90, 32)
    sizes = []

    def compile_only(kernel, grid, like, *arguments, num_warps=4, **constants):
        names = list(inspect.signature(kernel.fn).parameters)
        assert len(arguments) + len(constants) == len(names)
        signature = {
            name: TYPES[value.dtype] if isinstance(value, torch.Tensor) else "i32"
            for name, value in zip(names, arguments, strict=False)
        } | dict.fromkeys(constants, "constexpr")
        source = compiler.ASTSource(kernel, signature, {(names.index(k),): v for k, v in constants.items()})
        compiled = compiler.compile(source, target=target, options={"num_warps": num_warps})
        sizes.append(compiled.metadata.shared)
        assert compiled.asm["cubin"]

    monkeypatch.setattr(module, "takes_kernel", lambda *tensors: True)
    monkeypatch.setattr(module, "launch", compile_only)
    if module is convnext_step:  # on a GPU, unlike in the interpreter, a product may be of bfloat16
        operand = backend.tl.float32 if dtype == torch.float32 else backend.tl.bfloat16
        monkeypatch.setattr(module, "dot_type", lambda x: operand)
    call(dtype)
    assert len(sizes) == launches
    assert max(sizes) <= SHARED_BYTES
