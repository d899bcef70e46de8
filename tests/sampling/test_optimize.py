"""Gradients through a plan: equal in every mode of saving memory, and true; runs undone; noise optimised."""

from __future__ import annotations

import functools
import math
import weakref

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from audiogen.sampling import grids
from audiogen.sampling.loop import Registers, run
from audiogen.sampling.mean_paths import OUVE
from audiogen.sampling.noise import ItemNoise
from audiogen.sampling.optimize import (
    checkpoint_row,
    ddim_inversion,
    invert,
    optimise_noise,
    reverse,
    run_checkpointed,
    run_reversible,
)
from audiogen.sampling.oracles import Gaussian, Mixture
from audiogen.sampling.paths import StraightLine, VPLinear
from audiogen.sampling.plans import (
    bdia,
    consistency,
    ddim,
    ddpm,
    ghvb,
    multistep,
    runge_kutta,
    tail,
    unipc,
)
from audiogen.sampling.table import Plan

VP = VPLinear()
GRID = grids.uniform_lambda(VP, 9, start=0.95, end=0.02)
by_row = functools.partial(run, remat=checkpoint_row)
SAVING = {
    "row": by_row,
    "groups": run_checkpointed,
    "2 groups": functools.partial(run_checkpointed, groups=2),
    "groups and row": functools.partial(run_checkpointed, remat=checkpoint_row),
}


class Net(torch.nn.Module):
    """A small convolutional denoiser of (B, 1, N); `calls` counts its uses."""

    def __init__(self, width=8):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weights = torch.nn.ParameterList(
            torch.randn(*shape, 3, generator=generator, dtype=torch.float64) / 3 * shape[1] ** -0.5
            for shape in ((width, 1), (width, width), (1, width))
        )
        self.calls = 0

    def forward(self, x, t):
        self.calls += 1
        x = x * (1 + t[:, None, None])
        for weight in self.weights[:-1]:
            x = torch.tanh(torch.nn.functional.conv1d(x, weight, padding=1))
        return torch.nn.functional.conv1d(x, self.weights[-1], padding=1)


def gradients(runner, plan, denoise, x, tensors, **options):
    """Of a number made from the whole sample, in x and other tensors; and the sample."""
    x = x.clone().requires_grad_()
    end = runner(plan, denoise, x, **options)
    weight = torch.linspace(1, 2, end.numel(), dtype=end.dtype).reshape(end.shape)
    return [end.detach(), *torch.autograd.grad((end * weight).sum(), [x, *tensors])]


def close(found, expected, tolerance=1e-12):
    return all(
        (a - b).abs().max() <= tolerance * b.abs().max() and b.abs().max() > 1e-6
        for a, b in zip(found, expected, strict=True)
    )


@pytest.mark.parametrize("path", [VP, OUVE()], ids=str)
def test_gradient_of_a_run_is_the_derivative_of_the_flow_map(path, randn):
    """Of Gaussian data known exactly: the ratio of the deviations at both ends."""
    oracle, y = Gaussian(path, 0.3, torch.tensor([0.5, 0.2, 1.0])), randn(2, 3)
    grid = grids.uniform_lambda(path, 200, start=0.95, end=0.02)
    plan = runge_kutta(path, grid, method="rk4")
    x = randn(2, 3).requires_grad_()
    end = run(plan, functools.partial(oracle.denoise, y=y), x, y=y)
    (found,) = torch.autograd.grad(end.sum(), x)
    (_, start_std), (_, end_std) = (oracle.law(t.expand(2), 2) for t in (grid[0], grid[-1]))
    assert torch.allclose(found, end_std / start_std, rtol=1e-6)


@pytest.mark.parametrize("build", [bdia, functools.partial(unipc, order=3), runge_kutta, ddim])
def test_gradient_of_a_run_is_that_of_finite_differences(build, randn):
    denoise, x = Mixture(VP).denoise, randn(2, 5)
    plan = build(VP, GRID)
    _, found = gradients(run, plan, denoise, x, [])
    weight = torch.linspace(1, 2, 10, dtype=torch.float64).reshape(2, 5)
    # the oracle acts on every element alone: one perturbation gives all derivatives
    high, low = (run(plan, denoise, x + h) for h in (1e-5, -1e-5))
    assert torch.allclose(found, weight * (high - low) / 2e-5, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("build", [bdia, functools.partial(unipc, order=3), runge_kutta, ddim])
@pytest.mark.parametrize("runner", SAVING.values(), ids=SAVING)
def test_checkpointed_gradients_are_equal(build, runner, randn):
    """In the start and the parameters, for plans with every kind of memory; by rows bit for bit."""
    net, x = Net(), randn(2, 1, 12)
    plan = build(VP, GRID)
    expected = gradients(run, plan, net, x, net.parameters())
    net.calls = 0
    found = gradients(runner, plan, net, x, net.parameters())
    assert close(found, expected, 0 if runner is by_row else 1e-14)
    assert net.calls >= 2 * plan.nfe - 1


def test_checkpointed_runs_draw_the_same_noise_again(randn):
    """Rows keep their number in every group; mean and one denoiser a row go to the right rows."""
    path, net, x, y = OUVE(), Net(), randn(2, 1, 12), randn(2, 1, 12).requires_grad_()
    plan = ddpm(path, grids.uniform_lambda(path, 7, start=0.95, end=0.02))
    denoisers = [functools.partial(lambda s, x, t: s * net(x, t), 1 + row) for row in range(7)]
    options = {"y": y, "noise": ItemNoise([3, 4])}
    expected = gradients(run, plan, denoisers, x, [y, *net.parameters()], **options)
    for runner in SAVING.values():
        found = gradients(runner, plan, denoisers, x, [y, *net.parameters()], **options)
        assert close(found, expected, 1e-14)


def test_learned_weights_get_their_gradient_in_groups(randn):
    x, plan = randn(2, 5), multistep(VP, GRID, order=2)
    weights = plan.weights.clone().requires_grad_()
    learned = Plan(plan.labels, plan.ends, weights, plan.stores, plan.num_slots, plan.order)
    expected = gradients(run, learned, Mixture(VP).denoise, x, [weights])
    found = gradients(run_checkpointed, learned, Mixture(VP).denoise, x, [weights])
    assert close(found, expected)


@pytest.mark.parametrize("path", [VP, OUVE()], ids=str)
@pytest.mark.parametrize("num_steps", [1, 2, 9])
@pytest.mark.parametrize("gamma", [1.0, 0.9])
def test_reversible_gradients_are_equal(path, num_steps, gamma, randn):
    """In the start, the mean, which the network reads as well, and the parameters."""
    net, x, y = Net(), randn(2, 1, 12), randn(2, 1, 12).requires_grad_()
    plan = bdia(path, grids.uniform_lambda(path, num_steps, start=0.95, end=0.05), gamma=gamma)
    mean = y if plan.uses_mean else None
    named = [y, *net.parameters()]

    def denoise(x, t):
        return net(x + y, t)

    expected = gradients(run, plan, denoise, x, named, y=mean)
    found = gradients(run_reversible, plan, denoise, x, named, y=mean, parameters=named)
    assert close(found, expected, 1e-9)
    assert torch.equal(found[0], expected[0])


def test_reversible_gradients_reach_modules_and_what_conditions_were_made_of(randn):
    """Modules name their parameters themselves; a condition with a graph of its own passes gradients on."""
    net, x, source = Net(), randn(2, 1, 12), randn(2, 1, 12).requires_grad_()
    plan = bdia(VP, GRID)
    expected = gradients(run, plan, net, x, net.parameters())
    assert close(gradients(run_reversible, plan, net, x, net.parameters()), expected, 1e-10)

    net.requires_grad_(False)
    condition = torch.sin(source)
    denoisers = [functools.partial(lambda s, x, t: net(x + s * condition, t), row) for row in range(9)]
    expected = gradients(run, plan, denoisers, x, [source], y=None)
    condition = torch.sin(source)
    found = gradients(run_reversible, plan, denoisers, x, [source], parameters=[condition])
    assert close(found, expected, 1e-10)


def test_a_reversible_run_without_gradients_is_a_run(randn):
    net, x = Net(), randn(2, 1, 12)
    with torch.no_grad():
        assert torch.equal(run_reversible(bdia(VP, GRID), net, x), run(bdia(VP, GRID), net, x))
    assert net.calls == 18  # nothing was checked or repeated
    constant = run_reversible(bdia(VP, GRID), lambda x, t: torch.ones_like(x), x.requires_grad_())
    (found,) = torch.autograd.grad(constant.sum(), x)
    (expected,) = torch.autograd.grad(run(bdia(VP, GRID), lambda x, t: torch.ones_like(x), x).sum(), x)
    assert torch.allclose(found, expected, rtol=1e-12)


def test_reversible_runs_recompute_in_the_callers_autocast(randn):
    """And gradients reach float32 parameters although a pass without gradients came first."""
    weight, x = torch.eye(4, requires_grad=True), randn(2, 4).float()
    seen = []

    def denoise(x, t):
        seen.append((x @ weight).dtype)
        return torch.tanh(x @ weight)

    plan = bdia(VP, GRID)
    with torch.autocast("cpu", torch.bfloat16):
        with torch.no_grad():
            denoise(x, None)
        inside = gradients(run_reversible, plan, denoise, x, [weight], parameters=[weight])
        end = run_reversible(plan, denoise, x, parameters=[weight])
    assert set(seen) == {torch.bfloat16}
    (outside,) = torch.autograd.grad((end * torch.linspace(1, 2, 8).reshape(2, 4)).sum(), weight)
    assert torch.equal(outside, inside[2])
    assert set(seen) == {torch.bfloat16}
    seen.clear()
    exact = gradients(run_reversible, plan, denoise, x, [weight], parameters=[weight])[2]
    assert set(seen) == {torch.float32}
    assert not torch.equal(exact, outside)
    assert torch.allclose(exact, outside, rtol=0.2, atol=0.2 * float(exact.abs().max()))


def test_a_tensor_that_was_not_named_is_refused(randn):
    net, x, plan = Net(), randn(2, 1, 12), bdia(VP, GRID)
    with pytest.raises(ValueError, match=r"shape \(\d, \d, 3\).*parameters"):
        run_reversible(plan, lambda x, t: net(x, t), x)
    denoisers = [net] * 8 + [functools.partial(Net().forward)]
    with pytest.raises(ValueError, match="parameters"):
        run_reversible(plan, denoisers, x)
    net.requires_grad_(False)
    assert run_reversible(plan, lambda x, t: net(x, t), x.requires_grad_()).requires_grad


NOT_REVERSIBLE = {
    "no base": ddim(VP, GRID),
    "slots": ghvb(VP, GRID, order=2),
    "noise": ddpm(VP, GRID),
    "stages": runge_kutta(VP, GRID),
}


@pytest.mark.parametrize("plan", NOT_REVERSIBLE.values(), ids=NOT_REVERSIBLE)
def test_plans_that_cannot_be_undone_are_refused(plan, randn):
    x = randn(2, 5)
    for use in (
        lambda: reverse(plan),
        lambda: invert(plan, Mixture(VP).denoise, x, x),
        lambda: run_reversible(plan, Mixture(VP).denoise, x),
    ):
        with pytest.raises(ValueError, match="row . cannot be undone"):
            use()


@pytest.mark.parametrize(
    ("row", "line", "column", "value"),
    [
        (3, 1, 0, 0.0),  # x' without base
        (3, 0, 1, 0.5),  # base' not x
        (3, 0, 3, 0.1),  # base' with D
        (0, 0, 0, 1.0),  # base' with base
        (2, 1, -1, 0.1),  # fresh noise
        (2, 1, 4, 0.1),  # a second output
    ],
)
def test_each_condition_of_a_reversible_row_is_checked(row, line, column, value, randn):
    plan = bdia(VP, GRID)
    weights = plan.weights.clone()
    weights[row, line, column] = value
    with pytest.raises(ValueError, match=f"row {row} cannot be undone"):
        reverse(Plan(plan.labels, plan.ends, weights, plan.stores))


def test_other_plans_without_a_way_back_are_refused(randn):
    plan, x = bdia(VP, GRID), randn(2, 5)
    labels = plan.labels.clone()
    labels[4] = torch.nan
    with pytest.raises(ValueError, match="row 4 cannot be undone"):
        reverse(Plan(labels, plan.ends, plan.weights, plan.stores))
    with pytest.raises(ValueError, match="row 2 cannot be undone"):
        reverse(
            Plan(
                plan.labels,
                plan.ends,
                torch.nn.functional.pad(plan.weights, (0, 1)),
                (-1, -1, 0, *[-1] * 6),
                1,
            )
        )
    learned = Plan(plan.labels, plan.ends, plan.weights.clone().requires_grad_(), plan.stores)
    with pytest.raises(ValueError, match="plan's weights"):
        run_reversible(learned, Mixture(VP).denoise, x)
    with pytest.raises(ValueError, match="one row"):
        reverse(bdia(VP, [0.9, 0.1]))


class Peak(TorchDispatchMode):
    """Most bytes of tensors alive at once that were made while it is active."""

    def __init__(self):
        super().__init__()
        self.now = self.most = 0
        self.known = weakref.WeakSet()

    def free(self, size):
        self.now -= size

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        given = {v.untyped_storage().data_ptr() for v in args if isinstance(v, torch.Tensor)}
        result = function(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(tensor, torch.Tensor) and (s := tensor.untyped_storage()).data_ptr() not in given:
                if s in self.known:
                    continue
                self.known.add(s)
                self.now += s.nbytes()
                weakref.finalize(s, self.free, s.nbytes())
        self.most = max(self.most, self.now)
        return result


def peak(runner, num_steps):
    """Bytes of the gradient of a run of `num_steps` rows; and of one state."""
    net, x = Net(width=16).requires_grad_(False), torch.zeros(1, 1, 500, dtype=torch.float64)
    plan = bdia(VP, grids.uniform_lambda(VP, num_steps, start=0.95, end=0.05))
    x.requires_grad_()
    with Peak() as memory:
        torch.autograd.grad(runner(plan, net, x).sum(), x)
    return memory.most, x.nbytes


@pytest.mark.parametrize(("runner", "growth"), [(run, 4), (by_row, 4), (run_checkpointed, 2)])
def test_peak_memory_grows_with_the_rows_or_with_their_root(runner, growth):
    """From 4 to 16 rows, and from 16 to 64."""
    few, some, many = (peak(runner, n)[0] for n in (4, 16, 64))
    assert (many - some) / (some - few) == pytest.approx(growth, rel=0.03)


def test_peak_memory_of_each_mode():
    """Activations of one call are 33 states; for 64 rows every mode costs what is promised and no more.

    A group of rows keeps x and base.
    """
    one, state = peak(run, 1)
    activation = (peak(run, 64)[0] - one) / 63
    assert activation > 30 * state

    def extra(runner):
        return peak(runner, 64)[0] - one

    assert extra(by_row) == pytest.approx(63 * state, rel=0.01)
    assert extra(run_checkpointed) == pytest.approx(7 * (2 * state + activation), rel=0.01)
    assert extra(SAVING["groups and row"]) < 3 * 8 * state
    assert extra(run_reversible) < 10 * state
    assert extra(run_reversible) == pytest.approx(peak(run_reversible, 16)[0] - one, rel=0.01)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@pytest.mark.parametrize("path", [VP, StraightLine(), OUVE()], ids=str)
def test_bdia_is_undone_without_loss(path, dtype, tolerance, randn):
    x, y = randn(2, 33).to(dtype), randn(2, 33).to(dtype)
    denoise = functools.partial(Mixture(path).denoise, y=y)
    plan = bdia(path, grids.uniform_lambda(path, 50, start=0.95, end=0.02))
    registers = Registers()
    end = run(plan, denoise, x, y=y, registers=registers)
    start, after = invert(plan, denoise, end, registers.base, y=y)
    assert start.dtype == dtype
    assert (start - x).abs().max() < tolerance
    again = run(tail(plan, 1), denoise, after, y=y, registers=Registers(start))
    assert (again - end).abs().max() < tolerance
    assert (end - x).abs().max() > 0.1


def test_data_that_no_run_made_is_inverted_without_loss(randn):
    """The state a row before the end is DDIM's guess; whatever it is, the way back is exact."""
    path, data = StraightLine(), randn(2, 33)
    denoise = Mixture(path).denoise
    grid = grids.uniform_lambda(path, 40, start=0.98, end=0.01)
    plan = bdia(path, grid)
    before = run(ddim_inversion(path, grid[-2:]), denoise, data)
    start, after = invert(plan, denoise, data, before)
    end = run(tail(plan, 1), denoise, after, registers=Registers(start))
    assert (end - data).abs().max() < 1e-12


def test_one_denoiser_a_row_and_plans_of_one_row_are_undone(randn):
    x = randn(2, 5)
    denoise = [functools.partial(lambda s, x, t: torch.tanh(s * x), row) for row in range(9)]
    for plan, denoisers in ((bdia(VP, GRID, gamma=0.9), denoise), (bdia(VP, [0.9, 0.5]), denoise[3])):
        registers = Registers()
        end = run(plan, denoisers, x, registers=registers)
        start, after = invert(plan, denoisers, end, registers.base)
        assert (start - x).abs().max() < 1e-13
        first = run(
            Plan(plan.labels[:1], plan.ends[:1], plan.weights[:1], (-1,)),
            denoise[0 if len(plan) > 1 else 3],
            x,
        )
        assert (after - first).abs().max() < 1e-13


def test_a_reversed_plan_knows_its_times():
    plan = reverse(bdia(VP, GRID))
    assert torch.equal(plan.labels, GRID[1:-1].flip(0))
    assert torch.equal(plan.ends, GRID[:-2].flip(0))
    plan = ddim_inversion(VP, GRID)
    assert torch.equal(plan.labels, GRID[1:].flip(0))
    assert torch.equal(plan.ends, GRID[:-1].flip(0))


def test_below_gamma_1_undoing_grows_errors(randn):
    """By 1 / gamma in every row."""
    x, grid = randn(2, 33), grids.uniform_lambda(VP, 40, start=0.95, end=0.02)
    errors = []
    for gamma in (1.0, 0.5):
        plan, registers = bdia(VP, grid, gamma=gamma), Registers()
        end = run(plan, Mixture(VP).denoise, x, registers=registers)
        start, _ = invert(plan, Mixture(VP).denoise, end, registers.base)
        errors.append(float((start - x).abs().max()))
    assert errors[0] < 1e-12
    assert errors[1] > 2.0**30 * 1e-17


def test_ddim_is_inverted_with_an_error_of_first_order(randn):
    """To noise and back, at 64, 256 and 1024 steps; at 256 BDIA's is smaller by 12 orders of magnitude."""
    denoise, data = Mixture(VP).denoise, run(ddim(VP, GRID), Mixture(VP).denoise, randn(2, 33))
    errors = []
    for num_steps in (64, 256, 1024):
        grid = grids.uniform_lambda(VP, num_steps, start=0.95, end=0.02)
        back = run(ddim(VP, grid), denoise, run(ddim_inversion(VP, grid), denoise, data))
        errors.append(float((back - data).square().mean().sqrt()))
    slopes = [math.log(a / b, 4) for a, b in zip(errors, errors[1:], strict=False)]
    assert slopes == pytest.approx([1, 1], abs=0.15)
    plan = bdia(VP, grids.uniform_lambda(VP, 256, start=0.95, end=0.02))
    start, after = invert(plan, denoise, data, run(ddim_inversion(VP, plan.ends[-2:]), denoise, data))
    back = run(tail(plan, 1), denoise, after, registers=Registers(start))
    assert (back - data).square().mean().sqrt() < 1e-12 * errors[1]


def test_ddim_inversion_follows_the_flow_with_a_mean(randn):
    path, x, y = OUVE(), randn(2, 33), randn(2, 33)
    oracle = Gaussian(path, 0.3, 0.5)
    errors = []
    for num_steps in (64, 128):
        plan = ddim_inversion(path, grids.uniform_lambda(path, num_steps, start=0.95, end=0.05))
        end = run(plan, functools.partial(oracle.denoise, y=y), x, y=y)
        times = (torch.full((2,), t, dtype=torch.float64) for t in (0.05, 0.95))
        errors.append(float((end - oracle.flow(x, *times, y=y)).abs().max()))
    assert errors[0] / errors[1] == pytest.approx(2, abs=0.1)
    with pytest.raises(ValueError, match="above t = 0"):
        ddim_inversion(path, [1.0, 0.5, 0.0])


def square_distance(target):
    return lambda x: (x - target).square().mean(1)


@pytest.mark.parametrize("runner", [run, by_row, run_checkpointed, run_reversible])
def test_the_best_start_is_the_inverse_of_the_flow(runner, randn):
    """For Gaussian data the flow is invertible: a sample that hits the target starts at its image."""
    oracle, target = Gaussian(VP, 0.3, 0.5), randn(2, 4)
    plan = bdia(VP, grids.uniform_lambda(VP, 4, start=0.95, end=0.05))
    found = optimise_noise(
        plan, oracle.denoise, randn(2, 4), square_distance(target), steps=150, lr=0.1, runner=runner
    )
    assert found.losses.shape == (150, 2)
    assert found.losses.min(0).values.max() < 1e-4
    offset = run(plan, oracle.denoise, torch.zeros_like(target))
    slope = run(plan, oracle.denoise, torch.ones_like(target)) - offset
    assert (found.start - (target - offset) / slope).abs().max() < 0.05


def test_a_surrogate_of_one_call_finds_the_start_for_many(randn):
    """DITTO-2: optimised through the exact consistency function, decoded with the teacher's 32 steps.

    An optimisation step costs one call instead of the plan's, or twice the plan's with checkpoints.
    """
    path, target, start = StraightLine(), 0.5 * randn(2, 4), randn(2, 4)
    oracle, calls = Gaussian(path, 0.3, 0.5), []

    def student(x, t):
        calls.append(t)
        return oracle.flow(x, t, torch.zeros_like(t))

    found = optimise_noise(
        consistency(path, [1.0, 0.0]), student, start, square_distance(target), steps=120, lr=0.1
    )
    assert len(calls) == 120
    decode = runge_kutta(path, grids.uniform_t(33, start=1.0), method="midpoint", space="t")
    sample = run(decode, oracle.denoise, found.start)
    assert square_distance(target)(sample).max() < 1e-4
    assert square_distance(target)(run(decode, oracle.denoise, start)).min() > 1e-2

    def teacher(x, t):
        calls.append(t)
        return oracle.denoise(x, t)

    for runner, cost in ((run, 1), (by_row, 2)):
        calls.clear()
        plan = ddim(path, grids.uniform_t(20))
        optimise_noise(plan, teacher, start, square_distance(target), steps=5, runner=runner)
        assert len(calls) == 20 * (5 + 4 * (cost - 1))  # the last loss needs no gradient


def test_the_best_start_of_each_item_is_kept(randn):
    """Far too large a step: losses rise and fall, and what comes back has the lowest of all."""
    plan, denoise, start = ddim(VP, GRID), Mixture(VP).denoise, randn(3, 4)
    given = start.clone()
    seen = []

    def watch(step, steps, losses, start):
        seen.append((step, steps, losses, start.clone()))

    loss = square_distance(0.3)
    found = optimise_noise(plan, denoise, start, loss, steps=12, lr=3.0, on_step=watch)
    assert torch.equal(start, given)
    assert torch.equal(seen[0][3], given)
    assert [v[:2] for v in seen] == [(step, 12) for step in range(12)]
    assert torch.equal(torch.stack([v[2] for v in seen]), found.losses)
    best = found.losses.argmin(0)
    assert len({int(k) for k in best} - {0, 11}) > 0
    for item, step in enumerate(best):
        assert torch.equal(found.start[item], seen[step][3][item])
    assert torch.allclose(loss(run(plan, denoise, found.start)), found.losses.min(0).values, rtol=1e-12)


def test_items_are_optimised_independently(randn):
    """A batch of restarts is so many runs."""
    plan, denoise, start = ddim(VP, GRID), Mixture(VP).denoise, randn(3, 4)
    options = {"steps": 5, "lr": 0.1}
    together = optimise_noise(plan, denoise, start, square_distance(0.3), **options)
    for i in range(3):
        alone = optimise_noise(plan, denoise, start[i : i + 1], square_distance(0.3), **options)
        assert torch.allclose(together.start[i], alone.start[0], rtol=1e-10)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_optimisation_works_where_gradients_are_off(mode, randn):
    """And leaves none behind in the network."""
    net, start = Net(), randn(2, 1, 12)
    expected = optimise_noise(ddim(VP, GRID), net, start, lambda x: x.square().mean((1, 2)), steps=3, lr=0.1)
    with mode():
        found = optimise_noise(
            ddim(VP, GRID), net, start + 0, lambda x: x.square().mean((1, 2)), steps=3, lr=0.1
        )
    assert torch.equal(found.start, expected.start)
    assert not found.start.requires_grad
    assert all(p.grad is None for p in net.parameters())


def test_the_mean_is_passed_on(randn):
    path, y = OUVE(), randn(2, 4)
    oracle = Gaussian(path, 0.3, 0.5)
    plan = ddim(path, grids.uniform_lambda(path, 4, start=0.95, end=0.05))
    denoise = functools.partial(oracle.denoise, y=y)
    found = optimise_noise(plan, denoise, y, square_distance(0.3), steps=1, y=y)
    assert torch.equal(found.losses[0], square_distance(0.3)(run(plan, denoise, y, y=y)))


def test_stopping_returns_what_was_found(randn):
    plan, denoise, start = ddim(VP, GRID), Mixture(VP).denoise, randn(2, 4)
    losses = []
    found = optimise_noise(
        plan,
        denoise,
        start,
        square_distance(0.3),
        steps=50,
        lr=0.1,
        on_step=lambda step, steps, loss, start: losses.append(loss),
        stop=lambda: len(losses) == 7,
    )
    assert found.losses.shape == (7, 2)
    assert bool((found.losses.min(0).values < found.losses[0]).all())
    none = optimise_noise(plan, denoise, start, square_distance(0.3), steps=50, stop=lambda: True)
    assert torch.equal(none.start, start)
    assert none.losses.shape == (0, 2)


def test_what_cannot_be_optimised_is_refused(randn):
    start = randn(2, 4)
    with pytest.raises(ValueError, match="no one sample"):
        optimise_noise(ddpm(VP, GRID), Mixture(VP).denoise, start, square_distance(0.3), steps=1)
    with pytest.raises(ValueError, match="each of 2 items"):
        optimise_noise(ddim(VP, GRID), Mixture(VP).denoise, start, lambda x: x.square().mean(), steps=1)
    with pytest.raises(ValueError, match="1 to 9 groups"):
        run_checkpointed(ddim(VP, GRID), Mixture(VP).denoise, start, groups=10)
    with pytest.raises(ValueError, match="9 rows, but 2 denoisers"):
        run_checkpointed(ddim(VP, GRID), [Mixture(VP).denoise] * 2, start)
