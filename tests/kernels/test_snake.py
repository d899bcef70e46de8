"""Snake activations: what they do to a sinusoid, and their derivatives."""

import math

import pytest
import torch

from audiogen.kernels.snake import (
    antialiased_snake,
    antialiased_snake_reference,
    filter_taps,
    snake,
    snake_reference,
)


def response(frequency):
    """Gain of the filter at a frequency in cycles a sample."""
    taps = torch.tensor(filter_taps(), dtype=torch.float64)
    angle = 2 * math.pi * frequency * torch.arange(len(taps))
    return float(torch.hypot((taps * angle.cos()).sum(), (taps * angle.sin()).sum()))


def test_the_filter_passes_the_lower_half_band_and_stops_the_upper():
    """Linear phase, one at zero, half at the cutoff, none at Nyquist."""
    taps = filter_taps()
    assert taps == pytest.approx(taps[::-1])
    assert response(0) == pytest.approx(1)
    assert response(0.25) == pytest.approx(0.5, abs=0.02)
    assert response(0.05) > 0.99
    assert max(response(f / 100) for f in range(41, 51)) < 0.01


def test_snake_adds_a_squared_sine():
    x = torch.linspace(-3, 3, 50, dtype=torch.float64).reshape(1, 2, 25)
    alpha = torch.tensor([0.5, 2.0], dtype=torch.float64)
    expected = torch.stack([(1 - torch.cos(2 * a * row)) / (2 * a) + row for a, row in zip(alpha, x[0])])  # noqa: B905
    assert torch.allclose(snake(x, alpha)[0], expected)
    beta = torch.tensor([3.0, 1.0], dtype=torch.float64)
    assert torch.allclose(snake(x, alpha, beta)[0] - x[0], (expected - x[0]) * (alpha / beta)[:, None])


def test_a_constant_passes_both_filters():
    x = torch.tensor([0.7, -1.2], dtype=torch.float64)[:, None].expand(1, 2, 9)
    alpha = torch.tensor([1.0, 2.0], dtype=torch.float64)
    assert torch.allclose(antialiased_snake(x, alpha), snake(x, alpha))


def test_aliases_of_a_high_tone_are_kept_out():
    """sin^2 of a tone at 0.35 cycles a sample has one at 0.7, which folds to 0.3 without the filters."""
    t = torch.arange(400, dtype=torch.float64)
    x = torch.sin(2 * math.pi * 0.35 * t)[None, None]
    alpha = torch.ones(1, dtype=torch.float64)

    def at(y, frequency):
        inner = y[0, 0, 20:-20]
        wave = torch.exp(-2j * math.pi * frequency * t[20:-20])
        return float(((inner - inner.mean()) * wave).mean().abs())

    assert at(antialiased_snake(x, alpha), 0.3) < 0.3 * at(snake(x, alpha), 0.3)
    assert at(snake(x, alpha), 0.3) > 0.1


def test_a_slow_tone_is_what_it_is_without_filters():
    t = torch.arange(300, dtype=torch.float64)
    x = torch.sin(2 * math.pi * 0.01 * t)[None, None]
    alpha = torch.ones(1, dtype=torch.float64)
    inner = slice(10, -10)
    assert torch.allclose(antialiased_snake(x, alpha)[..., inner], snake(x, alpha)[..., inner], atol=0.01)


@pytest.mark.parametrize("length", [1, 2, 6])
def test_derivatives_of_the_reference(length):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, 2, length, dtype=torch.float64, generator=generator, requires_grad=True)
    alpha, beta = (torch.rand(2, dtype=torch.float64, generator=generator) + 0.5 for _ in range(2))
    inputs = (x, alpha.requires_grad_(), beta.requires_grad_())
    assert torch.autograd.gradcheck(antialiased_snake, inputs)
    assert torch.autograd.gradgradcheck(antialiased_snake, inputs)


@pytest.mark.parametrize(
    ("channels", "length", "dtype"),
    [
        (1, 1, torch.float32),
        (1, 2, torch.bfloat16),
        (3, 5, torch.float32),
        (1, 513, torch.float32),
    ],
    ids=str,
)
def test_kernel_and_its_derivatives_are_the_reference_s(device, channels, length, dtype):
    """In float64 for what the kernel takes, up to lengths of two blocks and where both edges meet."""
    generator = torch.Generator().manual_seed(length)
    x, towards = torch.randn(2, 1, channels, length, generator=generator).to(device, dtype)
    alpha, beta = (torch.rand(2, channels, generator=generator) + 0.5).to(device, dtype)
    inputs = [value.requires_grad_() for value in (x, alpha, beta)]
    exact = [value.detach().double().requires_grad_() for value in inputs]
    found, expected = antialiased_snake(*inputs), antialiased_snake_reference(*exact)
    assert found.dtype == dtype
    tolerance = 1e-5 if dtype == torch.float32 else 0.02
    assert torch.allclose(found.double(), expected, rtol=tolerance, atol=tolerance)
    slopes = torch.autograd.grad(found, inputs, towards)
    exact_slopes = torch.autograd.grad(expected, exact, towards.double())
    for mine, its in zip(slopes, exact_slopes, strict=True):
        assert torch.allclose(
            mine.double(), its, rtol=tolerance, atol=tolerance * (1 + float(its.abs().max()))
        )


def test_one_parameter_gets_both_derivatives(device):
    """Without a beta of its own alpha stands in both places."""
    x = torch.linspace(-1, 2, 7, device=device).reshape(1, 1, 7)
    alpha = torch.tensor([1.3], device=device, requires_grad=True)
    exact = alpha.detach().double().requires_grad_()
    (mine,) = torch.autograd.grad(antialiased_snake(x, alpha).sum(), alpha)
    (its,) = torch.autograd.grad(antialiased_snake_reference(x.double(), exact).sum(), exact)
    assert torch.allclose(mine.double(), its, rtol=1e-5)


@pytest.mark.parametrize("length", [1, 1025])
def test_plain_kernel_is_the_reference(device, length):
    x = torch.linspace(-4, 4, 2 * length, device=device).reshape(1, 2, length)
    alpha, beta = torch.tensor([[0.5, 2.0], [1.0, 3.0]], device=device)
    assert torch.allclose(snake(x, alpha, beta), snake_reference(x, alpha, beta), atol=1e-6)


@pytest.mark.cuda
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_training_sized_kernel_is_the_reference(dtype):
    x = torch.randn(4, 64, 8191, device="cuda").to(dtype)
    alpha, beta = ((torch.rand(64, device="cuda") + 0.5).to(dtype) for _ in range(2))
    inputs = [value.requires_grad_() for value in (x, alpha, beta)]
    exact = [value.detach().double().requires_grad_() for value in inputs]
    found, expected = antialiased_snake(*inputs), antialiased_snake_reference(*exact)
    tolerance = 1e-5 if dtype == torch.float32 else 0.02
    assert torch.allclose(found.double(), expected, rtol=tolerance, atol=tolerance)
    slopes = torch.autograd.grad(found.sum(), inputs)
    for mine, its in zip(slopes, torch.autograd.grad(expected.sum(), exact), strict=True):
        assert torch.allclose(mine.double(), its, rtol=tolerance, atol=10 * tolerance)
