"""The loops that Numba compiles do what the layers do with PyTorch, and keep out where they may not run."""

import copy

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from audiogen.kernels import cpu
from audiogen.nn.convnext import ConvNeXtBlock
from audiogen.nn.istft import InverseStft
from audiogen.nn.refinement import PhaseRefinement
from audiogen.nn.source import F0Tracker, PhaseState, advance
from audiogen.spectral import MelSpec
from audiogen.vocoders.vocos import Vocos

CUTS = st.lists(st.integers(0, 10**6), max_size=8)


@pytest.fixture(autouse=True)
def no_gradients():
    torch.manual_seed(0)
    with torch.inference_mode(), cpu.fused():
        yield


def chunks(x, cuts, dim):
    edges = [0, *sorted(cut % (x.shape[dim] + 1) for cut in cuts), x.shape[dim]]
    return [x.narrow(dim, a, b - a) for a, b in zip(edges, edges[1:], strict=False)]


def streamed(layer, x, cuts, dim=-1):
    pieces, state, outputs = chunks(x, cuts, dim), layer.init_state(len(x)), []
    for k, piece in enumerate(pieces):
        state, y = layer.stream(state, piece, last=k + 1 == len(pieces))
        outputs.append(y)
    return torch.cat(outputs, dim=-1)


def test_pulses_are_windowed_sums_of_cosines():
    f0 = torch.tensor([[110.0, 221.0], [70.0, 400.0]]).double()
    cycles = torch.tensor([[0.3, 0.0], [0.99, 0.5]]).double()
    slopes = torch.tensor([[0.0, 50.0], [-30.0, 0.0]]).double()
    window = torch.hann_window(64)
    t = (torch.arange(64).double() - 32) / 16000
    phase = cycles[..., None] + f0[..., None] * t + slopes[..., None] * t**2 / 2
    count = (8000 / f0[..., None]).floor()
    k = torch.arange(1, 200)[:, None, None, None]
    total = (torch.cos(2 * torch.pi * k * phase) * (k <= count)).sum(0) * (2 / count).sqrt() * window
    assert torch.allclose(cpu.pulses(cycles, f0, slopes, window, 16000).double(), total, atol=2e-3)


def test_a_voice_is_pulses_and_noise_given_magnitudes_and_turned():
    """Logarithms beyond their limits count as these, and e^-200 as nothing."""
    head = 3 * torch.randn(2, 4, 3 * 9)
    head[0, 0, :3] = torch.tensor([50.0, -50.0, -200.0])
    head[0, 1, 18:20] = torch.tensor([50.0, -200.0])
    pulses, noise = torch.randn(2, 4, 9, dtype=torch.complex64), torch.randn(4, 9, dtype=torch.complex64)
    log_magnitude, phase, log_noise = head.double().chunk(3, dim=-1)
    mixed = pulses.to(torch.complex128) + log_noise.clamp(max=10.0).exp() * noise
    expected = log_magnitude.clamp(max=4.6).exp()
    magnitude, spectrum = cpu.voice(head, pulses, noise, 4.6, 10.0)
    assert torch.allclose(magnitude.double(), expected, rtol=1e-6)
    turned = torch.polar(expected, phase) * mixed / (mixed.abs().square() + 1e-8).sqrt()
    assert torch.allclose(spectrum.to(torch.complex128), turned, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("n_fft", "hop"), [(64, 32), (96, 16)])
@pytest.mark.parametrize("center", [True, False])
@given(cuts=CUTS)
@settings(max_examples=10, deadline=None)
def test_overlap_add_is_torch_s_in_any_chunks(n_fft, hop, center, cuts):
    window, wav = torch.hann_window(n_fft), torch.randn(2, 9 * hop)
    edge = n_fft // 2 if center else (n_fft - hop) // 2
    padded = F.pad(wav, (edge, edge))
    spectrum = torch.stft(padded, n_fft, hop, n_fft, window, center=False, return_complex=True).mT
    layer = InverseStft(window, hop, center=center)
    assert torch.allclose(streamed(layer, spectrum, cuts, dim=1), wav, atol=1e-5)


def test_a_projection_is_momentum_and_the_wanted_magnitudes():
    layer = PhaseRefinement(torch.hann_window(64), 16, 0.3)
    spectrum, before = torch.randn(2, 2, 15, 33, dtype=torch.complex64)
    magnitude = torch.rand(2, 15, 33)
    _, refined, _, consistent = layer.stream(layer.init_state(2), spectrum, magnitude, before, last=True)
    ahead = consistent + 0.3 * (consistent - before)
    assert torch.allclose(refined, torch.polar(magnitude, ahead.angle()), atol=1e-4)


@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize("last", [False, True])
@given(cuts=CUTS)
@settings(max_examples=10, deadline=None)
def test_a_refinement_is_torch_s_in_any_chunks(center, last, cuts):
    layer = PhaseRefinement(torch.hann_window(64), 16, center=center)
    inputs = (*torch.randn(2, 2, 15, 33, dtype=torch.complex64), torch.rand(2, 15, 33))
    state, outputs = layer.init_state(2), []
    pieces = list(zip(*(chunks(x, cuts, 1) for x in inputs), strict=True))
    for k, (spectrum, before, magnitude) in enumerate(pieces):
        state, *found = layer.stream(state, spectrum, magnitude, before, last and k + 1 == len(pieces))
        outputs.append(found)
    with cpu.fused(False):
        spectrum, before, magnitude = inputs
        after, *expected = layer.stream(layer.init_state(2), spectrum, magnitude, before, last)
    for ours, theirs in zip(zip(*outputs, strict=True), expected, strict=True):
        assert torch.allclose(torch.cat(ours, dim=1), theirs, atol=1e-4)
    for ours, theirs in zip((state.istft.audio, *state[1:]), (after.istft.audio, *after[1:]), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-4)


@pytest.mark.parametrize("causal", [False, True])
@given(cuts=CUTS)
@settings(max_examples=10, deadline=None)
def test_a_block_is_torch_s_in_any_chunks(causal, cuts):
    block = ConvNeXtBlock(6, 8, layer_scale=1.0, causal=causal)
    torch.nn.init.normal_(block.norm.weight)
    torch.nn.init.normal_(block.norm.bias)
    x = torch.randn(2, 6, 23)
    conv, edges = block.depthwise, (6, 0) if causal else (3, 3)
    y = F.conv1d(F.pad(x, edges), conv.weight, conv.bias, groups=6).mT
    y = F.layer_norm(y, (6,), block.norm.weight, block.norm.bias, 1e-6)
    expected = x + (block.scale * block.contract(F.gelu(block.expand(y)))).mT
    assert torch.allclose(streamed(block, x, cuts), expected, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("rows", "columns", "size"), [(1, 1, 1), (3, 7, 33), (4, 2, 16), (9, 771, 40)])
def test_products_of_few_rows_are_torch_s(rows, columns, size, dtype):
    x, weight = torch.randn(rows, size, dtype=dtype), torch.randn(columns, size, dtype=dtype)
    bias, out = torch.randn(columns, dtype=dtype), torch.empty(rows, columns, dtype=dtype)
    cpu._loops().linear(*(value.numpy() for value in (x, weight, bias, out)))
    atol = 1e-4 if dtype == torch.float32 else 1e-12
    assert torch.allclose(out, F.linear(x, weight, bias), atol=atol)


def test_gelu_is_torch_s_to_rounding():
    x = torch.linspace(-12, 12, 4001)[None]
    out = x.clone()
    cpu._loops().gelu(out.numpy())
    assert torch.allclose(out.double(), F.gelu(x.double()), atol=1e-6)


def random_vocos(**options):
    """Weights far from where training begins, so that every one of them counts."""
    vocoder = Vocos(MelSpec(), 16, 24, 3, **{"causal": True, **options})
    for parameter in vocoder.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return vocoder


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize(("batch", "causal"), [(1, True), (2, True), (1, False), (2, False)])
@given(cuts=CUTS)
@settings(max_examples=10, deadline=None)
def test_a_stack_is_torch_s_in_any_chunks(batch, causal, last, cuts):
    vocoder, mel = random_vocos(causal=causal), torch.randn(batch, 80, 29)
    state, outputs, pieces = vocoder.init_state(batch), [], chunks(mel, cuts, -1)
    for k, piece in enumerate(pieces):
        stem, blocks, y = vocoder._stack(state, piece, last and k + 1 == len(pieces))
        state = state._replace(stem=stem, blocks=blocks)
        outputs.append(y)
    with cpu.fused(False):
        stem, blocks, expected = vocoder._stack(vocoder.init_state(batch), mel, last)
    assert torch.allclose(torch.cat(outputs, dim=1), expected, atol=1e-4)
    for ours, theirs in zip((state.stem, *state.blocks), (stem, *blocks), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-4)


@pytest.mark.parametrize(("batch", "causal"), [(1, True), (2, True), (1, False), (2, False)])
@given(cuts=CUTS)
@settings(max_examples=10, deadline=None)
def test_a_tracker_is_torch_s_in_any_chunks(batch, causal, cuts):
    """To the rounding of float64, so that phases do not drift apart."""
    tracker, mel = F0Tracker(80, channels=8, causal=causal), torch.randn(batch, 80, 19)
    state, f0, pieces = tracker.init_state(batch), [], chunks(mel, cuts, -1)
    for k, piece in enumerate(pieces):
        state, _, frequency = tracker.follow(state, piece, k + 1 == len(pieces))
        f0.append(frequency)
    expected = tracker.frequency(tracker(mel))
    assert torch.allclose(torch.cat(f0, dim=1), expected, rtol=1e-12)


def test_phases_advance_as_torch_s():
    f0 = 50 + 900 * torch.rand(2, 30, dtype=torch.float64)
    start = PhaseState(torch.tensor([0.0, 0.9]).double(), torch.tensor([0.0, 120.0]).double())
    _, cycles, slopes = advance(start, f0, 0.016)
    ours = cpu.advance(*start, f0, 0.016)
    turned = ours[0] - cycles
    assert torch.allclose(turned, turned.round(), atol=1e-10)
    assert torch.allclose(ours[1], slopes)


def test_a_stream_sees_the_weights_of_its_time():
    """Changed in place or put in another's place, the next stream has the new ones, and a copy its own."""
    vocoder, other, mel = random_vocos(source=True), random_vocos(source=True), torch.randn(1, 80, 9)
    vocoder.fused = other.fused = True
    first, second = vocoder.decode(mel), other.decode(mel)
    copied = copy.deepcopy(vocoder)
    for assign in (False, True):
        vocoder.load_state_dict(other.state_dict(), assign=assign)
        assert torch.equal(vocoder.decode(mel), second)
    assert torch.equal(copied.decode(mel), first)
    assert not torch.allclose(first, second)


@pytest.mark.parametrize("options", [{}, {"source": True}, {"source": True, "causal": True}])
def test_a_fused_vocoder_speaks_as_before_whole_and_in_chunks(options):
    vocoder = Vocos(MelSpec(), 16, 24, 2, refinements=1, **options)
    mel = torch.randn(2, 80, 80)
    plain = vocoder.decode(mel)
    vocoder.fused = True
    whole = vocoder.decode(mel)
    assert not torch.equal(whole, plain)  # the loops ran
    assert (whole - plain).norm() < 1e-3 * plain.norm()
    assert torch.allclose(streamed(vocoder, mel, [1, 5, 5, 30]), whole, atol=1e-5)


def test_gradients_run_through_torch():
    with torch.inference_mode(False), torch.enable_grad():
        vocoder = Vocos(MelSpec(), 8, 8, 1, source=True, refinements=1)
        vocoder.fused = True
        vocoder.decode(torch.zeros(1, 80, 9)).square().sum().backward()
        assert all(p.grad is not None for p in vocoder.blocks.parameters())
        assert not cpu.takes_loops(torch.zeros(1))


def test_the_loops_run_where_they_are_let_and_can():
    assert cpu.takes_loops(torch.zeros(1))
    assert not cpu.takes_loops(torch.zeros(1).double())
    with cpu.fused(False):
        assert not cpu.takes_loops(torch.zeros(1))


def test_without_numba_torch_does_it(monkeypatch):
    monkeypatch.setattr(cpu, "_loops", lambda: None)
    assert not cpu.takes_loops(torch.zeros(1))
