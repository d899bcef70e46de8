import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from audiogen.nn.convnext import ConvNeXtBlock
from audiogen.nn.ssim import ssim
from audiogen.nn.text_encoder import TextEncoder, sinusoids


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
