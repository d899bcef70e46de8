"""How fast the monotonic alignment search is: compiled, vectorised, and as a plain Python loop.

    python benchmarks/speed_alignment.py [--sizes 8x60x300 ...]

All three search the same random scores, batch x tokens x frames, every length full and every other token
optional, and must find the same durations. They take turns in one process; medians over `--runs` turns, in
milliseconds a batch. What the first call costs is measured apart, in two fresh processes that share an empty
cache: the first compiles the search, the second reads it from disk.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from audiogen.files import write_text
from audiogen.nn.alignment import SKIP, STAY, STEP, monotonic_alignment, search_vectorised
from audiogen.report import machine_context

HERE = Path(__file__).parent
FIRST_CALL = """
import json, time
import torch
from audiogen.nn.alignment import compiled_search, monotonic_alignment

batch = torch.zeros(1, 3, 4), torch.tensor([3]), torch.tensor([4])
times = [time.perf_counter()]
for work in (compiled_search, lambda: monotonic_alignment(*batch)):
    work()
    times.append(time.perf_counter())
print(json.dumps({"import_numba": times[1] - times[0], "first_call": times[2] - times[1]}))
"""


def plain_search(scores: list[list[float]], optional: list[bool]) -> list[int]:
    """One item by a double loop over lists, scores as (N, S): what one writes without thinking of speed."""
    S = len(optional)
    best = [scores[0][0], *[float("-inf")] * (S - 1)]
    if S > 1 and optional[0]:
        best[1] = scores[0][1]
    moves = []
    for row in scores[1:]:
        came_from, new = [], []
        for s in range(S):
            value, move = best[s], STAY
            if s > 0 and best[s - 1] > value:
                value, move = best[s - 1], STEP
            if s > 1 and optional[s - 1] and best[s - 2] > value:
                value, move = best[s - 2], SKIP
            new.append(value + row[s])
            came_from.append(move)
        best = new
        moves.append(came_from)
    s = S - 2 if S > 1 and optional[-1] and best[-2] > best[-1] else S - 1
    durations = [0] * S
    durations[s] = 1
    for came_from in reversed(moves):
        s -= came_from[s]
        durations[s] += 1
    return durations


def plain(scores: Tensor, optional: Tensor) -> Tensor:
    """`plain_search` over a batch (B, S, N)."""
    items = zip(scores.transpose(1, 2).tolist(), optional.tolist(), strict=True)
    return torch.tensor([plain_search(*item) for item in items])


def contenders(B: int, S: int, N: int) -> dict[str, Callable[[], Tensor]]:
    """The three searches on one batch. Whole scores: their sums are exact in any precision, so all agree."""
    generator = torch.Generator().manual_seed(0)
    scores = torch.randint(-9, 10, (B, S, N), generator=generator).float()
    optional = (torch.arange(S) % 2 == 0).expand(B, S)
    lengths = torch.full((B,), S), torch.full((B,), N)
    return {
        "compiled": lambda: monotonic_alignment(scores, *lengths, optional),
        "vectorised": lambda: search_vectorised(scores, optional, *lengths),
        "plain loop": lambda: plain(scores, optional),
    }


def race(searches: dict[str, Callable[[], Tensor]], runs: int) -> dict[str, dict[str, float]]:
    """Turns of all searches -> milliseconds of each; raises RuntimeError when their durations differ."""
    times: dict[str, list[float]] = {name: [] for name in searches}
    for run in range(runs + 1):
        found = []
        for name, search in searches.items():
            start = time.perf_counter()
            found.append(search())
            if run:  # the first turn warms up
                times[name].append(1000 * (time.perf_counter() - start))
        if not all(torch.equal(found[0], other) for other in found[1:]):
            raise RuntimeError("the searches disagree: their times cannot be compared")
    return {
        name: {"ms": statistics.median(all_), "ms_least": min(all_), "ms_most": max(all_)}
        for name, all_ in times.items()
    }


def first_calls() -> dict[str, dict[str, float]]:
    """Seconds until the first result in a fresh process, without and with compiled code on disk."""
    with tempfile.TemporaryDirectory() as folder:
        rows = {}
        for name in ("compiling", "from disk"):
            finished = subprocess.run(
                [sys.executable, "-c", FIRST_CALL],
                capture_output=True,
                text=True,
                check=True,
                env={**os.environ, "NUMBA_CACHE_DIR": folder},
            )
            rows[name] = json.loads(finished.stdout)
    return rows


def main(argv: list[str] | None = None) -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", nargs="+", default=["1x60x300", "8x60x300", "16x120x800"])
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "speed_alignment.json")
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    rows: dict[str, Any] = {}
    for size in args.sizes:
        rows[size] = row = race(contenders(*map(int, size.split("x"))), args.runs)
        for name in ("vectorised", "plain loop"):
            row[name]["times_as_long"] = row[name]["ms"] / row["compiled"]["ms"]
        print(f"{size:12}", ", ".join(f"{name} {entry['ms']:.3f} ms" for name, entry in row.items()))
    first = first_calls()
    for name, entry in first.items():
        print(f"{name:12}", ", ".join(f"{what} {seconds:.2f} s" for what, seconds in entry.items()))
    context = {**machine_context(), "runs": args.runs}
    content = {"context": context, "first_call_seconds": first, "searches": rows}
    args.out.parent.mkdir(exist_ok=True)
    write_text(args.out, json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
