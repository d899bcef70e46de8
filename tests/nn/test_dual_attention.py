"""DualAGC and the stacks of StableVC."""

import pytest
import torch
import torch.nn.functional as F

from audiogen.nn.dit import DiT, style_places, without
from audiogen.nn.dual_attention import DualAttention, rotate
from audiogen.nn.style import StyleEncoder, TimbreEncoder, bridge, prosody, reverse_gradient
from audiogen.nn.voice_network import Style, Timbre, memories

C, S, N, M, J = 16, 6, 10, 20, 5


def stack(**more):
    """A small stack with weights that are nowhere zero, but for the gates."""
    torch.manual_seed(0)
    made = DiT(C, 2, heads=2, hidden=24, style=8, speaker=S, kernel_size=3, **more)
    torch.nn.init.normal_(made.film.weight, std=0.1)
    return made.eval()


def heard(made, timbre, style, speaker, frames=M, vectors=J):
    """The memory of references of which the first frames and vectors are real."""
    masks = [torch.arange(x.shape[1]).expand(len(x), -1) < n for x, n in ((timbre, frames), (style, vectors))]
    known = {"a": made.timbre(timbre, speaker)}
    return memories(Timbre(known, masks[0], speaker), Style({"a": made.style(style)}, masks[1], style))["a"]


def open_gates(made, alpha=0.7):
    for block in made.blocks:
        torch.nn.init.constant_(block.attention.alpha, alpha)


@pytest.fixture
def inputs():
    generator = torch.Generator().manual_seed(1)
    shapes = ((2, N, C), (2, M, C), (2, J, 8), (2, S))
    return [torch.randn(*shape, generator=generator) for shape in shapes]


@pytest.mark.parametrize("mixer", ["conv", "attention"])
@pytest.mark.parametrize("reading", ["keys", "token"])
def test_a_shut_gate_makes_the_style_unheard(inputs, mixer, reading):
    made = stack(mixer=mixer, reading=reading)
    x, timbre, style, speaker = inputs
    mask = torch.ones(2, N, dtype=torch.bool)
    before = made(x, heard(made, timbre, style, speaker), mask)
    other = torch.randn_like(style)
    assert torch.equal(before, made(x, heard(made, timbre, other, speaker), mask))
    open_gates(made)
    opened = made(x, heard(made, timbre, style, speaker), mask)
    assert (opened - before).abs().max() > 1e-2
    assert (opened - made(x, heard(made, timbre, other, speaker), mask)).abs().max() > 1e-2
    assert torch.allclose(made.gates(), torch.full((2, 2), 0.7).tanh())


@pytest.mark.parametrize("reading", ["keys", "token"])
def test_references_are_sets_of_frames(inputs, reading):
    """In any order, through the encoder too, they say the same; with other frames they do not."""
    made, encoder = stack(reading=reading), TimbreEncoder(80, C)
    open_gates(made)
    x, _, style, speaker = inputs
    mel, mask = torch.randn(2, 80, M), torch.ones(2, N, dtype=torch.bool)

    def out(mel):
        return made(x, heard(made, encoder(mel), style, speaker), mask)

    with torch.no_grad():
        before = out(mel)
        assert torch.allclose(before, out(mel[:, :, torch.randperm(M)]), atol=1e-5)
        assert (before - out(mel + torch.randn(80, 1))).abs().max() > 1e-2


@pytest.mark.parametrize("mixer", ["conv", "attention"])
@pytest.mark.parametrize("reading", ["keys", "token"])
def test_padding_is_not_seen(inputs, mixer, reading):
    made = stack(mixer=mixer, reading=reading)
    open_gates(made)
    x, timbre, style, speaker = inputs
    whole = torch.ones(2, N, dtype=torch.bool)
    alone = made(x, heard(made, timbre, style, speaker), whole)
    padded = [F.pad(part, (0, 0, 0, 3), value=9.0) for part in (x, timbre, style)]
    memory = heard(made, padded[1], padded[2], speaker)
    together = made(padded[0], memory, F.pad(whole, (0, 3)))
    assert torch.allclose(alone, together[:, :N], atol=1e-5)


def test_an_item_without_a_reference_depends_on_neither_it_nor_the_speaker(inputs):
    made = stack(reading="token")
    open_gates(made)
    x, timbre, style, speaker = inputs
    mask = torch.ones(2, N, dtype=torch.bool)
    deaf = [
        made(x, without(heard(made, t, s, v), "timbre", "style"), mask)
        for t, s, v in ((timbre, style, speaker), (timbre + 1, style - 1, speaker * 2))
    ]
    assert torch.equal(*deaf)
    assert not torch.allclose(deaf[0], made(x, heard(made, timbre, style, speaker), mask), atol=1e-3)


def test_attention_is_the_formula(inputs):
    """One head, no rotation where the places are 0: softmax(q k / sqrt d) v, with root mean squares of 1."""
    torch.manual_seed(2)
    attention = DualAttention(C, 1, 8, S).eval()
    x, timbre, _, speaker = inputs
    frames = torch.cat([timbre, speaker[:, None].expand(-1, M, -1)], dim=-1)
    unit = [
        v / v.square().mean(-1, keepdim=True).sqrt()
        for v in (attention.query(x), attention.timbre_key(frames))
    ]
    weights = (unit[0] @ unit[1].mT / C**0.5).softmax(-1)
    expected = attention.out(weights @ attention.timbre_value(timbre))
    masks = torch.ones(2, M, dtype=torch.bool), torch.ones(2, J, dtype=torch.bool)
    keys = attention.timbre(timbre, speaker), attention.style(torch.zeros(2, J, 8))
    found = attention(x, *keys, masks, (torch.ones(2), torch.ones(2)), torch.zeros(2, N))
    assert torch.allclose(found, expected, atol=1e-5)


def test_rotation_tells_distances_alone():
    """Inner products of turned vectors depend on how far apart they are; lengths stay."""
    q, k = torch.randn(2, 1, 1, 1, 8)

    def product(a, b):
        return (rotate(q, torch.tensor([[a]])) * rotate(k, torch.tensor([[b]]))).sum()

    assert torch.allclose(product(3.0, 7.5), product(103.0, 107.5), atol=1e-4)
    assert not torch.allclose(product(3.0, 7.5), product(3.0, 4.0), atol=1e-3)
    assert torch.allclose(rotate(q, torch.tensor([[5.0]])).norm(), q.norm())


def test_places_run_through_the_style_clip():
    mask = torch.tensor([[True] * 8, [True] * 4 + [False] * 4])
    places = style_places(mask, torch.tensor([[True, True], [True, True]]))
    assert torch.equal(places[0], torch.arange(8) + 0.5)
    assert torch.equal(places[1, :4], 2 * torch.arange(4) + 1)


def test_prosody_does_not_tell_pitch_level_or_colour():
    time = torch.arange(50) / 50
    f0 = 120 * 2 ** (0.3 * torch.sin(6 * time)) * (torch.arange(50) % 7 > 1)
    mel = torch.randn(80, 50)
    curves = prosody(mel, f0, 12)
    other = prosody(mel + 2.0, 1.7 * f0, 12)
    assert curves.shape == (15, 50)
    assert torch.allclose(curves, other, atol=1e-5)
    assert torch.allclose(curves[3:], prosody(mel + torch.randn(80, 1), f0, 12)[3:], atol=1e-5)
    voiced = f0 > 0
    assert abs(float(curves[0][voiced].mean())) < 1e-5
    octaves = torch.log2(f0[voiced])
    assert torch.allclose(curves[0][voiced], octaves - octaves.mean(), atol=1e-4)
    assert torch.equal(prosody(mel, torch.zeros(50), 0)[:2], torch.zeros(2, 50))


def test_a_bridge_is_straight_and_its_ends_are_level():
    values = bridge(torch.tensor([1.0, 3.0]), torch.tensor([2, 6]), 9)
    assert torch.allclose(values, torch.tensor([1.0, 1.0, 1.0, 1.5, 2.0, 2.5, 3.0, 3.0, 3.0]))


def test_style_vectors_do_not_see_padding():
    torch.manual_seed(0)
    encoder = StyleEncoder(5, 8, 1, 4).eval()
    curves, mask = torch.randn(1, 5, 10), torch.ones(1, 10, dtype=torch.bool)
    vectors, kept, mean = encoder(curves, mask)
    assert vectors.shape == (1, 3, 8)
    padded, more, same = encoder(F.pad(curves, (0, 7), value=5.0), F.pad(mask, (0, 7)))
    assert more.tolist() == [[True] * 3 + [False] * 2]
    assert torch.allclose(padded[:, :3], vectors, atol=1e-6)
    assert torch.allclose(same, mean, atol=1e-6)


def test_a_reversed_gradient_changes_its_sign_alone():
    x = torch.randn(3, requires_grad=True)
    y = reverse_gradient(x)
    (y * torch.tensor([1.0, 2.0, 3.0])).sum().backward()
    assert torch.equal(y, x)
    assert torch.equal(x.grad, -torch.tensor([1.0, 2.0, 3.0]))


def test_sizes_that_do_not_fit_are_refused():
    for wrong, message in (
        ({"heads": 3}, "do not divide"),
        ({"mixer": "rnn"}, "unknown mixer 'rnn'"),
        ({"blocks": 0}, "at least one block"),
        ({"reading": "values"}, "speaker_reading"),
    ):
        with pytest.raises(ValueError, match=message):
            DiT(**{"channels": C, "blocks": 1, "heads": 2, **wrong})
