"""Solvers that are the same solver, exactness for constant denoisers, few steps, and any grid at all."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from audiogen.sampling import grids, plans
from audiogen.sampling.loop import run
from audiogen.sampling.mean_paths import BBED, OUVE, SBVE
from audiogen.sampling.oracles import Gaussian, Mixture
from audiogen.sampling.paths import StraightLine, VarianceExploding, VPCosine, VPLinear
from audiogen.sampling.plans import Plan
from audiogen.sampling.plans.first_order import kappa_of_eta
from audiogen.sampling.plans.single_step import Churn
from audiogen.sampling.table import NOISE, C, D, X, Y

INNER = [0.93, 0.8, 0.41, 0.37, 0.2, 0.06]  # uneven, with noise at both ends
WITHOUT_HISTORY = {
    "ddim": lambda p, g: plans.ddim(p, g),
    "heun": lambda p, g: plans.runge_kutta(p, g),
    "rk4": lambda p, g: plans.runge_kutta(p, g, method="rk4"),
    "dpm3": lambda p, g: plans.dpm_solver(p, g, order=3),
    "2s": lambda p, g: plans.exponential_rk(p, g, method="2s"),
    "3s": lambda p, g: plans.exponential_rk(p, g, method="3s"),
    "exponential heun": lambda p, g: plans.exponential_rk(p, g, method="heun"),
}
WITH_HISTORY = {
    "2m": lambda p, g: plans.multistep(p, g),
    "3m published": lambda p, g: plans.multistep(p, g, order=3, literature=True),
    "4m, 3s start": lambda p, g: plans.multistep(p, g, order=4, start=3),
    "unipc-3": lambda p, g: plans.unipc(p, g, order=3),
    "unipc-2 exact": lambda p, g: plans.unipc(p, g, variant="exact"),
    "deis t": lambda p, g: plans.deis(p, g),
    "deis rho": lambda p, g: plans.deis(p, g, clock="rho"),
    "ipndm": lambda p, g: plans.ipndm(p, g),
    "ghvb": lambda p, g: plans.ghvb(p, g),
    "bdia": lambda p, g: plans.bdia(p, g),
}
ALL = WITHOUT_HISTORY | WITH_HISTORY


def same(a: Plan, b: Plan) -> bool:
    """Whether two plans are one method: equal weights up to rounding."""
    return (
        a.weights.shape == b.weights.shape
        and torch.allclose(a.weights, b.weights, rtol=1e-13, atol=1e-13)
        and torch.equal(a.labels, b.labels)
    )


def ends_of(build, path, times, x, y=None):
    return run(build(path, times), Mixture(path).denoise, x, y=y)


@pytest.mark.parametrize("path", [VPLinear(), StraightLine(), VarianceExploding(), OUVE(), BBED()], ids=str)
@pytest.mark.parametrize("name", ALL)
def test_a_constant_denoiser_is_exact_on_any_grid(name, path, randn):
    """There is nothing to approximate, but the path itself."""
    data, noise, y = randn(2, 7), randn(2, 7), randn(2, 7)
    x = path.add_noise(data, noise, INNER[0], y=y)
    plan = ALL[name](path, INNER)
    end = run(plan, lambda x, t: data, x, y=y)
    assert torch.allclose(end, path.add_noise(data, noise, INNER[-1], y=y), rtol=0, atol=1e-12)


@pytest.mark.parametrize("kappa", [0.3, 1.0, 3.0])
@pytest.mark.parametrize("order", [1, 2, 3])
def test_a_constant_denoiser_has_the_exact_law_with_noise(order, kappa, randn):
    """The mean carries over by e^{-(1 + kappa) h} in all, and the variance is the path's."""
    path = VPLinear()
    plan = plans.sde_multistep(path, INNER, order=order, kappa=kappa)
    data = randn(1, 4)
    silent = run(
        plan, lambda x, t: data, path.alpha(INNER[0]) * data, noise=lambda row, x: torch.zeros_like(x)
    )
    assert torch.allclose(silent, path.alpha(INNER[-1]) * data, rtol=0, atol=1e-13)
    units = torch.eye(len(plan) + 1, dtype=torch.float64)
    end = run(
        plan,
        lambda x, t: 0 * x,
        path.sigma(INNER[0]) * units[:, :1],
        noise=lambda row, x: units[:, row + 1, None],
    )
    assert float(end.square().sum()) == pytest.approx(float(path.sigma(INNER[-1]) ** 2), rel=1e-12)


@pytest.mark.parametrize("name", sorted(set(ALL) - {"ipndm", "ghvb", "bdia"}))
@pytest.mark.parametrize("num_steps", [1, 2, 3])
def test_few_steps_to_the_data_end_in_the_denoisers_output(name, num_steps, randn):
    """With the last time 0 nothing is left of the state, except in methods of fixed weights."""
    path = VPLinear()
    outputs = []

    def denoise(x, t):
        outputs.append(torch.tanh(x))
        return outputs[-1]

    plan = ALL[name](path, grids.uniform_t(num_steps, start=0.9))
    end = run(plan, denoise, randn(2, 5))
    assert torch.allclose(end, outputs[-1], rtol=0, atol=1e-14)
    assert len(outputs) == plan.nfe >= num_steps


def test_euler_in_the_noise_level_is_ddim():
    euler = plans.runge_kutta(VPLinear(), INNER, method="euler")
    ddim = plans.ddim(VPLinear(), INNER)
    assert torch.allclose(euler.weights[:, 1, [X, D]], ddim.weights[:, 1, [X, D]], rtol=1e-13, atol=0)
    assert same(plans.multistep(VPLinear(), INNER, order=1), ddim)
    assert torch.allclose(
        plans.dpm_solver(VPLinear(), INNER, order=1).weights[:, 1, [X, D]],
        ddim.weights[:, 1, [X, D]],
        rtol=1e-13,
    )


def test_the_stochastic_first_order_methods_are_one(randn):
    """DDPM = DDIM(1) = SDE-DPM-Solver++(1); DDIM(eta) is the same with kappa(eta) row by row."""
    path = VPLinear()
    ddpm = plans.ddpm(path, INNER)
    assert same(ddpm, plans.sde_multistep(path, INNER, order=1))
    times = torch.tensor([0.8, 0.3], dtype=torch.float64)
    for eta in (0.3, 0.9):
        kappa = float(kappa_of_eta(eta, path.lam(times[1]) - path.lam(times[0])))
        assert same(plans.ddim(path, times, eta=eta), plans.sde_multistep(path, times, order=1, kappa=kappa))


def test_ddim_with_eta_is_euler_ancestral(randn):
    """The ancestral step of k-diffusion, written in the noise level sigma / alpha, for every eta."""
    path, eta = VPLinear(), 0.6
    s, t = 0.7, 0.4
    level_s, level_t = (float(path.sigma(u) / path.alpha(u)) for u in (s, t))
    up = eta * math.sqrt(level_t**2 * (level_s**2 - level_t**2) / level_s**2)
    down = math.sqrt(level_t**2 - up**2)
    x, d, z = randn(1, 5), randn(1, 5), randn(1, 5)
    scaled = x / path.alpha(s)
    by_hand = path.alpha(t) * (scaled + (down - level_s) * (scaled - d) / level_s + up * z)
    end = run(plans.ddim(path, [s, t], eta=eta), lambda x, t: d, x, noise=lambda row, x: z)
    assert torch.allclose(end, by_hand, rtol=0, atol=1e-14)


def test_the_published_2m_is_the_predictor_of_unipc_2(randn):
    """2M "midpoint", against UniP-2 with B2 by hand (Zhao et al. 2023, equation 3)."""
    path, x = VPLinear(), randn(1, 33)
    midpoint = plans.multistep(path, INNER, order=2, literature=True, end=(2,))
    outputs = [randn(1, 33) for _ in INNER]

    left = iter(outputs)
    states, x_u = [], x
    run(midpoint, lambda x, t: next(left), x, on_row=lambda row, rows, x, d: states.append(x.clone()))
    lam = path.lam(torch.tensor(INNER, dtype=torch.float64))
    d_before = None
    for n, d in enumerate(outputs[:-1]):
        s, t = INNER[n], INNER[n + 1]
        h = lam[n + 1] - lam[n]
        u = path.sigma(t) / path.sigma(s) * x_u - path.alpha(t) * torch.expm1(-h) * d
        if d_before is not None:
            r = (lam[n - 1] - lam[n]) / h
            u = u - path.alpha(t) * torch.expm1(-h) * 0.5 * (d_before - d) / r
        x_u, d_before = u, d
        assert torch.allclose(states[n], x_u, rtol=0, atol=1e-13)


def test_unipc_variants_agree_where_nothing_is_published_as_one_half(randn):
    """B cancels whenever the system is solved: from order 3 on, after the starting steps, B1 = B2 = exact."""
    rows = [plans.unipc(VPLinear(), INNER, order=3, variant=v).weights[4:] for v in ("b1", "b2", "exact")]
    assert torch.allclose(rows[0], rows[1], rtol=1e-12, atol=1e-13)
    assert torch.allclose(rows[0], rows[2], rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", sorted(set(ALL) - {"deis t", "bdia"}))
def test_every_path_is_the_same_flow_in_other_units(name, randn):
    """A run on the cosine path is the run on VE of the same denoiser after x / alpha: path equivariance.

    Methods in log-SNR or in the noise level know nothing else of a path; DEIS in t does, and so does BDIA,
    which adds states of different scale.
    """
    cosine, plain = VPCosine(), VarianceExploding()
    times = torch.tensor(INNER, dtype=torch.float64)
    levels = cosine.sigma(times) / cosine.alpha(times)
    x = randn(1, 33) * cosine.sigma(times[0])
    end = ends_of(ALL[name], cosine, times, x) / cosine.alpha(times[-1])
    other = ends_of(ALL[name], plain, levels, x / cosine.alpha(times[0]))
    assert torch.allclose(end, other, rtol=1e-11, atol=1e-11)


def test_mean_reverting_solvers_are_the_same_rows_on_the_centred_state(randn):
    """OUVE with mean y, minus mu y, is a plain path: MR-Sampler's extra coefficients all follow."""
    path, y, x = OUVE(), randn(1, 9), randn(1, 9)
    times = [1.0, 0.6, 0.3, 0.1]
    oracle = Gaussian(path, 0.2, 0.3)

    def centred(u, t):
        return oracle.denoise(u, t)

    for build in (ALL["2m"], ALL["unipc-3"], ALL["heun"], ALL["3s"]):
        plan = build(path, times)
        whole = run(plan, lambda x, t: oracle.denoise(x, t, y=y), x, y=y)
        start, end = float(path.mu(times[0])), float(path.mu(times[-1]))
        alone = run(plan, centred, x - start * y, y=torch.zeros_like(y)) + end * y
        assert torch.allclose(whole, alone, rtol=0, atol=1e-12)


def test_bridge_rows_are_the_published_samplers(randn):
    """Schroedinger bridge, Jukic et al. 2024, equations 13 (SDE) and 14 (ODE), from the start at y."""
    path = SBVE()
    times = [1.0, 0.7, 0.3, 0.05]
    y, d, z = randn(1, 5), randn(1, 5), randn(1, 5)

    def variances(t):
        """sigma_t^2 and its complement to sigma_1^2."""
        forward = path.c * (path.k ** (2 * t) - 1) / (2 * math.log(path.k))
        return forward, path.c * (path.k**2 - 1) / (2 * math.log(path.k)) - forward

    total = variances(1.0)[0]
    ode, sde = y, y
    for n, (s, t) in enumerate(zip(times, times[1:], strict=False)):
        (forward_s, back_s), (forward_t, back_t) = variances(s), variances(t)
        fresh = math.sqrt(forward_t * (1 - forward_t / forward_s))
        sde = forward_t / forward_s * sde + (1 - forward_t / forward_s) * d + (fresh * z)
        if n == 0:
            ode = back_t / total * d + forward_t / total * y
        else:
            ratio = math.sqrt(forward_t * back_t / (forward_s * back_s))
            data = (back_t - math.sqrt(forward_t * back_t * back_s / forward_s)) / total
            mean = (forward_t - math.sqrt(forward_t * back_t * forward_s / back_s)) / total
            ode = ratio * ode + data * d + mean * y
    got = run(plans.ddim(path, times), lambda x, t: d, y, y=y)
    assert torch.allclose(got, ode, rtol=0, atol=1e-13)
    got = run(plans.ddpm(path, times), lambda x, t: d, y, y=y, noise=lambda row, x: z)
    assert torch.allclose(got, sde, rtol=0, atol=1e-13)


def test_churn_adds_noise_before_the_network_sees_the_state(randn):
    """EDM's Algorithm 2 by hand, two steps on VE, churned at both."""
    levels, z = [4.0, 1.5, 0.4], [randn(1, 5) for _ in range(3)]
    churn = Churn(0.6, 0.5, 50.0, 1.1)
    x = 4 * randn(1, 5)
    oracle = Mixture(VarianceExploding())
    draws = iter(z)
    state = x
    for s, t in zip(levels, levels[1:], strict=False):
        hat = s * (1 + min(0.6 / 2, math.sqrt(2) - 1))
        state = state + 1.1 * math.sqrt(hat**2 - s**2) * next(draws)
        slope = (state - oracle.denoise(state, torch.tensor([hat], dtype=torch.float64))) / hat
        euler = state + (t - hat) * slope
        slope_end = (euler - oracle.denoise(euler, torch.tensor([t], dtype=torch.float64))) / t
        state = state + (t - hat) * (slope + slope_end) / 2
    plan = plans.runge_kutta(VarianceExploding(), levels, churn=churn)
    draws = iter(z)
    end = run(plan, oracle.denoise, x, noise=lambda row, x: next(draws))
    assert torch.allclose(end, state, rtol=0, atol=1e-13)
    assert plan.nfe == 4
    assert plans.runge_kutta(VarianceExploding(), levels, churn=Churn(0.0)) != plan


@st.composite
def grids_of_times(draw):
    """Strictly decreasing times in (0, 1), sometimes down to 0."""
    gaps = draw(st.lists(st.floats(0.01, 1.0), min_size=2, max_size=9))
    total = sum(gaps)
    times = [1 - 1e-3]
    for gap in gaps[:-1]:
        times.append(times[-1] - gap / total * (1 - 2e-3))
    return times + ([0.0] if draw(st.booleans()) else [])


@settings(max_examples=60, deadline=None)
@given(times=grids_of_times(), order=st.integers(1, 4), kappa=st.floats(0, 4), start=st.integers(1, 3))
def test_any_grid_gives_finite_plans_that_keep_a_constant(times, order, kappa, start):
    """Weights of state and data keep alpha and sigma together: a constant denoiser is exact."""
    path = VPLinear()
    end = torch.tensor(times[-1], dtype=torch.float64)

    def ones(*_):
        return torch.ones(1, 1, dtype=torch.float64)

    def silence(row, x):
        return torch.zeros_like(x)

    for plan in (
        plans.multistep(path, times, order=order, start=start),
        plans.sde_multistep(path, times, order=order, kappa=kappa),
        plans.unipc(path, times, order=min(order, 3), start=start),
    ):
        assert Plan.from_json(plan.to_json()) == plan
        got = run(plan, ones, path.alpha(times[0]) * ones(end), noise=silence)
        assert float(got) == pytest.approx(float(path.alpha(end)), rel=1e-9)
        if times[-1] == 0:
            assert plan.weights[-1, 1, [X, Y, C, NOISE]].abs().max() < 1e-12


def test_a_range_of_forty_in_log_snr_stays_finite():
    path = VarianceExploding()
    times = grids.uniform_lambda(path, 10, start=math.exp(20), end=math.exp(-20))
    for build in ALL.values():
        assert bool(build(path, times).weights.isfinite().all())


def test_what_cannot_be_is_refused():
    path = VPCosine()
    for build in (plans.deis, plans.ipndm, plans.ghvb, plans.runge_kutta, plans.dpm_solver):
        with pytest.raises(ValueError, match="start the grid a little below pure noise"):
            build(path, [1.0, 0.5, 0.0])
    cases = [
        (lambda: plans.multistep(path, INNER, order=0), "order must be 1 or more"),
        (lambda: plans.multistep(path, INNER, order=4, literature=True), "at most 3"),
        (lambda: plans.multistep(path, INNER, start=4), "start must be 1, 2 or 3"),
        (lambda: plans.multistep(path, INNER, end=(0,)), "orders of the last steps"),
        (lambda: plans.sde_multistep(path, INNER, kappa=-1), "kappa must be 0"),
        (lambda: plans.unipc(path, INNER, variant="b3"), "variant must be"),
        (lambda: plans.runge_kutta(path, INNER, method="rk5"), "method must be one of"),
        (lambda: plans.runge_kutta(path, INNER, space="lam"), "space must be"),
        (lambda: plans.runge_kutta(path, INNER, space="t", churn=Churn(1.0)), "space must be"),
        (lambda: plans.exponential_rk(path, INNER, method="4s"), "method must be one of"),
        (lambda: plans.dpm_solver(path, INNER, order=4), "order must be 1, 2 or 3"),
        (lambda: plans.deis(path, INNER, clock="u"), "clock must be one of"),
        (lambda: plans.ipndm(path, INNER, order=5), "order must be 1 to 4"),
        (lambda: plans.adams_bashforth(path, INNER, order=0), "order must be 1"),
        (lambda: plans.ghvb(path, INNER, beta=0.0), "beta in"),
        (lambda: plans.bdia(path, INNER, gamma=0.0), "gamma must lie"),
        (lambda: plans.ctm(path, INNER, gamma=2.0), "gamma must lie"),
        (lambda: plans.predictor_corrector(path, INNER, snr=0.0), "snr must be positive"),
        (lambda: plans.multistep(path, [0.5, 0.5, 0.1]), "remove the repeated time"),
    ]
    for build, message in cases:
        with pytest.raises(ValueError, match=message):
            build()
