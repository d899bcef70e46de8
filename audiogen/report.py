"""How long speech took to make: stage timers and the real-time-factor report."""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from audiogen.files import write_text

if TYPE_CHECKING:
    import torch
    from rich.console import Console
    from rich.table import Table

STAGES = ("text", "acoustic", "vocoder", "io")
T = TypeVar("T")


class StageTimer:
    """Seconds spent in each named stage, summed over calls; a CUDA device is waited for on both sides.

    device: where the timed work runs. `seconds` maps stage to seconds and may be read at any time.
    """

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self.seconds: dict[str, float] = {}
        self._cuda = str(device).startswith("cuda")
        self._device = device

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time of the block to stage `name`, also when the block raises."""
        start = self._now()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + self._now() - start

    def each(self, name: str, items: Iterable[T]) -> Iterator[T]:
        """The items, with the time that each of them takes to come added to stage `name`."""
        iterator = iter(items)
        while True:
            with self.stage(name):
                try:
                    item = next(iterator)
                except StopIteration:
                    return
            yield item

    def _now(self) -> float:
        if self._cuda:
            import torch

            torch.cuda.synchronize(self._device)
        return time.perf_counter()


def rtf(compute_seconds: float, audio_seconds: float) -> float | None:
    """Real-time factor, compute / audio (smaller is faster); None when there is no audio to divide by."""
    return compute_seconds / audio_seconds if audio_seconds > 0 else None


@dataclass
class PlayOut:
    """A stream as its listener has it, who plays the first chunk at once and then one after another.

    clock: gives seconds. first_chunk_seconds: from the request to the first samples. gaps: seconds that the
    reader waited for each later chunk, without the time it kept the one before. underruns: chunks that were
    not finished when those before them had been played; playing goes on with them.
    """

    clock: Callable[[], float] = time.perf_counter
    first_chunk_seconds: float | None = None
    gaps: list[float] = field(default_factory=list)
    underruns: int = 0
    _played: float = 0.0  # when all that is ready will have been heard

    def watch(self, chunks: Iterable[T], seconds: Callable[[T], float]) -> Iterator[T]:
        """The chunks, each noted when it is ready; asking for the first is the request.

        seconds: length of a chunk's audio; chunks without audio are not noted.
        """
        iterator = iter(chunks)
        requested = asked = self.clock()
        while True:
            try:
                chunk = next(iterator)
            except StopIteration:
                return
            if (length := seconds(chunk)) > 0:
                self._note(requested, asked, self.clock(), length)
            yield chunk
            asked = self.clock()

    def _note(self, requested: float, asked: float, ready: float, seconds: float) -> None:
        if self.first_chunk_seconds is None:
            self.first_chunk_seconds = ready - requested
            self._played = ready
        else:
            self.gaps.append(ready - asked)
            self.underruns += ready > self._played
        self._played = max(ready, self._played) + seconds


def stream_totals(streams: Sequence[PlayOut]) -> dict[str, Any]:
    """first_chunk_ms: median of the streams. chunk_p95_ms: of all gaps. Sums of underruns and chunks."""
    firsts = [s.first_chunk_seconds for s in streams if s.first_chunk_seconds is not None]
    gaps = [gap for stream in streams for gap in stream.gaps]
    return {
        "first_chunk_ms": _ms(percentile(firsts, 50)),
        "chunk_p95_ms": _ms(percentile(gaps, 95)),
        "underruns": sum(stream.underruns for stream in streams),
        "chunks": len(firsts) + len(gaps),
    }


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else 1000 * seconds


@dataclass
class ItemReport:
    """What one item cost.

    audio_seconds: audio written. stages: seconds by name (STAGES). nfe: network evaluations of the sampler.
    warm: False for items that rode in the first call of the model, which pays for every first-time cost.
    play_out: how a streamed item arrived.
    """

    id: str
    audio_seconds: float = 0.0
    nfe: int | None = None
    stages: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))
    warm: bool = True
    error: str | None = None
    play_out: PlayOut | None = None

    @property
    def compute_seconds(self) -> float:
        """All stages together: everything but loading the model."""
        return sum(self.stages.values())

    @property
    def rtf(self) -> float | None:
        """Real-time factor of this item."""
        return rtf(self.compute_seconds, self.audio_seconds)

    def add(self, stages: Mapping[str, float]) -> None:
        """Add seconds to the stages."""
        for name, seconds in stages.items():
            self.stages[name] = self.stages.get(name, 0.0) + seconds

    def to_dict(self) -> dict[str, Any]:
        """As it stands in the JSON report; a failed item also has its "error", a streamed one its chunks."""
        entry: dict[str, Any] = {
            "id": self.id,
            "audio_seconds": self.audio_seconds,
            "compute_seconds": self.compute_seconds,
            "rtf": self.rtf,
            "nfe": self.nfe,
            "stages": dict(self.stages),
        }
        if self.play_out is not None:
            entry |= stream_totals([self.play_out])
        return entry if self.error is None else {**entry, "error": self.error}


def totals(items: Sequence[ItemReport], extra_seconds: float = 0.0) -> dict[str, Any]:
    """Sums over sums, never a mean of ratios; p50 and p95 are over the items' real-time factors.

    extra_seconds joins the compute time: the loading of the model, where it counts.
    """
    audio = sum(item.audio_seconds for item in items)
    compute = sum(item.compute_seconds for item in items) + extra_seconds
    ratios = [item.rtf for item in items if item.rtf is not None]
    return {
        "items": len(items),
        "audio_seconds": audio,
        "compute_seconds": compute,
        "rtf": rtf(compute, audio),
        "rtfx": audio / compute if audio > 0 and compute > 0 else None,
        "p50": percentile(ratios, 50),
        "p95": percentile(ratios, 95),
    }


def percentile(values: Sequence[float], percent: int) -> float | None:
    """Percentile (1 to 99) with linear interpolation; None of nothing."""
    if len(values) < 2:
        return values[0] if values else None
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


@dataclass
class Report:
    """The account of one run: context, items, summary.

    context: plain values; its "load_seconds" is what loading cost, kept out of every item.
    first_item_seconds: from the loaded model to the first finished item, by the clock on the wall.
    stages: columns of the table. wall_seconds: of workers that shared the items, from their start to the last
    item, by the clock on the wall.
    """

    context: dict[str, Any] = field(default_factory=dict)
    items: list[ItemReport] = field(default_factory=list)
    first_item_seconds: float | None = None
    stages: Sequence[str] = STAGES
    wall_seconds: float | None = None

    def finished_after(self, seconds: float) -> None:
        """Note when an item was finished, `seconds` after loading; only the first one counts."""
        if self.first_item_seconds is None:
            self.first_item_seconds = seconds

    def summary(self) -> dict[str, Any]:
        """All finished items, then cold (the first call's items plus loading) and warm (the rest) apart.

        Streams, if there were any, add their `stream_totals`; workers add the time on the wall, with the
        loading of their models.
        """
        done = [item for item in self.items if item.error is None]
        cold = [item for item in done if not item.warm]
        streams = [item.play_out for item in done if item.play_out is not None]
        return {
            **totals(done),
            "failed": len(self.items) - len(done),
            "first_item_seconds": self.first_item_seconds,
            "cold": totals(cold, self.context.get("load_seconds", 0.0)),
            "warm": totals([item for item in done if item.warm]),
            **(stream_totals(streams) if streams else {}),
            **self._on_the_wall(sum(item.audio_seconds for item in done)),
        }

    def _on_the_wall(self, audio_seconds: float) -> dict[str, Any]:
        if self.wall_seconds is None:
            return {}
        return {"wall_seconds": self.wall_seconds, "wall_rtf": rtf(self.wall_seconds, audio_seconds)}

    def to_dict(self) -> dict[str, Any]:
        """{"context", "items", "summary"}: plain values, None where a number does not exist."""
        return {
            "context": self.context,
            "items": [item.to_dict() for item in self.items],
            "summary": self.summary(),
        }

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the JSON atomically."""
        write_text(path, json.dumps(self.to_dict(), indent=2, ensure_ascii=False, allow_nan=False) + "\n")

    def print_table(self, console: Console | None = None, max_items: int = 20) -> None:
        """Print items (at most `max_items`) and sums in seconds, to stderr unless a console is given."""
        from rich import box
        from rich.console import Console as StderrConsole
        from rich.table import Table

        done = [item for item in self.items if item.error is None]
        summary = self.summary()
        table = Table("seconds", "audio", "compute", "RTF", "speed", *self.stages, box=box.SIMPLE_HEAD)
        table.collapse_padding, table.pad_edge = True, False
        table.columns[0].no_wrap, table.columns[0].max_width = True, 16
        for column in table.columns[1:]:
            column.justify = "right"
        for item in done[:max_items]:
            table.add_row(item.id, *_cells(totals([item])), *_stage_cells([item], self.stages))
        if len(done) > max_items:
            table.add_row(f"... {len(done) - max_items} more")
        table.add_section()
        table.add_row(f"all {summary['items']}", *_cells(summary), *_stage_cells(done, self.stages))
        for name, label in (("cold", "cold+load"), ("warm", "warm")):
            if summary[name]["items"]:
                table.add_row(f"{label} {summary[name]['items']}", *_cells(summary[name]))
        console = console or StderrConsole(stderr=True)
        console.print(table)
        if "first_chunk_ms" in summary:
            console.print(_stream_table(summary))
        if summary.get("wall_rtf"):
            console.print(
                f"by the clock, with loading: {self.wall_seconds:.2f} s, RTF {summary['wall_rtf']:.4f} "
                f"({1 / summary['wall_rtf']:.1f}x real time)",
                highlight=False,
            )
        load = self.context.get("load_seconds", 0.0)
        console.print(f"loading took {load:.2f} s; RTF = compute / audio, smaller is faster", highlight=False)


def _stream_table(sums: Mapping[str, Any]) -> Table:
    """How the chunks of a stream came."""
    from rich import box
    from rich.table import Table

    table = Table(
        "streamed", "first chunk ms", "gap p95 ms", "underruns", box=box.SIMPLE_HEAD, pad_edge=False
    )
    times = ("-" if sums[key] is None else f"{sums[key]:.1f}" for key in ("first_chunk_ms", "chunk_p95_ms"))
    table.add_row(f"{sums['chunks']} chunks", *times, str(sums["underruns"]))
    return table


def _cells(sums: Mapping[str, Any]) -> tuple[str, str, str, str]:
    speed = "-" if sums["rtfx"] is None else f"{sums['rtfx']:.1f}x"
    ratio = "-" if sums["rtf"] is None else f"{sums['rtf']:.4f}"
    return f"{sums['audio_seconds']:.2f}", f"{sums['compute_seconds']:.3f}", ratio, speed


def _stage_cells(items: Sequence[ItemReport], stages: Sequence[str]) -> list[str]:
    return [f"{sum(item.stages.get(name, 0.0) for item in items):.3f}" for name in stages]


def machine_context(device: torch.device | str = "cpu") -> dict[str, Any]:
    """The machine and the libraries as they are now: what another measurement needs for a comparison.

    "vectors": the widest instructions that torch uses, in which machines of one name differ. "noisy" is True
    when the load average already exceeds half the cores: such numbers are not to be trusted.
    """
    import platform

    import torch

    from audiogen import __version__

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return {
        "cpu": cpu_name(),
        "vectors": torch.backends.cpu.get_cpu_capability(),
        "gpu": torch.cuda.get_device_name(device) if str(device).startswith("cuda") else None,
        "cores": cores,
        "threads": torch.get_num_threads(),
        "interop_threads": torch.get_num_interop_threads(),
        "device": str(device),
        "load_average": load,
        "noisy": load is not None and load > 0.5 * cores,
        "versions": {
            "audiogen": __version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
    }


def cpu_name() -> str:
    """The processor's marketing name, or its architecture where the system does not tell."""
    import platform

    details = Path("/proc/cpuinfo")
    if details.exists():
        for line in details.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
