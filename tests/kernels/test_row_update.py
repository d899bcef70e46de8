"""A weighted sum in one pass, and the sampler's loop with it."""

import pytest
import torch

from audiogen.kernels.row_update import row_update, row_update_reference
from audiogen.sampling import plans
from audiogen.sampling.loop import Registers, run
from audiogen.sampling.noise import ItemNoise
from audiogen.sampling.oracles import Mixture
from audiogen.sampling.paths import VPLinear

PATH = VPLinear()
TIMES = [0.95, 0.8, 0.6, 0.45, 0.3, 0.1, 0.0]
PLANS = {
    "ddim": plans.ddim(PATH, TIMES),
    "dpmpp_2m": plans.multistep(PATH, TIMES),
    "unipc": plans.unipc(PATH, TIMES, order=3),
    "sde": plans.sde_multistep(PATH, TIMES, order=2),
    "heun": plans.runge_kutta(PATH, TIMES),
    "bdia": plans.bdia(PATH, TIMES),
}


@pytest.fixture
def randn():
    generator = torch.Generator().manual_seed(0)
    return lambda *shape: torch.randn(*shape, dtype=torch.float64, generator=generator)


@pytest.mark.parametrize("name", PLANS)
def test_a_run_with_the_fused_update_is_the_run_without(name, randn):
    x, noise = randn(2, 3, 7), ItemNoise([1, 2])
    oracle = Mixture(PATH)
    plain = run(PLANS[name], oracle.denoise, x, noise=noise)
    fused = run(PLANS[name], oracle.denoise, x, noise=noise, update=row_update)
    assert torch.allclose(fused, plain, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["dpmpp_2m", "unipc"])
def test_a_fused_run_can_be_cut_in_two(name, randn):
    plan, x, oracle = PLANS[name], randn(2, 5), Mixture(PATH)
    registers = Registers()
    middle = run(plans.head(plan, 3), oracle.denoise, x, registers=registers, update=row_update)
    end = run(plans.tail(plan, 3), oracle.denoise, middle, registers=registers, update=row_update)
    assert torch.allclose(end, run(plan, oracle.denoise, x), rtol=1e-12, atol=1e-12)


def test_a_row_is_one_sum(randn):
    """DPM-Solver++ 2M: of x, the estimate and the last one; what it keeps, and where it ends, is none."""
    calls = []

    def watched(weights, values):
        calls.append(sum(value is not None for value in values))
        return row_update(weights, values)

    run(PLANS["dpmpp_2m"], Mixture(PATH).denoise, randn(1, 3), update=watched)
    assert calls == [2, *[3] * (len(PLANS["dpmpp_2m"]) - 2)]


def test_gradients_pass_by_the_fused_update(randn):
    x = randn(2, 5).requires_grad_()
    oracle = Mixture(PATH)
    gradients = [
        torch.autograd.grad(run(PLANS["unipc"], oracle.denoise, x, update=update).sum(), x)[0]
        for update in (None, row_update)
    ]
    assert torch.equal(*gradients)


def test_weights_of_another_number_and_no_values_are_refused():
    weights = torch.ones(2)
    with pytest.raises(ValueError, match="one weight"):
        row_update(weights, [torch.ones(3)])
    with pytest.raises(ValueError, match="one is present"):
        row_update(weights, [None, None])
    with pytest.raises(ValueError, match="one shape"):
        row_update(weights, [torch.ones(3), torch.ones(1)])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64], ids=str)
@pytest.mark.parametrize(("count", "size"), [(1, 1), (3, 1025), (8, 1000), (9, 5)])
def test_kernel_is_the_reference(device, dtype, count, size, randn):
    """Also of more values than a launch takes, and with some that stand for zeros."""
    values = [None, *(randn(size).to(device, dtype) for _ in range(count)), None]
    weights = randn(count + 2).to(device, torch.promote_types(dtype, torch.float32))
    expected = row_update_reference(weights, values)
    tolerance = {torch.float32: 1e-6, torch.bfloat16: 0.02, torch.float64: 1e-14}[dtype]
    found = row_update(weights, values)
    assert found.dtype == dtype
    assert torch.allclose(found, expected, rtol=tolerance, atol=3 * tolerance)


def test_a_fused_run_on_the_kernel_is_the_run_without(device, randn):
    plan, x, noise = PLANS["unipc"], randn(2, 3, 7).to(device), ItemNoise([1, 2], device=device)

    def denoise(x, t):
        return torch.tanh(x) * (1 - t[:, None, None])

    assert torch.allclose(
        run(plan, denoise, x, noise=noise, update=row_update),
        run(plan, denoise, x, noise=noise),
        rtol=1e-12,
        atol=1e-12,
    )
