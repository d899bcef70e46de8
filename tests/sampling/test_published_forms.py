"""Rows against formulas by hand, orders of the first and last steps, defaults, and what plans remember."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad

from audiogen.sampling import grids, plans
from audiogen.sampling.loop import run
from audiogen.sampling.mean_paths import OUVE, SBVE
from audiogen.sampling.paths import VarianceExploding, VPCosine, VPLinear
from audiogen.sampling.plans.edits import shifted_labels
from audiogen.sampling.plans.single_step import Churn
from audiogen.sampling.table import BASE, NOISE, SLOTS, D, X

INNER = [0.93, 0.8, 0.41, 0.37, 0.2, 0.06]  # uneven, with noise at both ends
LEVELS = [9.0, 5.0, 2.0, 1.1, 0.3]  # uneven noise levels of the variance-exploding path


def test_predictor_corrector_is_langevin_and_reverse_diffusion(randn):
    """OUVE: f = -theta (x - y), g = sigma' of Song et al. 2021, and a corrector with step 2 (snr sigma)^2."""
    path, times = OUVE(), [0.9, 0.5, 0.2]
    x, y, d = randn(1, 5), randn(1, 5), randn(1, 5)
    draws = [randn(1, 5) for _ in range(4)]
    plan = plans.predictor_corrector(path, times, snr=0.4)
    end = run(plan, lambda x, t: d, x, y=y, noise=lambda row, x: draws[row])

    left, state, snr = iter(draws), x, 0.4
    for s, t in zip(times, times[1:], strict=False):
        alpha, mu, sigma = (float(f(s)) for f in (path.alpha, path.mu, path.sigma))
        step = 2 * (snr * sigma) ** 2
        score = (alpha * d + mu * y - state) / sigma**2
        state = state + step * score + math.sqrt(2 * step) * next(left)
        score = (alpha * d + mu * y - state) / sigma**2
        power = float(path.diffusion(s))
        state = state + (s - t) * (power * score - path.theta * (y - state))
        if t != times[-1]:
            state = state + math.sqrt(power * (s - t)) * next(left)
    assert torch.allclose(end, state, rtol=0, atol=1e-12)
    assert (plan.weights[:, 1, NOISE] > 0).tolist() == [True, True, True, False]


def test_distilled_steps_carry_the_mean_and_add_their_noise(randn, mean_path):
    """Consistency and trajectory rows on a path with a mean term, by hand; the last time has noise left."""
    x, y, z = randn(1, 5), randn(1, 5), randn(1, 5)
    times, gamma = [0.9, 0.6, 0.3], 0.6
    alpha, mu, sigma = (
        f(torch.tensor(times, dtype=torch.float64)) for f in (mean_path.alpha, mean_path.mu, mean_path.sigma)
    )

    def denoise(x, t):
        return torch.tanh(x)

    plan = plans.consistency(mean_path, times)
    state = x
    for n in (1, 2):
        state = alpha[n] * torch.tanh(state) + mu[n] * y + sigma[n] * z
    assert torch.allclose(run(plan, denoise, x, y=y, noise=lambda row, x: z), state, rtol=0, atol=1e-14)
    assert plan.order == 1

    plan = plans.ctm(mean_path, times, gamma=gamma)
    level, state = sigma / alpha, x
    for n in (0, 1):
        aim = level[-1] + math.sqrt(1 - gamma**2) * (level[n + 1] - level[-1])
        clean = (state - mu[n] * y) / alpha[n]
        jumped = aim / level[n] * clean + (1 - aim / level[n]) * torch.tanh(state)
        fresh = torch.sqrt(level[n + 1] ** 2 - aim**2)
        state = alpha[n + 1] * (jumped + fresh * z) + mu[n + 1] * y
    assert torch.allclose(run(plan, denoise, x, y=y, noise=lambda row, x: z), state, rtol=0, atol=1e-12)
    assert plan.order == 1


@pytest.mark.parametrize("beta", [0.6, 1.0])
@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_heavy_ball_keeps_the_order_of_adams_bashforth(order, beta):
    """On v = beta eps + (1 - beta) v the form's series in backward differences is that of Adams-Bashforth.

    As N v = v - v_before: sum_k w_k (1 - N)^k = (1 - (1 - beta) (1 - N)) / beta times
    1 + N / 2 + 5/12 N^2 + 3/8 N^3, up to N^(order - 1). Order 1 is the plain heavy ball.
    """
    levels = [9.0, 8.0, 7.0, 6.0, 5.0, 4.0]
    weights = plans.ghvb(VarianceExploding(), levels, order=order, beta=beta).weights[4, 1]
    slots = weights[SLOTS:NOISE]
    # x + h (w_0 (beta (x - D) / sigma + (1 - beta) v_1) + w_1 v_1 + ...) with h = -1
    w = [float(weights[D]) * levels[4] / beta, *(-float(slots[(4 - j) % len(slots)]) for j in range(1, 4))]
    w[1] -= (1 - beta) * w[0]
    if order == 1:
        assert w[:2] == pytest.approx([1.0, 0.0], abs=1e-12)
        return
    before = np.polynomial.Polynomial([1, -1])
    adams = np.polynomial.Polynomial([1, 1 / 2, 5 / 12, 3 / 8][:order])
    wanted = (1 - (1 - beta) * before) / beta * adams
    got = sum(w[k] * before**k for k in range(order))
    assert got.coef == pytest.approx(wanted.coef[:order], abs=1e-12)


@pytest.mark.parametrize("clock", ["t", "rho", "lam"])
def test_deis_is_exact_for_noise_that_is_linear_in_its_clock(clock, randn):
    """x / alpha grows by the integral of the noise estimate over the noise level, from the second step on."""
    path, times = VPLinear(), [0.8, 0.55, 0.4, 0.15]
    clocks = {"t": path.t_of_lam, "rho": lambda lam: torch.exp(-lam), "lam": lambda lam: lam}

    def noise(t):
        return 0.3 - 0.2 * clocks[clock](path.lam(t))

    states = [randn(1, 3)]
    run(
        plans.deis(path, times, order=2, clock=clock, end=(2,)),
        lambda x, t: (x - path.sigma(t) * noise(t)) / path.alpha(t),
        states[0],
        on_row=lambda row, rows, x, d: states.append(x.clone()),
    )

    def rate(level):
        lam = -torch.log(torch.tensor(level, dtype=torch.float64))
        return float(noise(path.t_of_lam(lam)))

    for n in (1, 2):
        (s, before), (t, after) = ((u, states[k]) for u, k in ((times[n], n), (times[n + 1], n + 1)))
        ends = [float(path.sigma(u) / path.alpha(u)) for u in (s, t)]
        grown = after / path.alpha(t) - before / path.alpha(s)
        assert torch.allclose(grown, torch.full_like(grown, quad(rate, *ends)[0]), rtol=0, atol=1e-7)


def test_the_published_stochastic_3m_by_hand(randn):
    """On uneven noise levels: the multistep differences with phi_2 and phi_3 of (1 + kappa) h."""
    kappa, z = 0.6, randn(1, 5)
    outputs = [randn(1, 5) for _ in LEVELS[1:]]
    left, states = iter(outputs), [randn(1, 5)]
    run(
        plans.sde_multistep(VarianceExploding(), LEVELS, order=3, kappa=kappa, literature=True, end=(3,)),
        lambda x, t: next(left),
        states[0],
        noise=lambda row, x: z,
        on_row=lambda row, rows, x, d: states.append(x.clone()),
    )
    lam = [-math.log(level) for level in LEVELS]
    for n in (2, 3):
        h, r0, r1 = lam[n + 1] - lam[n], lam[n] - lam[n - 1], lam[n - 1] - lam[n - 2]
        wide, r0, r1 = (1 + kappa) * h, r0 / h, r1 / h
        first, second = (outputs[n] - outputs[n - 1]) / r0, (outputs[n - 1] - outputs[n - 2]) / r1
        slope, curve = first + (first - second) * r0 / (r0 + r1), (first - second) / (r0 + r1)
        phi_2 = math.expm1(-wide) / wide + 1
        wanted = math.exp(-wide) * states[n] - math.expm1(-wide) * outputs[n]
        wanted = wanted + phi_2 * slope - (phi_2 / wide - 1 / 2) * curve
        wanted = wanted + LEVELS[n + 1] * math.sqrt(-math.expm1(-2 * kappa * h)) * z
        assert torch.allclose(states[n + 1], wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize("variant", ["b1", "b2"])
def test_unipc_predicts_from_its_base_as_published(variant):
    """On uneven steps: sigma ratio, D (1 - e^-h), and B(h) / 2 times the difference over the gap."""
    lam = [-math.log(level) for level in LEVELS]
    plan = plans.unipc(VarianceExploding(), LEVELS, variant=variant, end=(2,))
    for n in (1, 2, 3):
        base, x = plan.weights[n, 0], plan.weights[n, 1]
        h, gap = lam[n + 1] - lam[n], (lam[n - 1] - lam[n]) / (lam[n + 1] - lam[n])
        scale = (h if variant == "b1" else -math.expm1(-h)) / (2 * gap)
        wanted = math.exp(-h) * base
        wanted[D] += -math.expm1(-h) - scale
        wanted[SLOTS + (n - 1) % 2] += scale
        assert torch.allclose(x, wanted, rtol=0, atol=1e-13)


def orders_used(plan):
    """Outputs that each row of a multistep plan combines: its own, and those of the history."""
    return (plan.weights[:, 1, SLOTS:-1] != 0).sum(1).add(1).tolist()


def test_orders_grow_with_the_history_and_fall_as_asked():
    path, uniform = VPCosine(), grids.uniform_t
    assert orders_used(plans.multistep(path, INNER, order=3, end=(3,))) == [1, 2, 3, 3, 3]
    assert orders_used(plans.multistep(path, INNER, order=3, end=(2, 1))) == [1, 2, 3, 2, 1]
    assert orders_used(plans.multistep(path, uniform(8), order=4, end=(3, 2, 2))) == [1, 1, 2, 3, 4, 3, 2, 1]
    # pure noise has no finite log-SNR: its output is no node
    assert orders_used(plans.multistep(path, uniform(6, end=0.1), order=2, end=(2,))) == [1, 1, 2, 2, 2, 2]
    # nor is what a bridge gives at its start without noise
    assert orders_used(plans.multistep(SBVE(), [1.0, 0.7, 0.4, 0.1], order=2, end=(2,))) == [1, 1, 2]
    assert orders_used(plans.deis(path, INNER, order=3, end=(2, 1))) == [1, 2, 3, 2, 1]


def test_single_steps_start_unipc_where_the_corrected_order_is_too_low():
    """Predictor orders 1, 2, 3 are corrected to 2, 3, 4: only start=3 has a step to replace."""
    path = VPLinear()
    assert plans.unipc(path, INNER, order=3).nfe == 5
    assert plans.unipc(path, INNER, order=3, start=2).nfe == 5
    assert plans.unipc(path, INNER, order=3, start=3).nfe == 7
    assert plans.unipc(path, INNER, order=2, start=3, end=(2,)).nfe == 7
    assert plans.multistep(path, INNER, order=3, start=2).nfe == 6
    assert plans.multistep(path, INNER, order=3, start=3).nfe == 9


def test_unipc_corrects_every_state_but_those_without_a_finite_log_snr():
    """The base of row n is the corrected state: it reads the row's own output; else it is x as it is."""

    def corrected(plan):
        return (plan.weights[1:, 0, D] != 0).tolist()

    assert corrected(plans.unipc(VPCosine(), [*INNER, 0.0])) == [True] * 5
    assert corrected(plans.unipc(VPCosine(), [1.0, 0.6, 0.3, 0.0])) == [False, True]
    # the three rows of a single step and the state after it are as they are
    assert corrected(plans.unipc(VPLinear(), INNER, order=3, start=3)) == [False] * 3 + [True] * 3
    bridge = plans.unipc(SBVE(), [1.0, 0.6, 0.3, 0.0])
    assert corrected(bridge) == [False, True]
    assert float(bridge.weights[1, 0, X]) == 1
    assert float(bridge.weights[1, 0, BASE]) == 0


@pytest.mark.parametrize(
    "build",
    [
        lambda p, g: plans.multistep(p, g),
        lambda p, g: plans.multistep(p, g, order=3),
        lambda p, g: plans.multistep(p, g, order=2, start=2),
        lambda p, g: plans.unipc(p, g, order=1),
        lambda p, g: plans.unipc(p, g, order=3, start=3),
        lambda p, g: plans.deis(p, g, order=3),
        lambda p, g: plans.deis(p, g, order=2, start=2),
        lambda p, g: plans.ipndm(p, g),
        lambda p, g: plans.adams_bashforth(p, g, order=3),
        lambda p, g: plans.adams_bashforth(p, g, order=2, start=2),
        lambda p, g: plans.ghvb(p, g, order=1),
        lambda p, g: plans.ghvb(p, g, order=4),
        lambda p, g: plans.runge_kutta(p, g),
        lambda p, g: plans.runge_kutta(p, g, method="rk4"),
        lambda p, g: plans.exponential_rk(p, g, method="3s"),
        lambda p, g: plans.dpm_solver(p, g, order=3),
    ],
)
def test_no_plan_remembers_what_it_never_reads(build):
    """A slot is a tensor of the size of the state: some row reads them all."""
    plan = build(VPLinear(), INNER)
    read = (plan.weights[..., SLOTS:NOISE] != 0).any(1)
    assert bool(read.all(1).any())
    assert sorted(set(plan.stores) - {-1}) == list(range(plan.num_slots))


def test_churn_by_default_acts_at_every_level_up_to_its_cap():
    """S_churn / N, at most sqrt(2) - 1; every path is the same flow in other units."""
    plain, levels = VarianceExploding(), [4.0, 1.5, 0.4]
    plan = plans.runge_kutta(plain, levels, churn=Churn(0.6))
    assert plan == plans.runge_kutta(plain, levels, churn=Churn(0.6, 0.0, math.inf, 1.0))
    assert plan.present[1].item() == pytest.approx(4.0 * 1.3)
    capped = plans.runge_kutta(plain, levels, churn=Churn(50.0))
    assert capped.present[1].item() == pytest.approx(4.0 * math.sqrt(2))

    cosine = VPCosine()
    times = cosine.t_of_lam(-torch.log(torch.tensor(levels, dtype=torch.float64)))
    other = plans.runge_kutta(cosine, times, churn=Churn(0.6))
    x, z = torch.linspace(-2, 2, 5, dtype=torch.float64)[None], torch.ones(1, 5, dtype=torch.float64)
    ends = [
        run(p, lambda x, t: torch.full_like(x, 0.3), x * path.alpha(g[0]), noise=lambda row, x: z)
        / path.alpha(g[-1])
        for p, path, g in ((plan, plain, torch.tensor(levels).double()), (other, cosine, times))
    ]
    assert torch.allclose(*ends, rtol=0, atol=1e-12)


def test_defaults_are_as_documented():
    path = VPLinear()
    assert plans.sde_multistep(path, INNER) == plans.sde_multistep(path, INNER, order=2, kappa=1.0, end=(1,))
    assert plans.multistep(path, INNER) == plans.multistep(path, INNER, order=2, start=1, end=(1,))
    assert plans.unipc(path, INNER) == plans.unipc(path, INNER, order=2, variant="b2", start=1, end=(1,))
    assert plans.deis(path, INNER) == plans.deis(path, INNER, order=3, clock="t", start=1, end=(1,))
    assert plans.predictor_corrector(path, INNER) == plans.predictor_corrector(
        path, INNER, snr=0.5, corrector_steps=1
    )
    assert plans.ipndm(path, INNER) == plans.ipndm(path, INNER, order=4)
    assert plans.ghvb(path, INNER) == plans.ghvb(path, INNER, order=2, beta=0.8)
    assert plans.adams_bashforth(path, INNER) == plans.adams_bashforth(path, INNER, order=2, start=1)
    assert plans.dpm_solver(path, INNER) == plans.dpm_solver(path, INNER, order=2)
    assert plans.ddim(path, INNER) == plans.ddim(path, INNER, eta=0.0)
    assert plans.bdia(path, INNER) == plans.bdia(path, INNER, gamma=1.0)
    jump = plans.teleport(path, 0.9, 0.4)
    assert jump == plans.teleport(path, 0.9, 0.4, data_variance=1.0)
    assert jump.order == 1


def test_a_log_snr_that_falls_again_is_refused():
    def wavy(self, t):
        """Rises, falls and rises on the way to the data."""
        return torch.sin(9 * torch.as_tensor(t, dtype=torch.float64))

    for path in (VPCosine, SBVE):
        changed = type("Wavy", (path,), {"lam": wavy})()
        for times in ([1.0, 0.9, 0.6, 0.3], [0.52, 0.2, 0.1]):
            with pytest.raises(ValueError, match="a log-SNR that grows"):
                plans.ddim(changed, times)
    with pytest.raises(ValueError, match=r"at t = 1\.0: start the grid"):
        plans.ipndm(VPCosine(), [1.0, 0.5, 0.0])
    with pytest.raises(ValueError, match="gamma must lie"):
        plans.bdia(VPCosine(), INNER, gamma=1.5)
    with pytest.raises(ValueError, match="beta in"):
        plans.ghvb(VPCosine(), INNER, beta=1.5)


def test_adams_bashforth_of_order_one_is_eulers_method():
    euler = plans.runge_kutta(VPLinear(), INNER, method="euler", space="t").weights[:, 1]
    one = plans.adams_bashforth(VPLinear(), INNER, order=1).weights[:, 1]
    assert torch.allclose(one[:, [X, D]], euler[:, [X, D]], rtol=1e-13, atol=0)


def test_shifted_labels_are_the_nearest_that_fit_down_to_the_end_of_the_grid():
    """Where the data has the noise's variance every time fits, and every label stays."""
    path = VPCosine()
    plan = plans.ddim(path, grids.uniform_t(5))
    found = shifted_labels(plan, path, [1.0] * 5, data_variance=1.0, window=0.15)
    assert found.tolist() == pytest.approx(plan.labels.tolist(), abs=1.6e-3)
    cleaner = float(path.alpha(0.08) ** 2 * 0.25 + path.sigma(0.08) ** 2)
    found = shifted_labels(plan, path, [cleaner] * 5, data_variance=0.25, window=0.15)
    assert float(found[-1]) == pytest.approx(0.08, abs=1.6e-3)
