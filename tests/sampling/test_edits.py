"""Plan algebra and edits of rows."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from audiogen.sampling import grids, plans
from audiogen.sampling.loop import Registers, run
from audiogen.sampling.mean_paths import OUVE
from audiogen.sampling.oracles import Gaussian, Mixture
from audiogen.sampling.paths import VPCosine, VPLinear
from audiogen.sampling.plans.edits import shifted_labels
from audiogen.sampling.table import SLOTS, D

PATH = VPLinear()
TIMES = [0.9, 0.7, 0.45, 0.3, 0.1, 0.0]
BUILD = {
    "2m": lambda: plans.multistep(PATH, TIMES),
    "unipc-3": lambda: plans.unipc(PATH, TIMES, order=3),
    "heun": lambda: plans.runge_kutta(PATH, TIMES),
    "ghvb": lambda: plans.ghvb(PATH, TIMES),
    "bdia": lambda: plans.bdia(PATH, TIMES),
}


@settings(max_examples=40, deadline=None)
@given(name=st.sampled_from(sorted(BUILD)), cut=st.integers(1, 4))
def test_head_and_tail_are_the_whole(name, cut):
    """As data, and as runs that hand on their registers: bit for bit."""
    plan = BUILD[name]()
    first, rest = plans.head(plan, cut), plans.tail(plan, cut)
    assert plans.concat(first, rest) == plans.concat(plan) == plan
    oracle = Mixture(PATH)
    x = torch.linspace(-2, 2, 9, dtype=torch.float64)[None]
    registers = Registers()
    between = run(first, oracle.denoise, x, registers=registers)
    end = run(rest, oracle.denoise, between, registers=registers)
    assert torch.equal(end, run(plan, oracle.denoise, x))


def test_a_tail_without_its_history_is_refused():
    with pytest.raises(ValueError, match="pass the registers of the run of its head"):
        run(plans.tail(BUILD["2m"](), 2), Mixture(PATH).denoise, torch.zeros(1, 3))
    with pytest.raises(ValueError, match="must hold a row"):
        plans.head(BUILD["2m"](), 0)
    with pytest.raises(ValueError, match="must hold a row"):
        plans.tail(BUILD["2m"](), 5)


def test_plans_of_different_kinds_are_joined_where_they_meet(randn):
    """A stochastic first half, a second-order second half: as the two runs one after the other."""
    first, second = plans.ddpm(PATH, TIMES[:3]), plans.multistep(PATH, TIMES[2:])
    both = plans.concat(first, second)
    assert (len(both), both.nfe, both.order, both.num_slots) == (5, 5, 1, 1)
    assert both.spec["concat"][0]["solver"] == "ddim"
    oracle, x, z = Mixture(PATH), randn(1, 9), randn(1, 9)
    apart = run(second, oracle.denoise, run(first, oracle.denoise, x, noise=lambda row, x: z))
    assert torch.equal(run(both, oracle.denoise, x, noise=lambda row, x: z), apart)
    with pytest.raises(ValueError, match="ends at t = 0.45, the next starts at t = 0.7"):
        plans.concat(first, plans.multistep(PATH, TIMES[1:]))
    with pytest.raises(ValueError, match="two times"):
        plans.concat(first, plans.ctm(PATH, TIMES[2:]))


def test_relabelling_changes_what_the_network_is_told_alone(randn):
    plan, seen = BUILD["2m"](), []
    moved = plans.relabel(plan, lambda labels: labels * 0.5)
    run(moved, lambda x, t: seen.append(float(t[0])) or x, randn(1, 3))
    assert seen == pytest.approx([t / 2 for t in TIMES[:-1]])
    assert torch.equal(moved.weights, plan.weights)
    assert torch.equal(moved.ends, plan.ends)
    assert plans.relabel(plan, plan.labels.tolist()).labels.equal(plan.labels)
    with pytest.raises(ValueError, match="labels of shape"):
        plans.relabel(plan, [0.5])


def test_labels_are_shifted_to_the_time_whose_variance_the_state_has():
    """States of exactly the variance of another time within the window get that time's label."""
    path = VPCosine()
    plan = plans.ddim(path, grids.uniform_t(5))
    wrong = plan.labels - torch.tensor([0.1, 0.05, -0.03, 0.02, 0.0])
    variances = (path.alpha(wrong) ** 2 * 0.25 + path.sigma(wrong) ** 2).tolist()
    found = shifted_labels(plan, path, variances, data_variance=0.25, window=0.1, cutoff=0.3)
    assert found[:4].tolist() == pytest.approx(wrong[:4].tolist(), abs=1.1e-3)
    assert float(found[4]) == pytest.approx(0.2)
    capped = shifted_labels(plan, path, variances, data_variance=0.25, window=0.04)
    assert float(capped[0]) == pytest.approx(0.96)


@pytest.mark.parametrize("path", [VPLinear(), OUVE()], ids=str)
def test_teleporting_gaussian_data_is_exact_and_free(path, randn):
    """One row without a call, then a solver from there: on Gaussian data equal to the exact flow."""
    oracle, x, y = Gaussian(path, 0.0, 0.5), randn(1, 9), randn(1, 9)
    jump = plans.teleport(path, 0.9, 0.4, data_variance=0.25)
    assert (jump.nfe, len(jump)) == (0, 1)
    landed = run(jump, oracle.denoise, x, y=y)
    exact = oracle.flow(x, *torch.tensor([[0.9], [0.4]], dtype=torch.float64), y=y)
    assert torch.allclose(landed, exact, rtol=0, atol=1e-13)
    whole = plans.concat(jump, plans.multistep(path, [0.4, 0.2, 0.05]))
    assert whole.nfe == 2
    assert torch.equal(
        run(whole, lambda x, t: oracle.denoise(x, t, y=y), x, y=y),
        run(plans.tail(whole, 1), lambda x, t: oracle.denoise(x, t, y=y), landed, y=y),
    )


def test_teleporting_takes_the_datas_mean_where_the_path_has_none(randn):
    x, mean = randn(1, 9), randn(1, 9)
    oracle = Gaussian(PATH, mean, 0.5)
    jump = plans.teleport(PATH, 0.9, 0.4, data_variance=0.25, mean_in_y=True)
    exact = oracle.flow(x, *torch.tensor([[0.9], [0.4]], dtype=torch.float64))
    assert torch.allclose(run(jump, oracle.denoise, x, y=mean), exact, rtol=0, atol=1e-13)
    with pytest.raises(ValueError, match="already uses y"):
        plans.teleport(OUVE(), 0.9, 0.4, mean_in_y=True)


def test_the_interval_is_in_log_snr():
    plan = plans.runge_kutta(PATH, TIMES)
    rows = plans.interval_rows(plan, PATH, -1.0, 1.0)
    lam = PATH.lam(plan.labels)
    assert rows == [-1.0 <= float(v) <= 1.0 for v in lam]
    assert 0 < sum(rows) < len(rows)
    whole = plans.concat(plans.teleport(PATH, 0.99, 0.9), plan)
    assert plans.interval_rows(whole, PATH, -20.0, 20.0) == [False] + [True] * len(plan)
    with pytest.raises(ValueError, match="low < high"):
        plans.interval_rows(plan, PATH, 1.0, 1.0)


def test_compensation_reads_the_interpolated_output(randn):
    """A denoiser linear in t: the Lagrange interpolant is exact, so the solver sees D(t') of every row."""
    plan = plans.unipc(PATH, TIMES, order=2)
    a, b = randn(1, 9), randn(1, 9)
    ratios = [1.0, 0.9, 1.1, 0.8, 2.0]
    labels = torch.tensor(TIMES[:-1], dtype=torch.float64)
    shifted = labels.clone()
    for r in range(1, 5):
        shifted[r] = ratios[r] * labels[r] + (1 - ratios[r]) * labels[r - 1]

    def at(times):
        left = iter(times)
        return lambda x, t: a + b * next(left)

    x = randn(1, 9)
    end = run(plans.compensate(plan, ratios), at(labels), x)
    # history nodes keep their own labels while their values were already moved: redo that by hand
    values, outputs = [], []
    for r in range(5):
        value = a + b * labels[r]
        if r and ratios[r] != 1:
            before = values[::-1][: plan.num_slots]
            nodes = [labels[r], *labels[:r].flip(0)[: plan.num_slots]]
            point = shifted[r]
            value = sum(
                v * torch.prod(torch.stack([(point - m) / (n - m) for m in nodes if m != n]))
                for n, v in zip(nodes, [value, *before], strict=True)
            )
        values.append(value)
        outputs.append(value)
    left = iter(outputs)
    assert torch.allclose(end, run(plan, lambda x, t: next(left), x), rtol=0, atol=1e-12)
    assert plans.compensate(plan, [1.0] * 5).weights.equal(plan.weights)


def test_the_first_compensated_row_is_linear_interpolation():
    plan = plans.multistep(PATH, TIMES)
    edited = plans.compensate(plan, [1.0, 0.75, 1.0, 1.0, 1.0])
    assert float(edited.weights[1, 2, D]) == pytest.approx(0.75)
    assert float(edited.weights[1, 2, SLOTS]) == pytest.approx(0.25)
    with pytest.raises(ValueError, match="plain denoiser outputs"):
        plans.compensate(plans.ghvb(PATH, [0.9, 0.5, 0.1]), [1.0, 0.9])
    with pytest.raises(ValueError, match="one ratio for each of 5 rows"):
        plans.compensate(plan, [1.0])
