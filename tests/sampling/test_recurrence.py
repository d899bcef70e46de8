"""A row applied in place, out of place and by a tensor of weights: one meaning, and no buffer shared."""

from __future__ import annotations

import threading

import pytest
import torch

from audiogen.sampling import grids, plans, recurrence
from audiogen.sampling.loop import Registers, run
from audiogen.sampling.noise import ItemNoise
from audiogen.sampling.oracles import Mixture
from audiogen.sampling.paths import VPLinear
from audiogen.sampling.table import Plan

PATH = VPLinear()
ORACLE = Mixture(PATH)
TIMES = [0.95, 0.8, 0.6, 0.45, 0.3, 0.2, 0.1, 0.0]
PLANS = {
    "ddim": plans.ddim(PATH, TIMES),
    "ddpm": plans.ddpm(PATH, TIMES),
    "heun": plans.runge_kutta(PATH, TIMES),
    "rk4": plans.runge_kutta(PATH, TIMES, method="rk4"),
    "3s": plans.exponential_rk(PATH, TIMES, method="3s"),
    "3m": plans.multistep(PATH, TIMES, order=3, start=2),
    "sde": plans.sde_multistep(PATH, TIMES, order=2),
    "unipc": plans.unipc(PATH, TIMES, order=3),
    "ghvb": plans.ghvb(PATH, TIMES, order=3),
    "bdia": plans.bdia(PATH, TIMES),
}


def learned(plan):
    """The plan with weights that carry a gradient, which `run` applies as a tensor."""
    return Plan(
        plan.labels, plan.ends, plan.weights.clone().requires_grad_(), plan.stores, plan.num_slots, plan.order
    )


@pytest.mark.parametrize("name", PLANS)
def test_the_three_ways_of_applying_a_row_agree(name, randn):
    plan, x = PLANS[name], randn(2, 3, 7)
    noise = ItemNoise([1, 2])
    with torch.no_grad():
        in_place = run(plan, ORACLE.denoise, x, noise=noise)
    out_of_place = run(plan, ORACLE.denoise, x.clone().requires_grad_(), noise=noise)
    by_tensor = run(learned(plan), ORACLE.denoise, x, noise=noise)
    assert torch.equal(in_place, out_of_place)
    assert torch.allclose(in_place, by_tensor, rtol=1e-12, atol=1e-12)
    assert by_tensor.requires_grad


@pytest.mark.parametrize("name", PLANS)
def test_networks_may_return_views_of_their_input(name, randn):
    """A network whose output shares the state's memory must not see it overwritten."""
    plan, x, noise = PLANS[name], randn(2, 3, 7), ItemNoise([1, 2])
    copied = run(plan, lambda x, t: x.clone(), x, noise=noise)
    for view in (lambda x, t: x, lambda x, t: x.view(-1).view(x.shape), lambda x, t: x.flip(0).flip(0)):
        assert torch.equal(run(plan, view, x, noise=noise), copied)


@pytest.mark.parametrize("name", PLANS)
def test_a_network_may_reuse_one_output_buffer_only_if_the_loop_copies(name, randn):
    """States that are not contiguous give the same result as contiguous ones."""
    plan, noise = PLANS[name], ItemNoise([1, 2])
    x = randn(2, 7, 3).transpose(1, 2)
    assert torch.equal(
        run(plan, ORACLE.denoise, x, noise=noise), run(plan, ORACLE.denoise, x.contiguous(), noise=noise)
    )


def test_the_state_handed_to_the_caller_is_not_overwritten_by_the_next_run(randn):
    plan, x, registers = PLANS["unipc"], randn(1, 9), Registers()
    middle = run(plans.head(plan, 3), ORACLE.denoise, x, registers=registers)
    kept = middle.clone()
    run(plans.tail(plan, 3), ORACLE.denoise, middle, registers=registers)
    assert torch.equal(middle, kept)


def test_one_run_allocates_no_more_than_its_registers(randn):
    """A multistep run of many rows takes as many buffers as one of few."""
    x = randn(1, 9)
    counts = []
    for num_steps in (5, 40):
        made = []
        original = torch.empty_like

        def counted(*args, made=made, original=original, **kwargs):
            made.append(1)
            return original(*args, **kwargs)

        torch.empty_like = counted
        try:
            run(plans.unipc(PATH, grids.quadratic(num_steps), order=2), lambda x, t: x.tanh(), x)
        finally:
            torch.empty_like = original
        counts.append(len(made))
    assert counts[0] == counts[1] <= 4


@pytest.mark.parametrize("build", [plans.ddim, plans.multistep], ids=["ddim", "multistep"])
def test_gradients_reach_the_grid(build):
    """d end / d times through the weights of a builder, against finite differences."""

    def end(times):
        return run(build(PATH, times), ORACLE.denoise, torch.ones(1, 3, dtype=torch.float64)).sum()

    times = torch.tensor([0.9, 0.6, 0.3, 0.1], dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(end(times), times)
    for i in range(4):
        step = torch.zeros(4, dtype=torch.float64)
        step[i] = 1e-6
        with torch.no_grad():
            difference = (end(times + step) - end(times - step)) / 2e-6
        # labels are told to the network without a gradient: only the weights carry one
        frozen = _label_part(build, times.detach(), i)
        assert float(gradient[i] + frozen) == pytest.approx(float(difference), rel=1e-5, abs=1e-7)


def _label_part(build, times, i):
    """The part of the derivative that goes through the network's own time."""
    x = torch.ones(1, 3, dtype=torch.float64)
    ends = []
    for sign in (1, -1):
        plan = build(PATH, times)
        labels = plan.labels.clone()
        if i < len(labels):
            labels[i] += sign * 1e-6
        ends.append(run(plans.relabel(plan, labels), ORACLE.denoise, x).sum())
    return (ends[0] - ends[1]) / 2e-6


def test_apply_row_is_one_graph_for_any_plan(randn):
    """No number of the schedule is part of the graph: one compilation serves every row of every length."""
    compiled_graphs = []

    def backend(graph, inputs):
        compiled_graphs.append(graph)
        return graph.forward

    apply = torch.compile(recurrence.apply_row, fullgraph=True, backend=backend)
    x, d, slot = randn(2, 9), randn(2, 9), randn(2, 9)
    for num_steps in (4, 8, 50):
        plan = plans.multistep(PATH, grids.quadratic(num_steps))
        for row in range(1, len(plan)):
            values = (None, x, None, d, None, slot, None)
            base, new, kept = apply(plan.weights[row], values)
            expected = recurrence.apply_row(plan.weights[row], values)
            assert torch.allclose(torch.stack([base, new, kept]), torch.stack(expected), rtol=0, atol=1e-14)
    assert len(compiled_graphs) == 1


def test_many_threads_share_a_plan(randn):
    plan, x = PLANS["unipc"], randn(4, 9)
    alone = [run(plan, ORACLE.denoise, x[i : i + 1]) for i in range(4)]
    found: dict[int, torch.Tensor] = {}

    def work(i):
        for _ in range(5):
            found[i] = run(plan, ORACLE.denoise, x[i : i + 1])

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(found[i], alone[i]) for i in range(4))


def test_a_plan_built_in_inference_mode_serves_training(randn):
    with torch.inference_mode():
        plan = plans.multistep(PATH, TIMES)
        run(plan, ORACLE.denoise, randn(1, 3))
    scale = torch.ones((), dtype=torch.float64, requires_grad=True)
    end = run(plan, lambda x, t: scale * t[:, None] * torch.tanh(x), randn(1, 3))
    (gradient,) = torch.autograd.grad(end.sum(), scale)
    assert bool(gradient.isfinite())
    assert float(gradient) != 0
