"""Consistency distillation and training: fixed points, orders, and the improved recipe's numbers."""

from __future__ import annotations

import math

import pytest
import torch
from scipy import stats

from audiogen.sampling import grids
from audiogen.sampling.distillation import (
    consistency_distillation_example,
    consistency_training_example,
    doubling_steps,
    euler,
    heun,
    lognormal_probabilities,
    mean_absolute,
    pick_steps,
    pseudo_huber,
    regression_loss,
)
from audiogen.sampling.loop import run
from audiogen.sampling.mean_paths import OUVE, ShiftedPrior
from audiogen.sampling.oracles import Gaussian, Mixture
from audiogen.sampling.paths import StraightLine, VarianceExploding, VPLinear
from audiogen.sampling.plans import ddim

T = torch.tensor([0.8, 0.5, 0.3], dtype=torch.float64)


@pytest.mark.parametrize("path", [VPLinear(), StraightLine(), ShiftedPrior(), OUVE()], ids=str)
@pytest.mark.parametrize(("method", "order"), [(euler, 2), (heun, 3)])
def test_residual_at_the_exact_map_is_the_teachers_local_error(path, method, order, randn):
    """O(h^2) with Euler's step, O(h^3) with Heun's; zero with the exact flow as the teacher."""
    oracle, data, noise, y = Gaussian(path, 0.3, 0.5), randn(3, 33), randn(3, 33), randn(3, 33)

    def student(x, t):
        return oracle.flow(x, t, torch.zeros_like(t), y=y)

    def residual(step, h):
        example = consistency_distillation_example(path, student, step, data, noise, T, T - h, y=y)
        return float(regression_loss(student, example, distance=mean_absolute))

    teacher = method(path, lambda x, t: oracle.denoise(x, t, y=y), y=y)
    h = 0.01
    assert math.log2(residual(teacher, h) / residual(teacher, h / 2)) == pytest.approx(order, abs=0.15)
    assert residual(lambda x, t, t_next: oracle.flow(x, t, t_next, y=y), 0.2) < 1e-14


def test_the_student_of_a_grid_is_its_teachers_whole_run(randn):
    """One step of the perfect student from any grid time equals all remaining teacher steps."""
    path, teacher, data, noise = VPLinear(), Mixture(VPLinear()).denoise, randn(2, 5), randn(2, 5)
    grid = grids.uniform_t(6, start=0.9, end=0.1)

    def student(x, t):
        later = grid[grid <= t[0]]
        if len(later) == 1:  # the boundary condition
            return x / path.alpha(grid[-1])
        return run(ddim(path, later), teacher, x) / path.alpha(grid[-1])

    for t, t_next in zip(grid, grid[1:], strict=False):
        args = (data, noise, t.expand(2), t_next.expand(2))
        example = consistency_distillation_example(path, student, euler(path, teacher), *args)
        assert regression_loss(student, example, distance=mean_absolute) < 1e-13
        assert not example.target.requires_grad


def test_the_student_is_called_at_the_noisier_time_with_its_own_state(randn, mean_path):
    path, data, noise, y = mean_path, randn(3, 4), randn(3, 4), randn(3, 4)
    seen = []

    def target_network(x, t):
        seen.append((x, t))
        return x

    step = euler(path, lambda x, t: data, y=y)  # a teacher that knows the data stays on the path
    example = consistency_distillation_example(path, target_network, step, data, noise, T, T - 0.1, y=y)
    assert torch.equal(example.x, path.add_noise(data, noise, T, y=y))
    assert example.labels == (T,)
    assert torch.equal(seen[0][1], T - 0.1)
    assert torch.allclose(seen[0][0], path.add_noise(data, noise, T - 0.1, y=y), rtol=0, atol=1e-14)
    assert torch.equal(example.target, seen[0][0])
    with pytest.raises(ValueError, match=r"shape \(3,\)"):
        consistency_distillation_example(path, target_network, step, data, noise, T[:1], T[:1] - 0.1)


def test_training_without_a_teacher_has_eulers_target_on_average(randn, mean_path):
    """Given x_t, the mean over (data, noise) of f(x_{t'}) is that of Euler's step, for a linear f.

    Two pairs at equal distance on both sides of the posterior mean stand for the law of (data, noise).
    """
    oracle, x, y, offset = Gaussian(mean_path, 0.3, 0.5), randn(3, 4), randn(3, 4), randn(3, 4)
    d = oracle.denoise(x, T, y=y)
    c = [v[:, None] for v in (mean_path.alpha(T), mean_path.mu(T), mean_path.sigma(T))]

    def student(x, t):
        return oracle.flow(x, t, torch.zeros_like(t), y=y)

    targets = []
    for data in (d + offset, d - offset):
        noise = (x - c[0] * data - c[1] * y) / c[2]
        example = consistency_training_example(mean_path, student, data, noise, T, T - 0.1, y=y)
        assert torch.allclose(example.x, x, rtol=0, atol=1e-13)
        assert example.labels == (T,)
        targets.append(example.target)
    step = euler(mean_path, lambda x, t: oracle.denoise(x, t, y=y), y=y)
    expected = student(step(x, T, T - 0.1), T - 0.1)
    assert torch.allclose((targets[0] + targets[1]) / 2, expected, rtol=0, atol=1e-13)
    assert (targets[0] - targets[1]).abs().max() > 0.1


def test_training_weighs_by_the_step_in_noise_level(randn):
    for path in (VarianceExploding(), StraightLine()):
        example = consistency_training_example(path, lambda x, t: x, randn(3, 4), randn(3, 4), T, T - 0.1)
        level, before = (path.sigma(t) / path.alpha(t) for t in (T, T - 0.1))
        assert torch.allclose(example.weight, 1 / (level - before), rtol=1e-12)
        assert bool((example.weight > 0).all())


def test_training_drops_the_same_units_on_both_sides(randn):
    """Where both sides get one state, any difference between them is dropout's."""
    data, still = randn(3, 400), torch.zeros(3, 400)

    def student(x, t):
        return torch.nn.functional.dropout(x, 0.5, training=True)

    torch.manual_seed(1)
    example = consistency_training_example(VarianceExploding(), student, data, still, T, T - 0.1)
    assert regression_loss(student, example, distance=pseudo_huber) == 0
    assert regression_loss(student, example) > 0  # the next draw is another


def test_training_has_a_gradient_on_the_students_side_alone(randn):
    scale = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    data, noise = randn(3, 4), randn(3, 4)
    example = consistency_training_example(VPLinear(), lambda x, t: scale * x, data, noise, T, T - 0.1)
    loss = regression_loss(lambda x, t: scale * x, example._replace(weight=None))
    (gradient,) = torch.autograd.grad(loss, scale)
    x, target = example.x, 0.7 * VPLinear().add_noise(data, noise, T - 0.1)
    assert torch.allclose(gradient, (2 * (0.7 * x - target) * x).mean(), rtol=1e-12)


def test_lognormal_probabilities_are_shares_of_the_normal_law():
    """Against scipy's normal law of log(sigma / alpha), open ends included."""
    path = StraightLine()
    times = torch.tensor([1.0, 0.8, 0.5, 0.3, 0.01, 0.0], dtype=torch.float64)
    found = lognormal_probabilities(path, times, mean=-0.5, std=1.5)
    log_level = [math.inf, *(math.log(t / (1 - t)) for t in (0.8, 0.5, 0.3, 0.01)), -math.inf]
    below = stats.norm(-0.5, 1.5).cdf(log_level)
    assert found.numpy() == pytest.approx(below[:-1] - below[1:], rel=1e-12)
    part = lognormal_probabilities(
        VarianceExploding(), grids.karras(VarianceExploding(), 20, start=80, end=0.002)
    )
    assert float(part.sum()) == pytest.approx(1, rel=1e-14)
    assert bool((part > 0).all())


def test_steps_are_picked_with_their_probabilities():
    times = torch.tensor([0.9, 0.7, 0.4, 0.1], dtype=torch.float64)
    uniform = (torch.arange(1000, dtype=torch.float64) + 0.5) / 1000
    for probabilities, counts in ((None, [333, 334, 333]), (torch.tensor([0.1, 0.0, 0.9]), [100, 0, 900])):
        t, t_next = pick_steps(times, uniform, probabilities)
        for i, count in enumerate(counts):
            assert int(((t == times[i]) & (t_next == times[i + 1])).sum()) == pytest.approx(count, abs=1)
    ends = pick_steps(times, torch.tensor([0.0, 1 - 1e-17]))
    assert torch.equal(torch.stack(ends), torch.stack([times[[0, 2]], times[[1, 3]]]))
    with pytest.raises(ValueError, match="3 steps"):
        pick_steps(times, uniform, torch.ones(4))


def test_the_grid_doubles_eight_times_in_equal_parts():
    sizes = [doubling_steps(step, 800) for step in range(800)]
    assert [sizes.count(10 * 2**k) for k in range(8)] == [100] * 8
    assert sizes == sorted(sizes)
    assert doubling_steps(10**6, 800) == 1280
    assert [doubling_steps(step, 4, first=3, last=12) for step in range(4)] == [3, 6, 12, 12]
    with pytest.raises(ValueError, match="do not suffice"):
        doubling_steps(0, 7)
