"""One run of `audiogen benchmark`: load, first request, warm-up, rounds, tables."""

from __future__ import annotations

import hashlib
import json
import os
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from audiogen import hub
from audiogen.cli import OK
from audiogen.cli.benchmark_work import Content, Work, work_of
from audiogen.cli.output import check_folder
from audiogen.cli.terminal import say
from audiogen.files import write_text
from audiogen.report import ItemReport, machine_context, percentile, stream_totals, totals

OUTSIDE = ("text", "io", "other")  # stages that are not the model's
ENOUGH = 20  # items below which percentiles say little
BUCKETS = (("under 3 s", 0.0, 3.0), ("3 to 10 s", 3.0, 10.0), ("over 10 s", 10.0, float("inf")))
SETTINGS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "CUDA_VISIBLE_DEVICES")


@dataclass(frozen=True)
class BenchmarkRequest:
    """The options of `audiogen benchmark`, as its help describes them."""

    model: str
    texts: Path | None
    recordings: Sequence[Path]
    timbre: Sequence[Path]
    seconds: float
    items: int | None
    repeats: int
    warmup: int
    report: Path | None
    markdown: Path | None
    vocoder: str | None
    steps: int | None
    quality: str
    seed: int
    device: str
    threads: int | None
    compiled: bool
    quiet: bool


@dataclass(frozen=True)
class Measurement:
    """All that was measured. rounds: the same items in the same order, round by round."""

    context: dict[str, Any]
    cold: ItemReport
    rounds: Sequence[Sequence[ItemReport]]
    streams: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """{"context", "summary", "buckets", "stages", "streams", "cold", "items"}: plain values."""
        medians = typical(self.rounds)
        buckets = {
            name: [item for item in medians if low <= item.audio_seconds < high]
            for name, low, high in BUCKETS
        }
        return {
            "context": self.context,
            "summary": summary(self.rounds),
            "buckets": {name: _sums(items) for name, items in buckets.items() if items},
            "stages": stage_shares(medians),
            "streams": self.streams,
            "cold": {
                "load_seconds": self.context["load_seconds"],
                "first_request_seconds": self.cold.compute_seconds,
                "audio_seconds": self.cold.audio_seconds,
            },
            "items": [item.to_dict() for item in medians],
        }


def run(request: BenchmarkRequest) -> int:
    """Do what was asked -> exit code. Raises ValueError for what cannot be done."""
    for path in (request.report, request.markdown):
        if path is not None:
            check_folder(path.parent)
    if request.threads is not None:
        torch.set_num_threads(request.threads)
    facts = machine_context(request.device if request.device != "auto" else "cpu")
    if facts["noisy"]:
        say(
            f"warning: the load average is {facts['load_average']:.1f} on {facts['cores']} cores: others are "
            "at work, and these numbers will be too large; end them, or measure again later"
        )
    started = time.perf_counter()
    system = hub.load(request.model, request.device, request.vocoder, compiled=request.compiled)
    load_seconds = time.perf_counter() - started
    work = work_of(system, request)
    items = work.items[: request.items]
    if len(items) < ENOUGH and not request.quiet:
        say(f"note: percentiles of {len(items)} items say little; {ENOUGH} or more are better")
    context = {**facts, **context_of(request, system, work, items), "load_seconds": load_seconds}
    found = measure(request, system, work, items, context).to_dict()
    table = to_markdown(found)
    print(table)
    if request.markdown is not None:
        write_text(request.markdown, table + "\n")
    if request.report is not None:
        write_text(request.report, json.dumps(found, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    return OK


def measure(
    request: BenchmarkRequest,
    system: Any,
    work: Work,
    items: Sequence[tuple[str, Content]],
    context: dict[str, Any],
) -> Measurement:
    """The first request, warm-up, rounds over all items, and a round of streams."""
    device = getattr(system, "device", "cpu")

    def once(chosen: Sequence[tuple[str, Content]]) -> list[ItemReport]:
        return [work.measure(name, content, device) for name, content in chosen]

    (cold,) = once(items[:1])
    for _ in range(request.warmup):
        once(representatives(items))
    rounds = []
    for number in range(request.repeats):
        if not request.quiet:
            say(f"round {number + 1} of {request.repeats}")
        rounds.append(once(items))
    streams: dict[str, Any] = {}
    if work.stream is not None:
        streams = stream_totals([work.play(name, content) for name, content in items])
    return Measurement({**context, "load_average_after": _load()}, cold, rounds, streams)


def representatives(items: Sequence[tuple[str, Content]]) -> list[tuple[str, Content]]:
    """A short, a middle and a long item: networks prepare themselves for each new shape."""
    order = sorted(items, key=lambda item: len(item[1]) if isinstance(item[1], str) else item[1].seconds)
    return [order[int(place * len(order))] for place in (1 / 6, 1 / 2, 5 / 6)]


def typical(rounds: Sequence[Sequence[ItemReport]]) -> list[ItemReport]:
    """Of each item the run of median time, so that its stages add up; of two in the middle the faster."""
    return [
        sorted(runs, key=lambda run: run.compute_seconds)[(len(runs) - 1) // 2]
        for runs in zip(*rounds, strict=True)
    ]


def summary(rounds: Sequence[Sequence[ItemReport]]) -> dict[str, Any]:
    """Real-time factors of all items, sums over sums: the median round, the fastest and the slowest.

    rtf_e2e: everything but loading. rtf_model: without text, resampling and what no stage claims. Percentiles
    are of the items' real-time factors in their typical runs.
    """
    ends: dict[str, Any] = {}
    parts: tuple[tuple[str, Callable[[ItemReport], float]], ...] = (
        ("rtf_e2e", lambda item: item.compute_seconds),
        ("rtf_model", model_seconds),
    )
    for name, spent in parts:
        ratios = [ratio for items in rounds if (ratio := corpus_rtf(items, spent)) is not None]
        spread = (min(ratios), max(ratios)) if ratios else None
        ends |= {name: statistics.median(ratios) if ratios else None, f"{name}_spread": spread}
    return {**ends, **_sums(typical(rounds))}


def corpus_rtf(items: Sequence[ItemReport], spent: Callable[[ItemReport], float]) -> float | None:
    """Seconds spent on all items over the seconds of all their audio; None without audio."""
    audio = sum(item.audio_seconds for item in items)
    return sum(map(spent, items)) / audio if audio > 0 else None


def model_seconds(item: ItemReport) -> float:
    """The seconds of the stages that are the model's."""
    return sum(seconds for stage, seconds in item.stages.items() if stage not in OUTSIDE)


def _sums(items: Sequence[ItemReport]) -> dict[str, Any]:
    ratios = [item.rtf for item in items if item.rtf is not None]
    return {**totals(items), "p90": percentile(ratios, 90), "min": min(ratios, default=None)}


def stage_shares(items: Sequence[ItemReport]) -> dict[str, float]:
    """Seconds of each stage for a second of audio; {} without audio."""
    audio = sum(item.audio_seconds for item in items)
    names = dict.fromkeys(stage for item in items for stage in item.stages)
    if not audio:
        return {}
    return {name: sum(item.stages.get(name, 0.0) for item in items) / audio for name in names}


def context_of(
    request: BenchmarkRequest, system: Any, work: Work, items: Sequence[tuple[str, Content]]
) -> dict[str, Any]:
    """What the numbers depend on, beside the machine."""
    return {
        **work.context,
        **hub.provenance(request.model, request.vocoder),
        "device": str(getattr(system, "device", "cpu")),
        "threads": torch.get_num_threads(),
        "dtype": str(getattr(system, "dtype", torch.float32)).removeprefix("torch."),
        "compiled": request.compiled,
        "batch_size": 1,
        "workers": 1,
        "sample_rate": system.sample_rate,
        "seed": request.seed,
        "repeats": request.repeats,
        "warmup": request.warmup,
        "audio_that_counts": work.audio,
        "items_sha256": fingerprint(items),
        "physical_cores": physical_cores(),
        "environment": {name: os.environ[name] for name in SETTINGS if name in os.environ},
        "git": git_revision(),
    }


def fingerprint(items: Sequence[tuple[str, Content]]) -> str:
    """SHA-256 of names and contents: only what worked on the same may be compared."""
    digest = hashlib.sha256()
    for name, content in items:
        data = content.encode() if isinstance(content, str) else content.wav.numpy().tobytes()
        digest.update(f"{name}\0{len(data)}\0".encode() + data)
    return digest.hexdigest()


def physical_cores(cpuinfo: Path = Path("/proc/cpuinfo")) -> int | None:
    """Cores without their second threads; None where the system does not tell."""
    if not cpuinfo.exists():
        return None
    found, package = set(), ""
    for line in cpuinfo.read_text().splitlines():
        key, _, value = (part.strip() for part in line.partition(":"))
        if key == "physical id":
            package = value
        elif key == "core id":
            found.add((package, value))
    return len(found) or None


def git_revision() -> str | None:
    """The commit of a checkout; None for an installed package."""
    folder = Path(__file__).parents[2]
    if not (folder / ".git").exists():
        return None
    try:
        done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True)
    except OSError:
        return None
    return done.stdout.strip() or None


def _load() -> float | None:
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None


def to_markdown(found: dict[str, Any]) -> str:
    """The tables for people."""
    context, sums, cold = found["context"], found["summary"], found["cold"]
    low, high = sums["rtf_e2e_spread"] or (None, None)
    lines = [
        f"RTF {_ratio(sums['rtf_e2e'])} ({_speed(sums['rtf_e2e'])}), everything but loading; "
        f"{_ratio(low)} to {_ratio(high)} in {context['repeats']} rounds. "
        f"The model alone: {_ratio(sums['rtf_model'])} ({_speed(sums['rtf_model'])}).",
        *((f"**The machine was busy (load {context['load_average']:.1f}).**",) if context["noisy"] else ()),
        "",
        "| items of | items | audio s | RTF | p50 | p90 | p95 | fastest |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, row in {"all": sums, **found["buckets"]}.items():
        numbers = (_ratio(row[key]) for key in ("rtf", "p50", "p90", "p95", "min"))
        lines.append(f"| {name} | {row['items']} | {row['audio_seconds']:.1f} | {' | '.join(numbers)} |")
    stages = found["stages"]
    lines += [
        "",
        f"| seconds for a second of audio | {' | '.join(stages)} |",
        f"| --- |{' --- |' * len(stages)}",
        f"| median runs | {' | '.join(map(_ratio, stages.values()))} |",
        "",
        f"Cold: loading {cold['load_seconds']:.2f} s, then the first request "
        f"{cold['first_request_seconds']:.2f} s for {cold['audio_seconds']:.2f} s of audio.",
    ]
    if streams := found["streams"]:
        first, gap = (_number(streams[key], ".0f") for key in ("first_chunk_ms", "chunk_p95_ms"))
        lines.append(
            f"Streamed: first chunk after {first} ms (median), p95 of the gaps {gap} ms, "
            f"{streams['underruns']} underruns in {streams['chunks']} chunks."
        )
    return "\n".join([*lines, *_circumstances(context)])


def _circumstances(context: dict[str, Any]) -> list[str]:
    """What the numbers depend on, in short, and what they mean."""
    place = f"{context['cpu']}, {context['cores']} cores, {context['threads']} threads"
    return [
        f"{context['model']} ({context['model_sha256'][:12]}), {context['task']}, "
        f"steps {context['steps'] or 'of the model'}, {context['dtype']}; {context['gpu'] or place}; "
        f"torch {context['versions']['torch']}; {context['warmup']} warm-up runs a length class.",
        "RTF = seconds of work / seconds of audio, sums over sums: smaller is faster.",
    ]


def _ratio(value: float | None) -> str:
    return _number(value, ".4f")


def _speed(value: float | None) -> str:
    return "-" if not value else f"{1 / value:.1f}x real time"


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
