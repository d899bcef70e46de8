"""MeLoDy, text to waveform: where the time goes at each number of steps, passes, memory of a stream.

    python benchmarks/speed_music.py --model models/melody

Every number of steps makes the same pieces, in turns, in one process, after a warm-up. Forward passes stand
beside those of MusicLM (600 tokens of three models a second) and of MeLoDy as published (25 tokens a second
and T = 20 steps). Writes results/speed_music.json.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from audiogen import hub
from audiogen.files import write_text
from audiogen.memory import keep_freed
from audiogen.music import MusicOptions
from audiogen.report import StageTimer, machine_context

HERE = Path(__file__).parent
CAPTION = "slow solo piano in A minor"
STAGES = ("lm", "diffusion", "decoder")
MUSICLM_TOKENS = 25 + 200 + 400  # a second (Lam et al. 2023, table 3)
PUBLISHED_TOKENS, PUBLISHED_STEPS = 25, 20
PUBLISHED_WINDOW, PUBLISHED_CHUNK = 10.0, 2.5


def lap(system: Any, seconds: float, options: MusicOptions) -> dict[str, float]:
    """One piece: seconds of every stage, of all, and until the first block."""
    timer, start = StageTimer(), time.perf_counter()
    first, samples = None, 0
    for block in system.stream(CAPTION, [0], options, seconds=seconds, timer=timer):
        first = first or time.perf_counter() - start
        samples += block.shape[-1]
    assert samples == round(seconds * system.sample_rate), "a stream is as long as asked"
    return {
        **{name: timer.seconds[name] for name in STAGES},
        "all": time.perf_counter() - start,
        "first": first or 0,
    }


def row(laps: Sequence[dict[str, float]], seconds: float) -> dict[str, Any]:
    """Medians of the laps of one setting."""
    median = {name: statistics.median(lap[name] for lap in laps) for name in laps[0]}
    ratios = sorted(lap["all"] / seconds for lap in laps)
    return {
        "rtf": median["all"] / seconds,
        "rtf_of_runs": [ratios[0], ratios[-1]],
        "first_block_ms": 1000 * median["first"],
        "stage_ms_per_second": {name: 1000 * median[name] / seconds for name in STAGES},
    }


def speeds(
    system: Any, steps: Sequence[int], seconds: float, guidance: float | None, runs: int
) -> list[dict[str, Any]]:
    """A row for every number of steps."""
    options = {n: MusicOptions(num_steps=n, guidance=guidance) for n in steps}
    laps: dict[int, list[dict[str, float]]] = {n: [] for n in steps}
    for run in range(runs + 1):
        for n in sorted(steps, reverse=run % 2 == 1):
            laps[n].append(lap(system, seconds, options[n]))
    return [
        {
            "steps": n,
            "diffusion_passes": system.passes(seconds, options[n]).diffusion,
            "lm_passes": system.passes(seconds, options[n]).lm,
            **row(laps[n][1:], seconds),
        }
        for n in steps
    ]


def passes(system: Any, seconds: float, steps: Sequence[int], guidance: float | None) -> dict[str, Any]:
    """Forward passes for a piece: ours at each number of steps, MusicLM's, and MeLoDy's as published."""
    windows = 1 + max(0, math.ceil((seconds - PUBLISHED_WINDOW) / PUBLISHED_CHUNK))
    ours = {str(n): system.passes(seconds, MusicOptions(num_steps=n, guidance=guidance)) for n in steps}
    return {
        "seconds": seconds,
        "musiclm": round(MUSICLM_TOKENS * seconds),
        "published_table": round(PUBLISHED_TOKENS * seconds) + PUBLISHED_STEPS,
        "published_chunkwise": round(PUBLISHED_TOKENS * seconds) + PUBLISHED_STEPS * windows,
        "ours": {
            n: {"lm": found.lm, "diffusion": found.diffusion, "all": found.total} for n, found in ours.items()
        },
    }


def resident_mib() -> float:
    """Memory of this process that is in use, MiB; NaN where /proc does not tell."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS")), math.nan)


def memory(system: Any, seconds: float, steps: int, guidance: float | None) -> list[dict[str, float]]:
    """Memory in use after every tenth of a long stream."""
    found, made, every = [], 0.0, seconds / 10
    for block in system.stream(
        CAPTION, [0], MusicOptions(num_steps=steps, guidance=guidance), seconds=seconds
    ):
        made += block.shape[-1] / system.sample_rate
        if made >= every * (len(found) + 1) - 1e-6:
            found.append({"seconds": made, "mib": resident_mib()})
    return found


def parse(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="melody")
    parser.add_argument("--steps", default="1,2,4,5,10,20")
    parser.add_argument("--guidance", type=float, help="default: the model's")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument(
        "--long", type=float, default=300.0, help="seconds of the stream whose memory is watched"
    )
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "speed_music.json")
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> None:
    """Measure, print and save."""
    args = parse(words)
    keep_freed()  # as the command does
    torch.set_num_threads(args.threads)
    system = hub.load(args.model)
    steps = [int(n) for n in args.steps.split(",")]
    context = {
        **machine_context(),
        **{key: Path(value).name for key, value in hub.provenance(args.model).items()},
        "seconds": args.seconds,
        "guidance": args.guidance,
        "runs": args.runs,
    }
    rows = speeds(system, steps, args.seconds, args.guidance, args.runs)
    for found in rows:
        split = ", ".join(f"{name} {ms:.0f}" for name, ms in found["stage_ms_per_second"].items())
        print(f"T = {found['steps']:2d}: RTF {found['rtf']:.3f}; ms a second of audio: {split}")
    counts = [passes(system, seconds, steps, args.guidance) for seconds in (10.0, 30.0)]
    for count in counts:
        ours = ", ".join(f"{n}: {found['all']}" for n, found in count["ours"].items())
        published = f"MusicLM {count['musiclm']}, MeLoDy {count['published_table']}"
        print(f"{count['seconds']:g} s: {published}, ours {ours}")
    content = {
        "context": context,
        "speeds": rows,
        "passes": counts,
        "memory": memory(system, args.long, steps[0], args.guidance),
    }
    args.out.parent.mkdir(exist_ok=True)
    write_text(args.out, json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
