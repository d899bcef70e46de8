"""Reflow, guidance and distribution matching: known couplings, guided denoisers, equal laws."""

from __future__ import annotations

import functools

import pytest
import torch
from scipy import integrate

from audiogen.sampling import grids
from audiogen.sampling.distillation import (
    distribution_matching_gradient,
    flow_matching_example,
    guidance_example,
    reflow_pairs,
    regression_loss,
    straightness,
)
from audiogen.sampling.guidance import cfg
from audiogen.sampling.loop import run
from audiogen.sampling.mean_paths import OUVE
from audiogen.sampling.oracles import Gaussian, Mixture
from audiogen.sampling.paths import StraightLine, VPCosine, VPLinear
from audiogen.sampling.plans import ddim, ddpm, runge_kutta
from audiogen.sampling.prediction import Velocity, from_x0

LINE = StraightLine()
T = torch.tensor([0.9, 0.6, 0.2], dtype=torch.float64)
MEAN, STD = 0.3, 0.5


def straight(mean, std):
    """Denoiser of the flow that joins z and mean + std z by straight lines."""

    def denoise(x, t):
        t = t[:, None]
        return mean + std * (x - (1 - t) * mean) / ((1 - t) * std + t)

    return denoise


@pytest.mark.parametrize("path", [VPLinear(), VPCosine(), LINE, OUVE()], ids=str)
def test_the_target_velocity_is_that_of_known_data(path, randn):
    """Against the conversion of predictions, which gets there from the state; with a mean."""
    data, noise, y = randn(3, 2, 4), randn(3, 2, 4), randn(3, 2, 4)
    example = flow_matching_example(path, data, noise, T, y=y)
    assert torch.equal(example.x, path.add_noise(data, noise, T, y=y))
    expected = from_x0(Velocity(), data, example.x, T, path, y=y)
    assert torch.allclose(example.target, expected, rtol=1e-10, atol=1e-12)


def test_on_the_straight_line_the_target_is_noise_minus_data(randn):
    data, noise = randn(3, 4), randn(3, 4)
    assert torch.allclose(flow_matching_example(LINE, data, noise, T).target, noise - data, atol=1e-15)
    with pytest.raises(ValueError, match=r"shape \(3,\)"):
        flow_matching_example(LINE, data, noise, T[:1])


def test_the_loss_of_an_optimal_coupling_is_zero(randn):
    """z and mean + std z never cross, so one velocity field has no error; other pairs of z do."""
    noise = randn(3, 50)
    denoise = straight(MEAN, STD)

    def velocity(x, t):
        return from_x0(Velocity(), denoise(x, t), x, t, LINE)

    coupled = flow_matching_example(LINE, MEAN + STD * noise, noise, T)
    assert regression_loss(velocity, coupled) < 1e-28
    crossing = flow_matching_example(LINE, MEAN + STD * noise.flip(1), noise, T)
    assert regression_loss(velocity, crossing) > 0.1


def test_straightness_of_gaussian_data_is_known(randn):
    """Int |x_1 - x_0 - x'|^2 dt of the exact flow, whose deviation is sqrt((1 - t)^2 std^2 + t^2)."""
    z = randn(2, 40)

    def error(t):
        return (1 - STD - (t - (1 - t) * STD**2) / ((1 - t) ** 2 * STD**2 + t**2) ** 0.5) ** 2

    expected = z.square().mean(1) * integrate.quad(error, 0, 1)[0]
    found = straightness(ddim(LINE, grids.uniform_t(400)), Gaussian(LINE, MEAN, STD).denoise, z)
    assert torch.allclose(found, expected, rtol=1e-2)
    assert float(expected.min()) > 1e-3


def test_one_exact_reflow_makes_gaussian_paths_straight(randn):
    """The flow of the pairs is straight, and one step of it does what 20 of the teacher do."""
    z, teacher = randn(2, 40), Gaussian(LINE, MEAN, STD).denoise
    plan = ddim(LINE, grids.uniform_t(20))
    data, start = reflow_pairs(plan, teacher, z)
    assert torch.equal(start, z)
    assert torch.equal(data, run(plan, teacher, z))
    # the plan is affine, so its pairs are those of a Gaussian coupling
    std = (data[0, 0] - data[0, 1]) / (z[0, 0] - z[0, 1])
    mean = data[0, 0] - std * z[0, 0]
    rectified = straight(mean, std)
    example = flow_matching_example(LINE, data, start, T[:2])
    assert regression_loss(lambda x, t: from_x0(Velocity(), rectified(x, t), x, t, LINE), example) < 1e-26
    assert straightness(plan, rectified, z).max() < 1e-26
    assert straightness(plan, teacher, z).min() > 1e-3
    assert torch.allclose(run(ddim(LINE, [1.0, 0.0]), rectified, z), data, rtol=0, atol=1e-12)


def test_straightness_counts_real_frames_and_unequal_steps(randn):
    """A path of two slopes a and b, for shares p and 1 - p of the time: p (1 - p) (a - b)^2."""
    x = randn(2, 3, 4)
    mask = torch.tensor([[[1.0, 1, 0, 0]], [[1.0, 1, 1, 1]]])
    times = [1.0, 0.7, 0.2]

    def denoise(x, t):  # velocity (x - d) / t: 1, then 3
        return x - t[:, None, None] * (1.0 if t[0] > 0.8 else 3.0)

    found = straightness(ddim(LINE, times), denoise, x, mask=mask)
    p = 0.3 / 0.8
    assert torch.allclose(found, torch.full((2,), p * (1 - p) * 4).double(), rtol=1e-10)
    wild = straightness(
        ddim(LINE, times),
        lambda x, t: denoise(x, t) + torch.where(mask > 0, 0, t[:, None, None] ** 5),
        x,
        mask=mask,
    )
    assert torch.allclose(wild, found, rtol=1e-10)


def test_plans_that_have_no_one_path_are_refused(randn):
    x = randn(2, 3)
    with pytest.raises(ValueError, match="without noise"):
        reflow_pairs(ddpm(LINE, [1.0, 0.5, 0.0]), straight(0, 1), x)
    for plan in (ddpm(LINE, [1.0, 0.5, 0.0]), runge_kutta(LINE, [0.9, 0.5, 0.1])):
        with pytest.raises(ValueError, match="one step a row"):
            straightness(plan, straight(0, 1), x)


def test_guidance_is_learned_by_the_guided_denoiser(randn, mean_path):
    """Zero loss for the closed form of two Gaussians' guided mean, with a weight per item."""
    conditional, null = Gaussian(mean_path, 0.8, 0.3), Gaussian(mean_path, -0.1, 0.6)
    data, noise, y = randn(3, 2, 4), randn(3, 2, 4), randn(3, 2, 4)
    w = torch.tensor([0.0, 1.0, 4.0], dtype=torch.float64)
    branches = [functools.partial(oracle.denoise, y=y) for oracle in (conditional, null)]

    def student(x, t, w):
        w = w[:, None, None]
        return w * conditional.denoise(x, t, y=y) + (1 - w) * null.denoise(x, t, y=y)

    example = guidance_example(mean_path, functools.partial(cfg, branches), data, noise, T, w, y=y)
    assert torch.equal(example.x, mean_path.add_noise(data, noise, T, y=y))
    assert regression_loss(student, example) < 1e-28
    assert regression_loss(lambda x, t, w: student(x, t, w + 0.1), example) > 1e-4
    assert torch.equal(example.target[1], branches[0](example.x, T)[1])
    assert torch.equal(example.target[0], branches[1](example.x, T)[0])
    with pytest.raises(ValueError, match=r"shape \(3,\)"):
        guidance_example(mean_path, functools.partial(cfg, branches), data, noise, T, w[:1], y=y)


@pytest.mark.parametrize("path", [VPLinear(), LINE, OUVE()], ids=str)
def test_equal_laws_pull_nowhere(path, randn):
    x, noise, y = randn(3, 4), randn(3, 4), randn(3, 4)
    denoise = functools.partial(Mixture(path).denoise, y=y)
    gradient = distribution_matching_gradient(path, denoise, denoise, x, noise, T, y=y)
    assert torch.equal(gradient, torch.zeros_like(x))
    # and where the teacher would change nothing, the scale is 0 and the gradient still finite
    still = distribution_matching_gradient(path, lambda v, t: x, lambda v, t: x, x, noise, T, y=y)
    assert torch.equal(still, torch.zeros_like(x))


def test_the_gradient_is_the_difference_of_scores(randn, mean_path):
    """Against scores by autograd of the log-densities, in direction; in size by its definition."""
    fake, real = Gaussian(mean_path, 1.0, 0.4), Gaussian(mean_path, 0.2, 0.7)
    x, noise, y = randn(3, 4), randn(3, 4), randn(3, 4)
    branches = [functools.partial(oracle.denoise, y=y) for oracle in (fake, real)]
    gradient = distribution_matching_gradient(mean_path, *branches, x, noise, T, y=y)
    noised = mean_path.add_noise(x, noise, T, y=y).requires_grad_()
    scores = [torch.autograd.grad(o.log_density(noised, T, y=y).sum(), noised)[0] for o in (fake, real)]
    ratio = gradient / (scores[0] - scores[1])
    scale = (x - real.denoise(noised, T, y=y)).abs().mean(1)
    expected = mean_path.sigma(T) ** 2 / mean_path.alpha(T) / scale
    assert torch.allclose(ratio, expected[:, None].expand_as(ratio), rtol=1e-9)


def test_descent_carries_the_generated_law_to_the_real_one(randn):
    """Generator m + s z with its exact score as the fake one: mean and deviation become the data's."""
    real, z = Gaussian(LINE, MEAN, STD), randn(4, 32)
    mean, std = (torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (-1.0, 1.5))
    t = torch.linspace(0.2, 0.9, 4, dtype=torch.float64)
    noise = randn(4, 32)
    for _ in range(100):
        generated = mean + std * z
        fake = Gaussian(LINE, mean.detach(), std.detach())
        gradient = distribution_matching_gradient(LINE, fake.denoise, real.denoise, generated, noise, t)
        generated.backward(gradient / len(generated))
        with torch.no_grad():
            for parameter in (mean, std):
                parameter -= 0.01 * parameter.grad
                parameter.grad = None
    assert mean.item() == pytest.approx(MEAN, abs=0.01)
    assert std.item() == pytest.approx(STD, abs=0.01)


def test_padding_neither_pulls_nor_is_pulled(randn):
    x, noise = randn(3, 2, 5), randn(3, 2, 5)
    mask = torch.ones(3, 1, 5)
    mask[..., 3:] = 0
    nets = [lambda x, t: torch.tanh(x), lambda x, t: torch.sin(x)]
    gradient = distribution_matching_gradient(LINE, *nets, x, noise, T, mask=mask)
    short = distribution_matching_gradient(LINE, *nets, x[..., :3], noise[..., :3], T)
    assert torch.allclose(gradient[..., :3], short, rtol=1e-12)
    assert torch.equal(gradient[..., 3:], torch.zeros(3, 2, 2).double())
