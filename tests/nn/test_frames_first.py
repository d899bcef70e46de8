"""What layers do another way without gradients, frames first in memory, beside torch's own."""

import pytest
import torch
import torch.nn.functional as F

from audiogen.nn.conv import StreamConv1d
from audiogen.nn.convnext import ConvNeXtBlock
from audiogen.spectral import MelSpec
from audiogen.vocoders.vocos import Vocos


@pytest.mark.parametrize("frames", [1, 5, 200])
@pytest.mark.parametrize("dilation", [1, 3])
def test_a_depthwise_convolution_without_gradients_is_torch_s(frames, dilation):
    layer = StreamConv1d(6, 6, 5, dilation=dilation, groups=6)
    x = torch.randn(2, 6, frames)
    expected = F.conv1d(x, layer.weight, layer.bias, padding=2 * dilation, dilation=dilation, groups=6)
    with torch.no_grad():
        for laid_out in (x, x.mT.contiguous().mT):
            assert torch.allclose(layer(laid_out), expected, atol=1e-6)
            _, streamed, here = layer.stream(layer.init_state(2), laid_out, last=True)
            assert torch.allclose(streamed, expected, atol=1e-6)
            assert torch.equal(here, x)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("frames", [1, 8, 9, 64, 65])
@pytest.mark.parametrize("bias", [True, False])
def test_a_convolution_of_few_frames_is_torch_s(dtype, frames, bias):
    layer = StreamConv1d(6, 5, 5, bias=bias).to(dtype)
    x = torch.randn(2, 6, frames, dtype=dtype)
    with torch.no_grad():
        assert torch.allclose(layer(x), F.conv1d(x, layer.weight, layer.bias, padding=2), atol=1e-6)


def test_a_block_gives_the_same_with_and_without_gradients_and_leaves_its_input_alone():
    block = ConvNeXtBlock(6, 8, layer_scale=1.0)
    x, condition = torch.randn(2, 2, 6, 30)
    kept = x.clone()
    expected = block(x, condition)
    with torch.no_grad():
        assert torch.allclose(block(x, condition), expected, atol=1e-6)
        assert torch.allclose(block.stream(block.init_state(2), x, last=True)[1], block(x), atol=1e-6)
    assert torch.equal(x, kept)


def test_the_head_s_numbers_are_polar_coordinates():
    vocos = Vocos(MelSpec(), 8, 8, 1, source=True)
    out = torch.randn(2, 5, 3 * 513)
    magnitude, spectrum, noise = vocos.read(out)
    assert torch.allclose(spectrum, torch.polar(out[..., :513].exp(), out[..., 513:1026]), atol=1e-5)
    assert torch.allclose(magnitude, spectrum.abs(), atol=1e-5)
    assert torch.equal(noise, out[..., 1026:])
