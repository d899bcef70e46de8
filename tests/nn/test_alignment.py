import itertools
import sys

import numpy as np
import pytest
import torch

from audiogen.nn import alignment
from audiogen.nn.alignment import monotonic_alignment

compile_afresh = alignment.compiled_search.__wrapped__


@pytest.fixture(params=["compiled", "vectorised"], autouse=True)
def search(request, monkeypatch):
    """Every test runs both searches."""
    if request.param == "vectorised":
        monkeypatch.setattr(alignment, "compiled_search", lambda: None)
    else:
        assert alignment.compiled_search() is not None
    return request.param


def brute_force(scores, optional):
    """The best durations by trying all of them; of equals, those whose last frames have the latest tokens."""
    S, N = scores.shape

    def allowed(durations):
        return sum(durations) == N and all(d > 0 or optional[i] for i, d in enumerate(durations))

    def value(durations):
        owner = [i for i, d in enumerate(durations) for _ in range(d)]
        return sum(float(scores[i, n]) for n, i in enumerate(owner)), owner[::-1]

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


@pytest.mark.parametrize("optionals", [False, True])
@pytest.mark.parametrize("seed", range(10))
def test_of_equal_paths_the_one_that_is_late_at_the_end(seed, optionals):
    scores, optional = random_case(seed, optionals)
    scores = scores.round().clamp(-1, 1)  # sums are exact, and many are equal
    S, N = scores.shape
    found = monotonic_alignment(scores[None], torch.tensor([S]), torch.tensor([N]), optional[None])
    assert tuple(found[0].tolist()) == brute_force(scores, optional)


def ragged_batch(seeds=range(8), padding=7.0):
    """Random cases in one table -> scores, token_lengths, frame_lengths, optional."""
    cases = [random_case(seed, True) for seed in seeds]
    S, N = max(len(s) for s, _ in cases), max(s.shape[1] for s, _ in cases)
    table, optional = torch.full((len(cases), S, N), padding), torch.zeros(len(cases), S, dtype=torch.bool)
    for i, (scores, o) in enumerate(cases):
        table[i, : len(scores), : scores.shape[1]] = scores
        optional[i, : len(o)] = o
    lengths = torch.tensor([len(s) for s, _ in cases]), torch.tensor([s.shape[1] for s, _ in cases])
    return table, *lengths, optional


@pytest.mark.parametrize("padding", [7.0, torch.nan])
def test_a_ragged_batch_equals_its_items(padding):
    table, tokens, frames, optional = ragged_batch(padding=padding)
    together = monotonic_alignment(table, tokens, frames, optional)
    for i, (S, N) in enumerate(zip(tokens.tolist(), frames.tolist(), strict=True)):
        alone = monotonic_alignment(
            table[i : i + 1, :S, :N], tokens[i : i + 1], frames[i : i + 1], optional[i : i + 1, :S]
        )
        assert together[i, :S].tolist() == alone[0].tolist()
        assert together[i, S:].sum() == 0


@pytest.mark.parametrize("rounded", [False, True])
def test_both_searches_find_the_same_in_a_large_batch(rounded):
    """Real sizes: the same sums in the same order, so that even float32 ties fall alike."""
    generator = torch.Generator().manual_seed(0)
    B, S, N = 6, 50, 200
    scores = torch.randn(B, S, N, generator=generator)
    scores = scores.round() if rounded else scores
    optional = torch.rand(B, S, generator=generator) < 0.5
    optional[:, 1::2] = False  # no neighbours
    tokens = torch.randint(1, S + 1, (B,), generator=generator)
    frames = torch.randint(S, N + 1, (B,), generator=generator)
    found = monotonic_alignment(scores, tokens, frames, optional)
    reference = [
        alignment.search_loop(s.numpy(), o.numpy(), t, f)
        for s, o, t, f in zip(scores, optional, tokens.tolist(), frames.tolist(), strict=True)
    ]
    assert found.tolist() == np.stack(reference).tolist()
    assert found.sum(1).tolist() == frames.tolist()


def test_layout_type_and_gradient_of_the_scores_do_not_matter():
    table, tokens, frames, optional = ragged_batch()
    table = table.half()
    expected = monotonic_alignment(table, tokens, frames, optional)
    strided = table.double().transpose(1, 2).contiguous().transpose(1, 2).requires_grad_()
    found = monotonic_alignment(strided, tokens.int(), frames.int(), optional)
    assert found.tolist() == expected.tolist()
    assert (found.dtype, found.requires_grad) == (torch.int64, False)


def test_scores_that_forbid_every_path_still_give_every_frame_a_token():
    scores = torch.full((1, 4, 9), -torch.inf)
    assert monotonic_alignment(scores, torch.tensor([3]), torch.tensor([8])).sum() == 8


def test_an_empty_batch_is_empty():
    empty = torch.zeros(0, dtype=torch.int64)
    assert monotonic_alignment(torch.zeros(0, 4, 9), empty, empty).shape == (0, 4)


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


@pytest.mark.parametrize(
    ("tokens", "frames", "message"),
    [
        (0, 4, "item 1 has 0 tokens in scores of 3; give 1 to 3"),
        (4, 4, "item 1 has 4 tokens in scores of 3"),
        (3, 5, "item 1 has 5 frames in scores of 4; give 1 to 4"),
    ],
)
def test_lengths_outside_the_scores_are_refused(tokens, frames, message):
    with pytest.raises(ValueError, match=message):
        monotonic_alignment(torch.zeros(2, 3, 4), torch.tensor([3, tokens]), torch.tensor([4, frames]))


def test_shapes_that_do_not_fit_are_refused():
    lengths = torch.tensor([3]), torch.tensor([4])
    with pytest.raises(ValueError, match=r"scores \(2, 3, 4\) need \(B, S\), \(B,\), \(B,\)"):
        monotonic_alignment(torch.zeros(2, 3, 4), *lengths)


def test_without_numba_the_search_is_vectorised(monkeypatch):
    monkeypatch.setitem(sys.modules, "numba", None)
    assert compile_afresh() is None


def test_without_a_folder_for_the_code_it_is_compiled_all_the_same(monkeypatch):
    import numba

    def njit(cache=False, nogil=False):
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return lambda function: (function, nogil)

    monkeypatch.setattr(numba, "njit", njit)
    assert compile_afresh() == (alignment.search_loop, True)


@pytest.mark.cuda
def test_scores_on_a_gpu_give_the_same_durations_there():
    table, tokens, frames, optional = ragged_batch()
    expected = monotonic_alignment(table, tokens, frames, optional)
    found = monotonic_alignment(*(value.cuda() for value in (table, tokens, frames, optional)))
    assert found.is_cuda
    assert found.tolist() == expected.tolist()
    assert monotonic_alignment(table.cuda(), tokens, frames).is_cuda  # lengths may lie elsewhere
