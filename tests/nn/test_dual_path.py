"""Segments, the two paths, and what masks must not change."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from audiogen.nn.beats import steady_beats
from audiogen.nn.caption_encoder import Words
from audiogen.nn.dual_path import (
    AngleEmbedding,
    DualPath,
    merge,
    merged_columns,
    num_segments,
    overlap_add,
    segment,
)

SIZES = {"width": 16, "blocks": 3, "heads": 2, "size": 8, "angle_channels": 8}


def network(seed=0, **options):
    """A network that is not zero at its end."""
    torch.manual_seed(seed)
    net = DualPath(3, 10, 2.5, **SIZES, **options)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return net.eval()


def words_like(items, mask=None):
    generator = torch.Generator().manual_seed(5)
    vectors = torch.randn(items, 4, SIZES["width"], generator=generator)
    mask = torch.ones(items, 4, dtype=torch.bool) if mask is None else mask
    return Words(vectors * mask[..., None], mask)


@settings(max_examples=30, deadline=None)
@given(frames=st.integers(1, 70), half=st.integers(1, 9))
def test_overlap_add_undoes_segments_of_any_length(frames, half):
    x = torch.arange(2.0 * frames * 3).reshape(2, frames, 3)
    segments = segment(x, 2 * half)
    assert segments.shape == (2, num_segments(frames, 2 * half), 2 * half, 3)
    assert torch.equal(overlap_add(segments, frames), x)


def test_segments_of_the_paper():
    """10 s at 250 Hz in segments of 64 frames: 80 of them, eight blocks with merging in a U."""
    assert num_segments(2500, 64) == 80
    assert merged_columns(64, 8) == [64, 32, 16, 8, 8, 16, 32, 64]
    assert merged_columns(4, 7) == [4, 2, 1, 1, 1, 2, 4]


def test_every_frame_lies_in_two_segments():
    segments = segment(torch.arange(1.0, 21).reshape(1, 20, 1), 8)[0, :, :, 0]
    for frame in range(1, 21):
        (a, i), (b, k) = (segments == frame).nonzero().tolist()
        assert (b - a, i - k) == (1, 4)


def test_merging_averages_neighbours():
    x = torch.arange(8.0).reshape(1, 1, 8, 1)
    assert merge(x, 2).flatten().tolist() == [1.5, 5.5]
    assert torch.equal(merge(x, 8), x)


def test_angle_embedding_goes_from_one_vector_to_the_other():
    embedding = AngleEmbedding(6, 5)
    ends = embedding.mlp(embedding.ends)
    made = embedding(torch.tensor([[0.0, math.pi / 2]]))[0]
    torch.testing.assert_close(made, ends)


def test_batch_of_unequal_lengths_is_the_items_alone():
    net, lengths = network(), (20, 13, 30)
    x, angles = torch.randn(3, 3, 30), torch.rand(3, 30)
    tokens = torch.randint(10, (3, 12))
    token_lengths = [math.ceil(n / 2.5) for n in lengths]
    mask = torch.tensor([[True] * 4, [True, True, False, False], [True, False, False, False]])
    words = words_like(3, mask)
    frames = torch.arange(30) < torch.tensor(lengths)[:, None]
    token_mask = torch.arange(12) < torch.tensor(token_lengths)[:, None]
    together = net(x, angles, net.prepare(net.embed_tokens(tokens), words, token_mask, frames))
    for i, (n, t) in enumerate(zip(lengths, token_lengths, strict=True)):
        w = Words(words.vectors[i : i + 1, mask[i]], mask[i : i + 1, mask[i]])
        alone = net(
            x[i : i + 1, :, :n],
            angles[i : i + 1, :n],
            net.prepare(net.embed_tokens(tokens[i : i + 1, :t]), w),
        )
        torch.testing.assert_close(together[i, :, :n], alone[0], rtol=1e-4, atol=1e-5)


def test_what_is_told_is_heard_everywhere():
    """Every frame's velocity depends on tokens, words and angles, those of far frames too."""
    net = network()
    x, angles, tokens = torch.randn(1, 3, 40), torch.full((1, 40), 0.7), torch.randint(10, (1, 16))
    words = words_like(1)

    def velocity(tokens=tokens, words=words, angles=angles):
        with torch.no_grad():
            return net(x, angles, net.prepare(net.embed_tokens(tokens), words))

    base = velocity()
    other = tokens.clone()
    other[0, -1] = (other[0, -1] + 1) % 10
    changed = angles.clone()
    changed[0, -1] = 0.1
    for different in (
        velocity(tokens=other),
        velocity(words=Words(words.vectors + 1, words.mask)),
        velocity(angles=changed),
    ):
        assert ((different - base).abs().amax(1) > 0).all()


def test_beats_are_told_frame_by_frame():
    """Other beats are another velocity, in every item for itself; unknown ones are none."""
    net = network(beats=True)
    x, angles, tokens = torch.randn(2, 3, 40), torch.full((2, 40), 0.7), torch.randint(10, (2, 16))
    beats = steady_beats(torch.tensor([0.0, 0.4]), torch.tensor([0.3, 0.21]), 16)

    def velocity(beats):
        with torch.no_grad():
            return net(x, angles, net.prepare(net.embed_tokens(tokens), words_like(2), beats=beats))

    base, other = velocity(beats), beats.clone()
    other[1, 3, 0] += 0.5
    changed = (velocity(other) - base).abs().amax(1)
    assert not changed[0].any()
    assert changed[1].argmax() in range(7, 10)  # the frames of token 3
    torch.testing.assert_close(velocity(torch.zeros_like(beats)), velocity(None))


def test_dropped_tokens_say_nothing():
    net = network()
    drop = torch.tensor([True, False])
    tokens = torch.randint(10, (2, 8))
    told = net.embed_tokens(tokens, drop)
    assert torch.equal(told[0], net.no_tokens.expand(8, -1))
    assert torch.equal(told[1], net.embed_tokens(tokens)[1])


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="power of 2"):
        DualPath(3, 10, 2.5, **{**SIZES, "size": 14, "blocks": 5})
    with pytest.raises(ValueError, match="multiple of twice"):
        DualPath(3, 10, 2.5, **{**SIZES, "heads": 3})
