"""HiFi-GAN and BigVGAN: the protocol of vocoders, and the papers' networks written down call by call."""

from copy import deepcopy
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from audiogen.kernels.snake import antialiased_snake
from audiogen.spectral import MelSpec, mel_spectrogram
from audiogen.vocoders.bigvgan import BigVGan
from audiogen.vocoders.griffin_lim import GriffinLim
from audiogen.vocoders.hifigan import HiFiGan
from audiogen.vocoders.vocos import Vocos

CENTRED = MelSpec(sample_rate=8000, n_fft=64, win_length=64, hop_length=16, n_mels=10, f_max=4000.0)
SPEC = replace(CENTRED, center=False)
SMALL = {
    "channels": 16,
    "rates": (4, 2, 2),
    "kernels": (8, 4, 4),
    "block_kernels": (3, 5),
    "block_dilations": ((1, 3), (1, 2)),
}
torch.manual_seed(0)


def shaken(vocoder):
    """The vocoder in float64, with weights that let much through: what differs, differs by far."""
    for module in vocoder.modules():
        if isinstance(module, (nn.Conv1d, nn.ConvTranspose1d)):
            fan = module.weight[0].numel() if isinstance(module, nn.Conv1d) else module.in_channels * 2
            nn.init.normal_(module.weight, std=0.7 * fan**-0.5)
    for name, parameter in vocoder.named_parameters():
        if name.endswith(("alpha", "beta")):
            nn.init.uniform_(parameter, 0.3, 1.0)
    return vocoder.double().eval()


VOCODERS = {
    "hifigan 1": shaken(HiFiGan(SPEC, **SMALL)),
    "hifigan 2": shaken(HiFiGan(SPEC, **SMALL, block_type=2)),
    "hifigan centred": shaken(HiFiGan(CENTRED, **SMALL)),
    "bigvgan 1": shaken(BigVGan(SPEC, **SMALL)),
    "bigvgan 2": shaken(BigVGan(SPEC, **SMALL, block_type=2, own_height=False, log_scale=False)),
    "bigvgan v2": shaken(BigVGan(CENTRED, **SMALL, last_bias=False, tanh=False)),
}


def streamed(vocoder, mel, cuts):
    """Audio of mel cut at random places, some chunks empty."""
    edges = [0, *sorted(cut % (mel.shape[-1] + 1) for cut in cuts), mel.shape[-1]]
    state, audio = vocoder.init_state(len(mel)), []
    for k, (a, b) in enumerate(zip(edges, edges[1:], strict=False)):
        state, chunk = vocoder.stream(state, mel[..., a:b], last=k + 2 == len(edges))
        audio.append(chunk)
    return torch.cat(audio, dim=-1)


@pytest.mark.parametrize("name", VOCODERS)
@pytest.mark.parametrize("frames", [1, 2, 29])
def test_the_waveform_is_as_long_as_the_front_end_says(name, frames):
    vocoder = VOCODERS[name]
    hops = frames - 1 if vocoder.mel_spec.center else frames
    assert vocoder.decode(torch.randn(2, 10, frames, dtype=torch.float64)).shape == (2, 1, hops * 16)


@pytest.mark.parametrize("name", VOCODERS)
@given(cuts=st.lists(st.integers(0, 10**6), max_size=30))
@settings(max_examples=10, deadline=None)
def test_any_chunks_joined_are_the_whole(name, cuts):
    vocoder = VOCODERS[name]
    mel = torch.randn(2, 10, 29, generator=torch.Generator().manual_seed(1)).double()
    with torch.inference_mode():
        whole = vocoder.decode(mel)
        assert whole.std() > 0.01
        assert torch.allclose(streamed(vocoder, mel, cuts), whole, atol=1e-9)


@pytest.mark.parametrize("name", VOCODERS)
def test_frame_by_frame_is_the_whole_and_waits_for_the_look_ahead(name):
    """The audio up to a frame is out when `lookahead` frames after it are in, and not a frame before."""
    vocoder = VOCODERS[name]
    mel = torch.randn(1, 10, 30, dtype=torch.float64)
    with torch.inference_mode():
        whole = vocoder.decode(mel)
        state, out, done = vocoder.init_state(1), [], []
        for n in range(30):
            state, chunk = vocoder.stream(state, mel[..., n : n + 1], last=n == 29)
            out.append(chunk)
            done.append(sum(c.shape[-1] for c in out))
    assert torch.allclose(torch.cat(out, dim=-1), whole, atol=1e-9)
    for n in range(vocoder.lookahead + 1, 29):
        assert 0 <= done[n] - (n - vocoder.lookahead) * 16 < 16
    assert vocoder.lookahead_ms == pytest.approx(vocoder.lookahead * 2.0)


@pytest.mark.parametrize("name", VOCODERS)
def test_what_is_out_depends_on_no_later_frame_and_what_waits_does(name):
    """By the gradient: the far end of the reach weighs too little to be seen in the waveform."""
    vocoder = VOCODERS[name]
    mel = torch.randn(1, 10, 40, dtype=torch.float64, requires_grad=True)
    audio = vocoder.decode(mel)
    done = vocoder.stream(vocoder.init_state(1), mel[..., :30])[1].shape[-1]
    (before,) = torch.autograd.grad(audio[..., :done].sum(), mel, retain_graph=True)
    (after,) = torch.autograd.grad(audio[..., done : done + 16].sum(), mel)
    assert not before[..., 30:].any()
    assert after[..., 30].any()


@pytest.mark.parametrize("name", VOCODERS)
def test_single_precision_streams_within_its_own_error(name):
    vocoder = deepcopy(VOCODERS[name]).float()
    mel = torch.randn(1, 10, 20)
    with torch.inference_mode():
        assert torch.allclose(streamed(vocoder, mel, [1, 2, 5, 5, 13]), vocoder.decode(mel), atol=1e-5)


def test_the_paper_s_hifigan_has_the_paper_s_sizes():
    """V1: 13.94 million weights (Kong et al. 2020, Table 1); V2: 0.92; V3: 1.46."""

    def millions(vocoder):
        return round(sum(p.numel() for p in vocoder.parameters()) / 1e6, 2)

    spec = MelSpec(sample_rate=22050, center=False)
    v3 = {"rates": (8, 8, 4), "kernels": (16, 16, 8), "block_kernels": (3, 5, 7), "block_type": 2}
    with torch.device("meta"):
        assert millions(HiFiGan(spec)) == pytest.approx(13.94, abs=0.02)
        assert millions(HiFiGan(spec, 128)) == pytest.approx(0.92, abs=0.02)
        v3 = HiFiGan(spec, 256, **v3, block_dilations=((1, 2), (2, 6), (3, 12)))
        assert millions(v3) == pytest.approx(1.46, abs=0.02)
        assert round(millions(BigVGan(replace(spec, n_mels=100, sample_rate=24000)))) == 112


def convolution(x, layer, dilation=1):
    pad = dilation * (layer.weight.shape[-1] - 1) // 2
    return F.conv1d(x, layer.weight, layer.bias, padding=pad, dilation=dilation)


def written_down(vocoder, mel, activate, activate_end, before):
    """The generator as Kong et al. 2020 draw it: Fig. 1 with SMALL's sizes, activations given."""
    network = vocoder.network
    x = convolution(mel, network.pre)
    for stage, (rate, kernel) in zip(network.stages, ((4, 8), (2, 4), (2, 4)), strict=True):
        x = F.conv_transpose1d(before(x), stage.up.weight, stage.up.bias, rate, (kernel - rate) // 2)
        outputs = []
        for block, dilations in zip(stage.blocks.branches, SMALL["block_dilations"], strict=True):
            y = x
            for residual, dilation in zip(block, dilations, strict=True):
                z = convolution(activate(y, residual.body[0]), residual.body[1], dilation)
                if len(residual.body) == 4:
                    z = convolution(activate(z, residual.body[2]), residual.body[3])
                y = y + z
            outputs.append(y)
        x = sum(outputs) / 2
    return convolution(activate_end(x, network.end), network.post)


@pytest.mark.parametrize("name", [name for name in VOCODERS if name.startswith("hifigan")])
def test_hifigan_is_the_paper_s(name):
    mel = torch.randn(2, 10, 9, dtype=torch.float64)
    vocoder = VOCODERS[name]
    expected = written_down(
        vocoder,
        mel,
        lambda x, _: F.leaky_relu(x, 0.1),
        lambda x, _: F.leaky_relu(x, 0.01),
        lambda x: F.leaky_relu(x, 0.1),
    ).tanh()
    if vocoder.mel_spec.center:
        expected = expected[..., 8:-8]
    assert torch.allclose(vocoder.decode(mel), expected, atol=1e-9)


@pytest.mark.parametrize("name", [name for name in VOCODERS if name.startswith("bigvgan")])
def test_bigvgan_is_the_paper_s(name):
    def activate(x, layer):
        alpha = layer.alpha.exp() if name != "bigvgan 2" else layer.alpha
        beta = layer.beta.exp() if name != "bigvgan 2" else alpha
        return antialiased_snake(x, alpha, beta)

    mel = torch.randn(2, 10, 9, dtype=torch.float64)
    vocoder = VOCODERS[name]
    expected = written_down(vocoder, mel, activate, activate, lambda x: x)
    expected = expected.clamp(-1, 1)[..., 8:-8] if name == "bigvgan v2" else expected.tanh()
    assert torch.allclose(vocoder.decode(mel), expected, atol=1e-9)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"rates": (4, 4, 2)}, r"\[4, 4, 2\] is 32, not hop_length 16"),
        ({"kernels": (8, 4)}, "3 rates need as many kernels, not 2"),
        ({"kernels": (7, 4, 4)}, "kernel 7 .* rate 4"),
        ({"block_kernels": (3,)}, "1 block_kernels need as many block_dilations"),
        ({"block_kernels": (3, 4)}, r"\[4\] are even"),
        ({"channels": 12}, "12 channels cannot be halved 3 times"),
        ({"block_type": 3}, "block_type 3 is unknown; use 1 or 2"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(sizes, message):
    with pytest.raises(ValueError, match=message):
        HiFiGan(SPEC, **{**SMALL, **sizes})


def test_vocos_and_griffin_lim_give_a_hop_for_an_uncentred_frame():
    mel = torch.randn(2, 10, 21)
    vocos = Vocos(SPEC, 8, 8, 1, n_fft=64)
    assert vocos.decode(mel).shape == GriffinLim(SPEC, 2).decode(mel).shape == (2, 1, 21 * 16)
    assert torch.allclose(streamed(vocos, mel, [3, 3, 9, 20]), vocos.decode(mel), atol=1e-5)


def test_griffin_lim_inverts_an_uncentred_front_end():
    spec = MelSpec(center=False, win_length=800)
    t = torch.arange(16000) / 16000
    wav = sum(torch.sin(2 * torch.pi * 150 * k * t) / k for k in range(1, 20))[None] * 0.1
    mel = mel_spectrogram(wav, spec)
    again = mel_spectrogram(GriffinLim(spec).decode(mel)[:, 0], spec)
    assert again.shape == mel.shape
    loud = mel > -4
    assert (mel - again)[loud].abs().mean() < 0.25


@pytest.mark.parametrize(("center", "frames"), [(True, 4), (False, 3)])
def test_griffin_lim_asks_for_enough_frames(center, frames):
    vocoder = GriffinLim(MelSpec(center=center), 1)
    assert vocoder.decode(torch.zeros(1, 80, frames)).shape[-1] == 3 * 256
    with pytest.raises(ValueError, match=rf"{frames - 1} frames are too few .* at least {frames}"):
        vocoder.decode(torch.zeros(1, 80, frames - 1))
