"""One run of `audiogen enhance`: find, load, enhance, write, compare, account."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from audiogen import hub, weights
from audiogen.audio import AudioReader
from audiogen.cli import OK, batch, engine
from audiogen.cli.batch import BatchRequest, Words
from audiogen.cli.enhance_jobs import find_jobs, references
from audiogen.cli.jobs import STDOUT, Job, UsageError
from audiogen.cli.output import attempt
from audiogen.cli.work import Group, Outcome
from audiogen.enhancement import Chunking, EnhancementSystem, EnhanceOptions, check_options, enhance_blocks
from audiogen.files import Place, local_copy
from audiogen.metrics.enhancement import SCORES, compare, finite, means, read_pair, require_scorers
from audiogen.report import ItemReport, Report, StageTimer, machine_context

HEADINGS = {"pesq_wb": "PESQ", "estoi": "ESTOI", "si_sdr_db": "SI-SDR dB"}
WORDS = Words("enhancing", "recordings")


@dataclass(frozen=True)
class EnhanceRequest(BatchRequest):
    """The options of `audiogen enhance`, as its help describes them."""

    inputs: Sequence[Place]
    manifest: Place | None
    reference: Path | None
    options: EnhanceOptions
    chunking: Chunking
    seed: int


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
    console = batch.stderr_console()
    missing = batch.not_there_yet(request, jobs, console)
    if not missing:
        return OK
    report = EnhanceReport(stages=("acoustic", "io"))
    groups = engine.grouped(jobs, missing, engine.handful(missing, request.crew))
    opener, misuse = partial(open_session, clean), batch.misuse_of(missing)
    work = engine.Run(request, missing, groups, opener, report, WORDS, misuse, console, started)
    code = work.carry_out()
    if not request.quiet:
        print_scores(report, console)
    return code


def open_session(clean: Mapping[str, Path], request: EnhanceRequest, console: Console) -> EnhanceSession:
    """Load what enhances. clean: references by id. Raises ValueError as `run` does."""
    if request.threads is not None:
        torch.set_num_threads(request.threads)
    system = load_enhancer(request.model, request.device)
    check_options(system, request.options)
    return EnhanceSession(request, system, clean, console, context(request, system))


def plan(request: EnhanceRequest) -> tuple[list[Job], dict[str, Path]]:
    """The recordings and their places, and their references, after all checks that need no model."""
    batch.check_format(request.format)
    jobs = find_jobs(request.inputs, request.manifest, request.format, request.output, request.out_dir)
    batch.check_output(request)
    clean = {}
    if request.reference is not None:
        if request.output == STDOUT:
            raise UsageError("--reference compares what was written to files; give -o FILE or --out-dir DIR")
        require_scorers()
        clean = references(jobs, request.reference)
    batch.check_folders(request, jobs)
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
    console: Console
    context: dict[str, Any]
    _warm: bool = field(default=False, init=False)

    def work(self, group: Group) -> Iterator[tuple[int, Outcome]]:
        """What became of each wanted recording, by its place; all but the first find a warm machine."""
        for place in group.wanted:
            item, error = self._deliver(group.jobs[place])
            item.warm, self._warm = self._warm, True
            yield place, (item, error)

    def _deliver(self, job: Job) -> tuple[EnhancedItem, Exception | None]:
        """Write one job's recording -> its cost, and its error unless it is a closed pipe."""
        item = EnhancedItem(job.item.id, nfe=self.system.nfe(self.request.options))
        timer = StageTimer(getattr(self.system, "device", "cpu"))

        def work() -> None:
            with local_copy(job.item.text) as recording:
                self._write(job, recording, item, timer)
                if (reference := self.clean.get(job.item.id)) is not None and job.out is not None:
                    with local_copy(job.out) as result:
                        item.scores = {
                            "before": compare(*read_pair(recording, reference)),
                            "after": compare(*read_pair(result, reference)),
                        }

        failure = attempt(item, work)
        item.add(timer.seconds)
        return item, failure

    def _write(self, job: Job, recording: Path, item: ItemReport, timer: StageTimer) -> None:
        """Enhance a recording block by block into its file."""
        source = AudioReader(recording)
        options, seed, chunking = self.request.options, self.request.seed, self.request.chunking
        blocks = enhance_blocks(self.system, source, options, seed=seed, timer=timer, chunking=chunking)
        batch.write_blocks(job, blocks, source.sample_rate, self.request.format, item, timer)


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
