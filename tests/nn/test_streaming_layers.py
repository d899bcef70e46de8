"""Every layer that streams: chunks joined are the whole, and nothing looks further ahead than it says."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from audiogen.nn.conv import StreamConv1d
from audiogen.nn.convnext import ConvNeXtBlock
from audiogen.nn.istft import InverseStft
from audiogen.nn.refinement import PhaseRefinement
from audiogen.nn.source import F0Tracker, PhaseState, advance, pulse_frames

torch.manual_seed(0)
LAYERS = {
    f"{name} causal={causal}": layer
    for causal in (False, True)
    for name, layer in {
        "conv": StreamConv1d(6, 6, 7, causal=causal),
        "dilated": StreamConv1d(6, 6, 3, dilation=4, causal=causal),
        "depthwise": StreamConv1d(6, 6, 5, groups=6, causal=causal),
        "convnext": ConvNeXtBlock(6, 8, layer_scale=1.0, causal=causal),
    }.items()
}


def chunks(x, cuts, dim=-1):
    """The signal cut at random places, some chunks empty."""
    edges = [0, *sorted(cut % (x.shape[dim] + 1) for cut in cuts), x.shape[dim]]
    return [x.narrow(dim, a, b - a) for a, b in zip(edges, edges[1:], strict=False)]


def streamed(layer, x, cuts, dim=-1):
    state, outputs = layer.init_state(len(x)), []
    pieces = chunks(x, cuts, dim)
    for k, piece in enumerate(pieces):
        state, y, *_ = layer.stream(state, piece, last=k + 1 == len(pieces))
        outputs.append(y)
    return torch.cat(outputs, dim=-1)


CUTS = st.lists(st.integers(0, 10**6), max_size=12)


@pytest.mark.parametrize("name", LAYERS)
@given(cuts=CUTS)
@settings(max_examples=15, deadline=None)
def test_chunks_joined_are_the_whole(name, cuts):
    layer = LAYERS[name]
    x = torch.randn(2, 6, 23, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        assert torch.allclose(streamed(layer, x, cuts), layer(x), atol=1e-6)


@pytest.mark.parametrize("name", LAYERS)
def test_outputs_wait_for_no_more_than_the_look_ahead(name):
    """Changing later inputs leaves earlier outputs alone, and the last one within reach is not."""
    layer = LAYERS[name]
    ahead = getattr(layer, "depthwise", layer).lookahead
    x = torch.randn(1, 6, 30)
    changed = x.clone()
    changed[..., 20:] += 1.0
    with torch.inference_mode():
        same = (layer(x) == layer(changed)).all(dim=1)[0]
        assert same[: 20 - ahead].all()
        assert not same[20 - ahead]
        _, y, *_ = layer.stream(layer.init_state(1), x)
    assert y.shape[-1] == 30 - ahead


def test_a_centred_convolution_is_torch_s():
    layer = StreamConv1d(4, 5, 5, dilation=2)
    x = torch.randn(2, 4, 19)
    expected = torch.nn.functional.conv1d(x, layer.weight, layer.bias, padding=4, dilation=2)
    assert torch.allclose(layer(x), expected, atol=1e-6)


@pytest.mark.parametrize(("n_fft", "hop"), [(64, 32), (64, 16), (96, 16), (128, 16)])
@given(cuts=CUTS)
@settings(max_examples=10, deadline=None)
def test_the_inverse_stft_is_torch_s_in_any_chunks(n_fft, hop, cuts):
    window = torch.hann_window(n_fft)
    spectrum = torch.randn(2, 9, n_fft // 2 + 1, dtype=torch.complex64)
    expected = torch.istft(spectrum.mT, n_fft, hop, window=window)
    layer = InverseStft(window, hop)
    assert layer(spectrum).shape == (2, 8 * hop)
    assert torch.allclose(layer(spectrum), expected, atol=1e-5)
    assert torch.allclose(streamed(layer, spectrum, cuts, dim=1), expected, atol=1e-5)


@pytest.mark.parametrize(("n_fft", "hop"), [(64, 32), (64, 16), (96, 16), (128, 16)])
@given(cuts=CUTS)
@settings(max_examples=10, deadline=None)
def test_frames_on_hops_of_their_own_give_their_hops(n_fft, hop, cuts):
    """The inverse of an STFT of a signal padded by half of window less hop is the signal, to its edges."""
    window = torch.hann_window(n_fft)
    wav = torch.randn(2, 9 * hop)
    edge = (n_fft - hop) // 2
    spectrum = torch.stft(
        torch.nn.functional.pad(wav, (edge, edge)),
        n_fft,
        hop,
        n_fft,
        window,
        center=False,
        return_complex=True,
    ).mT
    layer = InverseStft(window, hop, center=False)
    assert torch.allclose(layer(spectrum), wav, atol=1e-5)
    assert torch.allclose(streamed(layer, spectrum, cuts, dim=1), wav, atol=1e-5)
    _, audio = layer.stream(layer.init_state(2), spectrum)
    assert 0 <= audio.shape[-1] - (8 - layer.lookahead) * hop < hop


@pytest.mark.parametrize(("n_fft", "hop", "frames"), [(64, 32, 0), (64, 16, 1), (128, 16, 3)])
def test_the_inverse_stft_states_its_look_ahead(n_fft, hop, frames):
    layer = InverseStft(torch.hann_window(n_fft), hop)
    assert layer.lookahead == frames
    _, audio = layer.stream(layer.init_state(1), torch.randn(1, 7, n_fft // 2 + 1, dtype=torch.complex64))
    assert audio.shape[-1] == (6 - frames) * hop


@pytest.mark.parametrize("n_fft", [48, 144, 100])
def test_a_window_that_does_not_fit_the_hop_is_refused(n_fft):
    with pytest.raises(ValueError, match=rf"{n_fft} samples is no multiple of twice hop_length 48"):
        InverseStft(torch.hann_window(n_fft), 48)


@pytest.mark.parametrize(("n_fft", "hop"), [(64, 32), (64, 16)])
@given(cuts=CUTS)
@settings(max_examples=10, deadline=None)
def test_an_iteration_of_griffin_lim_is_the_same_in_any_chunks(n_fft, hop, cuts):
    """And it is synthesis, analysis, momentum, the wanted magnitudes: torch's transforms say so."""
    window, momentum = torch.hann_window(n_fft), 0.3
    layer = PhaseRefinement(window, hop, momentum)
    spectrum, before = torch.randn(2, 2, 15, n_fft // 2 + 1, dtype=torch.complex64)
    magnitude = torch.rand(2, 15, n_fft // 2 + 1)
    audio = torch.istft(spectrum.mT, n_fft, hop, window=window)
    consistent = torch.stft(audio, n_fft, hop, window=window, return_complex=True, pad_mode="constant").mT
    ahead = consistent + momentum * (consistent - before)
    expected = torch.polar(magnitude, ahead.angle())
    state, found = layer.init_state(2), []
    pieces = zip(*(chunks(x, cuts, 1) for x in (spectrum, magnitude, before)), strict=True)
    for k, piece in enumerate(pieces):
        state, *out = layer.stream(state, *piece, last=k == len(cuts))
        found.append(out)
    refined, magnitudes, again = (torch.cat(parts, dim=1) for parts in zip(*found, strict=True))
    assert torch.equal(magnitudes, magnitude)
    assert torch.allclose(again, consistent, atol=1e-4)
    assert torch.allclose(refined, expected, atol=1e-3)


def test_a_consistent_spectrum_needs_no_refinement():
    window = torch.hann_window(64)
    audio = torch.randn(1, 320)
    spectrum = torch.stft(audio, 64, 16, window=window, return_complex=True, pad_mode="constant").mT
    layer = PhaseRefinement(window, 16)
    _, refined, _, again = layer.stream(layer.init_state(1), spectrum, spectrum.abs(), spectrum, last=True)
    assert torch.allclose(refined, spectrum, atol=1e-4)
    assert torch.allclose(again, spectrum, atol=1e-4)


def test_frames_that_cannot_be_centred_on_hops_are_refused():
    with pytest.raises(ValueError, match="90 samples cannot be centred on hops of 45"):
        InverseStft(torch.hann_window(90), 45, center=False)


@pytest.mark.parametrize("causal", [False, True])
@given(cuts=CUTS)
@settings(max_examples=8, deadline=None)
def test_the_tracker_hears_the_same_in_any_chunks(causal, cuts):
    tracker = F0Tracker(10, 8, 2, causal=causal)
    mel = torch.randn(2, 10, 21)
    pieces, state, scores = chunks(mel, cuts), tracker.init_state(2), []
    with torch.inference_mode():
        for k, piece in enumerate(pieces):
            state, y = tracker.stream(state, piece, last=k + 1 == len(pieces))
            scores.append(y)
        assert torch.allclose(torch.cat(scores, dim=1), tracker(mel), atol=1e-12)


def test_the_tracker_s_frequency_is_that_of_its_classes():
    tracker = F0Tracker(4, 4, 1)
    scores = torch.full((1, 3, tracker.CLASSES), -100.0, dtype=torch.float64)
    scores[0, 0, 0] = scores[0, 1, 24] = 0.0  # an octave higher
    scores[0, 2, 48] = scores[0, 2, 49] = 0.0  # between two classes, a quarter tone wide
    expected = torch.tensor([[50.0, 100.0, 200.0 * 2 ** (0.5 / 24)]], dtype=torch.float64)
    assert torch.allclose(tracker.frequency(scores), expected)


def test_the_tracker_s_loss_is_least_at_the_true_pitch_and_blind_where_there_is_none():
    tracker = F0Tracker(4, 4, 1)
    f0 = torch.tensor([[100.0, 0.0]])
    classes = torch.arange(tracker.CLASSES)
    at = {k: (-0.5 * (classes - k).double().square())[None, None].expand(1, 2, -1) for k in (22, 24, 26)}
    losses = {k: float(tracker.loss(scores, f0)) for k, scores in at.items()}
    assert losses[24] < min(losses[22], losses[26])
    other = at[24].clone()
    other[0, 1] = 7.0
    assert float(tracker.loss(other, f0)) == losses[24]
    assert float(tracker.loss(at[24], torch.zeros(1, 2))) == 0.0


def test_the_pulse_train_has_every_harmonic_and_nothing_else():
    """Dirichlet's kernel is the sum of cosines it stands for."""
    f0 = torch.tensor([[110.0, 221.0]], dtype=torch.float64)
    cycles = torch.tensor([[0.3, 0.0]], dtype=torch.float64)
    slopes = torch.tensor([[0.0, 50.0]], dtype=torch.float64)
    found = pulse_frames(cycles, f0, slopes, 64, 16000)
    t = (torch.arange(64, dtype=torch.float64) - 32) / 16000
    for n in range(2):
        phase = cycles[0, n] + f0[0, n] * t + slopes[0, n] * t**2 / 2
        count = int(8000 / f0[0, n])
        total = sum(torch.cos(2 * torch.pi * k * phase) for k in range(1, count + 1)) * (2 / count) ** 0.5
        assert torch.allclose(found[0, n].double(), total, atol=2e-3)


@given(cuts=CUTS)
@settings(max_examples=10, deadline=None)
def test_the_phase_is_the_integral_of_the_frequency_in_any_chunks(cuts):
    """A steady glide: cycles t f0 + slope t^2 / 2, and neighbouring frames agree halfway between them."""
    period = 0.016
    times = period * torch.arange(20, dtype=torch.float64)
    f0 = (120.0 + 100.0 * times)[None]
    state, cycles, slopes = PhaseState(torch.zeros(1).double(), torch.zeros(1).double()), [], []
    for piece in chunks(f0, cuts):
        state, a, b = advance(state, piece, period)
        cycles.append(a)
        slopes.append(b)
    found, slope = torch.cat(cycles, dim=1)[0], torch.cat(slopes, dim=1)[0]
    expected = 120.0 * times + 50.0 * times**2 + 60.0 * period  # half a period of frame 0 precedes it
    assert torch.allclose((found - expected + 0.5) % 1, torch.tensor(0.5).double(), atol=1e-9)
    assert torch.allclose(slope[1:], torch.tensor(100.0).double())
    half = period / 2
    forward = found[1:-1] + f0[0, 1:-1] * half + slope[1:-1] * half**2 / 2
    backward = found[2:] - f0[0, 2:] * half + slope[2:] * half**2 / 2
    assert torch.allclose((forward - backward + 0.5) % 1, torch.tensor(0.5).double(), atol=1e-9)
