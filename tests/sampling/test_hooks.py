"""Hooks: known parts stay exact, and Gaussian inverse problems end in their analytic posteriors."""

from __future__ import annotations

import pytest
import torch

from audiogen.sampling import grids
from audiogen.sampling.guidance import cfg
from audiogen.sampling.hooks import (
    continue_from,
    dps,
    inpaint_estimate,
    inpaint_state,
    mpgd,
    renoise,
    repaint,
    residual_variance,
)
from audiogen.sampling.loop import Cancelled, run
from audiogen.sampling.noise import ItemNoise
from audiogen.sampling.oracles import CorrelatedGaussian, Gaussian, Mixture
from audiogen.sampling.paths import VarianceExploding, VPCosine
from audiogen.sampling.plans import bdia, concat, ddim, ddpm, dpm_solver, multistep, runge_kutta, unipc

PATH = VPCosine()
ORACLE = Mixture(PATH)
GRID = grids.uniform_t(6, start=0.99)
PLANS = {
    "ddim": ddim(PATH, GRID),
    "ddpm": ddpm(PATH, GRID),
    "multistep": multistep(PATH, GRID, order=3),
    "unipc": unipc(PATH, GRID, order=2),
    "heun": runge_kutta(PATH, GRID, method="heun"),
    "bdia": bdia(PATH, GRID),
}
MASK = torch.tensor([True, True, False, False, True])


@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize("name", PLANS)
def test_known_frames_are_on_the_path_in_every_row_and_exact_at_the_end(name, fresh, randn):
    """G20."""
    plan, known, seeds = PLANS[name], randn(2, 3, 5), ItemNoise([5, 6])
    x = seeds.start(3, 5, dtype=torch.float64)
    states = []
    hook = inpaint_state(plan, PATH, known, MASK, seeds if fresh else x)
    end = run(
        plan, ORACLE.denoise, x, noise=seeds, x_hook=hook, on_row=lambda *row: states.append(row[2].clone())
    )
    assert torch.equal(end[..., MASK], known[..., MASK])
    assert not torch.equal(end, known)
    for row, state in enumerate(states):
        noised = PATH.add_noise(known, seeds(row, x) if fresh else x, plan.ends[row])
        assert torch.allclose(state[..., MASK], noised[..., MASK], rtol=0, atol=1e-14)


def test_replacement_does_not_touch_independent_frames(randn):
    x, known = randn(2, 3, 5), randn(2, 3, 5)
    plan = PLANS["unipc"]
    end = run(plan, ORACLE.denoise, x, x_hook=inpaint_state(plan, PATH, known, MASK, x))
    assert torch.equal(end[..., ~MASK], run(plan, ORACLE.denoise, x)[..., ~MASK])


def test_a_soft_mask_blends_and_the_mean_belongs_to_the_path(randn, mean_path):
    x, known, y, z = (randn(2, 3, 5) for _ in range(4))
    plan = ddim(mean_path, [0.9, 0.5, 0.2])
    weight = torch.tensor([1.0, 0.7, 0.5, 0.25, 0.0])
    blended = inpaint_state(plan, mean_path, known, weight, z, y=y)(x, 0)
    on_path = mean_path.add_noise(known, z, 0.5, y=y)
    assert torch.allclose(blended, weight * on_path + (1 - weight) * x, rtol=0, atol=1e-14)
    assert torch.equal(blended[..., 4], x[..., 4])
    assert inpaint_state(plan, mean_path, known, weight, z, y=y)(x.float(), 1).dtype == torch.float32
    estimate = inpaint_estimate(known, weight)(x, y, 0)
    assert torch.allclose(estimate, weight * known + (1 - weight) * x, rtol=0, atol=1e-14)


@pytest.mark.parametrize("name", PLANS)
def test_replacing_the_estimate_ends_in_the_known_data(name, randn):
    """A constant estimate is what every exponential plan integrates exactly."""
    plan, x, known = PLANS[name], randn(2, 3, 5), randn(2, 3, 5)
    end = run(plan, ORACLE.denoise, x, noise=ItemNoise([5, 6]), d_hook=inpaint_estimate(known, MASK))
    assert torch.allclose(end[..., MASK], known[..., MASK], rtol=0, atol=1e-13)
    assert (end - known)[..., ~MASK].abs().max() > 0.1


def test_chunks_share_frames_and_noise(randn):
    """Chunks that overlap by 3 frames give the run over the whole, where frames are independent."""
    plan, seeds = PLANS["ddpm"], [7, 8]
    noise = ItemNoise(seeds)
    whole = run(plan, ORACLE.denoise, noise.start(2, 12, dtype=torch.float64), noise=noise)
    first = whole[..., :8]
    later, states = ItemNoise(seeds, first_frame=5), []
    hook = continue_from(plan, PATH, first[..., 5:], later)
    end = run(
        plan,
        ORACLE.denoise,
        later.start(2, 7, dtype=torch.float64),
        noise=later,
        x_hook=hook,
        on_row=lambda *row: states.append(row[2].clone()),
    )
    assert torch.equal(end[..., :3], first[..., 5:])
    assert torch.allclose(end, whole[..., 5:], rtol=0, atol=1e-13)
    for row, state in enumerate(states):
        shared = PATH.add_noise(first, noise(row, first), plan.ends[row])[..., 5:]
        assert torch.allclose(state[..., :3], shared, rtol=0, atol=1e-14)


def test_a_prefix_has_its_share_of_a_fixed_noise_and_of_the_mean(randn, mean_path):
    x, y, z, prefix = randn(2, 3, 5), randn(2, 3, 5), randn(2, 3, 5), randn(2, 3, 2)
    plan = ddim(mean_path, [0.9, 0.5, 0.2])
    state = continue_from(plan, mean_path, prefix, z, y=y)(x, 0)
    expected = mean_path.add_noise(prefix, z[..., :2], 0.5, y=y[..., :2])
    assert torch.allclose(state[..., :2], expected, rtol=0, atol=1e-14)
    assert torch.equal(state[..., 2:], x[..., 2:])
    assert continue_from(plan, mean_path, prefix, z, y=y)(x.float(), 0).dtype == torch.float32


def test_renoised_states_have_the_law_of_the_later_time(mean_path):
    """From the law at 0.3 to the law at 0.8: the mean follows, the variances add up."""
    oracle, y = Gaussian(mean_path, 0.7, 0.5), torch.full((1, 1), 0.4, dtype=torch.float64)
    times = torch.tensor([0.3, 0.8], dtype=torch.float64)
    (mean, std), (mean_after, std_after) = (oracle.law(t[None], 2, y=y) for t in times)
    row = renoise(mean_path, 0.3, 0.8)
    ones = torch.ones_like(mean)

    def step(x, z):
        return run(row, lambda x, t: x, x, y=y, noise=lambda row, x: z * ones)

    centre = step(mean, 0.0)
    assert torch.allclose(centre, mean_after, rtol=0, atol=1e-14)
    spread = torch.hypot(step(mean + std, 0.0) - centre, step(mean, 1.0) - centre)
    assert torch.allclose(spread, std_after, rtol=0, atol=1e-14)
    assert row.nfe == 0
    assert float(row.ends) == 0.8


def test_renoise_goes_towards_noise():
    with pytest.raises(ValueError, match=r"got 0\.5 to 0\.5"):
        renoise(PATH, 0.5, 0.5)
    with pytest.raises(ValueError, match="with data"):
        renoise(VPCosine(), 1.0, 1.5)


def test_repaint_goes_back_and_forth():
    plan = repaint(PATH, [1.0, 0.7, 0.4, 0.0], resamples=3, jump=2)
    labels = [1.0, 0.7, None, 1.0, 0.7, None, 1.0, 0.7, 0.4, None, 0.4, None, 0.4]
    ends = [0.7, 0.4, 1.0, 0.7, 0.4, 1.0, 0.7, 0.4, 0.0, 0.4, 0.0, 0.4, 0.0]
    assert [None if t != t else t for t in plan.labels.tolist()] == pytest.approx(labels)
    assert plan.ends.tolist() == pytest.approx(ends)
    assert plan.nfe == 9
    assert repaint(PATH, [1.0, 0.4, 0.0], resamples=1) == concat(
        ddpm(PATH, [1.0, 0.4]), ddpm(PATH, [0.4, 0.0])
    )
    for wrong in ({"resamples": 0}, {"jump": 0}):
        with pytest.raises(ValueError, match="1 or more"):
            repaint(PATH, [1.0, 0.0], **wrong)


MEAN = torch.tensor([0.5, -0.3], dtype=torch.float64)
COVARIANCE = torch.tensor([[1.0, 0.6], [0.6, 0.8]], dtype=torch.float64)
PAIRS = CorrelatedGaussian.from_covariance(PATH, MEAN, COVARIANCE)


def law(plan, denoise, noises, **hooks):
    """Exact mean and covariance of the end of a run that is affine in its start and in `noises` tensors.

    Each number that is drawn is 1 in one item and 0 in the others. hooks: functions of the item count and of
    the noise for an x hook, giving that hook.
    """
    items = 3 + 4 * len(plan) * noises

    def source(first):
        def noise(row, x):
            z = torch.zeros_like(x)
            z[first + 2 * row + torch.arange(2), torch.arange(2)] = 1
            return z

        return noise

    x = torch.zeros(items, 2, dtype=torch.float64)
    x[1:3] = torch.eye(2)
    made = {name: make(items, source(3 + 2 * len(plan))) for name, make in hooks.items()}
    end = run(plan, denoise, x, noise=source(3) if noises else None, **made)
    change = end[1:] - end[0]
    return end[0], change.mT @ change


def test_repaint_finds_the_conditional_law_that_replacement_misses():
    """Of two correlated numbers the first is known; law of the second, without Monte Carlo."""
    grid = grids.append_zero(grids.uniform_lambda(PATH, 20, start=0.999, end=0.01))
    seen = torch.tensor([1.4, 0.0], dtype=torch.float64)
    exact = MEAN[1] + COVARIANCE[0, 1] / COVARIANCE[0, 0] * (seen[0] - MEAN[0])
    errors = []
    for resamples in (1, 3, 10):
        plan = repaint(PATH, grid, resamples=resamples)

        def hook(items, noise, plan=plan):
            return inpaint_state(plan, PATH, seen.expand(items, 2), torch.tensor([True, False]), noise)

        mean, covariance = law(plan, PAIRS.denoise, 1, x_hook=hook)
        assert torch.equal(mean[0], seen[0])
        assert float(covariance[0, 0]) == 0
        errors.append(abs(float(mean[1] - exact)))
    assert errors[0] > 0.2
    assert errors[1] < 0.6 * errors[0]
    assert errors[2] < 0.05


@pytest.mark.parametrize("complex_state", [False, True])
def test_pigdm_is_the_posterior_denoiser_of_gaussian_data(complex_state, randn, mean_path):
    """Data N(m, s^2 I) seen through an orthonormal row with noise: E[x0 | x_t, b] by the normal equations."""
    s, std, b = 0.6, 0.3, 1.4
    row = torch.tensor([0.6, 0.8, 0.0], dtype=torch.float64)
    times = torch.tensor([0.9, 0.4], dtype=torch.float64)
    x, y, m = randn(2, 3), randn(2, 3), randn(3)
    if complex_state:
        x, y, m, b = torch.complex(x, randn(2, 3)), torch.complex(y, y), torch.complex(m, -m), b - 0.5j
    oracle = Gaussian(mean_path, m, s)

    def loss(d):
        return (b - d @ row.to(d.dtype)).abs().square() / 2

    guided = dps(
        lambda x, t: oracle.denoise(x, t, y=y),
        loss,
        mean_path,
        strength=lambda t: 1 / (std**2 + residual_variance(mean_path, t, s)),
    )(x, times)
    for item in range(2):
        alpha, mu, sigma = (float(f(times[item])) for f in (mean_path.alpha, mean_path.mu, mean_path.sigma))
        unit = torch.eye(3, dtype=torch.float64)
        precision = unit / s**2 + unit * (alpha / sigma) ** 2 + torch.outer(row, row) / std**2
        evidence = m / s**2 + alpha / sigma**2 * (x[item] - mu * y[item]) + row * b / std**2
        posterior = torch.linalg.solve(precision.to(evidence.dtype), evidence)
        assert (guided[item] - posterior).abs().max() < 1e-12
    assert not guided.requires_grad


def test_mpgd_with_the_residual_variance_is_the_posterior_denoiser(randn):
    """Independent Gaussian data, of which some elements are seen directly."""
    s, std, plan = 0.6, 0.3, ddim(PATH, GRID)
    oracle, x, b = Gaussian(PATH, 0.2, s), randn(2, 5), randn(2, 5)
    r = residual_variance(PATH, plan.labels, s)
    hook = mpgd(lambda d: ((b - d) * MASK).square().sum(-1) / 2, (r / (r + std**2)).tolist())
    for row, t in enumerate(plan.labels):
        alpha, sigma = PATH.alpha(t), PATH.sigma(t)
        prior, precision = oracle.denoise(x, t.expand(2)), 1 / s**2 + (alpha / sigma) ** 2
        seen = (precision * prior + b / std**2) / (precision + 1 / std**2)
        edited = hook(prior, x, row)
        assert torch.allclose(edited, torch.where(MASK, seen, prior), rtol=0, atol=1e-12)


def loss_of_first(d):
    """|b - d_0|^2 / 2 for b = 1.4."""
    return (1.4 - d[..., 0]).square() / 2


def test_posterior_means_of_a_correlated_inverse_problem():
    """G20, stated tolerances: the first of two numbers is seen with noise of 0.3, prior N(MEAN, COVARIANCE).

    PiGDM, which guesses the covariance to be 1, finds the mean within 0.02 and the covariance within 0.05;
    DPS with a constant strength is drawn past it, within 0.2 where it sees; MPGD finds what it sees within
    0.02, but moves the other number less than a third of the way, for it ignores the correlation.
    """
    std = 0.3
    gain = COVARIANCE[:, 0] / (COVARIANCE[0, 0] + std**2)
    exact = MEAN + gain * (1.4 - MEAN[0])
    spread = COVARIANCE - torch.outer(gain, COVARIANCE[0])
    plan = dpm_solver(PATH, grids.uniform_lambda(PATH, 40, start=0.999, end=0.005), order=2)
    r = residual_variance(PATH, plan.labels)

    with torch.no_grad():
        pigdm = dps(
            PAIRS.denoise, loss_of_first, PATH, strength=lambda t: 1 / (std**2 + residual_variance(PATH, t))
        )
        mean, covariance = law(plan, pigdm, 0)
        assert torch.allclose(mean, exact, rtol=0, atol=0.02)
        assert torch.allclose(covariance, spread, rtol=0, atol=0.05)
        mean, covariance = law(plan, dps(PAIRS.denoise, loss_of_first, PATH, strength=1 / std**2), 0)
        assert exact[0] < mean[0] < exact[0] + 0.2
        assert covariance[0, 0] < spread[0, 0]  # too sure
        mean, covariance = law(
            plan, PAIRS.denoise, 0, d_hook=lambda *_: mpgd(loss_of_first, (r / (r + std**2)).tolist())
        )
        assert float(mean[0]) == pytest.approx(float(exact[0]), abs=0.02)
        assert float(covariance[0, 0]) == pytest.approx(float(spread[0, 0]), abs=0.05)
        assert 0.2 < (mean[1] - MEAN[1]) / (exact[1] - MEAN[1]) < 0.6


def test_the_posterior_of_independent_data_is_sampled_exactly():
    """G20, where the guessed covariance is the true one: mean and covariance to the solver's accuracy."""
    s, std = 0.6, 0.3
    oracle = Gaussian(PATH, MEAN, s)
    plan = dpm_solver(PATH, grids.uniform_lambda(PATH, 60, start=0.9999, end=0.001), order=3)
    share = s**2 / (s**2 + std**2)
    exact = torch.stack([MEAN[0] + share * (1.4 - MEAN[0]), MEAN[1]])
    spread = torch.diag(torch.tensor([s**2 * (1 - share), s**2], dtype=torch.float64))
    r = residual_variance(PATH, plan.labels, s)
    guided = dps(
        oracle.denoise, loss_of_first, PATH, strength=lambda t: 1 / (std**2 + residual_variance(PATH, t, s))
    )
    laws = [
        law(plan, guided, 0),
        law(plan, oracle.denoise, 0, d_hook=lambda *_: mpgd(loss_of_first, (r / (r + std**2)).tolist())),
    ]
    for mean, covariance in laws:
        assert torch.allclose(mean, exact, rtol=0, atol=1e-3)
        assert torch.allclose(covariance, spread, rtol=0, atol=1e-3)


def test_dps_moves_the_state_by_its_gradient(randn):
    """The paper's rule, x -= zeta grad_x loss after each step, is a strength for the row's weight of D."""
    path, zeta = VarianceExploding(), 0.02
    oracle, x = Mixture(path), 4 * randn(2, 3)
    plan = ddim(path, [4.0, 2.0, 1.0, 0.5])  # sigma halves: each row has the weight 1/2 of D

    def loss(d):
        return (d - 0.3).square().sum(-1)

    end = run(plan, dps(oracle.denoise, loss, path, strength=lambda t: zeta / (0.5 * t**2)), x)
    state = x
    for t, t_next in zip([4.0, 2.0, 1.0], [2.0, 1.0, 0.5], strict=True):
        state = state.detach().requires_grad_()
        d = oracle.denoise(state, torch.full((2,), t, dtype=torch.float64))
        (gradient,) = torch.autograd.grad(loss(d).sum(), state)
        state = d + t_next / t * (state - d) - zeta * gradient
    assert torch.allclose(end, state, rtol=0, atol=1e-13)


def test_flowchef_moves_the_state_by_the_gradient_of_the_estimate(randn):
    plan, x, s = ddim(PATH, GRID), randn(2, 3), 0.1
    end = run(
        plan, ORACLE.denoise, x, d_hook=mpgd(loss_of_first, [s / float(w) for w in plan.weights[:, 1, 3]])
    )
    state = x
    for row, (_, to_x, _, to_d, _, _) in enumerate(plan.weights[:, 1].tolist()):
        d = ORACLE.denoise(state, plan.labels[row].expand(2))
        pull = torch.stack([d[:, 0] - 1.4, 0 * d[:, 1], 0 * d[:, 2]], dim=-1)
        state = to_x * state + to_d * d - s * pull
    assert torch.allclose(end, state, rtol=0, atol=1e-13)


def test_residual_variance_is_that_of_the_joint_gaussian():
    """Schur complement of the covariance of (x0, x_t)."""
    alpha, sigma, v = float(PATH.alpha(0.4)), float(PATH.sigma(0.4)), 0.49
    schur = v - (alpha * v) ** 2 / (alpha**2 * v + sigma**2)
    assert float(residual_variance(PATH, 0.4, 0.7)) == pytest.approx(schur, rel=1e-13)
    assert residual_variance(PATH, torch.tensor([0.0, 1.0]), 0.7).tolist() == pytest.approx([0.0, 0.49])


def test_pure_noise_is_not_corrected(randn):
    x, t = randn(2, 3), torch.tensor([1.0, 0.5], dtype=torch.float64)
    guided = dps(ORACLE.denoise, loss_of_first, PATH)(x, t)
    plain = ORACLE.denoise(x, t)
    assert torch.equal(guided[0], plain[0])
    assert not torch.allclose(guided[1], plain[1], atol=1e-3)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_gradients_are_taken_where_the_caller_takes_none(mode, randn):
    x = randn(2, 3)
    scale = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)  # as a network's parameters do
    denoise = dps(lambda x, t: torch.tanh(scale * x.mT * t).mT, loss_of_first, PATH)

    def results():
        end = run(PLANS["unipc"], denoise, x, d_hook=mpgd(loss_of_first, 0.1))
        return end, denoise(x.clone(), torch.tensor([0.9, 0.5], dtype=torch.float64))

    expected = results()
    with mode():
        assert all(torch.equal(a, b) for a, b in zip(results(), expected, strict=True))


def test_runs_with_loss_hooks_are_differentiable(randn):
    """Against finite differences, through the gradient of the gradient."""
    plan, x = ddim(PATH, [0.9, 0.5, 0.2]), randn(2, 3)

    def sample(x):
        denoise = dps(ORACLE.denoise, loss_of_first, PATH, strength=0.5)
        return run(plan, denoise, x, d_hook=mpgd(loss_of_first, 0.2)).sum()

    start = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(sample(start), start)
    for index in ((0, 0), (1, 2)):
        step = torch.zeros_like(x)
        step[index] = 1e-5
        slope = (sample(x + step) - sample(x - step)) / 2e-5
        assert float(gradient[index]) == pytest.approx(float(slope), rel=1e-6)
    assert not sample(x).requires_grad


def test_a_loss_needs_one_value_per_item_and_a_gradient(randn):
    x, t = randn(2, 3), torch.tensor([0.9, 0.5], dtype=torch.float64)
    with pytest.raises(ValueError, match="one value per item"):
        dps(ORACLE.denoise, lambda d: d.square().mean(), PATH)(x, t)
    with pytest.raises(ValueError, match="allow gradients"):
        dps(lambda x, t: torch.ones_like(x), loss_of_first, PATH)(x, t)
    with pytest.raises(ValueError, match="one value per item"):
        mpgd(lambda d: d.square(), 0.1)(x, x, 0)


def test_each_item_is_hooked_as_if_alone():
    known = torch.linspace(-1, 1, 15, dtype=torch.float64).reshape(1, 3, 5)
    plan = PLANS["ddpm"]

    def loss(d):
        return (d - known).square().flatten(1).sum(1)

    def sample(seeds):
        noise = ItemNoise(seeds)
        return run(
            plan,
            dps(ORACLE.denoise, loss, PATH, strength=0.3),
            noise.start(3, 5, dtype=torch.float64),
            noise=noise,
            d_hook=mpgd(loss, 0.1),
            x_hook=inpaint_state(plan, PATH, known, MASK, noise),
        )

    together, turned = sample([1, 2, 3]), sample([3, 1, 2])
    assert torch.equal(together[[2, 0, 1]], turned)
    assert torch.equal(together[1:2], sample([2]))


@pytest.mark.parametrize("name", ["ddim", "multistep", "unipc"])
def test_a_guided_and_hooked_run_can_be_watched_and_cancelled(name, randn):
    """G20: no watcher changes the result, and cancelling takes effect within 3 rows."""
    plan, x, known = PLANS[name], randn(2, 3, 5), randn(2, 3, 5)
    calls, rows = [], []

    def null(x, t):
        calls.append(1)
        return ORACLE.denoise(x, t)

    def sample(**options):
        return run(
            plan,
            cfg((Mixture(PATH, means=(-1.0, 0.6, 1.8)).denoise, null), 2.0),
            x,
            d_hook=mpgd(lambda d: d.square().flatten(1).sum(1), 0.1),
            x_hook=inpaint_state(plan, PATH, known, MASK, x),
            **options,
        )

    watched = sample(on_row=lambda row, *_: rows.append(row), stop=lambda: False)
    assert rows == list(range(len(plan)))
    assert torch.equal(watched, sample())
    calls.clear()
    rows.clear()
    with pytest.raises(Cancelled) as caught:
        sample(on_row=lambda row, *_: rows.append(row), stop=lambda: 1 in rows)  # asked for during row 1
    assert caught.value.row <= 1 + 3
    assert len(calls) == caught.value.row
