"""Where a moment lies in its beat: counted on, cut into frames, and unknown where nobody says."""

import pytest
import torch

from audiogen.nn.beats import BeatEmbedding, beats_in_frames, hidden_beats, next_beat, steady_beats


def test_a_tempo_is_counted_from_its_first_beat():
    """At 0.3 beats a token from 0.5 on; nothing is known at a rate of 0."""
    beats = steady_beats(torch.tensor([0.5, 0.7]), torch.tensor([0.3, 0.0]), 4)
    torch.testing.assert_close(beats[0], torch.tensor([[0.5, 0.3], [0.8, 0.3], [0.1, 0.3], [0.4, 0.3]]))
    assert not beats[1].any()


def test_what_goes_on_is_what_was_counted_at_once():
    first, rate = torch.tensor([0.25, 0.0]), torch.tensor([0.31, 0.0])
    whole = steady_beats(first, rate, 40)
    begun = steady_beats(first, rate, 16)
    rest = steady_beats(next_beat(begun), rate, 24)
    torch.testing.assert_close(torch.cat((begun, rest), 1), whole, rtol=0, atol=1e-5)
    assert not next_beat(begun[:, :0]).any()


def test_frames_lie_between_the_beats_of_their_tokens():
    """7.5 frames a token: the middle of frame n is (n + 0.5) / 7.5 tokens after the start."""
    beats = steady_beats(torch.tensor([0.0]), torch.tensor([0.05]), 8)
    frames = beats_in_frames(beats, 7.5)
    expected = (torch.arange(60) + 0.5) / 7.5 * 0.05
    assert frames.shape == (1, 60, 2)
    torch.testing.assert_close(frames[0, :, 0], expected)


def test_whole_beats_make_no_difference_and_the_unknown_is_zero():
    torch.manual_seed(0)
    embedding = BeatEmbedding(8)
    beats = steady_beats(torch.tensor([0.2, 0.2]), torch.tensor([0.3, 0.4]), 5)
    assert not embedding(beats).any()  # before training
    torch.nn.init.normal_(embedding.leave.weight)
    torch.nn.init.normal_(embedding.leave.bias)
    later = beats + torch.tensor([3.0, 0.0])
    torch.testing.assert_close(embedding(later), embedding(beats), rtol=1e-4, atol=1e-4)
    assert not torch.allclose(embedding(beats[:1]), embedding(beats[1:]), atol=1e-2)
    hidden = embedding(hidden_beats(beats, torch.tensor([True, False])))
    assert not hidden[0].any()
    assert torch.equal(hidden[1], embedding(beats)[1])
    assert hidden_beats(None, torch.tensor([True])) is None


@pytest.mark.parametrize("shift", [0.25, 0.5])
def test_half_a_beat_does(shift):
    torch.manual_seed(0)
    embedding = BeatEmbedding(8)
    torch.nn.init.normal_(embedding.leave.weight)
    beats = torch.tensor([[[0.0, 0.3]]])
    assert not torch.allclose(embedding(beats), embedding(beats + torch.tensor([shift, 0.0])), atol=1e-2)
