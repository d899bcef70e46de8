"""Content tokens: merging, expanding and fitting to other frame rates."""

import itertools

import pytest
import torch

from audiogen.content import Content, expand_runs, merge_runs, resample_tokens, run_of_frame


@pytest.fixture
def ragged():
    """Five token sequences with many runs, padded with junk that must not count."""
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(3, (5, 40), generator=generator)
    return tokens, torch.tensor([40, 1, 17, 0, 29])


def test_runs_are_those_of_groupby(ragged):
    tokens, lengths = ragged
    unique, runs, counts = merge_runs(tokens, lengths)
    for row, length in enumerate(lengths.tolist()):
        groups = [(token, len(list(g))) for token, g in itertools.groupby(tokens[row, :length].tolist())]
        n = int(counts[row])
        assert list(zip(unique[row, :n].tolist(), runs[row, :n].tolist(), strict=True)) == groups
        assert unique[row, n:].sum() == runs[row, n:].sum() == 0


def test_merge_then_expand_is_the_identity(ragged):
    tokens, lengths = ragged
    unique, runs, _ = merge_runs(tokens, lengths)
    again, again_lengths = expand_runs(unique, runs)
    inside = torch.arange(40)[None] < lengths[:, None]
    assert torch.equal(again, tokens * inside)
    assert torch.equal(again_lengths, lengths)


def test_batched_is_single(ragged):
    tokens, lengths = ragged
    unique, runs, counts = merge_runs(tokens, lengths)
    for row, length in enumerate(lengths.tolist()):
        u, r, n = merge_runs(tokens[row : row + 1, :length], lengths[row : row + 1])
        assert int(n) == int(counts[row])
        assert torch.equal(unique[row, : int(n)], u[0])
        assert torch.equal(runs[row, : int(n)], r[0])


def test_run_of_frame_expands_what_there_is_one_of_a_run():
    index, lengths = run_of_frame(torch.tensor([[2, 0, 3], [1, 1, 0]]))
    assert index.tolist() == [[0, 0, 2, 2, 2], [0, 1, 2, 2, 2]]
    assert lengths.tolist() == [5, 2]


def test_resampling_by_the_nearest():
    tokens = torch.tensor([[1, 2, 3, 4], [5, 6, 0, 0]])
    twice = resample_tokens(tokens, torch.tensor([4, 2]), torch.tensor([8, 3]))
    assert twice.tolist() == [[1, 1, 2, 2, 3, 3, 4, 4], [5, 6, 6, 0, 0, 0, 0, 0]]
    assert torch.equal(resample_tokens(tokens, torch.tensor([4, 2]), torch.tensor([4, 2])), tokens)


def test_fifty_to_sixty_two_and_a_half_hertz_keeps_time():
    """Frame m of a mel is the token of the same moment."""
    tokens = torch.arange(100)[None]  # two seconds
    fitted = resample_tokens(tokens, torch.tensor([100]), torch.tensor([125]))[0]
    moment = (torch.arange(125) + 0.5) / 62.5
    assert ((fitted + 0.5) / 50 - moment).abs().max() <= 0.5 / 50 + 1e-6


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Content(torch.zeros(2, 3, dtype=torch.int64), torch.tensor([3])), "lengths"),
        (lambda: Content(torch.zeros(1, 3, dtype=torch.int64), torch.tensor([4])), "0..3"),
        (lambda: merge_runs(torch.zeros(3, dtype=torch.int64), torch.tensor([3])), "tokens must be"),
        (lambda: expand_runs(torch.zeros(1, 2), torch.zeros(1, 3)), "unique and runs"),
        (lambda: expand_runs(torch.zeros(1, 1), torch.tensor([[-1]])), "at least 0"),
        (lambda: resample_tokens(torch.ones(1, 2), torch.tensor([0]), torch.tensor([3])), "leave it out"),
        (lambda: resample_tokens(torch.ones(1, 2), torch.tensor([2]), torch.tensor([-3])), "at least 0"),
    ],
)
def test_misfits_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
