import pytest
import torch

from audiogen.data.loader import ResumableLoader
from audiogen.data.store import DataError, Ragged, save_ragged


def test_ragged_columns_come_back_exactly(tmp_path):
    mels = [torch.randn(3, n) for n in (4, 1, 7)]
    tokens = [torch.arange(n, dtype=torch.int16) for n in (2, 0, 5)]
    save_ragged(tmp_path / "a.safetensors", {"mel": mels, "tokens": tokens}, {"ids": ["x", "ü", "z"]})
    store = Ragged(tmp_path / "a.safetensors")
    assert all(torch.equal(a, b) for a, b in zip(store["mel"], mels, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(store["tokens"], tokens, strict=True))
    assert [store["tokens"].length(i) for i in range(3)] == [2, 0, 5]
    assert store["tokens"].values.dtype == torch.int16
    assert store.metadata == {"ids": ["x", "ü", "z"]}
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]


def test_missing_damaged_and_foreign_files_are_named(tmp_path):
    with pytest.raises(DataError, match="audiogen prepare"):
        Ragged(tmp_path / "none.safetensors")
    (tmp_path / "bad.safetensors").write_bytes(b"x" * 100)
    with pytest.raises(DataError, match="bad"):
        Ragged(tmp_path / "bad.safetensors")
    save_ragged(tmp_path / "a.safetensors", {"mel": [torch.zeros(1)]}, {})
    with pytest.raises(KeyError, match="mel"):
        Ragged(tmp_path / "a.safetensors")["audio"]


def loader():
    return ResumableLoader(lambda epoch: [(epoch, k) for k in range(5)], lambda plan: plan)


def test_an_epoch_that_is_not_read_past_its_last_item_is_over_all_the_same():
    """Lightning takes the last batch and asks no further."""
    source = loader()
    for expected in (0, 1, 2):
        iterator = iter(source)
        assert [next(iterator) for _ in range(5)] == [(expected, k) for k in range(5)]


def test_a_loader_resumes_in_the_middle_of_an_epoch():
    unbroken = loader()
    expected = [item for _ in range(3) for item in unbroken]
    first, second = loader(), loader()
    seen = list(first)
    for item in first:
        seen.append(item)
        if len(seen) == 7:
            break
    second.load_state_dict(first.state_dict())
    seen += [item for _ in range(2) for item in second]
    assert seen == expected
    assert len(unbroken) == 5


@pytest.mark.parametrize("ranks", [1, 2, 3, 4, 7])
def test_ranks_share_an_epoch_without_gap_or_overlap(ranks):
    """Of 5 plans: each once, and as many again from the front as make the ranks' shares equally long."""
    loaders = [
        ResumableLoader(lambda epoch: [(epoch, k) for k in range(5)], lambda plan: plan, (rank, ranks))
        for rank in range(ranks)
    ]
    for epoch in range(2):
        shares = [list(share) for share in loaders]
        length = -(-5 // ranks)
        assert [len(share) for share in shares] == [len(share) for share in loaders] == [length] * ranks
        in_step = [plan for step in zip(*shares, strict=True) for plan in step]
        assert in_step == [(epoch, k % 5) for k in range(ranks * length)]


def test_another_number_of_ranks_goes_on_where_one_was():
    pair = [ResumableLoader(lambda epoch: range(8), int, (rank, 2)) for rank in range(2)]
    seen = [next(share) for share in map(iter, pair)]
    state = pair[0].state_dict()
    assert state == {"epoch": 0, "position": 2}
    alone = ResumableLoader(lambda epoch: range(8), int, (0, 1))
    alone.load_state_dict(state)
    assert [*seen, *alone] == list(range(8))
    three = ResumableLoader(lambda epoch: range(8), int, (1, 3))
    three.load_state_dict(alone.state_dict() | {"position": 3})
    assert list(three) == [4, 7]
