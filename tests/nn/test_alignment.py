import itertools

import pytest
import torch

from audiogen.nn.alignment import monotonic_alignment


def brute_force(scores, optional):
    """The best durations by trying all of them."""
    S, N = scores.shape

    def allowed(durations):
        return sum(durations) == N and all(d > 0 or optional[i] for i, d in enumerate(durations))

    def value(durations):
        owner = [i for i, d in enumerate(durations) for _ in range(d)]
        return sum(float(scores[i, n]) for n, i in enumerate(owner))

    return max(filter(allowed, itertools.product(range(N + 1), repeat=S)), key=value)


def random_case(seed, optionals):
    generator = torch.Generator().manual_seed(seed)
    S = int(torch.randint(1, 6, (), generator=generator))
    N = int(torch.randint(S, 9, (), generator=generator))
    optional = torch.zeros(S, dtype=torch.bool)
    if optionals and S > 1:
        optional[int(torch.randint(0, 2, (), generator=generator)) :: 2] = True
    return torch.randn(S, N, generator=generator), optional


@pytest.mark.parametrize("optionals", [False, True])
@pytest.mark.parametrize("seed", range(25))
def test_the_path_is_the_best_of_all(seed, optionals):
    scores, optional = random_case(seed, optionals)
    S, N = scores.shape
    found = monotonic_alignment(scores[None], torch.tensor([S]), torch.tensor([N]), optional[None])
    assert tuple(found[0].tolist()) == brute_force(scores, optional)


def test_a_ragged_batch_equals_its_items():
    cases = [random_case(seed, True) for seed in range(8)]
    S, N = max(len(s) for s, _ in cases), max(s.shape[1] for s, _ in cases)
    table, optional = torch.full((8, S, N), 7.0), torch.zeros(8, S, dtype=torch.bool)
    for i, (scores, o) in enumerate(cases):
        table[i, : len(scores), : scores.shape[1]] = scores
        optional[i, : len(o)] = o
    lengths = torch.tensor([len(s) for s, _ in cases]), torch.tensor([s.shape[1] for s, _ in cases])
    together = monotonic_alignment(table, *lengths, optional)
    for i, (scores, o) in enumerate(cases):
        alone = monotonic_alignment(scores[None], lengths[0][i : i + 1], lengths[1][i : i + 1], o[None])
        assert together[i, : len(o)].tolist() == alone[0].tolist()
        assert together[i, len(o) :].sum() == 0


def test_as_many_frames_as_tokens_give_the_diagonal():
    assert monotonic_alignment(torch.randn(1, 6, 6), torch.tensor([6]), torch.tensor([6])).tolist() == [
        [1] * 6
    ]


def test_too_few_frames_are_refused():
    with pytest.raises(ValueError, match="item 1 has 2 frames for 3 tokens"):
        monotonic_alignment(torch.zeros(2, 3, 4), torch.tensor([3, 3]), torch.tensor([4, 2]))


def test_neighbouring_optional_tokens_are_refused():
    with pytest.raises(ValueError, match="neighbouring"):
        monotonic_alignment(
            torch.zeros(1, 3, 4), torch.tensor([3]), torch.tensor([4]), torch.tensor([[True, True, False]])
        )
