"""Progressive distillation targets: fixed points and ends."""

from __future__ import annotations

import pytest
import torch

from audiogen.sampling.distillation import (
    ddim_step,
    progressive_example,
    progressive_target,
    regression_loss,
    truncated_snr,
)
from audiogen.sampling.loop import run
from audiogen.sampling.oracles import Gaussian, Mixture
from audiogen.sampling.paths import StraightLine, VPCosine, VPLinear
from audiogen.sampling.plans import ddim
from audiogen.sampling.prediction import Eps, from_x0

PATHS = [VPLinear(), VPCosine(), StraightLine()]
TIMES = [torch.tensor(v, dtype=torch.float64) for v in ([1.0, 0.7, 0.4], [0.75, 0.5, 0.2], [0.5, 0.3, 0.0])]


@pytest.mark.parametrize("path", PATHS, ids=str)
@pytest.mark.parametrize("shape", [(3, 4), (3, 2, 4), (3, 2, 2, 4)])
def test_one_step_with_the_target_is_two_teacher_steps(path, shape, randn):
    """Per-item times, among them pure noise (t = 1) and the data (t'' = 0)."""
    teacher, x = Mixture(path).denoise, randn(*shape)
    target = progressive_target(path, teacher, x, *TIMES)
    for i in range(3):
        t, t_mid, t_next = (float(v[i]) for v in TIMES)
        two = run(ddim(path, [t, t_mid, t_next]), teacher, x[i : i + 1])
        one = run(ddim(path, [t, t_next]), lambda x, t, i=i: target[i : i + 1], x[i : i + 1])
        assert (one - two).abs().max() < 1e-12


def test_the_target_holds_with_a_mean(randn, mean_path):
    x, y = randn(3, 2, 4), randn(3, 2, 4)

    def teacher(x, t):
        return Gaussian(mean_path, 0.3, 0.5).denoise(x, t, y=y)

    target = progressive_target(mean_path, teacher, x, *TIMES, y=y)
    mid = ddim_step(mean_path, x, teacher(x, TIMES[0]), TIMES[0], TIMES[1], y=y)
    two = ddim_step(mean_path, mid, teacher(mid, TIMES[1]), TIMES[1], TIMES[2], y=y)
    one = ddim_step(mean_path, x, target, TIMES[0], TIMES[2], y=y)
    assert (one - two).abs().max() < 1e-12
    # and by the definition, where its division is safe
    s, t = (mean_path.at(v[:2]) for v in (TIMES[0], TIMES[2]))
    carry = t.sigma / s.sigma
    defined = two[:2] - (
        carry[:, None, None] * (x[:2] - s.mu[:, None, None] * y[:2]) + t.mu[:, None, None] * y[:2]
    )
    assert torch.allclose(
        target[:2], defined / (t.alpha - carry * s.alpha)[:, None, None], rtol=1e-10, atol=1e-12
    )


@pytest.mark.parametrize("path", PATHS, ids=str)
def test_a_perfect_teacher_is_its_own_target(path, randn):
    """If the teacher returns the data, so does the target, exactly."""
    data = randn(3, 2, 4)
    assert torch.equal(progressive_target(path, lambda x, t: data, randn(3, 2, 4), *TIMES), data)


@pytest.mark.parametrize("path", PATHS, ids=str)
def test_a_target_that_ends_in_the_data_is_the_second_output(path, randn):
    outputs = []

    def teacher(x, t):
        outputs.append(Mixture(path).denoise(x, t))
        return outputs[-1]

    ends = (torch.ones(3), torch.full((3,), 0.5), torch.zeros(3))
    target = progressive_target(path, teacher, randn(3, 4), *ends)
    assert torch.equal(target, outputs[1])
    assert not torch.allclose(outputs[0], outputs[1])
    assert len(outputs) == 2


def test_the_teacher_is_called_at_its_own_times(randn):
    seen = []

    def teacher(x, t):
        seen.append(t)
        return x

    progressive_target(VPCosine(), teacher, randn(3, 4), *TIMES)
    assert torch.equal(torch.stack(seen), torch.stack(TIMES[:2]))


def test_the_target_has_no_gradient_and_keeps_its_arguments(randn):
    x = randn(3, 4).float().requires_grad_()
    given = [v.clone() for v in (x, *TIMES)]
    target = progressive_target(VPCosine(), lambda x, t: torch.tanh(x).bfloat16(), x, *TIMES)
    assert not target.requires_grad
    assert target.dtype == torch.float32
    assert all(torch.equal(v, copy) for v, copy in zip((x, *TIMES), given, strict=True))


def test_distilling_twice_is_four_steps(randn):
    """A student that is the exact target of its teacher teaches the next student: 4 -> 2 -> 1 steps."""
    path, x = VPCosine(), randn(3, 4)
    teacher = Gaussian(path, 0.3, 0.5).denoise
    one = torch.ones(3, dtype=torch.float64)

    def student(x, t):  # the two-step student, each of whose steps covers two of the teacher's
        return progressive_target(path, teacher, x, t, t - 0.25, t - 0.5)

    final = progressive_target(path, student, x, one, one * 0.5, one * 0)
    assert (final - run(ddim(path, [1.0, 0.75, 0.5, 0.25, 0.0]), teacher, x)).abs().max() < 1e-12


def test_times_of_the_wrong_shape_are_refused(randn):
    with pytest.raises(ValueError, match=r"shape \(3,\)"):
        progressive_target(VPCosine(), lambda x, t: x, randn(3, 4), torch.tensor(1.0), *TIMES[1:])


def test_an_example_holds_the_noised_data_and_its_target(randn, mean_path):
    """The student that is the target has no loss; the state is the one the target was made for."""
    data, noise, y = randn(3, 2, 4), randn(3, 2, 4), randn(3, 2, 4)

    def teacher(x, t):
        return Gaussian(mean_path, 0.3, 0.5).denoise(x, t, y=y)

    def student(x, t):
        return progressive_target(mean_path, teacher, x, *TIMES, y=y)

    example = progressive_example(mean_path, teacher, data, noise, *TIMES, y=y)
    assert torch.equal(example.x, mean_path.add_noise(data, noise, TIMES[0], y=y))
    assert torch.equal(example.labels[0], TIMES[0])
    assert regression_loss(student, example) == 0
    assert regression_loss(teacher, example) > 1e-4


@pytest.mark.parametrize("path", PATHS, ids=str)
def test_truncated_snr_weighs_the_larger_of_the_errors_of_data_and_noise(path, randn):
    """For one state, an error of the data implies one of the noise."""
    t = torch.tensor([0.9, 0.5, 0.05], dtype=torch.float64)
    x, d, d_other = randn(3, 4), randn(3, 4), randn(3, 4)
    eps, eps_other = (from_x0(Eps(), v, x, t, path) for v in (d, d_other))
    larger = torch.maximum((d - d_other).square(), (eps - eps_other).square())
    assert torch.allclose(truncated_snr(path, t)[:, None] * (d - d_other).square(), larger, rtol=1e-9)
