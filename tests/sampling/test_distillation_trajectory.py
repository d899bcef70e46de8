"""Consistency trajectory models: the exact map is a fixed point, with the order of the teacher's step."""

from __future__ import annotations

import functools
import math

import pytest
import torch

from audiogen.sampling.distillation import (
    balance,
    euler,
    heun,
    jump,
    mean_absolute,
    solve,
    trajectory_loss,
)
from audiogen.sampling.loop import run
from audiogen.sampling.mean_paths import OUVE, ShiftedPrior
from audiogen.sampling.oracles import Gaussian
from audiogen.sampling.paths import StraightLine, VPLinear
from audiogen.sampling.plans import ctm, ddim

T, S = (torch.tensor(v, dtype=torch.float64) for v in ([0.9, 0.6, 0.5], [0.3, 0.5, 0.1]))
END = torch.full((3,), 0.05, dtype=torch.float64)


def trajectory(oracle, y=None):
    """The network g of an exact flow: what must be mixed with x to land on the trajectory."""
    path = oracle.path

    def network(x, times):
        t, s = times.unbind(-1)
        carry = path.sigma(s) / path.sigma(t)
        shift = path.mu(s) - carry * path.mu(t)
        moved = oracle.flow(x, t, s, y=y) - carry[:, None] * x - (0 if y is None else shift[:, None] * y)
        share = path.alpha(s) - carry * path.alpha(t)
        same = (t == s)[:, None]
        return torch.where(
            same, oracle.denoise(x, t, y=y), moved / torch.where(share == 0, 1.0, share)[:, None]
        )

    return network


@pytest.mark.parametrize("path", [VPLinear(), StraightLine(), ShiftedPrior(), OUVE()], ids=str)
def test_jumps_of_the_exact_network_follow_the_flow(path, randn):
    """From any time to any earlier one, to the data, and nowhere where the times are equal."""
    oracle, x, y = Gaussian(path, 0.3, 0.5), randn(3, 5), randn(3, 5)
    network = trajectory(oracle, y)
    assert torch.allclose(jump(path, network, x, T, S, y=y), oracle.flow(x, T, S, y=y), rtol=0, atol=1e-13)
    zero = torch.zeros(3, dtype=torch.float64)
    end = jump(path, network, x, T, zero, y=y)
    assert torch.allclose(end, oracle.flow(x, T, zero, y=y), rtol=0, atol=1e-12)
    for same in (T, zero):
        assert torch.equal(jump(path, network, x, same, same, y=y), x)


def test_a_jump_is_a_row_of_the_sampler(randn):
    path, x = VPLinear(), randn(2, 5)
    network = trajectory(Gaussian(path, 0.3, 0.5))
    plan = ctm(path, [0.9, 0.4, 0.1])
    times = torch.tensor([[0.9, 0.4, 0.1]] * 2, dtype=torch.float64)
    by_hand = solve(functools.partial(jump, path, network), x, times)
    assert torch.allclose(run(plan, network, x), by_hand, rtol=0, atol=1e-13)


@pytest.mark.parametrize("path", [VPLinear(), StraightLine(), ShiftedPrior(), OUVE()], ids=str)
@pytest.mark.parametrize(("method", "order"), [(euler, 2), (heun, 3)])
def test_residual_at_the_exact_map_is_the_teachers_local_error(path, method, order, randn):
    oracle, data, noise, y = Gaussian(path, 0.3, 0.5), randn(3, 33), randn(3, 33), randn(3, 33)
    network = trajectory(oracle, y)

    def residual(step, *steps):
        times = torch.stack([T, *(T - h for h in steps)], -1)
        args = (data, noise, times, S, END)
        loss = trajectory_loss(path, network, network, step, *args, y=y, distance=mean_absolute)
        return float(loss.consistency)

    teacher = method(path, lambda x, t: oracle.denoise(x, t, y=y), y=y)
    assert math.log2(residual(teacher, 0.01) / residual(teacher, 0.005)) == pytest.approx(order, abs=0.15)
    # as many short steps, from one long one: one order of the step length less
    many, more = (residual(teacher, *torch.linspace(0, 0.08, n + 1)[1:].tolist()) for n in (8, 16))
    assert math.log2(many / more) == pytest.approx(order - 1, abs=0.15)
    assert residual(lambda x, t, t_next: oracle.flow(x, t, t_next, y=y), 0.05, 0.1) < 1e-14


def test_the_student_of_a_grid_is_its_teachers_run(randn):
    """A network whose jumps are Euler steps on a grid has no residual against that teacher."""
    path, data, noise = VPLinear(), randn(3, 5), randn(3, 5)
    teacher = Gaussian(path, 0.3, 0.5).denoise
    grid = torch.tensor([0.9, 0.7, 0.5, 0.3, 0.1], dtype=torch.float64)

    def network(x, times):
        t, s = times[0]
        if t == s:
            return teacher(x, times[:, 0])
        way = grid[(grid <= t) & (grid >= s)]
        carry = path.sigma(s) / path.sigma(t)
        return (run(ddim(path, way), teacher, x) - carry * x) / (path.alpha(s) - carry * path.alpha(t))

    args = (data, noise, grid[:3].expand(3, 3), grid[3].expand(3), grid[4].expand(3))
    loss = trajectory_loss(path, network, network, euler(path, teacher), *args, distance=mean_absolute)
    assert loss.consistency < 1e-13
    other = trajectory_loss(path, network, network, heun(path, teacher), *args, distance=mean_absolute)
    assert other.consistency > 1e-3


def test_the_denoising_term_is_that_of_jumps_of_no_length(randn):
    """g(x, t, t) against the data; its least value for Gaussian data is the variance left given x_t."""
    path, oracle = VPLinear(), Gaussian(VPLinear(), 0.3, 0.5)
    data, noise = 0.3 + 0.5 * randn(3, 20000), randn(3, 20000)
    args = (data, noise, torch.stack([T, T - 0.01], -1), S, END)
    network = trajectory(oracle)
    loss = trajectory_loss(path, network, network, euler(path, oracle.denoise), *args)
    left = 0.25 * path.sigma(T) ** 2 / (path.alpha(T) ** 2 * 0.25 + path.sigma(T) ** 2)
    assert float(loss.denoising) == pytest.approx(float(left.mean()), rel=0.02)


def test_both_sides_are_compared_where_the_target_network_carries_them(randn, mean_path):
    """By the definition, with the exact flow in its place: sampled at t, jumped to s, carried to the end."""
    oracle, data, noise, y = Gaussian(mean_path, 0.3, 0.5), randn(3, 5), randn(3, 5), randn(3, 5)
    exact = trajectory(oracle, y)

    def student(x, times):
        return 0.5 * exact(x, times)

    def flow(x, t, s):
        return oracle.flow(x, t, s, y=y)

    args = (data, noise, torch.stack([T, T - 0.1], -1), S, END)
    loss = trajectory_loss(mean_path, student, exact, flow, *args, y=y)
    x = mean_path.add_noise(data, noise, T, y=y)
    estimate = flow(jump(mean_path, student, x, T, S, y=y), S, END)
    assert torch.allclose(loss.consistency, (estimate - flow(x, T, END)).square().mean(), rtol=1e-10)
    assert torch.allclose(
        loss.denoising, (0.5 * oracle.denoise(x, T, y=y) - data).square().mean(), rtol=1e-10
    )


def test_gradients_pass_through_the_target_networks_input_alone(randn):
    """Derivative in the student's parameter against finite differences; none for target and teacher."""
    path, oracle = VPLinear(), Gaussian(VPLinear(), 0.3, 0.5)
    exact = trajectory(oracle)
    data, noise = randn(3, 5), randn(3, 5)
    args = (data, noise, torch.stack([T, T - 0.1], -1), S, END)

    def loss(scale):
        def student(x, times):
            return scale * exact(x, times)

        return trajectory_loss(path, student, exact, euler(path, oracle.denoise), *args)

    scale = torch.tensor(1.2, dtype=torch.float64, requires_grad=True)
    for term in range(2):
        (gradient,) = torch.autograd.grad(loss(scale)[term], scale)
        with torch.no_grad():
            difference = (loss(scale + 1e-6)[term] - loss(scale - 1e-6)[term]) / 2e-6
        assert torch.allclose(gradient, difference, rtol=1e-7)
        assert gradient.abs() > 1e-3


def test_padding_does_not_count(randn):
    path = VPLinear()
    data, noise, mask = randn(3, 2, 5), randn(3, 2, 5), torch.ones(3, 1, 5)
    mask[..., 3:] = 0

    def network(x, times):
        return torch.tanh(x)

    def loss(data, noise, **options):
        args = (data, noise, torch.stack([T, T - 0.1], -1), S, END)
        return torch.stack(
            trajectory_loss(path, network, network, euler(path, lambda x, t: x), *args, **options)
        )

    expected = loss(data[..., :3], noise[..., :3])
    assert torch.allclose(loss(data, noise, mask=mask), expected, rtol=1e-12)
    assert not torch.allclose(loss(data, noise), expected, rtol=1e-2)


def test_balance_gives_both_terms_one_gradient_norm(randn):
    weight = randn(4, 4).requires_grad_()
    x = randn(3, 4)
    first, second = (x @ weight).square().mean(), 7 * (x @ weight).sin().mean()
    factor = balance(first, second, weight)
    norms = [torch.autograd.grad(v, weight, retain_graph=True)[0].norm() for v in (first, factor * second)]
    assert torch.allclose(*norms, rtol=1e-12)
    assert not factor.requires_grad
