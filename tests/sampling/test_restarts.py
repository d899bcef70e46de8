"""A search for starts: thresholds, time, restarts, the shell that noise lies on."""

import math

import pytest
import torch

from audiogen.sampling import grids, optimize
from audiogen.sampling.optimize import optimise_noise
from audiogen.sampling.oracles import Mixture
from audiogen.sampling.paths import VPLinear
from audiogen.sampling.plans import ddim
from audiogen.sampling.restarts import best_restarts, on_shell

VP = VPLinear()
GRID = grids.uniform_lambda(VP, 4, start=0.95, end=0.02)


def distance(x):
    return (x - 0.3).square().mean(1)


def search(start, **options):
    return optimise_noise(ddim(VP, GRID), Mixture(VP).denoise, start, distance, lr=0.1, **options)


def test_noise_is_put_back_on_its_shell(randn):
    start = 3 * randn(5, 4, 25)
    found = on_shell(start)
    torch.testing.assert_close(found.flatten(1).norm(dim=1), torch.full((5,), 10.0, dtype=start.dtype))
    torch.testing.assert_close(found / found[:, :1, :1], start / start[:, :1, :1])
    like = randn(5, 4, 25)
    norms = on_shell(start, like).flatten(1).norm(dim=1)
    torch.testing.assert_close(norms, like.flatten(1).norm(dim=1))


def test_every_step_ends_on_the_shell(randn):
    seen, start = [], on_shell(randn(2, 16))
    search(start, steps=6, project=on_shell, on_step=lambda *told: seen.append(told[-1].clone()))
    assert len(seen) == 6
    for state in seen:
        torch.testing.assert_close(state.norm(dim=1), torch.full((2,), 4.0, dtype=start.dtype))
    assert not torch.allclose(seen[0], seen[-1], atol=1e-2)


def test_a_search_ends_at_the_threshold(randn):
    """At the first step whose loss is low enough; nothing before it was."""
    start = randn(1, 4)
    whole = search(start, steps=60).losses[:, 0]
    enough = float(whole[25]) * 1.0001
    found = search(start, steps=60, enough=enough)
    first = next(n for n, loss in enumerate(whole.tolist()) if loss <= enough)
    assert len(found.losses) == first + 1
    assert torch.equal(found.losses[:, 0], whole[: first + 1])


def test_one_restart_of_every_task_is_enough(randn):
    start = randn(4, 4)
    whole = search(start, steps=60).losses.cummin(0).values
    lowest = whole.view(60, 2, 2).amin(2)
    enough = float(lowest[30].max())
    found = search(start, steps=60, enough=enough, restarts=2)
    done = next(n for n in range(60) if bool((lowest[n] <= enough).all()))
    assert len(found.losses) == done + 1


def test_the_best_restart_of_every_task():
    losses = torch.tensor([[4.0, 3.0, 9.0, 1.0, 5.0, 6.0], [5.0, 2.5, 0.5, 2.0, 7.0, 5.0]])
    assert best_restarts(losses, 3).tolist() == [2, 3]
    assert best_restarts(losses[0], 2).tolist() == [1, 3, 4]
    with pytest.raises(ValueError, match="6 items are no whole tasks of 4"):
        best_restarts(losses, 4)
    with pytest.raises(ValueError, match="no whole tasks of 0"):
        best_restarts(losses, 0)


@pytest.mark.parametrize(("seconds", "steps"), [(0.0, 1), (0.5, 1), (2.0, 2), (7.9, 7), (100.0, 20)])
def test_no_step_begins_that_would_take_too_long(seconds, steps, randn, monkeypatch):
    """Steps of one second by a clock that only they move."""
    clock = type("Clock", (), {"now": 5.0, "monotonic": lambda self: self.now})()
    monkeypatch.setattr(optimize, "time", clock)

    def slow(x):
        clock.now += 1
        return distance(x)

    found = optimise_noise(
        ddim(VP, GRID), Mixture(VP).denoise, randn(2, 4), slow, steps=20, seconds=seconds, lr=0.1
    )
    assert len(found.losses) == steps
    assert math.isfinite(float(found.start.sum()))
