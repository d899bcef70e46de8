"""One run of `audiogen enhance`: find, load, enhance, write, compare, account."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from audiogen import hub, weights
from audiogen.audio import Audio, AudioReader, audio_format
from audiogen.cli import INTERRUPTED, OK, SOME_FAILED, USAGE, close_stdout
from audiogen.cli.enhance_jobs import find_jobs, references
from audiogen.cli.jobs import STDOUT, Job, UsageError
from audiogen.cli.output import Sink, attempt, check_folder, open_sink
from audiogen.cli.run import progress_bar
from audiogen.enhancement import Chunking, EnhancementSystem, EnhanceOptions, check_options, enhance_blocks
from audiogen.metrics.enhancement import SCORES, compare, finite, means, read_pair, require_scorers
from audiogen.report import ItemReport, Report, StageTimer, machine_context

HEADINGS = {"pesq_wb": "PESQ", "estoi": "ESTOI", "si_sdr_db": "SI-SDR dB"}


@dataclass(frozen=True)
class EnhanceRequest:
    """The options of `audiogen enhance`, as its help describes them."""

    inputs: Sequence[Path]
    manifest: Path | None
    output: str | None
    out_dir: Path | None
    format: str | None
    skip_existing: bool
    report: Path | None
    reference: Path | None
    model: str
    options: EnhanceOptions
    chunking: Chunking
    seed: int
    device: str
    threads: int | None
    fail_fast: bool
    quiet: bool
    progress: bool


@dataclass
class EnhancedItem(ItemReport):
    """What one recording cost. scores: "before" and "after", where it has a reference."""

    scores: dict[str, Mapping[str, float | None]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """As `ItemReport`, with "before" and "after" beside the times."""
        scores = {when: finite(values) for when, values in self.scores.items()}
        return {**super().to_dict(), **scores}


@dataclass
class EnhanceReport(Report):
    """The account of a run. The summary has the means of the scores, "before" and "after"."""

    def summary(self) -> dict[str, Any]:
        """As `Report.summary`, and the scores."""
        scored = [item.scores for item in self.items if isinstance(item, EnhancedItem) and item.scores]
        averages = {
            when: finite(means([scores[when] for scores in scored])) for when in ("before", "after") if scored
        }
        return {**super().summary(), **averages}


def run(request: EnhanceRequest, started: float) -> int:
    """Do what was asked -> exit code.

    started: time.perf_counter() when the command began. Raises ValueError for what cannot be done at all, and
    NothingToDo.
    """
    jobs, clean = plan(request)
    console = Console(stderr=True, markup=False, highlight=False, soft_wrap=True)
    missing = jobs
    if request.skip_existing:
        missing = [job for job in jobs if job.out is None or not job.out.exists()]
    if not missing:
        if not request.quiet:
            console.print(f"all {len(jobs)} files exist already")
        return OK
    if request.threads is not None:
        torch.set_num_threads(request.threads)
    system = load_enhancer(request.model, request.device)
    check_options(system, request.options)
    report = EnhanceReport({**context(request, system), "load_seconds": time.perf_counter() - started})
    try:
        code = EnhanceSession(request, system, clean, report, console).enhance_all(missing)
    except BrokenPipeError:  # the reader of standard output has heard enough
        close_stdout()
        code = OK
    if request.report is not None:
        report.save(request.report)
    if not request.quiet and any(item.error is None for item in report.items):
        report.print_table()
        print_scores(report, console)
    return code


def plan(request: EnhanceRequest) -> tuple[list[Job], dict[str, Path]]:
    """The recordings and their places, and their references, after all checks that need no model."""
    if request.format is not None:
        audio_format("--format", request.format)
    jobs = find_jobs(request.inputs, request.manifest, request.format, request.output, request.out_dir)
    if request.output == STDOUT and (request.format or "wav").lower() != "wav":
        raise UsageError(f"standard output takes WAV only, not {request.format}; give a file name")
    if request.output not in (None, STDOUT):
        audio_format(str(request.output), request.format)
    clean = {}
    if request.reference is not None:
        if request.output == STDOUT:
            raise UsageError("--reference compares what was written to files; give -o FILE or --out-dir DIR")
        require_scorers()
        clean = references(jobs, request.reference)
    folders = {job.out.parent for job in jobs if job.out is not None and request.out_dir is None}
    folders |= {path for path in (request.out_dir, request.report and request.report.parent) if path}
    for folder in folders:
        check_folder(folder)
    return jobs, clean


def load_enhancer(name: str, device: str) -> Any:
    """The system, in eval mode on the device. Raises ValueError where the model does not enhance."""
    system = hub.load(name, device)
    if not hasattr(system, "enhance"):
        raise weights.UnknownModel(f"model {name!r} does not enhance; use an enhancement model such as storm")
    return system


def context(request: EnhanceRequest, system: Any) -> dict[str, Any]:
    """What the numbers of the report depend on."""
    return {
        **machine_context(getattr(system, "device", "cpu")),
        "quality": request.options.quality,
        "steps": request.options.num_steps,
        "warm_start": request.options.warm_start,
        "nfe": system.nfe(request.options),
        "chunk_seconds": request.chunking.seconds,
        "sample_rate": system.sample_rate,
        "seed": request.seed,
        **hub.provenance(request.model),
    }


@dataclass
class EnhanceSession:
    """A loaded system at work on a request."""

    request: EnhanceRequest
    system: EnhancementSystem
    clean: Mapping[str, Path]
    report: Report
    console: Console

    def enhance_all(self, jobs: Sequence[Job]) -> int:
        """Enhance and write every job, fill the report -> exit code. Finished files stay whatever happens."""
        loaded, code = time.perf_counter(), OK
        shown = self.request.progress and not self.request.quiet
        with progress_bar(self.console, shown=shown) as progress:
            task = progress.add_task("enhancing", total=len(jobs))
            try:
                for number, job in enumerate(jobs):
                    item, error = self._deliver(job)
                    item.warm = number > 0
                    self.report.items.append(item)
                    progress.advance(task)
                    if error is None:
                        self.report.finished_after(time.perf_counter() - loaded)
                        continue
                    self.console.print(f"error: {item.id}: {item.error}")
                    told = isinstance(error, (ValueError, OSError))
                    code = USAGE if len(jobs) == 1 and told else SOME_FAILED
                    if self.request.fail_fast:
                        break
            except KeyboardInterrupt:
                code = INTERRUPTED
        self._print_outcome(len(jobs), code)
        return code

    def _deliver(self, job: Job) -> tuple[EnhancedItem, Exception | None]:
        """Write one job's recording -> its cost, and its error unless it is a closed pipe."""
        item = EnhancedItem(job.item.id, nfe=self.system.nfe(self.request.options))
        timer = StageTimer(getattr(self.system, "device", "cpu"))

        def work() -> None:
            if job.error is not None:
                raise job.error
            self._write(job, item, timer)
            if (reference := self.clean.get(job.item.id)) is not None and job.out is not None:
                item.scores = {
                    "before": compare(*read_pair(Path(job.item.text), reference)),
                    "after": compare(*read_pair(job.out, reference)),
                }

        failure = attempt(item, work)
        item.add(timer.seconds)
        return item, failure

    def _write(self, job: Job, item: ItemReport, timer: StageTimer) -> None:
        """Enhance a recording block by block into its file."""
        source = AudioReader(job.item.text)
        options, seed, chunking = self.request.options, self.request.seed, self.request.chunking
        sink: Sink | None = None
        samples = 0
        with ExitStack() as stack:
            for wav in enhance_blocks(
                self.system, source, options, seed=seed, timer=timer, chunking=chunking
            ):
                with timer.stage("io"):
                    if sink is None:
                        sink = open_sink(job, Audio(wav, source.sample_rate), False, self.request.format)
                        stack.enter_context(sink)
                    sink.write(wav)
                samples += wav.shape[-1]
                item.audio_seconds = samples / source.sample_rate
            with timer.stage("io"):
                stack.close()

    def _print_outcome(self, wanted: int, code: int) -> None:
        failed = [item.id for item in self.report.items if item.error is not None]
        if code == INTERRUPTED:
            done = len(self.report.items) - len(failed)
            self.console.print(f"interrupted: {done} of {wanted} recordings are finished and kept")
        if failed and wanted > 1:
            self.console.print(f"{len(failed)} of {wanted} recordings failed: {', '.join(failed)}")


def print_scores(report: EnhanceReport, console: Console) -> None:
    """Mean scores before and after, if there were references."""
    from rich import box
    from rich.table import Table

    summary = report.summary()
    if "before" not in summary:
        return
    grid = Table("mean of items", *HEADINGS.values(), box=box.SIMPLE_HEAD, pad_edge=False)
    for when in ("before", "after"):
        values = (summary[when][name] for name in SCORES)
        grid.add_row(when, *("-" if value is None else f"{value:.2f}" for value in values))
    console.print(grid)
