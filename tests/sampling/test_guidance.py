"""Guidance: known answers for Gaussians and mixtures, and what each form must not change."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from audiogen.sampling import grids
from audiogen.sampling.guidance import Momentum, apg, batched, cfg, cfg_pp, in_interval, zero_star
from audiogen.sampling.loop import run
from audiogen.sampling.noise import ItemNoise
from audiogen.sampling.oracles import Gaussian, Mixture
from audiogen.sampling.paths import VPCosine
from audiogen.sampling.plans import ddim, dpm_solver, interval_rows, multistep, unipc
from audiogen.sampling.prediction import AngleV, Eps, Score, Velocity, from_x0

PATH = VPCosine()
NULL = Mixture(PATH)
COND = Mixture(PATH, weights=(0.6, 0.4), means=(-1.0, 1.2), stds=(0.2, 0.3))
TIMES = torch.tensor([0.9, 0.5, 0.2], dtype=torch.float64)
BRANCHES = (COND.denoise, NULL.denoise)


def narrow(x, t, mean):
    """Denoiser of N(mean, 0.4^2): the mean is the condition, (B, 1, 1)."""
    return Gaussian(PATH, mean, 0.4).denoise(x, t)


def counted(denoise):
    calls = []

    def wrapped(*arguments):
        calls.append(arguments[1])
        return denoise(*arguments)

    return wrapped, calls


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-14)])
def test_one_batched_call_equals_a_call_per_branch(dtype, tolerance, randn):
    """G15. Conditions are nested as networks have them; the three copies see their own."""

    def net(x, t, condition):
        shift, (scale, nothing) = condition["shift"], condition["more"]
        assert nothing is None
        return torch.tanh(scale * x + shift * t[:, None, None])

    x, t = randn(3, 4, 5).to(dtype), TIMES.to(dtype)
    conditions = [
        {"shift": randn(3, 1, 1).to(dtype), "more": (randn(3, 4, 1).to(dtype), None)} for _ in range(3)
    ]
    together, calls = counted(net)
    one_by_one = cfg([partial(net, condition=c) for c in conditions], [2.5, -0.5])(x, t)
    at_once = cfg(batched(together, conditions), [2.5, -0.5])(x, t)
    assert len(calls) == 1
    assert len(calls[0]) == 9
    assert at_once.dtype == dtype
    assert torch.allclose(at_once, one_by_one, rtol=tolerance, atol=tolerance)


def test_batched_gives_two_time_networks_both_times(randn):
    x, t = randn(2, 3), torch.tensor([[1.0, 0.5], [0.8, 0.2]], dtype=torch.float64)
    net = batched(lambda x, t, c: c * x * t[:, :1] + t[:, 1:], [torch.ones(2, 1), 2 * torch.ones(2, 1)])
    cond, null = net(x, t)
    assert torch.equal(cond, x * t[:, :1] + t[:, 1:])
    assert torch.equal(null, 2 * x * t[:, :1] + t[:, 1:])


def test_conditions_of_different_structure_are_refused():
    for other in (None, {"b": torch.ones(2)}, [torch.ones(2)]):
        with pytest.raises(ValueError, match="same structure"):
            batched(lambda x, t, c: x, [{"a": torch.ones(2)}, other])


def test_weights_of_one_and_zero_are_the_branches_exactly(randn):
    """G15."""
    x = randn(3, 2, 7).float()
    cond, null = (denoise(x, TIMES).float() for denoise in BRANCHES)
    assert torch.equal(cfg(BRANCHES, 1.0)(x, TIMES), cond)
    assert torch.equal(cfg(BRANCHES, 0.0)(x, TIMES), null)
    mixed = cfg(BRANCHES, torch.tensor([1.0, 0.0, 1.0]))(x, TIMES)
    assert torch.equal(mixed, torch.stack([cond[0], null[1], cond[2]]))


def test_each_condition_has_its_weight_and_each_item_too(randn):
    x, means = randn(3, 2, 7), (0.8, -0.4, 0.1)
    denoisers = [partial(narrow, mean=mean) for mean in means]
    w = torch.tensor([0.5, 3.0, 7.0], dtype=torch.float64)
    guided = cfg(denoisers, [w, 2.0])(x, TIMES)
    mean = means[2] + w * (means[0] - means[2]) + 2.0 * (means[1] - means[2])
    assert torch.allclose(guided, narrow(x, TIMES, mean[:, None, None]), rtol=0, atol=1e-13)


def test_guided_gaussians_flow_to_the_extrapolated_mean(randn):
    """The guided field of two Gaussians of one width is that of a third: closed form, to the end of a run.

    With a null of another width, as a weaker network has, it is no longer any network's, but still linear.
    """
    x, w = randn(2, 1, 9), 3.0
    plan = unipc(PATH, grids.uniform_lambda(PATH, 120, start=0.99, end=0.01), order=3)
    start, end = (torch.full((2,), t, dtype=torch.float64) for t in (0.99, 0.01))
    guided = cfg((partial(narrow, mean=0.9), partial(narrow, mean=0.3)), w)
    exact = Gaussian(PATH, 0.3 + w * 0.6, 0.4).flow(x, start, end)
    assert torch.allclose(run(plan, guided, x), exact, rtol=0, atol=1e-5)
    strong, weak = Gaussian(PATH, 0.9, 0.4), Gaussian(PATH, 0.9, 0.6)
    sharpened = run(plan, cfg((strong.denoise, weak.denoise), 2.0), x)
    assert sharpened.std() < 0.9 * run(plan, strong.denoise, x).std()  # autoguidance narrows the law


@pytest.mark.parametrize("kind", [Eps(), AngleV(), Score(), Velocity()], ids=str)
def test_guidance_of_data_is_guidance_of_every_prediction(kind, randn):
    x, w = randn(3, 2, 7), torch.tensor([0.5, 3.0, 7.0], dtype=torch.float64)

    def predict(oracle):
        return lambda x, t: from_x0(kind, oracle.denoise(x, t), x, t, PATH)

    of_outputs = cfg((predict(COND), predict(NULL)), w)(x, TIMES)
    of_data = from_x0(kind, cfg(BRANCHES, w)(x, TIMES), x, TIMES, PATH)
    assert torch.allclose(of_outputs, of_data, rtol=1e-11, atol=1e-11)


def test_a_guided_mixture_follows_the_guided_field():
    """G15: the end of a run against DOP853 on d(x / sigma) / dlambda = e^lambda D_w."""
    w, grid = 2.5, grids.uniform_lambda(PATH, 64, start=0.98, end=0.02)
    first, last = float(PATH.lam(grid[0])), float(PATH.lam(grid[-1]))
    x = torch.linspace(-2.2, 2.2, 33, dtype=torch.float64)[None]

    def field(lam, state):
        t = PATH.t_of_lam(lam)
        at = torch.from_numpy(state)[None] * PATH.sigma(t)
        cond, null = (oracle.denoise(at, t[None]) for oracle in (COND, NULL))
        return np.exp(lam) * (null + w * (cond - null)).numpy()[0]

    reference = solve_ivp(
        field, (first, last), (x / PATH.sigma(grid[0])).numpy()[0], method="DOP853", rtol=1e-11, atol=1e-11
    ).y[:, -1] * float(PATH.sigma(grid[-1]))
    plan = dpm_solver(PATH, grid, order=3)
    end = run(plan, cfg(BRANCHES, w), x)
    assert torch.allclose(end[0], torch.from_numpy(reference), rtol=0, atol=5e-5)
    assert (run(plan, COND.denoise, x) - end).abs().max() > 0.1  # the condition alone leads elsewhere


def test_outside_the_interval_guidance_is_off_and_costs_nothing(randn):
    """G15, on a plan with history, which the switch must not break."""
    x, low, high = randn(2, 1, 9), -1.0, 1.0
    plan = multistep(PATH, grids.uniform_lambda(PATH, 12, start=0.97, end=0.05), order=2)
    inside = [low <= float(PATH.lam(t)) <= high for t in plan.labels]
    assert 0 < sum(inside) < len(plan)
    null, null_calls = counted(NULL.denoise)
    cond, cond_calls = counted(COND.denoise)
    denoisers = in_interval(plan, PATH, low, high, guided=cfg((cond, null), 3.0), plain=cond)
    end = run(plan, denoisers, x)
    assert len(cond_calls) == plan.nfe
    assert [float(t[0]) for t in null_calls] == plan.labels[inside].tolist()

    def switched(x, t):
        d = COND.denoise(x, t)
        lam = float(PATH.lam(t[0]))
        return torch.lerp(NULL.denoise(x, t), d, 3.0) if low <= lam <= high else d

    assert torch.equal(end, run(plan, switched, x))
    nowhere = in_interval(plan, PATH, 90.0, 99.0, guided=cfg((cond, null), 3.0), plain=cond)
    assert torch.equal(run(plan, nowhere, x), run(plan, COND.denoise, x))
    everywhere = in_interval(plan, PATH, -99.0, 99.0, guided=cfg((cond, null), 3.0), plain=cond)
    assert torch.equal(run(plan, everywhere, x), run(plan, cfg(BRANCHES, 3.0), x))


def test_cfg_pp_is_ddim_where_it_must_be(randn):
    """G15: w = 0 is the unconditional run; equal branches leave nothing to guide."""
    x, grid = randn(2, 1, 9), grids.uniform_t(8)
    split, plain = ddim(PATH, grid, split=True), ddim(PATH, grid)
    unconditional = run(plain, NULL.denoise, x)
    assert torch.allclose(run(split, cfg_pp(BRANCHES, 0.0), x), unconditional, rtol=0, atol=1e-13)
    equal = run(split, cfg_pp((COND.denoise, COND.denoise), 0.7), x)
    assert torch.allclose(equal, run(plain, COND.denoise, x), rtol=0, atol=1e-13)


def test_cfg_pp_takes_data_from_the_guided_and_noise_from_the_null_estimate(randn):
    x, grid, w = randn(2, 1, 9), grids.uniform_t(8), 0.6
    end, state = run(ddim(PATH, grid, split=True), cfg_pp(BRANCHES, w), x), x
    for t, t_next in zip(grid[:-1], grid[1:], strict=True):
        cond, null = (oracle.denoise(state, t.expand(2)) for oracle in (COND, NULL))
        eps = (state - PATH.alpha(t) * null) / PATH.sigma(t)
        state = PATH.alpha(t_next) * (null + w * (cond - null)) + PATH.sigma(t_next) * eps
    assert torch.allclose(end, state, rtol=0, atol=1e-13)


def test_cfg_pp_in_an_interval(randn):
    """Outside, data and noise come from the plain denoiser."""
    x, plan = randn(2, 1, 9), ddim(PATH, grids.uniform_t(8), split=True)
    denoisers = in_interval(plan, PATH, -1.0, 1.0, guided=cfg_pp(BRANCHES, 0.6), plain=COND.denoise)
    inside = interval_rows(plan, PATH, -1.0, 1.0)

    def switched(x, t):
        d = COND.denoise(x, t)
        return cfg_pp(BRANCHES, 0.6)(x, t) if -1.0 <= float(PATH.lam(t[0])) <= 1.0 else (d, d)

    assert 0 < sum(inside) < len(plan)
    assert torch.equal(run(plan, denoisers, x), run(plan, switched, x))


def test_cfg_pp_refuses_to_extrapolate():
    with pytest.raises(ValueError, match=r"got 7\.5"):
        cfg_pp(BRANCHES, 7.5)
    with pytest.raises(ValueError, match="got"):
        cfg_pp(BRANCHES, -0.1)


def padded(randn, pad):
    """State of 5 frames of which item 0 has 3; the padding holds `pad`."""
    x = randn(2, 4, 5)
    mask = torch.tensor([[True] * 3 + [False] * 2, [True] * 5])[:, None]
    return torch.where(mask, x, pad), mask


@pytest.mark.parametrize("pad", [0.0, 7.0, torch.nan])
def test_rescaled_items_have_the_condition_s_spread_over_valid_frames(pad, randn):
    x, mask = padded(randn, pad)
    t = TIMES[:2]
    cond = COND.denoise(x, t)
    full, half, none = (cfg(BRANCHES, 5.0, rescale=share, mask=mask)(x, t) for share in (1.0, 0.5, 0.0))
    for item, frames in enumerate((3, 5)):
        spreads = [np.std(d[item, :, :frames].numpy()) for d in (full, cond, none)]
        assert spreads[0] == pytest.approx(spreads[1], rel=1e-12)
        assert spreads[2] != pytest.approx(spreads[1], rel=1e-2)
        valid = [d[item, :, :frames] for d in (full, half, none)]
        assert torch.allclose(valid[1], (valid[0] + valid[2]) / 2, rtol=0, atol=1e-13)
        ratio = valid[0] / valid[2]
        assert torch.allclose(ratio, ratio[0, 0].expand_as(ratio), rtol=1e-12)  # scaled, mean and all
    assert torch.equal(none[1], cfg(BRANCHES, 5.0)(x, t)[1])


def test_rescale_without_a_mask_counts_every_frame(randn):
    x = randn(2, 4, 5)
    full = cfg(BRANCHES, 5.0, rescale=1.0)(x, TIMES[:2])
    expected = COND.denoise(x, TIMES[:2]).flatten(1).numpy().std(1)
    assert full.flatten(1).numpy().std(1) == pytest.approx(expected, rel=1e-12)
    with pytest.raises(ValueError, match=r"between 0 \(off\) and 1, got 2"):
        cfg(BRANCHES, 5.0, rescale=2.0)


def test_complex_states_are_rescaled_by_their_total_spread(randn):
    cond, null = (torch.complex(randn(2, 4, 5), randn(2, 4, 5)) for _ in range(2))
    d = cfg((lambda x, t: cond, lambda x, t: null), 3.0, rescale=1.0)(cond, TIMES[:2])
    assert d.flatten(1).numpy().std(1) == pytest.approx(cond.flatten(1).numpy().std(1), rel=1e-12)


def vectors(x, t, mask):
    """Both branches' outputs as one vector of valid entries per item."""
    for item in range(len(x)):
        valid = mask[item].expand(x[item].shape)
        yield [oracle.denoise(x, t)[item][valid].numpy() for oracle in (COND, NULL)]


@pytest.mark.parametrize("pad", [0.0, 7.0, torch.nan])
def test_projected_guidance(pad, randn):
    """Against vector algebra in numpy: clip, then remove the part along the condition."""
    (x, mask), t, w, limit = padded(randn, pad), TIMES[:2], 4.0, 1.0
    guided = apg(BRANCHES, w, eta=0.3, limit=limit, mask=mask)(x, t)
    clipped = 0
    for item, (cond, null) in enumerate(vectors(x, t, mask)):
        direction = cond - null
        if np.linalg.norm(direction) > limit:
            direction *= limit / np.linalg.norm(direction)
            clipped += 1
        unit = cond / np.linalg.norm(cond)
        along = unit @ direction * unit
        expected = cond + (w - 1) * (direction - along + 0.3 * along)
        assert guided[item][mask[item].expand(4, 5)].numpy() == pytest.approx(expected, rel=1e-12)
    assert clipped == 1  # both sides of the limit are met


def test_projected_guidance_is_plain_guidance_when_it_keeps_everything(randn):
    x, w = randn(2, 4, 5), torch.tensor([0.5, 4.0], dtype=torch.float64)
    plain = cfg(BRANCHES, w)(x, TIMES[:2])
    kept = apg(BRANCHES, w, eta=1.0, limit=1e9, momentum=Momentum(-0.5))(x, TIMES[:2])
    assert torch.allclose(kept, plain, rtol=0, atol=1e-13)
    no_gap = apg((COND.denoise, COND.denoise), 4.0, limit=1.0)(x, TIMES[:2])
    assert torch.equal(no_gap, COND.denoise(x, TIMES[:2]))


def test_momentum_sums_directions_and_belongs_to_one_run(randn):
    x, plan, beta, w = randn(2, 4, 5), ddim(PATH, grids.uniform_t(4)), -0.6, 3.0
    seen = []
    denoise = apg(BRANCHES, w, eta=1.0, momentum=Momentum(beta))
    end = run(plan, denoise, x, on_row=lambda row, rows, x, d: seen.append(x.clone()))
    sum_, states = 0, [x, *seen[:-1]]
    for row, (_, to_x, _, to_d, _, _) in enumerate(plan.weights[:, 1].tolist()):
        cond, null = (oracle.denoise(states[row], plan.labels[row].expand(2)) for oracle in (COND, NULL))
        sum_ = cond - null + beta * sum_
        assert torch.allclose(seen[row], to_x * states[row] + to_d * (cond + (w - 1) * sum_), atol=1e-13)
    assert torch.equal(end, run(plan, apg(BRANCHES, w, eta=1.0, momentum=Momentum(beta)), x))
    assert not torch.equal(end, run(plan, denoise, x))  # a used momentum carries on


def test_zero_star_fits_the_null_before_it_extrapolates(randn):
    """A null that is a multiple of the condition leaves nothing to guide; else numpy's least squares."""
    x, velocity = randn(2, 4, 5), randn(2, 4, 5)
    same = zero_star((lambda x, t: velocity, lambda x, t: 0.3 * velocity), 5.0)(x, TIMES[:2])
    assert torch.allclose(same, velocity, rtol=0, atol=1e-13)
    (x, mask), t, w = padded(randn, 7.0), TIMES[:2], torch.tensor([2.0, 5.0], dtype=torch.float64)
    guided = zero_star(BRANCHES, w, mask=mask)(x, t)
    for item, (cond, null) in enumerate(vectors(x, t, mask)):
        fit = np.linalg.lstsq(null[:, None], cond, rcond=None)[0][0]
        expected = (1 - float(w[item])) * fit * null + float(w[item]) * cond
        assert guided[item][mask[item].expand(4, 5)].numpy() == pytest.approx(expected, rel=1e-11)


@pytest.mark.parametrize("form", [cfg, partial(apg, limit=1.0), zero_star])
def test_complex_states_are_guided_as_pairs_of_real_numbers(form, randn):
    cond, null = randn(2, 4, 5, 2), randn(2, 4, 5, 2)
    pairs = form((lambda x, t: cond, lambda x, t: null), 3.0)(cond, TIMES[:2])
    cond_c, null_c = torch.view_as_complex(cond), torch.view_as_complex(null)
    guided = form((lambda x, t: cond_c, lambda x, t: null_c), 3.0)(cond_c, TIMES[:2])
    assert torch.allclose(torch.view_as_real(guided), pairs, rtol=0, atol=1e-13)


def test_each_item_is_guided_as_if_alone(randn):
    """Bit for bit, for every form that reduces over an item."""
    x, mask = padded(randn, 0.0)
    w, t = torch.tensor([2.0, 5.0], dtype=torch.float64), TIMES[:2]

    def forms(w, mask):
        return [
            cfg(BRANCHES, w, rescale=0.7, mask=mask),
            apg(BRANCHES, w, limit=0.5, momentum=Momentum(-0.5), mask=mask),
            zero_star(BRANCHES, w, mask=mask),
        ]

    together = [guided(x, t) for guided in forms(w, mask)]
    for i in range(2):
        alone = [guided(x[i : i + 1], t[i : i + 1]) for guided in forms(w[i : i + 1], mask[i : i + 1])]
        assert all(torch.equal(a[i], b[0]) for a, b in zip(together, alone, strict=True))


def test_half_precision_outputs_are_combined_in_the_precision_of_the_state(randn):
    x = randn(2, 4, 5).float()
    cond, null = (denoise(x, TIMES[:2]).bfloat16() for denoise in BRANCHES)
    guided = cfg((lambda x, t: cond, lambda x, t: null), 7.0)(x, TIMES[:2])
    assert guided.dtype == torch.float32
    assert torch.allclose(guided, null.float() + 7 * (cond.float() - null.float()), rtol=1e-6, atol=1e-6)


def test_branches_and_weights_must_match(randn):
    x = randn(2, 4, 5)
    with pytest.raises(ValueError, match="got 1 weights and 3 branches"):
        cfg((*BRANCHES, NULL.denoise), 2.0)(x, TIMES[:2])
    with pytest.raises(ValueError, match="a condition and a null"):
        cfg((COND.denoise,), 2.0)
    for form in (apg, zero_star):
        with pytest.raises(ValueError, match="two branches"):
            form((*BRANCHES, NULL.denoise), 2.0)(x, TIMES[:2])


def test_the_guided_loop_never_reads_a_value():
    """On the meta device any transfer to the host would raise."""
    x, w = torch.empty(2, 3, 5, device="meta"), torch.empty(2, device="meta")
    branches = (lambda x, t: x * t[:, None, None], lambda x, t: x)
    plan = ddim(PATH, grids.uniform_t(3), split=True)
    for denoise in (cfg(branches, w, rescale=0.5), apg(branches, w, limit=1.0), zero_star(branches, 2.0)):
        assert run(ddim(PATH, grids.uniform_t(3)), denoise, x).is_meta
    assert run(plan, cfg_pp(branches, w), x, noise=ItemNoise([1, 2])).is_meta
