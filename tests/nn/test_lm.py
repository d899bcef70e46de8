"""The decoder of tokens: its cache, its prefix, and how tokens are drawn."""

import math

import pytest
import torch

from audiogen.nn.beats import steady_beats
from audiogen.nn.caption_encoder import CaptionEncoder, ClapText, FeatureCaptions, Words
from audiogen.nn.lm import Choice, TokenDecoder, continue_tokens, draw
from audiogen.nn.transformer import Attention, rotate, rotation

WIDTH, VOCABULARY = 16, 11


def decoder(seed=0, **options):
    torch.manual_seed(seed)
    net = TokenDecoder(VOCABULARY, WIDTH, layers=2, heads=2, **options)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return net.eval()


def prefix(items, lengths=None):
    vectors = torch.randn(items, 3, WIDTH, generator=torch.Generator().manual_seed(1))
    mask = torch.arange(3) < torch.tensor(lengths or [3] * items)[:, None]
    return Words(vectors * mask[..., None], mask)


def test_rotary_attention_sees_distances_only():
    """Scores of turned queries and keys are the same wherever both stand."""
    q, k = torch.randn(2, 1, 1, 5, 8, dtype=torch.float64).unbind()
    scores = []
    for first in (0.0, 17.25):
        turn = rotation(torch.arange(5) + first, 8)
        scores.append(rotate(q, turn) @ rotate(k, turn).mT)
    torch.testing.assert_close(*scores, rtol=0, atol=1e-6)


def test_rotation_keeps_lengths_and_what_is_not_turned():
    x = torch.randn(1, 2, 5, 8)
    turned = rotate(x, rotation(torch.arange(5), 4))
    assert torch.equal(turned[..., 4:], x[..., 4:])
    torch.testing.assert_close(turned.norm(dim=-1), x.norm(dim=-1))


def test_attention_is_the_formula():
    attention = Attention(8, 2, context_width=6)
    x, context = torch.randn(1, 3, 8), torch.randn(1, 4, 6)
    k, v = attention.keys_values(context)
    q = attention.query(x).view(1, 3, 2, 4).transpose(1, 2)
    expected = (q @ k.mT / math.sqrt(4)).softmax(-1) @ v
    expected = attention.out(expected.transpose(1, 2).flatten(2))
    torch.testing.assert_close(attention(x, (k, v)), expected)


@pytest.mark.parametrize("start", [0, 1, 4])
def test_cache_is_the_full_pass(start):
    net, words = decoder(), prefix(2, [3, 1])
    tokens = torch.randint(VOCABULARY, (2, 9))
    with torch.no_grad():
        full = net(tokens, words)
        logits, cache = net.prefill(tokens[:, :start], words, room=9 - start)
        for n in range(start, 9):
            torch.testing.assert_close(logits, full[:, n], rtol=1e-4, atol=1e-5)
            logits = net.next(tokens[:, n], cache)
        torch.testing.assert_close(logits, full[:, 9], rtol=1e-4, atol=1e-5)
        with pytest.raises(ValueError, match="more room"):
            net.next(tokens[:, 0], cache)


@pytest.mark.parametrize("start", [0, 4])
def test_a_decoder_that_is_told_beats_is_told_those_of_the_next_token(start):
    """By its cache as at once; a token's beats change its own logits and later ones, unknown ones nothing."""
    net, words = decoder(beats=True), prefix(2)
    tokens = torch.randint(VOCABULARY, (2, 9))
    beats = steady_beats(torch.tensor([0.0, 0.4]), torch.tensor([0.3, 0.21]), 10)
    with torch.no_grad():
        full = net(tokens, words, beats)
        logits, cache = net.prefill(tokens[:, :start], words, 9 - start, beats[:, : start + 1])
        for n in range(start, 9):
            torch.testing.assert_close(logits, full[:, n], rtol=1e-4, atol=1e-5)
            logits = net.next(tokens[:, n], cache, beats[:, n + 1 : n + 2])
        torch.testing.assert_close(logits, full[:, 9], rtol=1e-4, atol=1e-5)
        other = beats.clone()
        other[:, 5, 0] += 0.5
        changed = (net(tokens, words, other) - full).abs().amax((0, 2)) > 1e-4
        assert changed.tolist() == [False] * 5 + [True] * 5
        assert torch.equal(net(tokens, words, torch.zeros_like(beats)), net(tokens, words))


def test_tokens_that_follow_are_told_their_beats():
    """Greedy choices one by one are those of the full pass; without a caption there are no beats either."""
    net, words = decoder(beats=True), prefix(2)
    empty = Words(torch.zeros_like(words.vectors), words.mask)
    nothing = torch.zeros(2, 0, dtype=torch.int64)
    beats = steady_beats(torch.tensor([0.0, 0.4]), torch.tensor([0.3, 0.21]), 6)
    greedy, uniforms = Choice(temperature=0), torch.full((2, 6), 0.5)
    made = continue_tokens(net, nothing, [words, empty], uniforms, greedy, 3.0, beats)
    with torch.no_grad():
        told = net(made[:, :-1], words, beats).log_softmax(-1)
        untold = net(made[:, :-1], empty).log_softmax(-1)
    assert torch.equal(made, (untold + 3.0 * (told - untold)).argmax(-1))


def test_later_tokens_change_nothing_before():
    net, words = decoder(), prefix(1)
    tokens = torch.randint(VOCABULARY, (1, 8))
    other = tokens.clone()
    other[0, 5] = (other[0, 5] + 1) % VOCABULARY
    with torch.no_grad():
        a, b = net(tokens, words), net(other, words)
    assert torch.equal(a[:, :6], b[:, :6])
    assert not torch.allclose(a[:, 6:], b[:, 6:])


def test_padded_prefix_is_the_prefix():
    net, words, tokens = decoder(), prefix(1), torch.randint(VOCABULARY, (1, 5))
    padded = Words(
        torch.nn.functional.pad(words.vectors, (0, 0, 0, 4)), torch.nn.functional.pad(words.mask, (0, 4))
    )
    with torch.no_grad():
        torch.testing.assert_close(net(tokens, words), net(tokens, padded), rtol=1e-4, atol=1e-5)


def test_drawing_follows_the_probabilities():
    p = torch.tensor([0.2, 0.0, 0.5, 0.3], dtype=torch.float64)
    uniforms = (torch.arange(1000, dtype=torch.float64) + 0.5) / 1000
    counts = draw(p.expand(1000, 4), uniforms).bincount(minlength=4)
    assert counts.tolist() == [200, 0, 500, 300]


def test_choices():
    logits = torch.tensor([[0.5, 0.1, 0.3, 0.1]]).log()
    greedy = Choice(temperature=0).probabilities(logits)
    assert greedy.tolist() == [[1, 0, 0, 0]]
    torch.testing.assert_close(
        Choice(top_k=2).probabilities(logits)[0], torch.tensor([0.625, 0, 0.375, 0]).double()
    )
    nucleus = Choice(top_p=0.6).probabilities(logits)[0]
    torch.testing.assert_close(nucleus, torch.tensor([0.625, 0, 0.375, 0]).double())
    torch.testing.assert_close(Choice().probabilities(logits)[0], logits[0].exp().double())
    sharp = Choice(temperature=0.5).probabilities(logits)[0]
    torch.testing.assert_close(sharp, torch.tensor([25, 1, 9, 1]).double() / 36, rtol=1e-5, atol=0)
    for wrong in ({"temperature": -1}, {"top_k": -1}, {"top_p": 0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            Choice(**wrong)


def test_guidance_of_one_is_the_caption_alone_and_more_moves_away_from_none():
    net, words = decoder(), prefix(2)
    empty = Words(-words.vectors, words.mask)
    nothing = torch.zeros(2, 0, dtype=torch.int64)
    with torch.no_grad():
        given, none = (net(nothing, w)[:, 0].log_softmax(-1) for w in (words, empty))
    expected = (none + 3 * (given - none)).argmax(-1)
    made = continue_tokens(net, nothing, [words, empty], torch.full((2, 1), 0.5), Choice(temperature=0), 3.0)
    assert torch.equal(made[:, 0], expected)


def test_caption_encoder_masks_its_padding():
    torch.manual_seed(0)
    encoder = CaptionEncoder(
        6, lambda caption: [ord(c) - 96 for c in caption], 40, width=8, layers=2, heads=2
    ).eval()
    both = encoder(["abc", "d"])
    alone = encoder(["d"])
    torch.testing.assert_close(both.vectors[1, :1], alone.vectors[0])
    assert both.mask.tolist() == [[True] * 3, [True, False, False]]
    dropped = encoder.drop(both, torch.tensor([True, False]))
    assert dropped.mask.tolist() == [[True, False, False]] * 2
    assert torch.equal(dropped.vectors[0, 0], encoder.nothing)
    assert torch.equal(dropped.vectors[1], both.vectors[1])


def test_captions_by_features_from_elsewhere():
    """Whatever gives a vector for a text can take the encoder's place: one place a caption."""

    class Lengths:
        width = 1

        def __call__(self, captions):
            return torch.tensor([[float(len(caption))] for caption in captions])

    captions = FeatureCaptions(5, Lengths())
    words = captions(["ab", "abcd"])
    assert words.vectors.shape == (2, 1, 5)
    assert words.mask.all()
    slope = captions.out.weight[:, 0]
    torch.testing.assert_close(words.vectors[1, 0] - words.vectors[0, 0], 2 * slope)
    assert torch.equal(captions.drop(words, torch.tensor([True, False])).vectors[0, 0], captions.nothing)


def test_clap_without_its_package_says_what_to_do(monkeypatch):
    monkeypatch.setattr("audiogen.nn.caption_encoder.find_spec", lambda name: None)
    with pytest.raises(ValueError, match="transformers: install it, or use the encoder that ships"):
        ClapText()
