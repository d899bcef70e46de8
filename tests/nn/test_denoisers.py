"""What every denoiser of mel frames promises (`MelDenoiser`), over the registry."""

import pytest
import torch

from audiogen.nn.denoiser import DENOISERS

SMALL = {
    "convnext": {"channels": 16, "blocks": 3, "hidden": 32},
    "wavenet": {"channels": 16, "blocks": 3, "dilation_cycle": 2},
    "unet": {"channels": 16, "multipliers": (1, 2), "heads": 2},
}
pytestmark = pytest.mark.parametrize("name", DENOISERS)


def small(name):
    """A small network of 8 mels and 6 condition channels, with nothing at zero that training starts from."""
    torch.manual_seed(0)
    net = DENOISERS[name](8, 6, **SMALL[name])
    for parameter in net.parameters():
        if parameter.abs().max() == 0:
            torch.nn.init.normal_(parameter, std=0.5)
    return net


def ones(batch, frames):
    return torch.ones(batch, 1, frames, dtype=torch.bool)


@pytest.mark.parametrize("frames", [1, 2, 29, 30])
def test_padding_does_not_change_it(name, frames):
    """Neither more frames nor what lies in them, noisy or condition."""
    net = small(name)
    x, condition, level = torch.randn(1, 8, frames), torch.randn(1, 6, frames), torch.tensor([0.3])
    alone = net(x, level, net.project(condition), ones(1, frames))
    assert alone.shape == x.shape
    mask = torch.zeros(1, 1, 50, dtype=torch.bool)
    mask[..., :frames] = True
    for garbage in (0.0, 1.0, 100.0):
        wide = [
            torch.cat([part, garbage * torch.randn(1, part.shape[1], 50 - frames)], 2)
            for part in (x, condition)
        ]
        padded = net(wide[0], level, net.project(wide[1]), mask)
        assert torch.allclose(padded[:, :, :frames], alone, atol=1e-5)
        assert padded[:, :, frames:].abs().max() == 0


def test_a_batch_equals_its_items(name):
    net = small(name)
    x, condition, level = torch.randn(3, 8, 21), torch.randn(3, 6, 21), torch.tensor([-1.0, 0.0, 2.0])
    lengths = [21, 13, 6]
    mask = torch.arange(21) < torch.tensor(lengths)[:, None, None]
    together = net(x, level, net.project(condition), mask)
    for i, n in enumerate(lengths):
        alone = net(
            x[i : i + 1, :, :n], level[i : i + 1], net.project(condition[i : i + 1, :, :n]), ones(1, n)
        )
        assert torch.allclose(together[i : i + 1, :, :n], alone, atol=1e-5)


def test_every_part_learns(name):
    net = small(name)
    x, level = torch.randn(2, 8, 20), torch.tensor([0.0, -40.0])
    out = net(x, level, net.project(torch.randn(2, 6, 20)), ones(2, 20))
    out.square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())
    assert torch.isfinite(out).all()


def test_a_training_step_lowers_the_loss(name):
    """From the start that training has, some weights at zero."""
    torch.manual_seed(0)
    net = DENOISERS[name](8, 6, **SMALL[name])
    clean, condition = torch.randn(2, 8, 20), torch.randn(2, 6, 20)
    noisy, level = clean + torch.randn(2, 8, 20), torch.zeros(2)
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-2)

    def loss():
        return (net(noisy, level, net.project(condition), ones(2, 20)) - clean).square().mean()

    before = loss()
    before.backward()
    optimizer.step()
    assert loss() < before


def test_the_noise_level_matters_and_pure_noise_is_finite(name):
    net = small(name)
    x, projected, mask = torch.randn(1, 8, 9), net.project(torch.randn(1, 6, 9)), ones(1, 9)
    low, high, clipped = (net(x, torch.tensor([level]), projected, mask) for level in (-1.0, 1.0, -37.0))
    assert not torch.allclose(low, high, atol=1e-3)
    assert torch.equal(clipped, net(x, torch.tensor([-8.0]), projected, mask))


def test_the_condition_matters(name):
    net = small(name)
    x, level = torch.randn(1, 8, 9), torch.zeros(1)
    one, other = (net(x, level, net.project(torch.randn(1, 6, 9)), ones(1, 9)) for _ in range(2))
    assert not torch.allclose(one, other, atol=1e-3)
