"""Plans: known weights, orders of convergence, exact laws, and what a plan refuses."""

from __future__ import annotations

import dataclasses
import json
import math

import pytest
import torch

from audiogen.sampling import grids
from audiogen.sampling.loop import run
from audiogen.sampling.oracles import Gaussian, Mixture
from audiogen.sampling.paths import StraightLine, VarianceExploding, VPCosine, VPCosineShifted, VPLinear
from audiogen.sampling.plans import Plan, ddim, ddpm
from audiogen.sampling.table import NOISE

PATHS = [VPLinear(), VPCosine(), VPCosineShifted(), StraightLine(), VarianceExploding()]
LAMBDA_ENDS = (-4.0, 4.0)


def lambda_grid(path, num_steps):
    """Uniform in half log-SNR between the same two noise levels on every path."""
    start, end = (float(path.t_of_lam(lam)) for lam in LAMBDA_ENDS)
    return grids.uniform_lambda(path, num_steps, start=start, end=end)


def slopes(errors):
    """Orders of convergence between doublings of the number of steps."""
    return [math.log2(a / b) for a, b in zip(errors, errors[1:], strict=False)]


def gaussian_law(plan, path, mean, std, y=None):
    """Mean and variance of a run's end, exactly: with a Gaussian oracle a run is affine in its noises.

    Item 0 gets no noise at all; each other item gets a 1 in one of the start and the rows.
    """
    rows = len(plan)
    units = torch.eye(rows + 2, dtype=torch.float64)[:, 1:]
    centre = path.alpha(plan.labels[0]) * mean + (0 if y is None else path.mu(plan.labels[0]) * y)
    spread = torch.sqrt((path.alpha(plan.labels[0]) * std) ** 2 + path.sigma(plan.labels[0]) ** 2)
    x = (centre + spread * units[:, 0])[:, None]
    y = None if y is None else torch.full_like(x, y)
    end = run(
        plan,
        lambda x, t: Gaussian(path, mean, std).denoise(x, t, y=y),
        x,
        y=y,
        noise=lambda row, x: units[:, 1 + row, None],
    )[:, 0]
    return float(end[0]), float(((end[1:] - end[0]) ** 2).sum())


@pytest.mark.parametrize("path", PATHS, ids=str)
def test_ddim_is_first_order_on_gaussian_data(path, randn):
    """Against the exact flow map, per doubling from 32 to 256 steps."""
    oracle, x = Gaussian(path, 0.3, 0.5), 2 * randn(1, 33)
    errors = []
    for num_steps in (32, 64, 128, 256):
        times = lambda_grid(path, num_steps)
        exact = oracle.flow(x, times[:1], times[-1:])
        errors.append(float((run(ddim(path, times), oracle.denoise, x) - exact).abs().max()))
    assert slopes(errors) == pytest.approx([1.0] * 3, abs=0.15)


@pytest.mark.parametrize("path", [VPCosine(), StraightLine()], ids=str)
def test_ddim_is_first_order_from_pure_noise_to_data(path, randn):
    """The grids that are used: equal steps in t over all of [0, 1], infinite log-SNR at both ends."""
    oracle, x = Gaussian(path, 0.3, 0.5), randn(1, 33)
    exact = oracle.flow(x, torch.ones(1), torch.zeros(1))
    errors = [
        float((run(ddim(path, grids.uniform_t(n)), oracle.denoise, x) - exact).abs().max())
        for n in (32, 64, 128, 256)
    ]
    assert slopes(errors) == pytest.approx([1.0] * 3, abs=0.15)


@pytest.mark.parametrize("path", [VPLinear(), VPCosine(), StraightLine()], ids=str)
def test_ddim_is_first_order_on_a_mixture(path):
    """Reference: fourth-order Runge-Kutta on d(x / sigma) / d lambda = e^lambda D with 100 steps."""
    oracle = Mixture(path)
    x = torch.linspace(-2.2, 2.2, 33, dtype=torch.float64)[None] * path.sigma(path.t_of_lam(LAMBDA_ENDS[0]))

    def slope(lam, u):
        t = path.t_of_lam(lam)
        return math.exp(lam) * oracle.denoise(u * path.sigma(t), t[None])

    lam, h = LAMBDA_ENDS[0], (LAMBDA_ENDS[1] - LAMBDA_ENDS[0]) / 100
    u = x / path.sigma(path.t_of_lam(lam))
    for _ in range(100):
        k1 = slope(lam, u)
        k2 = slope(lam + h / 2, u + h / 2 * k1)
        k3 = slope(lam + h / 2, u + h / 2 * k2)
        u = u + h / 6 * (k1 + 2 * k2 + 2 * k3 + slope(lam + h, u + h * k3))
        lam += h
    exact = u * path.sigma(path.t_of_lam(LAMBDA_ENDS[1]))
    errors = []
    for num_steps in (64, 128, 256):
        end = run(ddim(path, lambda_grid(path, num_steps)), oracle.denoise, x)
        errors.append(float((end - exact).square().mean().sqrt()))
    assert slopes(errors) == pytest.approx([1.0] * 2, abs=0.15)


@pytest.mark.parametrize("path", PATHS, ids=str)
def test_constant_denoiser_is_exact_on_any_grid(path, randn):
    """If D never changes there is nothing to approximate, with and without noise."""
    times = torch.tensor([0.97, 0.9, 0.41, 0.4, 0.05], dtype=torch.float64)
    data, noise = randn(2, 7), randn(2, 7)
    x = path.add_noise(data, noise, times[0])
    end = run(ddim(path, times), lambda x, t: data, x)
    assert torch.allclose(end, path.add_noise(data, noise, times[-1]), rtol=0, atol=1e-14)
    to_data = grids.append_zero(times)
    end = run(ddim(path, to_data, eta=0.5), lambda x, t: data, x, noise=lambda row, x: torch.ones_like(x))
    assert torch.equal(end, data)


@pytest.mark.parametrize("path", [VPLinear(), VPCosine(), StraightLine()], ids=str)
def test_ddpm_has_the_right_mean_and_first_order_variance(path):
    """The mean is exact at any number of steps, the variance approaches the data's at order one."""
    mean, std, errors = 0.3, 0.5, []
    for num_steps in (32, 64, 128, 256):
        plan = ddpm(path, lambda_grid(path, num_steps))
        end = plan.ends[-1]
        got_mean, got_variance = gaussian_law(plan, path, mean, std)
        assert got_mean == pytest.approx(float(path.alpha(end)) * mean, abs=1e-13)
        errors.append(abs(got_variance - float((path.alpha(end) * std) ** 2 + path.sigma(end) ** 2)))
    assert slopes(errors)[1:] == pytest.approx([1.0] * 2, abs=0.15)


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_the_law_is_right_with_a_mean_term(eta, mean_path):
    """mu = 1 - alpha and y = 0.7: the mean is exact for every eta, the variance within three in a hundred."""
    plan = ddim(mean_path, grids.append_zero(lambda_grid(mean_path, 400)), eta=eta)
    got_mean, got_variance = gaussian_law(plan, mean_path, 0.3, 0.5, y=0.7)
    assert got_mean == pytest.approx(0.3, abs=1e-12)
    assert got_variance == pytest.approx(0.25, rel=0.03)
    assert plan.uses_mean
    assert not ddim(VPLinear(), plan.labels).uses_mean


def test_a_single_gaussian_of_no_width_is_reached_exactly():
    """For a point mass the denoiser is constant: DDPM and DDIM have zero variance error."""
    for eta in (0.0, 1.0):
        got_mean, got_variance = gaussian_law(
            ddim(VPCosine(), [1.0, 0.6, 0.0], eta=eta), VPCosine(), 0.3, 0.0
        )
        assert got_mean == pytest.approx(0.3, abs=1e-15)
        assert got_variance == 0.0


def test_ddpm_is_ddim_with_eta_one():
    times = grids.uniform_t(7)
    assert ddpm(VPCosine(), times) == ddim(VPCosine(), times, eta=1.0)


def test_ddim_with_eta_near_one_approaches_ddpm():
    """The formula for 0 < eta < 1 and the one for eta = 1 are the same function."""
    exact, near = (ddim(VPCosine(), grids.uniform_t(7), eta=eta).weights for eta in (1.0, 1 - 1e-12))
    assert (exact - near).abs().max() < 2e-6  # sqrt(1 - eta^2)


def test_ddpm_is_the_table_posterior():
    """Ho et al. 2020, equation 7, from the betas of a discrete schedule."""
    path, times = VPLinear(), grids.uniform_t(50, start=1.0, end=0.02)
    plan = ddpm(path, times)
    for r in range(50):
        bar, bar_next = (float(path.alpha(times[i])) ** 2 for i in (r, r + 1))
        beta = 1 - bar / bar_next
        x_weight = math.sqrt(1 - beta) * (1 - bar_next) / (1 - bar)
        data_weight = math.sqrt(bar_next) * beta / (1 - bar)
        deviation = math.sqrt(beta * (1 - bar_next) / (1 - bar))
        base, x, y, data, carry, noise = plan.weights[r, 1].tolist()
        assert (base, y, carry) == (0.0, 0.0, 0.0)
        assert (x, data, noise) == pytest.approx((x_weight, data_weight, deviation), rel=1e-9)


@pytest.mark.parametrize("eta", [0.2, 0.7])
def test_eta_scales_the_posterior_deviation(eta):
    """Song et al. 2021, equation 16: the fresh noise is eta times that of the DDPM posterior."""
    times = grids.uniform_t(6)
    partial, full = ddim(VPCosine(), times, eta=eta).weights, ddpm(VPCosine(), times).weights
    assert torch.allclose(partial[:, 1, NOISE], eta * full[:, 1, NOISE], rtol=1e-14, atol=0)


def test_four_cosine_steps_have_the_known_weights():
    """From t = 1, where alpha = 0: x' = cos(pi s / 2) D + sin(pi s / 2) x, and the last row returns D."""
    plan = ddim(VPCosine(), grids.uniform_t(4))
    assert plan.labels.tolist() == [1.0, 0.75, 0.5, 0.25]
    assert plan.ends.tolist() == [0.75, 0.5, 0.25, 0.0]
    first, last = plan.weights[0, 1].tolist(), plan.weights[-1, 1].tolist()
    expected = (0, math.sin(3 * math.pi / 8), 0, math.cos(3 * math.pi / 8), 0, 0)
    assert first == pytest.approx(expected, abs=1e-15)
    assert last == [0.0, 0.0, 0.0, 1.0, 0.0, 0.0]


@pytest.mark.parametrize("num_steps", [1, 2, 3])
@pytest.mark.parametrize("path", [VPLinear(), VPCosine(), VPCosineShifted(), StraightLine()], ids=str)
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_few_steps_end_in_the_denoisers_output(num_steps, path, eta, randn):
    """With any number of steps the last row returns D itself; noise there would never be removed."""
    outputs = []

    def denoise(x, t):
        outputs.append(torch.tanh(x))
        return outputs[-1]

    plan = ddim(path, grids.uniform_t(num_steps), eta=eta)
    end = run(plan, denoise, randn(2, 5), noise=lambda row, x: torch.ones_like(x))
    assert torch.allclose(end, outputs[-1], rtol=0, atol=1e-15)
    assert plan.nfe == len(plan) == len(outputs) == num_steps
    assert plan.stochastic == (eta > 0 and num_steps > 1)


@pytest.mark.parametrize(
    "plan", [ddim(VPLinear(), [1.0, 0.3, 0.1]), ddpm(VPCosine(), [1.0, 0.5, 0.0])], ids=["a", "b"]
)
def test_json_round_trip_is_exact(plan):
    again = Plan.from_json(plan.to_json())
    assert again == plan
    assert hash(again) == hash(plan)
    assert again.spec["path"]["name"] in {"VPLinear", "VPCosine"}


def test_json_of_something_else_is_refused():
    table = json.loads(ddim(VPCosine(), [1.0, 0.0]).to_json())
    with pytest.raises(ValueError, match="not a plan"):
        Plan.from_json(json.dumps({**table, "surplus": 1}))
    with pytest.raises(ValueError, match="not a plan"):
        Plan.from_json("[]")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": ()}, "labels of shape"),
        ({"ends": (0.0, 0.0)}, "ends of shape"),
        ({"weights": ((0.0,), (1.0,), (0.0,))}, "weights of shape"),
        ({"weights": [[[0.0] * 6, [0.0, 1.0, 0.0, math.nan, 0.0, 0.0], [0.0] * 6]]}, "not finite"),
        ({"ends": (math.inf,)}, "must be finite"),
        ({"stores": (0,)}, "one of 0 slots"),
    ],
)
def test_inconsistent_plans_are_refused(change, message):
    plan = ddim(VPCosine(), [1.0, 0.0])
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(plan, **change)
    with pytest.raises(dataclasses.FrozenInstanceError):
        plan.order = 2


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="eta must lie between 0 .* got 1.5"):
        ddim(VPCosine(), [1.0, 0.0], eta=1.5)
    with pytest.raises(ValueError, match="reverse it"):
        ddpm(VPCosine(), [0.0, 0.5, 1.0])
    with pytest.raises(ValueError, match="log-SNR"):
        ddim(StraightLine(), [1.2, 0.5, 0.0])  # beyond pure noise
