"""Layers of the upsampling vocoders: transposed convolutions, combinations, activations without aliases."""

import math

import numpy as np
import pytest
import scipy.signal
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from audiogen.kernels.snake import antialiased_snake, filter_taps
from audiogen.nn.conv import StreamConv1d, StreamConvTranspose1d
from audiogen.nn.snake import AntialiasedSnake
from audiogen.nn.streams import Chain, Crop, Mean, Pointwise, Residual

torch.manual_seed(0)


def snake(**options):
    layer = AntialiasedSnake(6, **options)
    for parameter in layer.parameters():
        nn.init.uniform_(parameter, 0.5, 1.5)
    return layer


def branch(kernel, dilation=1):
    return Chain(
        Residual(
            Pointwise(torch.tanh),
            StreamConv1d(6, 6, kernel, dilation=dilation),
            snake(),
            StreamConv1d(6, 6, kernel),
        ),
        Residual(Pointwise(torch.tanh), StreamConv1d(6, 6, kernel)),
    )


LAYERS = {
    "transposed 4/2": StreamConvTranspose1d(6, 6, 4, 2),
    "transposed 16/4": StreamConvTranspose1d(6, 6, 16, 4),
    "transposed 3/3": StreamConvTranspose1d(6, 6, 3, 3),
    "transposed 11/1": StreamConvTranspose1d(6, 6, 11, 1),
    "pointwise": Pointwise(torch.tanh),
    "snake": snake(own_height=False, log_scale=False),
    "snake beta": snake(),
    "chain": Chain(StreamConv1d(6, 6, 3), StreamConvTranspose1d(6, 6, 8, 2), snake()),
    "residual": Residual(StreamConv1d(6, 6, 7), Pointwise(torch.tanh), StreamConv1d(6, 6, 3, dilation=2)),
    "mean": Mean([branch(3), branch(5, 2), Pointwise(torch.tanh)]),
    "crop": Crop(3, 5),
    "stage": Chain(StreamConvTranspose1d(6, 6, 6, 2), Mean([branch(3), branch(3, 3)]), Crop(7, 2)),
}


def chunks(x, cuts):
    """The signal cut at random places, some chunks empty."""
    edges = [0, *sorted(cut % (x.shape[-1] + 1) for cut in cuts), x.shape[-1]]
    return [x[..., a:b] for a, b in zip(edges, edges[1:], strict=False)]


def streamed(layer, x, cuts):
    state, outputs = layer.init_state(len(x)), []
    pieces = chunks(x, cuts)
    for k, piece in enumerate(pieces):
        state, y, *_ = layer.stream(state, piece, last=k + 1 == len(pieces))
        outputs.append(y)
    return torch.cat(outputs, dim=-1)


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("length", [23, 1])
@given(cuts=st.lists(st.integers(0, 10**6), max_size=12))
@settings(max_examples=12, deadline=None)
def test_chunks_joined_are_the_whole(name, length, cuts):
    layer = LAYERS[name]
    x = torch.randn(2, 6, length, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        assert torch.allclose(streamed(layer, x, cuts), layer(x), atol=1e-6)


@pytest.mark.parametrize("name", LAYERS)
def test_one_input_at_a_time_is_the_whole(name):
    layer = LAYERS[name]
    x = torch.randn(1, 6, 19)
    with torch.inference_mode():
        assert torch.allclose(streamed(layer, x, range(1, 19)), layer(x), atol=1e-6)


@pytest.mark.parametrize("name", LAYERS)
def test_outputs_wait_for_no_more_than_the_look_ahead(name):
    """Changing later inputs leaves earlier outputs alone; those that wait would change, and are not out."""
    layer = LAYERS[name]
    rate = getattr(layer, "rate", 1)
    cut = next((part.start for part in layer.modules() if isinstance(part, Crop)), 0)
    first = 25 * rate - layer.lookahead - cut  # outputs that see no input from the 25th on
    x = torch.randn(1, 6, 40)
    changed = x.clone()
    changed[..., 25:] += 1.0
    with torch.inference_mode():
        same = (layer(x) == layer(changed)).all(dim=1)[0]
        _, y, *_ = layer.stream(layer.init_state(1), x[..., :25])
    assert y.shape[-1] == first
    assert same[:first].all()
    assert cut or not same[first]  # what may be cropped waits for the end of the signal, not for a value


@pytest.mark.parametrize(("kernel", "rate"), [(4, 2), (16, 8), (3, 3), (5, 1)])
def test_a_transposed_convolution_spreads_each_input_over_its_kernel(kernel, rate):
    """The definition: input n adds weight[k] at n rate + k; what lies beyond both ends is cut off."""
    layer = StreamConvTranspose1d(3, 2, kernel, rate)
    x = torch.randn(1, 3, 7)
    total = torch.zeros(2, 6 * rate + kernel)
    for n in range(7):
        total[:, n * rate : n * rate + kernel] += torch.einsum("c,cok->ok", x[0, :, n], layer.weight)
    edge = (kernel - rate) // 2
    expected = total[:, edge : edge + 7 * rate] + layer.bias[:, None]
    assert torch.allclose(layer(x)[0], expected, atol=1e-6)


@pytest.mark.parametrize(("kernel", "rate"), [(3, 4), (7, 4)])
def test_a_kernel_that_cannot_be_centred_is_refused(kernel, rate):
    with pytest.raises(ValueError, match=rf"kernel {kernel} .* rate {rate} .*use 8"):
        StreamConvTranspose1d(2, 2, kernel, rate)


def test_a_stream_of_a_convolution_without_bias_has_none():
    layer = StreamConv1d(2, 2, 3, bias=False)
    assert layer.bias is None
    assert not layer(torch.zeros(1, 2, 4)).any()


def test_the_taps_are_scipys_kaiser_window_times_a_sinc():
    attenuation = scipy.signal.kaiser_atten(6, 1.2)  # half the filter, a transition of 1.2 of Nyquist
    window = np.kaiser(12, scipy.signal.kaiser_beta(attenuation))
    taps = window * np.sinc((np.arange(12) - 5.5) / 2)
    assert np.allclose(filter_taps(), taps / taps.sum(), atol=1e-7)


def naive_snake(x, alpha, beta):
    """Zeros between the values, a filter, the activation, the filter again, every second value."""
    taps = np.array(filter_taps())
    wide = np.pad(x, 10, mode="edge")
    stuffed = np.zeros(2 * len(wide))
    stuffed[::2] = wide
    up = np.convolve(stuffed, 2 * taps)[20 + 5 : 20 + 5 + 2 * len(x)]
    active = up + np.sin(alpha * up) ** 2 / beta
    low = np.convolve(np.pad(active, (5, 6), mode="edge"), taps, mode="valid")
    return low[::2]


@pytest.mark.parametrize("length", [1, 2, 5, 30])
def test_the_activation_is_the_textbook_one(length):
    x = torch.randn(2, 3, length, dtype=torch.float64)
    alpha, beta = torch.tensor([0.5, 2.0, 7.0]).double(), torch.tensor([1.0, 0.3, 4.0]).double()
    found = antialiased_snake(x, alpha, beta)
    for b in range(2):
        for c in range(3):
            expected = naive_snake(x[b, c].numpy(), float(alpha[c]), float(beta[c]))
            assert np.allclose(found[b, c], expected, atol=1e-8)


def test_constants_and_slow_waves_pass_as_through_the_plain_activation():
    """Filters of sum one leave a constant, and nearly leave a wave far below their edge."""
    alpha, beta = torch.tensor([2.0]), torch.tensor([0.5])
    constant = torch.full((1, 1, 20), 0.7)
    plain = 0.7 + math.sin(1.4) ** 2 / 0.5
    assert torch.allclose(antialiased_snake(constant, alpha, beta), torch.tensor(plain), atol=1e-5)
    wave = torch.sin(2 * math.pi * torch.arange(400) / 100)[None, None]
    plain = wave + torch.sin(2 * wave).square() / 0.5
    assert torch.allclose(antialiased_snake(wave, alpha, beta), plain, atol=5e-3)


def test_overtones_above_nyquist_hardly_fold_back():
    """A wave of 0.3 of the rate has overtones at 0.6, which fold to 0.4 unless they are filtered away.

    Twelve taps let a fifth of them pass.
    """
    wave = torch.sin(2 * math.pi * 0.3 * torch.arange(1000))[None, None]

    def folded(y):
        spectrum = torch.fft.rfft(y[0, 0] * torch.hann_window(1000)).abs()
        return spectrum[400] / spectrum[300]

    plain = folded(wave + torch.sin(wave).square())
    assert plain > 0.3
    assert folded(antialiased_snake(wave, torch.ones(1), torch.ones(1))) < 0.35 * plain


def test_log_scale_parameters_are_logarithms():
    x = torch.randn(1, 6, 12)
    log, linear = AntialiasedSnake(6), AntialiasedSnake(6, log_scale=False)
    for name in ("alpha", "beta"):
        values = torch.rand(6) + 0.5
        getattr(linear, name).data.copy_(values)
        getattr(log, name).data.copy_(values.log())
    assert torch.allclose(log(x), linear(x), atol=1e-6)


def test_without_a_height_of_its_own_a_channel_s_is_one_over_its_frequency():
    x = torch.randn(1, 6, 12)
    layer = snake(own_height=False, log_scale=False)
    assert dict(layer.named_parameters()).keys() == {"alpha"}
    assert torch.equal(layer(x), antialiased_snake(x, layer.alpha, layer.alpha))


def test_residuals_and_means_are_sums():
    x = torch.randn(2, 6, 11)
    assert torch.equal(Residual(Pointwise(torch.cos))(x), x + x.cos())
    mean = Mean([Pointwise(torch.cos), Pointwise(torch.sin)])
    assert torch.allclose(mean(x), (x.cos() + x.sin()) / 2)
    assert torch.equal(Crop(2, 3)(x), x[..., 2:-3])
    assert Crop(8, 8)(x).shape == (2, 6, 0)
