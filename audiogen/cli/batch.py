"""What the verbs for many items have in common: checks, the loop over the jobs, files, and the account."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from audiogen.audio import HEADERLESS, Audio, audio_format
from audiogen.cli import INTERRUPTED, NOTHING_TO_DO, OK, SOME_FAILED, USAGE, close_stdout
from audiogen.cli.jobs import STDIN, STDOUT, Job, NothingToDo, UsageError, place
from audiogen.cli.output import Sink, check_folder, open_sink
from audiogen.cli.work import Crew, Outcome
from audiogen.files import Place, RemotePath
from audiogen.report import ItemReport, Report, StageTimer

if TYPE_CHECKING:
    from torch import Tensor

Errors = tuple[type[Exception], ...]


@dataclass(frozen=True)
class BatchRequest:
    """The options of every verb for many items, as its help describes them. crew: None works alone."""

    output: str | None
    out_dir: Place | None
    format: str | None
    skip_existing: bool
    report: Path | None
    model: str
    device: str
    threads: int | None
    fail_fast: bool
    quiet: bool
    progress: bool
    crew: Crew | None = field(default=None, kw_only=True)


@dataclass(frozen=True)
class TextRequest(BatchRequest):
    """The options of the verbs that make audio of texts."""

    text: str | None
    manifest: str | None
    seed: int
    batch_size: int
    stream: bool

    @property
    def misuse(self) -> Errors:
        """Errors that are faults of the call and no mishap of an item: those of one text of its own."""
        alone = self.manifest is None and (self.out_dir is None or self.text not in (None, STDIN))
        return (ValueError,) if alone else ()


AnyTextRequest = TypeVar("AnyTextRequest", bound=TextRequest)


def exit_code(run: Callable[[], int]) -> int:
    """The exit code of a run, also of one that finds nothing to do."""
    try:
        return run()
    except NothingToDo as error:
        print(f"nothing to do: {error}", file=sys.stderr)
        return NOTHING_TO_DO


def stderr_console() -> Console:
    """Where a run tells what happens: plain lines, as long as they are."""
    return Console(stderr=True, markup=False, highlight=False, soft_wrap=True)


def to_listener(request: AnyTextRequest) -> AnyTextRequest:
    """A request for a stream, to standard output unless it has a file. Raises UsageError for a terminal."""
    if request.output is None and sys.stdout.isatty():
        raise UsageError("--stream would write to the terminal; pipe it into a player, or give -o FILE")
    return replace(request, output=request.output or STDOUT, batch_size=1)


def check_format(format: str | None) -> None:
    """Raises AudioError if --format names no known one."""
    if format is not None:
        audio_format("--format", format)


def place_named(request: BatchRequest, jobs: list[Job]) -> list[Job]:
    """The jobs with their places; in --out-dir, files are named by id and format. Raises ValueError."""
    check_format(request.format)
    return place(jobs, request.output, request.out_dir, f".{(request.format or 'wav').lower()}")


def check_output(request: BatchRequest, streamable: Sequence[str] = ("wav",)) -> None:
    """Raises ValueError if --output cannot be written in its format.

    streamable: the formats that standard output takes.
    """
    if request.output == STDOUT and (request.format or "wav").lower() not in streamable:
        takes = " or ".join(name.upper() for name in streamable)
        raise UsageError(f"standard output takes {takes} only, not {request.format}; give a file name")
    if request.output not in (None, STDOUT):
        audio_format(str(request.output), request.format)


def check_folders(request: BatchRequest, jobs: Iterable[Job], *files: Place | None) -> None:
    """Make the folders of the results, the report and other files. Raises UsageError if one takes none."""
    folders: set[Place] = {job.out.parent for job in jobs if job.out is not None and request.out_dir is None}
    if request.report is not None and re.match(r"\w{2,}:/", str(request.report)):
        raise UsageError(f"--report {request.report} is in a store; reports are files of this machine")
    folders |= {path.parent for path in (request.report, *files) if path is not None}
    if request.out_dir is not None:
        folders.add(request.out_dir)
    for folder in folders:
        check_folder(folder)


def not_there_yet(request: BatchRequest, jobs: list[Job], console: Console) -> list[Job]:
    """The jobs that are to be done, which with --skip-existing may be none: that is told."""
    if not request.skip_existing:
        return jobs
    there = existing(job.out for job in jobs if job.out is not None)
    missing = [job for job in jobs if job.out is None or job.out not in there]
    if not missing and not request.quiet:
        console.print(f"all {len(jobs)} files exist already")
    return missing


def existing(places: Iterable[Place]) -> set[Place]:
    """Those where something is already; a store is asked once a folder, not once an object."""
    by_folder: dict[Place, list[Place]] = {}
    for path in places:
        by_folder.setdefault(path.parent, []).append(path)
    found: set[Place] = set()
    for folder, inside in by_folder.items():
        if isinstance(folder, RemotePath):
            found |= set(inside) & set(folder.below()) if folder.exists() else set()
        else:
            found |= {path for path in inside if isinstance(path, Path) and path.exists()}
    return found


def finish(request: BatchRequest, report: Report, work: Callable[[], int]) -> int:
    """Work, write the report, show its table -> exit code."""
    try:
        code = work()
    except BrokenPipeError:  # the reader of standard output has heard enough
        close_stdout()
        code = OK
    if request.report is not None:
        report.save(request.report)
    if not request.quiet and any(item.error is None for item in report.items):
        report.print_table()
    return code


@dataclass(frozen=True)
class Words:
    """How a verb speaks of its work: "speaking", of "items", one of which is "item ID" or the ID alone."""

    doing: str
    things: str
    one: str = ""


def work_through(
    outcomes: Iterable[Outcome],
    total: int,
    request: BatchRequest,
    report: Report,
    console: Console,
    *,
    words: Words,
    misuse: Errors,
) -> int:
    """Fill the report with what becomes of the jobs, as they are done -> exit code.

    total: number of jobs. misuse: errors that are faults of the call and no mishap of an item. Finished files
    stay whatever happens.
    """
    loaded, code = time.perf_counter(), OK
    with progress_bar(console, shown=request.progress and not request.quiet) as progress:
        task = progress.add_task(words.doing, total=total)
        try:
            for item, error in outcomes:
                report.items.append(item)
                progress.advance(task)
                if error is None:
                    report.finished_after(time.perf_counter() - loaded)
                    continue
                console.print(f"error: {words.one}{item.id}: {item.error}")
                code = USAGE if isinstance(error, misuse) else SOME_FAILED
                if request.fail_fast:
                    break
        except KeyboardInterrupt:
            code = INTERRUPTED
    return code


def one_by_one(jobs: Iterable[Job], deliver: Callable[[Job], Outcome]) -> Iterator[Outcome]:
    """What becomes of each job; all but the first find a warm machine."""
    for number, job in enumerate(jobs):
        item, error = deliver(job)
        item.warm = number > 0
        yield item, error


def misuse_of(jobs: Sequence[Job]) -> Errors:
    """Errors that are faults of the call and no mishap of an item: those of a single recording."""
    return (ValueError, OSError) if len(jobs) == 1 else ()


def hopeless(jobs: Iterable[Job]) -> Iterator[Outcome]:
    """The jobs that cannot even be tried."""
    for job in jobs:
        if job.error is not None:
            yield ItemReport(job.item.id, error=str(job.error)), job.error


def tell_outcome(report: Report, wanted: int, code: int, console: Console, words: Words) -> None:
    """How many jobs are finished after an interruption, and which have failed."""
    if code == INTERRUPTED:
        done = sum(item.error is None for item in report.items)
        console.print(f"interrupted: {done} of {wanted} {words.things} are finished and kept")
    failed = [item.id for item in report.items if item.error is not None]
    if failed and wanted > 1:
        console.print(f"{len(failed)} of {wanted} {words.things} failed: {', '.join(failed)}")


def tell_format(request: BatchRequest, job: Job, audio: Audio, console: Console) -> None:
    """Samples without a header say nothing about themselves."""
    if job.out is None and (request.format or "").lower() == HEADERLESS and not request.quiet:
        console.print(f"{audio.sample_rate} Hz, {len(audio.wav)} channel, 16 bit, little-endian")


def write_blocks(
    job: Job,
    blocks: Iterable[Tensor],
    sample_rate: int,
    format: str | None,
    item: ItemReport,
    timer: StageTimer,
    *,
    is_all: bool = False,
) -> None:
    """Write blocks (C, T) at `sample_rate` Hz into the job's file as they come.

    item: gets the seconds of audio. is_all: the first block is the only one.
    """
    sink: Sink | None = None
    samples = 0
    with ExitStack() as stack:
        for wav in blocks:
            with timer.stage("io"):
                if sink is None:
                    sink = open_sink(job, Audio(wav, sample_rate), is_all, format)
                    stack.enter_context(sink)
                sink.write(wav)
            samples += wav.shape[-1]
            item.audio_seconds = samples / sample_rate
        with timer.stage("io"):
            stack.close()


def progress_bar(console: Console, *, shown: bool) -> Progress:
    """A bar on stderr, where somebody looks at it, if it is to be shown at all."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=console, disable=not (shown and sys.stderr.isatty()), transient=True)
