"""The quick network for complex spectra."""

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from audiogen.nn.subband import SubbandUNet, gated

SMALL = {"bins": 32, "fine": 8, "channels": 12, "hidden": 10, "blocks": 2}


@pytest.fixture
def net():
    """A small network whose every part does something."""
    torch.manual_seed(0)
    net = SubbandUNet(2, timed=True, **SMALL)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return net


def test_it_costs_what_it_says():
    """3.4 M parameters; 1.7 GFLOP for the 125 frames of a second, counted by torch."""
    net = SubbandUNet(3, timed=True)
    assert sum(p.numel() for p in net.parameters()) == pytest.approx(3.4e6, rel=0.03)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net(torch.zeros(1, 6, 256, 125), torch.zeros(1))
    assert counter.get_total_flops() == pytest.approx(1.66e9, rel=0.03)
    assert counter.get_total_flops() < 4e9


def test_it_begins_at_zero():
    out = SubbandUNet(1, timed=False, **SMALL)(torch.randn(2, 2, 32, 7))
    assert out.shape == (2, 2, 32, 7)
    assert torch.equal(out, torch.zeros_like(out))


@pytest.mark.parametrize("frames", [1, 2, 61])
def test_items_do_not_meet_and_any_length_will_do(net, frames):
    x, level = torch.randn(3, 4, 32, frames), torch.tensor([-1.0, 0.0, 2.0])
    together = net(x, level)
    assert together.shape == (3, 2, 32, frames)
    for i in range(3):
        assert torch.allclose(net(x[i : i + 1], level[i : i + 1])[0], together[i], rtol=1e-4, atol=1e-4)


def test_its_receptive_field_is_what_it_says(net):
    """Dilations 1 and 3, two local blocks, encoder and decoder: 2 (4 + 2 + 2) + 1 = 17 frames."""
    x = torch.randn(1, 4, 32, 41, requires_grad=True)
    net(x, torch.zeros(1))[0, :, 5, 20].sum().backward()
    seen = x.grad[0].abs().sum((0, 1)).nonzero()[:, 0].tolist()
    assert seen == list(range(12, 29))
    assert (x.grad[0].abs().sum((0, 2)) > 0).all()  # every frequency


def test_every_parameter_learns(net):
    net(torch.randn(2, 4, 32, 20), torch.tensor([0.0, 3.0])).square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())


def test_the_noise_level_matters(net):
    x = torch.randn(1, 4, 32, 9)
    assert not torch.allclose(net(x, torch.zeros(1)), net(x, torch.ones(1)))


def test_gates_are_complex_products():
    out, planes = torch.randn(2, 5, 6, 4, 2), torch.randn(2, 5, 6, 3, 2)
    a, b, c, d = (out[..., k, :].double().numpy() @ [1, 1j] for k in range(4))
    p, q, r = (planes[..., k, :].double().numpy() @ [1, 1j] for k in range(3))
    expected = (a + b * p + c * q + d * r).transpose(0, 2, 1)
    found = gated(out, planes)
    assert np.allclose(found[:, 0], expected.real, atol=1e-5)
    assert np.allclose(found[:, 1], expected.imag, atol=1e-5)


def test_other_numbers_of_frequencies_are_refused():
    with pytest.raises(ValueError, match="257 is no multiple"):
        SubbandUNet(1, timed=False, bins=257)
