"""Search over seeds: the tilted Gaussian in closed form, and what resampling must carry along."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch

from audiogen.sampling import grids
from audiogen.sampling.guidance import cfg_pp
from audiogen.sampling.hooks import repaint
from audiogen.sampling.loop import Cancelled, run
from audiogen.sampling.noise import ItemNoise
from audiogen.sampling.oracles import Gaussian, Mixture
from audiogen.sampling.particles import (
    best_of,
    child_seed,
    difference,
    feynman_kac,
    maximum,
    single,
    systematic,
    total,
)
from audiogen.sampling.paths import VPCosine
from audiogen.sampling.plans import ddim, ddpm, runge_kutta, sde_multistep, unipc
from audiogen.sampling.plans.single_step import Churn

PATH = VPCosine()
ORACLE = Mixture(PATH)
PLAN = ddpm(PATH, grids.uniform_t(8))


def start(noise):
    return noise.start(2, 3, dtype=torch.float64)


def sample(noise):
    return run(PLAN, ORACLE.denoise, start(noise), noise=noise)


def level(x):
    return x.flatten(1).sum(1)


def splitmix(state):
    """The generator as its authors describe it."""
    while True:
        state = (state + 0x9E3779B97F4A7C15) % 2**64
        z = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
        yield z ^ (z >> 31)


def test_candidates_have_seeds_of_their_own():
    generator = splitmix(1234567)
    assert [next(generator) for _ in range(2)] == [6457827717110365317, 3203168211198807973]  # published
    for seed in (0, 7, 2**63, -1):
        children = splitmix(next(splitmix(seed)))
        assert [child_seed(seed, k) for k in range(4)] == [seed, *(next(children) for _ in range(3))]
    seeds = {child_seed(seed, number) for seed in range(60) for number in range(60)}
    assert len(seeds) == 3600


def test_best_of_picks_the_highest_score():
    seeds, n = [3, 4, 5], 6
    best = best_of(sample, level, seeds, n)
    for item, seed in enumerate(seeds):
        candidates = [sample(ItemNoise([child_seed(seed, number)])) for number in range(n)]
        scores = torch.cat([level(x) for x in candidates])
        assert torch.equal(best.x[item], candidates[int(scores.argmax())][0])
        assert best.scores[item] == scores.max()
        assert best.seeds[item] == child_seed(seed, int(scores.argmax()))
    assert len(set(best.seeds) - set(seeds)) >= 2  # not the first ones by default
    assert torch.equal(sample(ItemNoise(best.seeds)), best.x)
    one = best_of(sample, level, seeds, 1)
    assert torch.equal(one.x, sample(ItemNoise(seeds)))
    assert one.seeds == seeds


def test_a_candidate_without_a_score_never_wins():
    own = sample(ItemNoise([3]))[0]

    def score(x):
        return torch.stack([torch.tensor(torch.nan if torch.equal(item, own) else -9e9) for item in x])

    best = best_of(sample, score, [3, 4], 3)
    assert best.seeds[0] == child_seed(3, 1)
    assert best.seeds[1] == 4  # the first of equals
    with pytest.raises(ValueError, match=r"shape \(2,\)"):
        best_of(sample, lambda x: x.mean(), [3, 4], 2)
    with pytest.raises(ValueError, match="n must be 1 or more"):
        best_of(sample, level, [3], 0)


WEIGHTS = torch.tensor([[0.5, 0.2, 0.3, 0.0], [0.0, 0.1, 0.15, 0.75]], dtype=torch.float64)


def test_systematic_resampling_gives_each_its_share():
    """In number to within one copy, on average exactly, and nothing to a weight of 0."""
    uniforms = (torch.arange(1000, dtype=torch.float64) + 0.5) / 1000
    mean = torch.zeros(2, 4, dtype=torch.float64)
    for u in uniforms:
        ancestors = systematic(WEIGHTS, u.expand(2))
        copies = torch.stack([row.bincount(minlength=4) for row in ancestors])
        assert ((copies - 4 * WEIGHTS).abs() < 1).all()
        mean += copies / 1000
    assert torch.allclose(mean, 4 * WEIGHTS, rtol=0, atol=2e-3)


def test_no_place_falls_on_a_particle_without_weight():
    zero, almost_one = torch.zeros(2, dtype=torch.float64), torch.full((2,), 1 - 1e-16, dtype=torch.float64)
    for select in (systematic, single):
        for uniform in (zero, almost_one):
            assert (WEIGHTS.gather(1, select(WEIGHTS, uniform)) > 0).all()


def test_every_item_draws_a_uniform_number_of_its_own_in_every_row():
    draws = []

    def spy(weights, uniform):
        draws.append(uniform)
        return systematic(weights, uniform)

    search = partial(feynman_kac, PLAN, ORACLE.denoise, lambda noise: noise.start(1, 1), level, count=1)
    search(seeds=range(2000), rows=(1, 4), select=spy)
    for uniform in draws:
        assert 0 < float(uniform.min()) < 5e-3
        assert 1 - 5e-3 < float(uniform.max()) < 1
        counts = torch.histc(uniform, 10, 0, 1)  # chi-squared with 9 degrees of freedom: 33 at 1e-4
        assert float(((counts - 200) ** 2 / 200).sum()) < 33
    assert abs(float(torch.corrcoef(torch.stack(draws))[0, 1])) < 0.1
    noise = ItemNoise(range(2000))
    for draw in range(9):  # none is the noise of the start or of a row in disguise
        normal = noise.combine(torch.empty(2000, 1, 1, dtype=torch.float64), {draw: 1.0}).flatten()
        assert all(not torch.allclose(torch.special.ndtr(normal), uniform) for uniform in draws)
    search(seeds=[1234], rows=(4,), select=spy)
    assert float(draws[2]) == float(draws[1][1234])


def test_single_resampling_draws_one_ancestor_by_weight():
    uniforms = (torch.arange(1000, dtype=torch.float64) + 0.5) / 1000
    mean = torch.zeros(2, 4, dtype=torch.float64)
    for u in uniforms:
        ancestors = single(WEIGHTS, u.expand(2))
        assert (ancestors == ancestors[:, :1]).all()
        for item in range(2):
            mean[item, ancestors[item, 0]] += 1e-3
    assert torch.allclose(mean, WEIGHTS, rtol=0, atol=1e-9)


def gaussian_law(plan, denoise):
    """Exact mean and variance of the end of a run that is affine in its start and noises."""
    items = 2 + len(plan)

    def noise(row, x):
        return torch.eye(items, dtype=x.dtype)[row + 2].reshape(x.shape)

    x = torch.eye(items, dtype=torch.float64)[1].reshape(items, 1, 1)
    end = run(plan, denoise, x, noise=noise).flatten()
    return float(end[0]), float(((end[1:] - end[0]) ** 2).sum())


@pytest.mark.parametrize(
    ("potential", "threshold", "rows"),
    [
        (difference, 1.0, range(0, 20, 3)),
        (difference, 0.5, range(20)),
        (maximum, 1.0, (10, 15)),
        (total, 1.0, (8, 11)),
        (difference, 1.0, ()),
    ],
)
def test_particles_follow_the_tilted_gaussian(potential, threshold, rows):
    """Data N(0.2, 0.6^2) tilted by exp(-(x - 1)^2 / (2 0.4^2)): a Gaussian, known in closed form."""
    count, scale = 3000, 0.5
    oracle = Gaussian(PATH, 0.2, 0.6)
    grid = grids.append_zero(grids.uniform_lambda(PATH, 20, start=0.999, end=0.02))
    plan = sde_multistep(PATH, grid, order=2)
    mean, variance = gaussian_law(plan, oracle.denoise)
    assert variance == pytest.approx(0.36, rel=0.2)  # the law of so few rows, which is what is tilted
    tilted_variance = 1 / (1 / variance + 1 / 0.16)
    tilted_mean = tilted_variance * (mean / variance + 1 / 0.16)
    particles = feynman_kac(
        plan,
        oracle.denoise,
        lambda noise: noise.start(1, 1, dtype=torch.float64),
        lambda x: -((x.flatten() - 1.0) ** 2) / 0.16,
        [11],
        count,
        rows=rows,
        scale=scale,
        potential=potential,
        threshold=threshold,
    )
    weights, x = particles.log_weights[0].exp(), particles.x.flatten()
    assert float(weights.sum()) == pytest.approx(1.0, rel=1e-12)
    found = float((weights * x).sum())
    spread = float((weights * (x - found) ** 2).sum())
    effective = float(1 / (weights**2).sum())
    error = math.sqrt(tilted_variance / effective)
    assert found == pytest.approx(tilted_mean, abs=4 * error)
    assert spread == pytest.approx(tilted_variance, rel=0.1)
    assert tilted_mean - mean > 20 * error  # where the samples would be without the tilt
    assert effective > (0.8 if potential is difference and rows and threshold == 1 else 0.25) * count


@pytest.mark.parametrize(
    ("potential", "gains"),
    [(difference, [1.0, 2.0, -4.0]), (maximum, [1.0, 3.0, 3.0]), (total, [1.0, 4.0, 3.0])],
)
def test_potentials_of_a_lineage(potential, gains):
    memory, found = None, []
    for value in (1.0, 3.0, -1.0):
        gain, memory = potential(torch.tensor([[value]]), memory)
        found.append(float(gain))
    assert found == gains


def reverse(weights, uniform):
    return torch.arange(weights.shape[1] - 1, -1, -1).expand_as(weights)


def split(x, t):
    return cfg_pp((ORACLE.denoise, Mixture(PATH, means=(-1.0, 0.6, 1.8)).denoise), 0.4)(x, t)


@pytest.mark.parametrize(
    ("plan", "denoise"),
    [
        (sde_multistep(PATH, grids.uniform_t(8, start=0.99), order=3), ORACLE.denoise),
        (ddim(PATH, grids.uniform_t(8), eta=0.6, split=True), split),
        (runge_kutta(PATH, grids.uniform_t(4, start=0.99), method="heun", churn=Churn(3.0)), ORACLE.denoise),
    ],
    ids=["history", "carry", "base"],
)
def test_everything_a_run_remembers_moves_with_its_particle(plan, denoise):
    """Particles reversed before rows 2 and 4 end like runs whose noises are exchanged in between."""
    seeds, count, rows = [5, 6], 4, (2, 4)
    own = ItemNoise([child_seed(seed, k) for seed in seeds for k in range(count)])

    def exchanged(row, x):
        z = own(row, x)
        return z.unflatten(0, (2, count)).flip(1).flatten(0, 1) if 2 <= row < 4 else z

    expected = run(plan, denoise, start(own), noise=exchanged).unflatten(0, (2, count))
    particles = feynman_kac(plan, denoise, start, level, seeds, count, rows=rows, select=reverse)
    assert torch.equal(particles.x, expected)
    assert torch.equal(particles.scores, level(expected.flatten(0, 1)).view(2, count))


def test_memories_and_potentials_move_with_their_particles():
    """With a score that names the particle, each lineage's potentials can be followed by hand."""
    names = torch.tensor([0.0, 1.0, 3.0], dtype=torch.float64)
    seen = []

    def value(d, x, t):
        return names * (len(seen) + 1)

    def spy(now, before):
        seen.append(before)
        return maximum(now, before)

    particles = feynman_kac(
        PLAN,
        ORACLE.denoise,
        start,
        lambda x: 0 * level(x),
        [5],
        3,
        rows=(2, 4, 6),
        select=reverse,
        potential=spy,
        value=value,
        scale=0.1,
    )
    assert seen[0] is None
    memory = 0.1 * names.flip(0)
    assert torch.allclose(seen[1][0], memory)
    memory = torch.maximum(memory, 0.2 * names).flip(0)
    assert torch.allclose(seen[2][0], memory)
    spent = (0.1 * names.flip(0) + torch.maximum(0.1 * names.flip(0), 0.2 * names)).flip(0)
    spent = (spent + torch.maximum(memory, 0.3 * names)).flip(0)
    assert torch.allclose(particles.log_weights[0], torch.log_softmax(-spent, dim=0))


def test_particles_that_agree_well_enough_are_left_alone():
    """Below the threshold, in effective sample size, an item is resampled; another need not be."""
    values = torch.tensor([0.0, 0.0, 0.0, 30.0, 0.0, 0.0, 0.0, 0.1], dtype=torch.float64)
    particles = feynman_kac(
        PLAN,
        ORACLE.denoise,
        start,
        lambda x: 0 * level(x),
        [5, 6],
        4,
        rows=(7,),
        value=lambda d, x, t: values,
        threshold=0.5,
    )
    assert torch.equal(particles.x[0], particles.x[0, 3].expand(4, 2, 3))  # the last row draws no noise
    own = sample(ItemNoise([child_seed(6, k) for k in range(4)]))
    assert torch.equal(particles.x[1], own)
    assert torch.allclose(particles.log_weights, torch.full((2, 4), -math.log(4.0), dtype=torch.float64))


def test_a_threshold_of_one_resamples_equals_too():
    search = partial(feynman_kac, PLAN, ORACLE.denoise, start, lambda x: 0 * level(x), [5], 4, rows=(7,))
    always, seldom = search(select=single), search(select=single, threshold=0.99)
    assert torch.equal(always.x[0], always.x[0, :1].expand(4, 2, 3))
    assert not torch.equal(seldom.x[0], seldom.x[0, :1].expand(4, 2, 3))


def test_svdd_with_a_strong_score_branches_from_the_best_candidate():
    count, seed = 3, 5
    noise = ItemNoise([child_seed(seed, k) for k in range(count)])
    x = start(noise)
    for row, (_, to_x, _, to_d, _, to_z) in enumerate(PLAN.weights[:, 1].tolist()):
        d = ORACLE.denoise(x, PLAN.labels[row].expand(count))
        best = int(level(d).argmax())
        x = to_x * x[best] + to_d * d[best] + to_z * noise(row, x)
    particles = feynman_kac(
        PLAN, ORACLE.denoise, start, level, [seed], count, rows=range(8), scale=1e6, select=single
    )
    assert torch.allclose(particles.x[0], x, rtol=0, atol=1e-13)


def test_the_best_particle_is_that_of_the_highest_score():
    particles = feynman_kac(PLAN, ORACLE.denoise, start, level, [5, 6], 4, rows=(2, 5), scale=0.3)
    best = particles.best()
    for item in range(2):
        scores = level(particles.x[item])
        assert torch.equal(best[item], particles.x[item, int(scores.argmax())])
        assert torch.equal(scores, particles.scores[item])
    assert len(set(particles.scores[0].tolist())) > 1


def test_items_are_searched_as_if_alone():
    search = partial(feynman_kac, PLAN, ORACLE.denoise, start, level, rows=range(1, 8), scale=0.7)
    together, turned = search([1, 2, 3], 5), search([3, 1, 2], 5)
    alone = search([2], 5)
    again = search([1, 2, 3], 5)
    for name in ("x", "log_weights", "scores"):
        values = getattr(together, name)
        assert torch.equal(values[[2, 0, 1]], getattr(turned, name))
        assert torch.equal(values[1:2], getattr(alone, name))
        assert torch.equal(values, getattr(again, name))
    other = search([4], 5)
    assert not torch.equal(other.x, alone.x)


def test_no_resampling_is_the_run_of_the_candidates(mean_path):
    """With the path's mean, and with the weights of importance sampling."""
    plan = unipc(mean_path, grids.uniform_t(5, start=0.99), order=2)
    y = torch.linspace(-1, 1, 12, dtype=torch.float64).reshape(2, 2, 3).repeat_interleave(3, 0)
    denoise = partial(Mixture(mean_path).denoise, y=y)
    particles = feynman_kac(plan, denoise, start, level, [5, 6], 3, rows=(), scale=0.3, y=y)
    expected = run(plan, denoise, start(ItemNoise([child_seed(s, k) for s in (5, 6) for k in range(3)])), y=y)
    assert torch.equal(particles.x.flatten(0, 1), expected)
    weights = torch.softmax(0.3 * level(expected).view(2, 3), dim=-1)
    assert torch.allclose(particles.log_weights.exp(), weights, rtol=1e-12)


def test_a_search_calls_the_network_once_a_row_and_can_be_watched_and_cancelled():
    calls, rows = [], []

    def denoise(x, t):
        calls.append(float(t[0]))
        return ORACLE.denoise(x, t)

    search = partial(feynman_kac, PLAN, start=start, score=level, seeds=[5], count=3, rows=(2, 5))
    watched = search(denoise, on_row=lambda row, total, x, d: rows.append((row, total)), stop=lambda: False)
    assert rows == [(row, 8) for row in range(8)]
    assert calls == pytest.approx(PLAN.labels.tolist())
    assert torch.equal(watched.x, search([ORACLE.denoise] * 8).x)
    rows.clear()
    calls.clear()
    with pytest.raises(Cancelled) as caught:
        search(denoise, on_row=lambda row, *_: rows.append(row), stop=lambda: 4 in rows)
    assert caught.value.row == 5
    assert len(calls) <= 5 + 1


def test_rows_that_cannot_be_resampled_are_refused():
    search = partial(feynman_kac, denoise=ORACLE.denoise, start=start, score=level, seeds=[5], count=3)
    with pytest.raises(ValueError, match=r"got rows \[8\]"):
        search(PLAN, rows=(8,))
    with pytest.raises(ValueError, match=r"got rows \[1\]"):
        search(repaint(PATH, [1.0, 0.5, 0.0], resamples=2), rows=(1,))  # noise without a call
    with pytest.raises(ValueError, match="eta > 0"):
        search(ddim(PATH, grids.uniform_t(8)), rows=(2,))
    with pytest.raises(ValueError, match=r"shape \(3,\)"):
        search(PLAN, rows=(2,), value=lambda d, x, t: d)
