"""The streaming benchmark's arithmetic, and all of it in miniature."""

import json
import sys
import time
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import kernels_streaming  # noqa: E402


def test_streams_in_real_time_are_those_whose_steps_fit_a_frame():
    """64 streams in a quarter of a frame's 16 ms leave room for 256."""
    row = kernels_streaming.account(64, 0.004, 0.001, 62.5)
    assert row == pytest.approx(
        {"streams": 64, "step_ms": 4.0, "floor_ms": 1.0, "times_floor": 4.0, "real_time_streams": 256}
    )


def test_a_step_s_time_is_the_median_of_runs_without_the_first(monkeypatch):
    clock = iter([0, 90, 100, 102, 200, 208, 300, 304])  # runs of 90, 2, 8 and 4 seconds
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    calls = []
    assert kernels_streaming.seconds_a_step(calls.append, torch.zeros(1), 2, 3) == 2
    assert len(calls) == 8


@pytest.mark.parametrize("source", [[], ["--source"]], ids=["plain", "source"])
def test_miniature_measures_every_method_it_is_asked_for(tmp_path, source):
    out = tmp_path / "out.json"
    kernels_streaming.main(
        ["--miniature", "--device", "cpu", "--streams", "1", "3", "--methods", "eager", "kernels", "graph"]
        + ["--steps", "2", "--runs", "1", "--out", str(out), *source]
    )
    result = json.loads(out.read_text())
    assert result["context"]["device"] == "cpu"
    assert [(row["method"], row["dtype"], row["streams"]) for row in result["steps"]] == [
        (method, dtype, streams)
        for streams in (1, 3)
        for dtype, methods in (("float32", ("eager", "kernels", "graph")), ("bfloat16", ("kernels", "graph")))
        for method in methods
    ]
    assert all(row["step_ms"] > 0 and row["floor_ms"] > 0 for row in result["steps"])


def test_baseline_and_pool_compute_the_same():
    """What is compared is one vocoder: the pool gives the baseline's samples, its delay later."""
    vocos = kernels_streaming.network(True, False, torch.device("cpu"))
    frames = torch.randn(6, 2, 8)
    with torch.inference_mode():
        pool = kernels_streaming.VocosPool(vocos, 2)
        theirs = torch.cat([*map(kernels_streaming.baseline(vocos, 2, False), frames)], dim=2)[:, 0]
        ours = torch.cat([*map(kernels_streaming.pooled(pool), frames)], dim=1)
    assert torch.allclose(ours[:, pool.delay * pool.hop_length :], theirs, atol=1e-5)
