"""Paths with a mean term, and random tensors, for the sampler's tests."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from audiogen.sampling.paths import VPLinear


@dataclass(frozen=True)
class TowardsMean(VPLinear):
    """VP-linear path whose noise end is centred on y: mu = 1 - alpha."""

    def _mu(self, t: Tensor) -> Tensor:
        return 1 - self._alpha(t)

    def _derivs(self, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        dalpha, _, dsigma = super()._derivs(t)
        return dalpha, -dalpha, dsigma


@pytest.fixture
def mean_path() -> TowardsMean:
    """Path with mu = 1 - alpha."""
    return TowardsMean()


@pytest.fixture
def randn():
    """randn(*shape) in float64 from a generator of the test's own."""
    generator = torch.Generator().manual_seed(0)
    return lambda *shape: torch.randn(*shape, dtype=torch.float64, generator=generator)


@pytest.fixture(autouse=True, scope="package")
def one_thread():
    """Run on one thread: on tensors this small a second one only waits, on a busy machine long."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
