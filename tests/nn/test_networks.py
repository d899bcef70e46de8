import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from audiogen.nn.convnext import ConvNeXtBlock
from audiogen.nn.denoiser import DENOISERS
from audiogen.nn.ssim import ssim
from audiogen.nn.text_encoder import TextEncoder, sinusoids

SMALL = {
    "convnext": {"channels": 16, "blocks": 3, "hidden": 32},
    "wavenet": {"channels": 16, "blocks": 3, "dilation_cycle": 2},
}


@pytest.mark.parametrize("heads", [0, 2])
def test_padding_does_not_change_the_encoder(heads):
    torch.manual_seed(0)
    encoder = TextEncoder(20, channels=16, blocks=2, hidden=24, kernel_size=5, heads=heads).eval()
    tokens, zeros = torch.randint(0, 20, (1, 7)), torch.zeros(1, 7, dtype=torch.long)
    alone = encoder(tokens, zeros, zeros, torch.ones(1, 1, 7, dtype=torch.bool))
    mask = torch.tensor([[[True] * 7 + [False] * 4]])
    padded = encoder(*(torch.cat([x, torch.full((1, 4), 1)], 1) for x in (tokens, zeros, zeros)), mask)
    assert torch.allclose(padded[:, :, :7], alone, atol=1e-5)
    assert padded[:, :, 7:].abs().max() == 0


@pytest.mark.parametrize("name", DENOISERS)
def test_padding_does_not_change_a_denoiser(name):
    torch.manual_seed(0)
    net = DENOISERS[name](8, 6, **SMALL[name])
    torch.nn.init.normal_(net.head.weight)
    x, condition, level = torch.randn(1, 8, 30), torch.randn(1, 6, 30), torch.tensor([0.3])
    alone = net(x, level, net.project(condition), torch.ones(1, 1, 30, dtype=torch.bool))
    mask = torch.zeros(1, 1, 50, dtype=torch.bool)
    mask[..., :30] = True
    wide = [torch.cat([part, torch.randn(1, part.shape[1], 20)], 2) for part in (x, condition)]
    padded = net(wide[0] * mask, level, net.project(wide[1]), mask)
    assert torch.allclose(padded[:, :, :30], alone, atol=1e-5)
    assert padded[:, :, 30:].abs().max() == 0


@pytest.mark.parametrize("name", DENOISERS)
def test_every_part_of_a_denoiser_learns(name):
    net = DENOISERS[name](8, 6, **SMALL[name])
    torch.nn.init.normal_(net.head.weight)
    mask = torch.ones(2, 1, 20, dtype=torch.bool)
    out = net(torch.randn(2, 8, 20), torch.tensor([0.0, -40.0]), net.project(torch.randn(2, 6, 20)), mask)
    out.square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())
    assert torch.isfinite(out).all()


def test_the_noise_level_matters_and_pure_noise_is_finite():
    net = DENOISERS["convnext"](8, 6, **SMALL["convnext"])
    x, projected, mask = (
        torch.randn(1, 8, 9),
        net.project(torch.randn(1, 6, 9)),
        torch.ones(1, 1, 9, dtype=torch.bool),
    )
    low, high, clipped = (net(x, torch.tensor([level]), projected, mask) for level in (-1.0, 1.0, -37.0))
    assert not torch.allclose(low, high)
    assert torch.equal(clipped, net(x, torch.tensor([-8.0]), projected, mask))


def test_a_convnext_block_has_its_stated_receptive_field():
    block = ConvNeXtBlock(4, 8, kernel_size=7)
    x = torch.randn(1, 4, 21, requires_grad=True)
    block(x)[0, :, 10].sum().backward()
    assert x.grad[0].abs().sum(0).nonzero()[:, 0].tolist() == list(range(7, 14))


def test_ssim_equals_an_independent_computation():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 24, 40))
    blur = lambda image: gaussian_filter(image, 1.5, mode="constant", truncate=5 / 1.5)  # noqa: E731
    c1, c2 = (0.01 * 4) ** 2, (0.03 * 4) ** 2
    ma, mb = blur(a), blur(b)
    va, vb, cov = blur(a * a) - ma**2, blur(b * b) - mb**2, blur(a * b) - ma * mb
    reference = (2 * ma * mb + c1) * (2 * cov + c2) / ((ma**2 + mb**2 + c1) * (va + vb + c2))
    ours = ssim(torch.from_numpy(a)[None].float(), torch.from_numpy(b)[None].float(), 4.0)[0]
    assert np.allclose(ours, reference, atol=1e-4)
    same = torch.from_numpy(a)[None].float()
    assert torch.allclose(ssim(same, same, 4.0), torch.ones(1, 24, 40), atol=1e-5)


def test_sinusoids_span_the_stated_range():
    features = sinusoids(torch.tensor([0.0, 1.0]), 8)
    assert features[0].tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    assert features[1, 0] == pytest.approx(np.sin(1.0))
    assert features[1, 3] == pytest.approx(np.sin(1e-4))
