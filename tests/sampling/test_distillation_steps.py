"""What distillations share: steps at times of each item's own, distances, and the loss of an example."""

from __future__ import annotations

import math

import pytest
import torch

from audiogen.sampling.distillation import (
    Example,
    euler,
    heun,
    mean_absolute,
    mean_square,
    pseudo_huber,
    regression_loss,
    solve,
)
from audiogen.sampling.loop import run
from audiogen.sampling.mean_paths import OUVE
from audiogen.sampling.oracles import Gaussian, Mixture
from audiogen.sampling.paths import StraightLine, VarianceExploding, VPLinear
from audiogen.sampling.plans import ddim, runge_kutta

T, T_NEXT = (torch.tensor(v, dtype=torch.float64) for v in ([0.9, 0.6, 0.4], [0.7, 0.55, 0.1]))


@pytest.mark.parametrize("path", [VPLinear(), VarianceExploding(), StraightLine(), OUVE()], ids=str)
@pytest.mark.parametrize(
    ("method", "plan"), [(euler, ddim), (heun, lambda path, times: runge_kutta(path, times, method="heun"))]
)
def test_a_step_with_times_per_item_is_the_plan_of_each_item(path, method, plan, randn):
    x, y = randn(3, 2, 4), randn(3, 2, 4)

    def denoise(x, t, y=y):
        return Mixture(path).denoise(x, t, y=y)

    together = method(path, denoise, y=y)(x, T, T_NEXT)
    for i in range(3):
        item = slice(i, i + 1)
        times = [float(T[i]), float(T_NEXT[i])]
        alone = run(plan(path, times), lambda x, t, k=item: denoise(x, t, y[k]), x[item], y=y[item])
        assert (together[item] - alone).abs().max() < 1e-13


@pytest.mark.parametrize(("method", "order"), [(euler, 2), (heun, 3)])
def test_error_of_one_step(method, order, randn, mean_path):
    """A method of order p errs by O(h^{p + 1}) in a step."""
    oracle, x, y = Gaussian(mean_path, 0.3, 0.5), randn(1, 33), randn(1, 33)
    step = method(mean_path, lambda x, t: oracle.denoise(x, t, y=y), y=y)
    errors = []
    for h in (0.02, 0.01):
        t, t_next = torch.tensor([0.6]).double(), torch.tensor([0.6 - h]).double()
        errors.append(mean_absolute(step(x, t, t_next), oracle.flow(x, t, t_next, y=y)))
    assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.15)


def test_heun_is_euler_where_its_second_slope_does_not_exist(randn):
    """From pure noise, to the data, and in between: only the last item differs."""
    path, x = StraightLine(), randn(3, 4)
    t, t_next = torch.tensor([1.0, 0.5, 0.5]).double(), torch.tensor([0.5, 0.0, 0.2]).double()

    def denoise(x, t):  # a network that is not finite at the data
        return Mixture(path).denoise(x, t) / t[:, None].sign()

    ends = [method(path, denoise)(x, t, t_next) for method in (euler, heun)]
    assert torch.equal(ends[0][:2], ends[1][:2])
    assert (ends[0][2] - ends[1][2]).abs().max() > 1e-3


def test_equal_times_are_no_step(randn):
    """So that items of one batch can take different numbers of steps."""
    path, x = VPLinear(), randn(2, 4)
    teacher = Mixture(path).denoise
    times = torch.tensor([[0.9, 0.9, 0.5, 0.5], [0.9, 0.7, 0.5, 0.3]], dtype=torch.float64)
    end = solve(heun(path, teacher), x, times)
    one = heun(path, teacher)(x[:1], times[:1, 0], times[:1, -1])
    three = run(runge_kutta(path, times[1]), teacher, x[1:])
    assert torch.allclose(end[:1], one, rtol=0, atol=1e-14)
    assert torch.allclose(end[1:], three, rtol=0, atol=1e-13)
    with pytest.raises(ValueError, match=r"shape \(2, K \+ 1\)"):
        solve(heun(path, teacher), x, times[0])


@pytest.mark.parametrize(
    ("distance", "reference"),
    [
        (mean_square, lambda d: d.square().mean()),
        (mean_absolute, lambda d: d.mean()),
        (pseudo_huber, lambda d: torch.sqrt(d.square().sum() + (c := 0.00054 * d.numel() ** 0.5) ** 2) - c),
    ],
)
def test_distances_are_those_of_the_real_frames(distance, reference, randn):
    """Padding changes neither values nor gradients, whatever is in it."""
    estimate, target, lengths = randn(3, 4, 6).requires_grad_(), randn(3, 4, 6), (6, 4, 1)
    mask = (torch.arange(6) < torch.tensor(lengths)[:, None])[:, None]
    padded = torch.where(mask, estimate, torch.nan).detach().requires_grad_()
    expected = torch.stack([reference((estimate - target)[i, :, :n].abs()) for i, n in enumerate(lengths)])
    for form in (mask, mask.double()):
        found = distance(padded, target, form)
        assert torch.allclose(found, expected, rtol=1e-12, atol=0)
    gradient = torch.autograd.grad(expected.sum(), estimate, retain_graph=True)[0]
    assert torch.allclose(torch.autograd.grad(found.sum(), padded)[0], gradient, rtol=1e-10, atol=1e-15)
    whole = distance(estimate, target, None)
    assert torch.allclose(whole[0], expected[0], rtol=1e-12)
    assert not torch.allclose(whole[1:], expected[1:], rtol=1e-3)


def test_distances_of_complex_states_are_those_of_their_moduli(randn):
    a, b = torch.complex(randn(2, 5), randn(2, 5)), torch.complex(randn(2, 5), randn(2, 5))
    assert torch.allclose(mean_square(a, b), ((a - b).real ** 2 + (a - b).imag ** 2).mean(1), rtol=1e-12)
    assert mean_square(a, b).dtype == torch.float64


def test_pseudo_huber_is_square_then_linear():
    zero = torch.zeros(1, 16, dtype=torch.float64, requires_grad=True)
    c = 0.00054 * 4
    for size in (1e-9, 1e3):
        distance = pseudo_huber(zero + size, torch.zeros(1, 16))
        norm = 4 * size
        assert distance.item() == pytest.approx(norm**2 / (2 * c) if size < 1 else norm - c, rel=1e-5)
    (gradient,) = torch.autograd.grad(pseudo_huber(zero, torch.zeros(1, 16)).sum(), zero)
    assert torch.equal(gradient, torch.zeros_like(gradient))
    wide = pseudo_huber(zero + 1, torch.zeros(1, 16), scale=0.5)
    assert wide.item() == pytest.approx(math.sqrt(16 + 4) - 2)


def test_the_loss_is_the_weighted_mean_over_items(randn):
    x, target, weight = randn(3, 4), randn(3, 4), torch.tensor([1.0, 2.0, 4.0])
    seen = []

    def network(x, *labels):
        seen.append((x, *labels))
        return 2 * x

    loss = regression_loss(network, Example(x, (T, T_NEXT), target, weight))
    assert [id(v) for v in seen[0]] == [id(v) for v in (x, T, T_NEXT)]
    by_item = (2 * x - target).square().mean(1)
    assert torch.allclose(loss, (by_item * weight).sum() / 3, rtol=1e-14)
    plain = regression_loss(network, Example(x, (T,), target), distance=mean_absolute)
    assert torch.allclose(plain, (2 * x - target).abs().mean(), rtol=1e-14)
    masked = regression_loss(network, Example(x, (T,), target), mask=torch.tensor([[1.0, 0, 0, 0]] * 3))
    assert torch.allclose(masked, (2 * x - target)[:, 0].square().mean(), rtol=1e-14)


def test_shapes_that_would_mix_items_are_refused(randn):
    with pytest.raises(ValueError, match="one shape"):
        mean_square(randn(3, 1, 4), randn(3, 4))
    with pytest.raises(ValueError, match="one shape"):
        mean_square(randn(3, 2, 4), randn(3, 2, 4), torch.ones(3, 4))
