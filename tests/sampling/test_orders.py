"""Every solver against exact flows and exact laws: orders, errors, and what the literature gets wrong."""

from __future__ import annotations

import functools
import math
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import sampling_orders as study  # noqa: E402

from audiogen.sampling import grids, plans  # noqa: E402
from audiogen.sampling.loop import run  # noqa: E402
from audiogen.sampling.oracles import Gaussian, Mixture  # noqa: E402
from audiogen.sampling.paths import StraightLine, VarianceExploding, VPCosine, VPLinear  # noqa: E402

PROBLEMS = {"VP": study.vp(), "OUVE": study.ouve()}
NAMED = {solver.name: solver for solver in (*study.SOLVERS, *study.STOCHASTIC)}


@functools.cache
def truth(name):
    return PROBLEMS[name].truth()


def errors(build, name, counts, grid=None):
    problem = PROBLEMS[name]
    return [
        problem.error(build(problem.path, (grid or type(problem).grid)(problem, n)), truth(name))
        for n in counts
    ]


@pytest.mark.parametrize("name", PROBLEMS)
@pytest.mark.parametrize("solver", study.SOLVERS, ids=lambda s: s.name)
def test_order_on_a_grid_uniform_in_log_snr(solver, name):
    found = errors(solver.build, name, (solver.finest, 2 * solver.finest))
    assert study.slope(found) == pytest.approx(solver.order, abs=0.15)
    assert solver.build(PROBLEMS[name].path, PROBLEMS[name].grid(4)).order == solver.order


@pytest.mark.parametrize(
    ("solver", "order", "tolerance"),
    [
        ("DDIM = Euler (sigma)", 1, 0.15),
        ("Heun (sigma)", 2, 0.15),
        ("DPM-Solver++ 2M", 2, 0.15),
        ("DPM-Solver++ 3M, 2S start", 3, 0.15),
        ("UniPC-2 (B2)", 3, 0.15),
        ("iPNDM-4", 2, 0.15),
    ],
)
def test_order_on_a_karras_grid(solver, order, tolerance):
    """A second family of grids, so that unequal steps count."""

    def karras(problem, n):
        return grids.karras(problem.path, n, start=problem.start, end=problem.end)

    found = errors(NAMED[solver].build, "VP", (128, 256), karras)
    assert study.slope(found) == pytest.approx(order, abs=tolerance)


@pytest.mark.parametrize(
    ("build", "order"),
    [
        (lambda p, g: plans.multistep(p, g, order=3, end=(3,)), 2),
        (lambda p, g: plans.unipc(p, g, order=3, end=(3,)), 3),
        (lambda p, g: plans.deis(p, g, order=3, end=(3,)), 2),
        (lambda p, g: plans.adams_bashforth(p, g, order=3), 2),
    ],
)
def test_a_first_order_start_limits_the_order_where_sampling_starts_late(build, order):
    """On OUVE the first step is not negligible: its local error of order two stays."""
    assert study.slope(errors(build, "OUVE", (128, 256))) == pytest.approx(order, abs=0.15)


def test_the_published_third_order_is_second_order():
    """The published weight of the second difference is half of the exact one."""
    exact, published = (
        errors(lambda p, g, lit=lit: plans.multistep(p, g, order=3, end=(3,), literature=lit), "VP", (256,))
        for lit in (False, True)
    )
    assert published[0] > 8 * exact[0]


# errors at 16 steps on VP-linear, uniform in log-SNR from -5 to t = 0.001, from an independent implementation
AT_16 = {
    "DDIM = Euler (sigma)": 1.4e-1,
    "Heun (sigma)": 4.3e-2,
    "midpoint (sigma)": 8.7e-3,
    "Heun (t)": 3.9e-3,
    "RK4 (sigma)": 9.9e-4,
    "DPM-Solver-2": 2.1e-2,
    "DPM-Solver-3": 5.5e-4,
    "DPM-Solver++ 2M, published": 2.6e-2,
    "DPM-Solver++ 2M": 3.8e-2,
    "DPM-Solver++ 3M, published": 9.7e-3,
    "UniPC-1": 7.0e-2,
    "UniPC-2 (B2)": 1.2e-2,
    "UniPC-2 (B1)": 2.8e-2,
}


@pytest.mark.parametrize("name", AT_16)
def test_error_at_sixteen_steps(name):
    """Constant factors, which slopes do not see."""
    assert errors(NAMED[name].build, "VP", (16,))[0] == pytest.approx(AT_16[name], rel=0.06)


@pytest.mark.parametrize("name", PROBLEMS)
@pytest.mark.parametrize("solver", study.STOCHASTIC, ids=lambda s: s.name)
def test_weak_order_by_the_exact_law(solver, name):
    assert study.variance_slope(solver, PROBLEMS[name]) == pytest.approx(solver.order, abs=0.15)
    assert solver.build(PROBLEMS[name].path, PROBLEMS[name].grid(4)).order == solver.order


@pytest.mark.parametrize("name", PROBLEMS)
@pytest.mark.parametrize("kappa", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("order", [1, 2, 3])
def test_stochastic_solvers_have_the_exact_mean(name, kappa, order):
    """On Gaussian data the mean is right at any number of steps when it starts right."""
    problem = PROBLEMS[name]
    plan = plans.sde_multistep(problem.path, problem.grid(8), order=order, kappa=kappa)
    mean, _ = study.law(plan, problem.path, 0.3, 0.0, study.Y, "exact")
    wanted = problem.path.alpha(problem.end) * 0.3 + problem.path.mu(problem.end) * study.Y
    assert mean == pytest.approx(float(wanted), abs=1e-13)


def test_ten_stochastic_multistep_evaluations_beat_sixty_of_the_predictor_corrector():
    """OUVE started around y, as enhancement does: the flow keeps the prior's error, noise forgets it."""
    rows = {row["solver"]: row for row in study.enhancement_law()}
    corrector = rows["predictor-corrector, 30 steps"]
    multistep = rows["SDE-DPM-Solver++ 2M, 10 steps"]
    assert (corrector["nfe"], multistep["nfe"]) == (60, 10)
    assert multistep["mean_error"] < corrector["mean_error"] / 4
    assert rows["DPM-Solver++ 2M (flow), 10 steps"]["mean_error"] > 5 * corrector["mean_error"]


def test_samples_have_the_law_of_the_mixture():
    """50,000 samples from noise: the distribution function is right within four times its deviation."""
    path, count = VPCosine(), 50_000
    oracle = Mixture(path)
    generator = torch.Generator().manual_seed(0)
    times = grids.quadratic(40)

    def noise(row, x):
        return torch.randn(x.shape, dtype=x.dtype, generator=generator)

    x = noise(0, torch.empty(count, 1, dtype=torch.float64))
    points = torch.linspace(-2, 2.2, 43, dtype=torch.float64)
    mixture = zip(oracle.weights, oracle.means, oracle.stds, strict=True)
    exact = sum(w * torch.special.ndtr((points - m) / s) for w, m, s in mixture)
    for plan in (plans.unipc(path, times, order=3), plans.sde_multistep(path, times)):
        end = run(plan, oracle.denoise, x, noise=noise)[:, 0]
        below = (end[:, None] <= points).double().mean(0)
        assert float((below - exact).abs().max()) < 4 / (2 * math.sqrt(count))


def test_the_velocity_multistep_leads_on_the_straight_line():
    """At 8 evaluations, uniform in t: Adams-Bashforth 2 has less than a quarter of Euler's error."""
    rows = {r["solver"]: r["8"] for r in study.few_step_errors(study.straight(), (8,), uniform=True)}
    assert rows["Adams-Bashforth 2 (velocity)"] < rows["Euler (t)"] / 4
    assert rows["Adams-Bashforth 2 (velocity)"] < rows["Heun (t)"] / 2


@pytest.mark.parametrize("gamma", [1.0, 0.5])
def test_bdia_is_undone_exactly_only_with_gamma_one(gamma):
    path = VPLinear()
    oracle = Gaussian(path, 0.3, 0.5)
    times = grids.uniform_lambda(path, 20, start=0.9, end=0.01)
    plan = plans.bdia(path, times, gamma=gamma)
    states = [torch.linspace(-2, 2, 33, dtype=torch.float64)[None]]
    run(plan, oracle.denoise, states[0], on_row=lambda row, rows, x, d: states.append(x.clone()))
    before, x = states[-2], states[-1]
    for row in range(len(plan) - 1, 0, -1):
        base, here, _, data, *_ = plan.weights[row, 1].tolist()
        d = oracle.denoise(before, plan.labels[row].expand(1))
        before, x = (x - here * before - data * d) / base, before
    distance = float((before - states[0]).abs().max())
    assert distance < 1e-12 if gamma == 1 else distance > 1e-12


def test_trajectory_jumps_with_the_exact_map_are_exact():
    """With the flow's own two-time map, deterministic jumps land where the flow does."""
    path, times = VPCosine(), [0.95, 0.6, 0.3, 0.0]
    oracle, x = Gaussian(path, 0.3, 0.5), torch.linspace(-2, 2, 9, dtype=torch.float64)[None]

    def jump(x, t):
        """g of the exact jump G = (level_s / level_t) x + ..., solved for the data."""
        start, end = t[:, 0], t[:, 1]
        landed = oracle.flow(x, start, end)
        carry = path.sigma(end) / path.sigma(start)
        return (landed - carry[:, None] * x) / (path.alpha(end) - carry * path.alpha(start))[:, None]

    end = run(plans.ctm(path, times), jump, x)
    exact = oracle.flow(x, *torch.tensor([[0.95], [0.0]], dtype=torch.float64))
    assert torch.allclose(end, exact, rtol=0, atol=1e-13)
    full = plans.ctm(path, times, gamma=1.0)
    assert torch.equal(full.labels[:, 1], torch.zeros(3, dtype=torch.float64))
    half = plans.ctm(path, times, gamma=0.5)
    assert half.stochastic
    assert not plans.ctm(path, times).stochastic
    # every jump plus its noise has the law of the path
    for plan in (full, half):
        mean, variance = _jump_law(plan, path, jump)
        assert (mean, variance) == pytest.approx((0.3, 0.25), abs=1e-12)


def _jump_law(plan, path, jump):
    units = torch.eye(len(plan) + 2, dtype=torch.float64)[:, 1:]
    start = plan.labels[0, 0]
    spread = torch.sqrt((path.alpha(start) * 0.5) ** 2 + path.sigma(start) ** 2)
    x = (path.alpha(start) * 0.3 + spread * units[:, 0])[:, None]
    end = run(plan, jump, x, noise=lambda row, x: units[:, 1 + row, None])[:, 0]
    return float(end[0]), float(((end[1:] - end[0]) ** 2).sum())


def test_consistency_steps_keep_the_law_with_the_exact_map():
    """Alternate exact consistency map and fresh noise: the law of the data after any number of steps."""
    path = StraightLine()
    oracle = Gaussian(path, 0.3, 0.5)
    plan = plans.consistency(path, [1.0, 0.7, 0.2, 0.0])

    def to_data(x, t):
        return oracle.flow(x, t, torch.zeros_like(t))

    units = torch.eye(len(plan) + 2, dtype=torch.float64)[:, 1:]
    end = run(plan, to_data, units[:, :1], noise=lambda row, x: units[:, 1 + row, None])[:, 0]
    assert float(end[0]) == pytest.approx(0.3, abs=1e-14)
    assert float(((end[1:] - end[0]) ** 2).sum()) == pytest.approx(0.25, abs=1e-14)
    assert plans.ping_pong(path, [1.0, 0.7, 0.2, 0.0]).weights.equal(plan.weights)


def test_consistency_returns_to_the_least_noise_level():
    """With sigma_min the noise is sqrt(sigma^2 - sigma_min^2), none at the end (Song et al. 2023)."""
    plan = plans.consistency(VarianceExploding(), [80.0, 1.0, 0.002], sigma_min=0.002)
    assert plan.weights[:, 1, -1].tolist() == pytest.approx([math.sqrt(1 - 4e-6), 0.0], abs=1e-15)
