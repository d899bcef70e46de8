"""The autoencoder: chunks are the whole, latents are normalised, phases run on."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from audiogen.nn.clock import PhaseClock, turned
from audiogen.vocoders.autoencoder import LIMIT, Autoencoder, Posterior, squash, unsquash

SMALL = {"latents": 4, "channels": 8, "hidden": 16}
torch.manual_seed(0)
CODECS = {
    "stride 2": Autoencoder(16000, hop_length=64, n_fft=384, **SMALL),
    "strides 2 and 3": Autoencoder(
        16000,
        hop_length=32,
        n_fft=128,
        strides=(2, 3),
        encoder_blocks=(1, 1, 1),
        decoder_blocks=(1, 1, 1),
        **SMALL,
    ),
    "250 Hz, as in the paper": Autoencoder(
        24000, hop_length=96, n_fft=768, strides=(), encoder_blocks=(1,), decoder_blocks=(1,), **SMALL
    ),
    "no refinement": Autoencoder(16000, hop_length=64, n_fft=256, refinements=0, **SMALL),
}
for codec in CODECS.values():
    codec.eval()


def streamed(codec, latents, cuts):
    edges = [0, *sorted(cut % (latents.shape[-1] + 1) for cut in cuts), latents.shape[-1]]
    state, audio = codec.init_state(len(latents)), []
    for k, (a, b) in enumerate(zip(edges, edges[1:], strict=False)):
        state, chunk = codec.stream(state, latents[..., a:b], last=k + 2 == len(edges))
        audio.append(chunk)
    return torch.cat(audio, dim=-1)


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
@given(cuts=st.lists(st.integers(0, 10**6), max_size=20))
@settings(max_examples=8, deadline=None)
def test_any_chunks_joined_are_the_whole(codec, cuts):
    latents = torch.randn(2, 4, 31, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        assert torch.allclose(streamed(codec, latents, cuts), codec.decode(latents), atol=1e-5)


@pytest.mark.parametrize("name", CODECS)
def test_audio_is_out_after_the_look_ahead_and_later_latents_do_not_change_it(name):
    codec = CODECS[name]
    latents = torch.randn(1, 4, 60)
    changed = latents.clone()
    changed[..., 40:] += 1.0
    with torch.inference_mode():
        whole, other = codec.decode(latents), codec.decode(changed)
        _, early = codec.stream(codec.init_state(1), latents[..., :40])
    done = (39 - codec.lookahead) * codec.hop_length
    assert done <= early.shape[-1] < done + codec.hop_length
    assert torch.allclose(early, whole[..., : early.shape[-1]], atol=1e-5)
    assert torch.equal(whole[..., :done], other[..., :done])
    assert not torch.equal(whole[..., done:], other[..., done:])


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
@pytest.mark.parametrize("samples", [1, 191, 192, 193, 5001])
def test_a_latent_frame_stands_for_a_hop_and_odd_lengths_are_filled_up(codec, samples):
    latents = codec.encode(0.1 * torch.randn(2, 1, samples))
    assert latents.shape == (2, 4, math.ceil(samples / codec.hop_length))
    assert codec.decode(latents).shape == (2, 1, latents.shape[-1] * codec.hop_length)


def test_silence_beyond_the_end_is_what_filling_up_means():
    codec, wav = CODECS["stride 2"], 0.1 * torch.randn(1, 1, 1000)
    padded = torch.nn.functional.pad(wav, (0, -1000 % codec.hop_length))
    assert torch.equal(codec.encode(wav), codec.encode(padded))


def test_what_the_head_asks_for_is_known_without_the_waveform():
    codec, latents = CODECS["stride 2"], torch.randn(1, 4, 9)
    output = codec.synthesize(latents)
    magnitude, deviation = codec.describe(latents)
    assert torch.equal(magnitude, output.magnitude)
    assert torch.equal(deviation, output.deviation)


def test_the_paper_s_rate_can_be_built():
    codec = CODECS["250 Hz, as in the paper"]
    assert (codec.frame_rate, codec.hop_length) == (250.0, 96)
    assert Autoencoder(latents=16).frame_rate == 46.875


def test_levels_without_blocks_are_refused():
    with pytest.raises(ValueError, match=r"strides \(2,\) make 2 levels, but encoder_blocks are \(1,\)"):
        Autoencoder(encoder_blocks=(1,), **SMALL)
    with pytest.raises(ValueError, match="decoder_blocks are"):
        Autoencoder(decoder_blocks=(), **SMALL)


def fitted(latents=4, **more):
    """An autoencoder whose basis knows the recordings (4, 6400) that come with it."""
    torch.manual_seed(2)
    codec = Autoencoder(16000, hop_length=64, n_fft=256, **{**SMALL, "latents": latents}, **more).eval()
    wav = 0.2 * torch.randn(4, 6400) * torch.linspace(0.1, 1, 6400).sin()
    codec.basis.add(codec.joined(codec.spectrum(wav)).flatten(0, 1))
    codec.basis.fit()
    return codec, wav


def test_latents_of_the_data_are_uncorrelated_and_of_unit_variance():
    codec, wav = fitted()
    latents = unsquash(codec.encode(wav[:, None])).transpose(0, 1).flatten(1)
    assert torch.allclose(latents.mean(1), torch.zeros(4), atol=1e-3)
    assert torch.allclose(latents.cov(correction=0), torch.eye(4), atol=1e-2)


def test_with_as_many_latents_as_values_the_linear_part_is_exact():
    """130 values of two frames: what is above the quietest level comes back."""
    codec, wav = fitted(latents=258)
    spectrum = codec.spectrum(wav)
    again = codec.linear(codec.encode(wav[:, None]))
    loud = spectrum.abs() > 0.1
    assert torch.allclose(again[loud], spectrum.abs()[loud].log(), atol=0.02)


def test_an_encoder_s_network_changes_nothing_at_first():
    codec, wav = fitted()
    more, _ = fitted(encoder_blocks=(1, 1))
    more.basis.load_state_dict(codec.basis.state_dict())
    assert torch.allclose(more.encode(wav[:, None]), codec.encode(wav[:, None]), atol=1e-5)
    assert sum(p.numel() for p in more.encoder.parameters()) > 0


def test_divergence_is_that_of_the_distributions():
    """Against torch's own closed form of the divergence between normals."""
    mean, log_variance = torch.randn(2, 3, 5), torch.randn(2, 3, 5)
    mine = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    expected = torch.distributions.kl_divergence(mine, torch.distributions.Normal(0.0, 1.0)).mean()
    assert torch.allclose(Posterior(mean, log_variance).divergence(), expected, atol=1e-6)
    assert Posterior(torch.zeros(1, 1, 1), torch.zeros(1, 1, 1)).divergence() == 0


def test_draws_have_the_posterior_s_moments():
    torch.manual_seed(3)
    draws = Posterior(torch.full((1, 1, 200000), 0.7), torch.full((1, 1, 200000), -2.0)).sample()
    assert abs(float(draws.mean()) - 0.7) < 5e-3
    assert abs(float(draws.std()) - math.exp(-1)) < 5e-3


def test_squashing_is_bounded_with_a_gradient_everywhere():
    x = torch.tensor([-20.0, -3.0, 0.0, 0.01, 3.0, 20.0], requires_grad=True)
    y = squash(x)
    assert y.abs().max() < LIMIT
    assert torch.allclose(unsquash(y)[1:5], x[1:5], atol=1e-4)
    assert torch.isfinite(unsquash(2 * y)).all()
    y.sum().backward()
    assert (x.grad > 0).all()
    assert torch.allclose(y[3], x[3], atol=1e-6)


def test_a_clock_told_a_recording_s_turns_shows_its_phases():
    """Up to the phases of the first frame, which nobody told it."""
    spectrum = torch.randn(2, 9, 33, dtype=torch.complex64)
    clock = PhaseClock(64, 16, reach=0)  # each bin is its own leader
    turns = torch.nn.functional.pad(turned(spectrum, 16), (0, 0, 0, 1))
    _, phases = clock.stream(clock.init_state(2), turns, spectrum.abs())
    error = phases - spectrum.angle() - (phases - spectrum.angle())[:, :1]
    assert error.cos().min() > 1 - 1e-5


def test_a_clock_that_keeps_a_frequency_makes_a_steady_tone():
    """One deviation for all frames: a sine of that frequency, of one size, between the edges."""
    n_fft, hop, hz, rate = 512, 128, 1234.5, 16000
    codec = Autoencoder(rate, hop_length=hop, n_fft=n_fft, refinements=0, **SMALL)
    bins = torch.arange(n_fft // 2 + 1)
    cycles = hz * hop / rate - bins * hop / n_fft
    deviation = (2 * math.pi * (cycles - cycles.round())).expand(1, 40, -1)
    window, t = torch.hann_window(n_fft), torch.arange(n_fft)
    magnitude = torch.fft.rfft(window * torch.sin(2 * math.pi * hz / rate * t)).abs().expand(1, 40, -1)
    _, phases = codec.clock.stream(codec.clock.init_state(1), deviation, magnitude)
    wav = codec.istft.stream(codec.istft.init_state(1), torch.polar(magnitude, phases), last=True)[1]
    middle = wav[0, 10 * hop : 30 * hop].double()
    time = 2 * math.pi * hz / rate * torch.arange(len(middle), dtype=torch.float64)
    basis = torch.stack([time.cos(), time.sin()], dim=1)
    fit = basis @ torch.linalg.lstsq(basis, middle[:, None]).solution
    assert (middle - fit[:, 0]).norm() < 0.03 * middle.norm()
    assert 0.9 < float(fit.abs().max()) < 1.1


def test_neighbours_follow_the_strongest_bin():
    clock = PhaseClock(16, 4, reach=2)
    phases = torch.linspace(0, 1, 9).expand(1, 1, 9)
    magnitude = torch.tensor([0, 0, 1, 5, 1, 0, 0, 0, 0.5]).expand(1, 1, 9)
    locked = clock.locked(phases, magnitude)[0, 0]
    assert torch.allclose(torch.cos(locked[1:6] - locked[3]), torch.tensor([1.0, -1, 1, -1, 1]), atol=1e-5)
    assert torch.equal(locked[3], phases[0, 0, 3])
