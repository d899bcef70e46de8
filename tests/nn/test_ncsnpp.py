"""NCSN++ at its published sizes and at a tiny one."""

import math

import numpy as np
import pytest
import torch
from scipy.signal import upfirdn

from audiogen.nn.ncsnpp import Attention, NCSNpp, double, halve

TINY = {"bins": 16, "base": 8, "multipliers": (1, 2)}
TAPS = np.array([1.0, 3.0, 3.0, 1.0]) / 8


def tiny(**options):
    """A tiny network whose every part does something."""
    torch.manual_seed(0)
    net = NCSNpp(2, **{"timed": True, **TINY, **options})
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return net.eval()


@pytest.mark.parametrize(
    ("sizes", "millions"),
    [
        ({}, 27.8),  # StoRM's NCSN++M, and its smaller variants
        ({"base": 96, "multipliers": (1, 2, 2, 1)}, 11.7),
        ({"base": 96, "multipliers": (1, 1, 1, 1)}, 5.2),
        # SGMSE+
        ({"multipliers": (1, 1, 2, 2, 2, 2, 2), "blocks": 2, "attention_bins": (16,)}, 65.6),
    ],
)
def test_it_has_the_published_sizes(sizes, millions):
    with torch.device("meta"):
        net = NCSNpp(2, timed=True, **sizes)
    assert sum(p.numel() for p in net.parameters()) / 1e6 == pytest.approx(millions, abs=0.05)


def test_resampling_is_upfirdn():
    """Zeros between the samples, the FIR kernel, every second sample: scipy's, along both axes."""
    x = torch.randn(1, 1, 8, 12)
    rows = x[0, 0].double().numpy()
    for axis in (0, 1):
        rows = upfirdn(TAPS, rows, down=1, axis=axis)
    assert np.allclose(halve(x)[0, 0], rows[2:-1:2, 2:-1:2], atol=1e-6)
    rows = x[0, 0].double().numpy()
    for axis in (0, 1):
        rows = upfirdn(2 * TAPS, rows, up=2, axis=axis)
    assert np.allclose(double(x)[0, 0], rows[1:-1, 1:-1], atol=1e-6)


@pytest.mark.parametrize("frames", [1, 64, 70])
def test_any_length_will_do_and_items_do_not_meet(frames):
    net = tiny()
    x, level = torch.randn(2, 4, 16, frames), torch.tensor([-1.0, 0.5])
    together = net(x, level)
    assert together.shape == (2, 2, 16, frames)
    assert torch.allclose(net(x[1:], level[1:])[0], together[1], atol=1e-4)
    assert not torch.allclose(net(x, level + 0.3), together, atol=1e-3)


def test_it_begins_with_a_constant():
    net = NCSNpp(1, timed=False, **TINY)
    torch.nn.init.zeros_(net.out.bias)
    assert net(torch.randn(1, 2, 16, 64)).abs().max() == 0


@pytest.mark.parametrize("options", [{}, {"attention_bins": (16, 8), "blocks": 2}, {"timed": False}])
def test_every_parameter_learns(options):
    net = tiny(**options)
    level = torch.tensor([0.2, -3.0]) if options.get("timed", True) else None
    net(torch.randn(2, 4, 16, 64), level).square().mean().backward()
    # the keys' bias moves all scores of a query alike
    silent = {name for name, p in net.named_parameters() if p.grad.abs().sum() < 1e-9}
    assert all("key.bias" in name for name in silent)


def test_attention_is_a_softmax_over_all_places():
    torch.manual_seed(0)
    layer = Attention(8)
    torch.nn.init.normal_(layer.out.weight)
    x = torch.randn(1, 8, 3, 5)
    y = layer.norm(x)[0].reshape(8, 15)
    q, k, v = (part.weight @ y + part.bias[:, None] for part in (layer.query, layer.key, layer.value))
    mixed = v @ torch.softmax(q.T @ k / math.sqrt(8), dim=1).T
    expected = (x[0].reshape(8, 15) + layer.out.weight @ mixed + layer.out.bias[:, None]) / math.sqrt(2)
    assert torch.allclose(layer(x)[0].reshape(8, 15), expected, atol=1e-5)


def test_quirks_of_the_released_networks():
    x, level = torch.randn(1, 4, 16, 64), torch.tensor([math.log(0.25)])
    plain = tiny()
    assert torch.allclose(tiny(shifted=True)(x, level), plain(2 * x - 1, level), atol=1e-5)
    moved = plain(x, level) - tiny(level_bias=True)(x, level)
    assert torch.allclose(moved, 0.75 * plain.out.bias[:, None, None].expand_as(moved), atol=1e-5)


def test_frequencies_that_cannot_be_halved_are_refused():
    with pytest.raises(ValueError, match="18 is no multiple"):
        NCSNpp(1, timed=False, bins=18, multipliers=(1, 1, 1))
