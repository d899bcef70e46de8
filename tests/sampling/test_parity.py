"""Agreement with diffusers where it is right, and the known difference where it is not."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import sampling_peers  # noqa: E402

CASES = sampling_peers.diffusers_cases()
GAPS = {
    "DPM-Solver++ 3M, exact": lambda gap: 1e-4 < gap < 1e-2,
    "SDE-DPM-Solver++ 3M": lambda gap: gap > 1e-2,
    "UniPC-2 (B1), to the data": lambda gap: gap != gap,
}


@pytest.mark.parametrize("name", sorted(set(CASES) - set(GAPS)))
def test_results_equal_those_of_diffusers(name):
    """Same noise levels, same noises, a linear model: relative to the largest value, float32."""
    with torch.inference_mode():
        assert sampling_peers.difference(*CASES[name]) < 1e-5


@pytest.mark.parametrize("name", sorted(GAPS))
def test_the_known_gaps_are_as_known(name):
    """If diffusers mends one of these, this test says so."""
    assert name in sampling_peers.KNOWN_GAPS
    with torch.inference_mode():
        assert GAPS[name](sampling_peers.difference(*CASES[name]))
