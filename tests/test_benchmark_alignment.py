"""benchmarks/speed_alignment.py races searches that agree, and counts compilation apart."""

import contextlib
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import speed_alignment  # noqa: E402

from audiogen.nn.alignment import search_vectorised  # noqa: E402


@pytest.mark.parametrize("seed", range(20))
def test_plain_loop_is_the_same_search(seed):
    generator = torch.Generator().manual_seed(seed)
    S = int(torch.randint(1, 8, (), generator=generator))
    scores = torch.randint(-2, 3, (3, S, 9), generator=generator).float()
    optional = (torch.arange(S) % 2 == seed % 2).expand(3, S)
    lengths = torch.full((3,), S), torch.full((3,), 9)
    found = speed_alignment.plain(scores, optional)
    assert found.tolist() == search_vectorised(scores, optional, *lengths).tolist()


def test_race_takes_turns_after_one_that_warms_up():
    calls = []
    searches = {name: lambda name=name: calls.append(name) or torch.ones(2) for name in "abc"}
    rows = speed_alignment.race(searches, runs=2)
    assert "".join(calls) == "abcabcabc"
    assert all(row["ms_least"] <= row["ms"] <= row["ms_most"] for row in rows.values())


def test_searches_that_disagree_are_not_compared():
    with pytest.raises(RuntimeError, match="disagree"):
        speed_alignment.race({"a": lambda: torch.ones(2), "b": lambda: torch.zeros(2)}, runs=1)


@pytest.fixture
def processes(monkeypatch):
    """First calls run in this process instead; the cache folder that each was given, and what lay in it."""
    given = []

    def run(command, env, **kwargs):
        folder = Path(env["NUMBA_CACHE_DIR"])
        given.append((folder, sorted(path.name for path in folder.iterdir())))
        (folder / "code").touch()
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(command[2], {})
        return subprocess.CompletedProcess(command, 0, printed.getvalue(), "")

    monkeypatch.setattr(subprocess, "run", run)
    return given


def test_the_account_holds_every_size_and_the_first_calls(tmp_path, processes):
    out = tmp_path / "speed.json"
    speed_alignment.main(["--sizes", "2x4x9", "1x1x3", "--runs", "1", "--out", str(out)])
    content = json.loads(out.read_text())
    assert list(content["searches"]) == ["2x4x9", "1x1x3"]
    row = content["searches"]["2x4x9"]
    assert row["plain loop"]["times_as_long"] == row["plain loop"]["ms"] / row["compiled"]["ms"]
    assert set(content["first_call_seconds"]) == {"compiling", "from disk"}
    assert all(seconds > 0 for row in content["first_call_seconds"].values() for seconds in row.values())
    assert content["context"]["runs"] == 1
    (folder, before), (same, after) = processes
    assert (folder, before, after) == (same, [], ["code"])
