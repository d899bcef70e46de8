"""The loop: what a row means, and what running a plan never does."""

from __future__ import annotations

import functools

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from audiogen.sampling import grids
from audiogen.sampling.loop import Cancelled, run
from audiogen.sampling.noise import ItemNoise
from audiogen.sampling.oracles import Gaussian, Mixture
from audiogen.sampling.paths import VPCosine
from audiogen.sampling.plans import Plan, ddim, ddpm

PLAN = ddim(VPCosine(), grids.uniform_t(4))
NOISY = ddpm(VPCosine(), grids.uniform_t(4))
ORACLE = Mixture(VPCosine())


def test_every_register_is_read(randn):
    """A hand-made plan whose end is a known sum of every register."""
    x, y, z = randn(2, 3), randn(2, 3), randn(2, 3)
    weights = [  # base, x, y, D, C, slot 0, slot 1, noise -> base, x, kept
        [[0, 2, 0, 0, 0, 0, 0, 0], [0, 1, 0, 0, 0, 0, 0, 0], [0, 1, 0, 1, 0, 0, 0, 0]],  # slot 1 = x + D0
        [[1, 0, 0, 0, 0, 0, 0, 0], [0, 0, 1, 1, 0, 0, 0, 0], [0, 0, 0, 1, 0, 0, 0, 0]],  # slot 0 = D1
        [[0, 0, 0, 0, 0, 0, 0, 0], [1, 10, 100, 1000, 2000, 3, 5, 7], [0, 0, 0, 0, 0, 0, 0, 0]],
    ]
    plan = Plan([1.0, 0.5, 0.25], [0.5, 0.25, 0.0], weights, (1, 0, -1), num_slots=2)

    def denoise(x, t):
        d = t[:, None] * torch.ones_like(x)
        return d, 2 * d

    end = run(plan, denoise, x, y=y, noise=lambda row, x: (row + 1) * z)
    expected = 2 * x + 10 * (y + 0.5) + 100 * y + 1000 * 0.25 + 2000 * 0.5 + 3 * 0.5 + 5 * (x + 1) + 21 * z
    assert torch.allclose(end, expected, rtol=0, atol=1e-12)
    with pytest.raises(ValueError, match="must return a pair"):
        run(plan, lambda x, t: x, x, y=y, noise=lambda row, x: z)


def test_an_unwritten_base_is_zero_and_an_unwritten_slot_is_refused(randn):
    nothing, x = [0.0] * 7, randn(2, 3)
    plan = Plan([1.0], [0.0], [[nothing, [3.0, 0, 0, 0, 0, 0, 0], nothing]], (-1,), num_slots=1)
    assert torch.equal(run(plan, lambda x, t: x, x), torch.zeros_like(x))
    plan = Plan([1.0], [0.0], [[nothing, [0, 1.0, 0, 0, 0, 2.0, 0], nothing]], (-1,), num_slots=1)
    with pytest.raises(ValueError, match="row 0 reads slot 0"):
        run(plan, lambda x, t: x, x)


def test_a_zero_weight_hides_what_is_not_finite(randn):
    """A state that has blown up does not reach a row that does not read it."""
    x, d = torch.full((2, 3), torch.inf), randn(2, 3)
    end = run(ddim(VPCosine(), [1.0, 0.0]), lambda x, t: d, x, y=torch.full((2, 3), torch.nan))
    assert torch.equal(end, d.float())


def test_arguments_are_left_unchanged(randn, mean_path):
    x, y, z = randn(2, 3, 5), randn(2, 3, 5), randn(2, 3, 5)
    copies = [v.clone() for v in (x, y, z)]
    plan = ddim(mean_path, [1.0, 0.5, 0.2], eta=0.5)
    given = plan.to_json()
    first, second = (run(plan, lambda x, t: torch.tanh(x), x, y=y, noise=lambda row, x: z) for _ in range(2))
    assert torch.equal(first, second)
    assert all(torch.equal(v, copy) for v, copy in zip((x, y, z), copies, strict=True))
    assert plan.to_json() == given


def test_each_item_is_as_if_alone(randn):
    """Bit for bit: in a batch, alone, or in another order, with noise of its own."""
    x, seeds = randn(3, 5, 33).float(), [11, 22, 33]
    together = run(NOISY, ORACLE.denoise, x, noise=ItemNoise(seeds))
    turned = run(NOISY, ORACLE.denoise, x[[2, 0, 1]], noise=ItemNoise([33, 11, 22]))
    for i, seed in enumerate(seeds):
        alone = run(NOISY, ORACLE.denoise, x[i : i + 1], noise=ItemNoise([seed]))
        assert torch.equal(together[i], alone[0])
        assert torch.equal(together[i], turned[(i + 1) % 3])


def test_noise_is_drawn_only_where_it_is_used(randn):
    drawn = []

    def noise(row, x):
        drawn.append(row)
        return torch.zeros_like(x)

    run(NOISY, ORACLE.denoise, randn(2, 3), noise=noise)
    assert drawn == [0, 1, 2]  # not in the last row, which lands on the data
    run(PLAN, ORACLE.denoise, randn(2, 3), noise=noise)
    assert drawn == [0, 1, 2]


def test_the_loop_never_reads_a_value(randn):
    """On the meta device there are no values: any transfer to the host would raise."""
    x = torch.empty(2, 3, 5, device="meta")
    for plan in (PLAN, NOISY):
        assert run(plan, lambda x, t: x * t[:, None, None], x, noise=lambda row, x: x).is_meta


def test_missing_noise_or_mean_is_refused(randn, mean_path):
    with pytest.raises(ValueError, match="noise=ItemNoise"):
        run(NOISY, ORACLE.denoise, randn(2, 3))
    with pytest.raises(ValueError, match="pass the mean as y"):
        run(ddim(mean_path, [1.0, 0.5]), ORACLE.denoise, randn(2, 3))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.complex64])
def test_the_state_keeps_its_dtype_and_times_are_precise(dtype, randn):
    seen = []

    def denoise(x, t):
        seen.append(t)
        return x.to(torch.complex128 if x.is_complex() else torch.float64)

    plan = ddim(VPCosine(), [1.0, 0.999, 0.5])
    assert run(plan, denoise, randn(2, 3).to(dtype)).dtype == dtype
    precise = torch.float64 if dtype == torch.float64 else torch.float32
    assert all(t.shape == (2,) and t.dtype == precise for t in seen)
    assert [float(t[0]) for t in seen] == pytest.approx([1.0, 0.999], rel=1e-7)


@pytest.mark.parametrize("shape", [(3,), (3, 2), (3, 2, 4), (3, 2, 4, 5), (3, 1, 2, 4, 5)])
def test_any_rank(shape, randn):
    x = randn(*shape)
    end = run(PLAN, ORACLE.denoise, x)
    assert torch.allclose(
        end.flatten(), run(PLAN, ORACLE.denoise, x.reshape(3, -1)).flatten(), rtol=0, atol=1e-14
    )


def test_gradient_is_the_derivative_of_the_flow(randn):
    """Against finite differences for a mixture, and the analytic flow's derivative for Gaussian data."""
    x = randn(2, 5).requires_grad_()
    (gradient,) = torch.autograd.grad(run(PLAN, ORACLE.denoise, x).sum(), x)
    with torch.no_grad():
        ends = [run(PLAN, ORACLE.denoise, x + s) for s in (1e-6, -1e-6)]
    assert torch.allclose(gradient, (ends[0] - ends[1]) / 2e-6, rtol=1e-6, atol=1e-7)

    oracle = Gaussian(VPCosine(), 0.3, 0.5)
    (gradient,) = torch.autograd.grad(run(ddim(VPCosine(), grids.uniform_t(500)), oracle.denoise, x).sum(), x)
    assert torch.allclose(
        gradient, torch.full_like(gradient, 0.5), rtol=5e-3
    )  # std / 1: all of the noise's spread


def test_recomputed_activations_give_the_same_gradient(randn):
    calls = []
    scale = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)

    def denoise(x, t):
        calls.append(1)
        return torch.tanh(scale * x)

    gradients = []
    for remat in (None, functools.partial(checkpoint, use_reentrant=False)):
        end = run(NOISY, denoise, randn(2, 3) * 0 + 0.4, noise=lambda row, x: x.detach(), remat=remat)
        gradients.append(torch.autograd.grad(end.sum(), scale)[0])
    assert torch.equal(*gradients)
    assert len(calls) == 4 + 4 + 4  # the network runs again in the second backward pass


def test_hooks_see_and_change_every_row(randn):
    x, seen = randn(2, 3), []

    def d_hook(d, x, row):
        seen.append(("d", row))
        return d.clamp(-0.5, 0.5)

    def x_hook(x, row):
        seen.append(("x", row))
        return x + PLAN.ends[row]

    end = run(PLAN, ORACLE.denoise, x, d_hook=d_hook, x_hook=x_hook)
    assert seen == [(kind, row) for row in range(4) for kind in ("d", "x")]
    assert end.abs().max() <= 0.5
    by_hand = x
    for row, (_, to_x, _, to_d, _, _) in enumerate(PLAN.weights[:, 1].tolist()):
        d = ORACLE.denoise(by_hand, PLAN.labels[row].expand(2)).clamp(-0.5, 0.5)
        by_hand = to_x * by_hand + to_d * d + PLAN.ends[row]
    assert torch.allclose(end, by_hand, rtol=0, atol=1e-14)


def test_watching_does_not_change_the_result(randn):
    x, seen = randn(2, 3), []
    end = run(
        PLAN,
        ORACLE.denoise,
        x,
        on_row=lambda row, rows, x, d: seen.append((row, rows, x.clone(), d)),
        stop=lambda: False,
    )
    assert torch.equal(end, run(PLAN, ORACLE.denoise, x))
    assert [(row, rows) for row, rows, _, _ in seen] == [(row, 4) for row in range(4)]
    assert torch.equal(seen[-1][2], end)
    assert torch.equal(seen[-1][3], end)  # the last row returns the denoiser's output


def test_stop_cancels_before_the_next_row(randn):
    calls = []

    def denoise(x, t):
        calls.append(1)
        return x

    with pytest.raises(Cancelled, match="before row 2") as caught:
        run(PLAN, denoise, randn(2, 3), stop=lambda: len(calls) == 2)
    assert caught.value.row == len(calls) == 2


def test_a_run_inside_a_run(randn):
    """Re-entrant: a denoiser may itself sample with the same plan."""
    x = randn(2, 3)
    inner = run(PLAN, ORACLE.denoise, x)
    assert torch.equal(run(ddim(VPCosine(), [1.0, 0.0]), lambda x, t: run(PLAN, ORACLE.denoise, x), x), inner)
