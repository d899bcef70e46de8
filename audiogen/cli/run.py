"""One run of `audiogen tts`: plan, load, speak, write, account."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from audiogen import hub, weights
from audiogen.audio import HEADERLESS, Audio, Timing, audio_format
from audiogen.cli import INTERRUPTED, OK, SOME_FAILED, USAGE, close_stdout
from audiogen.cli.jobs import STDIN, STDOUT, Defaults, Job, UsageError, place, read_jobs
from audiogen.cli.output import (
    Sink,
    attempt,
    check_folder,
    check_timestamps,
    open_sink,
    timestamps_path,
    write_timestamps,
)
from audiogen.report import ItemReport, PlayOut, Report, StageTimer, machine_context
from audiogen.speech import FrontEnd, Piece, SpeechOptions, SpeechSystem, check_steps, speak, speaker_index
from audiogen.speech_stream import speak_in_chunks
from audiogen.text.frontend import TextFrontEnd


@dataclass(frozen=True)
class Request:
    """The options of `audiogen tts`, as its help describes them."""

    text: str | None
    manifest: str | None
    language: str | None
    lexicon: Path | None
    output: str | None
    out_dir: Path | None
    format: str | None
    skip_existing: bool
    timestamps: str | None
    report: Path | None
    model: str
    vocoder: str | None
    seed: int
    speaker: str
    options: SpeechOptions
    device: str
    threads: int | None
    compiled: bool
    batch_size: int
    stream: bool
    fail_fast: bool
    quiet: bool
    progress: bool

    @property
    def alone(self) -> bool:
        """Whether this is one text of its own: its faults are faults of the call."""
        return self.manifest is None and (self.out_dir is None or self.text not in (None, STDIN))


def run(request: Request, started: float) -> int:
    """Do what was asked -> exit code.

    started: time.perf_counter() when the command began. Raises ValueError for what cannot be done at all.
    """
    if request.stream:
        request = streamed(request)
    jobs = read_jobs(
        request.text,
        request.manifest,
        Defaults(request.seed, request.speaker),
        single=request.out_dir is None,
    )
    return carry_out(request, plan(request, jobs), load_voice, started)


Loader = Callable[[Request], tuple[SpeechSystem, FrontEnd]]


def carry_out(request: Request, jobs: list[Job], load: Loader, started: float) -> int:
    """Load what speaks, speak the jobs, account for them -> exit code. Raises ValueError as `run` does."""
    missing = (
        [job for job in jobs if job.out is None or not job.out.exists()] if request.skip_existing else jobs
    )
    console = Console(stderr=True, markup=False, highlight=False, soft_wrap=True)
    if not missing:
        if not request.quiet:
            console.print(f"all {len(jobs)} files exist already")
        return OK
    system, front_end = load(request)
    load_seconds = time.perf_counter() - started
    if request.language is not None and request.language[:2] != system.language[:2]:
        console.print(
            f"warning: this voice learned {system.language}; sounds of {request.language} may be off"
        )
    report = Report({**context(request, system), "load_seconds": load_seconds})
    try:
        code = Session(request, system, front_end, report, console).speak_all(missing)
    except BrokenPipeError:  # the reader of standard output has heard enough
        close_stdout()
        code = OK
    if request.report is not None:
        report.save(request.report)
    if not request.quiet and any(item.error is None for item in report.items):
        report.print_table()
    return code


def streamed(request: Request) -> Request:
    """A request for a stream, to standard output unless it has a file. Raises UsageError for many items."""
    if request.manifest is not None:
        raise UsageError("--stream plays one text while it is made; leave it out to speak a --manifest")
    if request.out_dir is not None:
        raise UsageError("--stream has one output; give -o FILE, or - for standard output, and no --out-dir")
    if request.output is None and sys.stdout.isatty():
        raise UsageError("--stream would write to the terminal; pipe it into a player, or give -o FILE")
    return replace(request, output=request.output or STDOUT, batch_size=1)


def plan(request: Request, jobs: list[Job]) -> list[Job]:
    """The items with their places, after all checks that need no model. Raises ValueError or NothingToDo."""
    if request.format is not None:
        audio_format("--format", request.format)
    jobs = place(jobs, request.output, request.out_dir, f".{(request.format or 'wav').lower()}")
    if request.output == STDOUT and (request.format or "wav").lower() not in ("wav", HEADERLESS):
        raise UsageError(f"standard output takes WAV or PCM only, not {request.format}; give a file name")
    if request.output not in (None, STDOUT):
        audio_format(str(request.output), request.format)
    folders = {job.out.parent for job in jobs if job.out and request.out_dir is None} | {request.out_dir}
    if request.timestamps is not None:
        check_timestamps(request.timestamps, jobs)
        folders.add(Path(request.timestamps).parent)
    if request.report is not None:
        folders.add(request.report.parent)
    for folder in folders:
        if folder is not None:
            check_folder(folder)
    return jobs


def load_voice(request: Request) -> tuple[SpeechSystem, FrontEnd]:
    """The system and the front end, checked against the request. Raises ValueError."""
    front_end = TextFrontEnd(request.language, request.lexicon) if request.language else None
    if request.threads is not None:
        torch.set_num_threads(request.threads)
    system = hub.load(request.model, request.device, request.vocoder, compiled=request.compiled)
    if not hasattr(system, "synthesize_sentences"):
        raise weights.UnknownModel(
            f"model {request.model!r} does not speak; use a text-to-speech model such as prodiff"
        )
    check_steps(system, request.options.num_steps)
    speaker_index(system, request.speaker)
    return system, front_end or TextFrontEnd(system.language, request.lexicon)


def context(request: Request, system: Any) -> dict[str, Any]:
    """What the numbers of the report depend on."""
    return {
        **machine_context(getattr(system, "device", "cpu")),
        "dtype": str(getattr(system, "dtype", torch.float32)).removeprefix("torch."),
        "batch_size": request.batch_size,
        "steps": check_steps(system, request.options.num_steps),
        "sample_rate": system.sample_rate,
        "seed": request.seed,
        **hub.provenance(request.model, request.vocoder),
    }


@dataclass
class Session:
    """A loaded voice at work on a request."""

    request: Request
    system: SpeechSystem
    front_end: FrontEnd
    report: Report
    console: Console

    def speak_all(self, jobs: Sequence[Job]) -> int:
        """Speak and write every job, fill the report -> exit code. Finished files stay whatever happens."""
        loaded = time.perf_counter()
        code = OK
        shown = self.request.progress and not self.request.quiet
        with progress_bar(self.console, shown=shown) as progress:
            task = progress.add_task("speaking", total=len(jobs))
            try:
                for item, error in self._outcomes(jobs):
                    self.report.items.append(item)
                    progress.advance(task)
                    if error is None:
                        self.report.finished_after(time.perf_counter() - loaded)
                        continue
                    self.console.print(f"error: item {item.id}: {item.error}")
                    code = USAGE if self.request.alone and isinstance(error, ValueError) else SOME_FAILED
                    if self.request.fail_fast:
                        break
            except KeyboardInterrupt:
                code = INTERRUPTED
        self._print_outcome(len(jobs), code)
        return code

    def _outcomes(self, jobs: Sequence[Job]) -> Iterator[tuple[ItemReport, Exception | None]]:
        """What became of each job, the hopeless ones first."""
        for job in jobs:
            if job.error is not None:
                yield ItemReport(job.item.id, error=str(job.error)), job.error
        good = [job for job in jobs if job.error is None]
        if self.request.stream:
            yield from map(self._stream, good)
            return
        items = (job.item for job in good)
        options, batch_size = self.request.options, self.request.batch_size
        pieces = speak(self.system, items, options, front_end=self.front_end, batch_size=batch_size)
        for index, group in groupby(pieces, key=lambda piece: piece.item):
            yield self._deliver(good[index], group)

    def _stream(self, job: Job) -> tuple[ItemReport, Exception | None]:
        """Speak one job in chunks, under the eyes of its listener."""
        front_end = getattr(self.front_end, "sentences", self.front_end)
        chunks = speak_in_chunks(self.system, job.item, self.request.options, front_end=front_end)
        play_out = PlayOut()
        heard = play_out.watch(chunks, lambda piece: piece.audio.seconds if piece.audio else 0.0)
        item, error = self._deliver(job, heard)
        item.play_out = play_out
        return item, error

    def _deliver(self, job: Job, pieces: Iterable[Piece]) -> tuple[ItemReport, Exception | None]:
        """Write one job's pieces as they come -> its cost, and its error unless it is a closed pipe."""
        item = ItemReport(job.item.id, nfe=check_steps(self.system, self.request.options.num_steps))
        timer = StageTimer()

        def work() -> None:
            timings = self._write(job, pieces, item, timer)
            if self.request.timestamps is not None:
                path = timestamps_path(self.request.timestamps, job)
                with timer.stage("io"):
                    write_timestamps(path, timings, item.audio_seconds)

        failure = attempt(item, work)
        item.add(timer.seconds)
        return item, failure

    def _write(self, job: Job, pieces: Iterable[Piece], item: ItemReport, timer: StageTimer) -> list[Timing]:
        """Stream pieces into the job's file -> timings from its start. Raises the error a piece brings."""
        timings: list[Timing] = []
        sink: Sink | None = None
        samples = 0
        with ExitStack() as stack:
            for piece in pieces:
                item.add(piece.stages)
                item.warm = item.warm and piece.batch > 0
                if piece.dropped:
                    self.console.print(f"warning: item {item.id}: cannot speak {' '.join(piece.dropped)}")
                if piece.audio is None:
                    raise piece.error or AssertionError("a piece holds audio or an error")
                with timer.stage("io"):
                    if sink is None:
                        self._tell_format(job, piece.audio)
                        sink = open_sink(job, piece.audio, piece.last, self.request.format)
                        stack.enter_context(sink)
                    sink.write(piece.audio.wav)
                offset = samples / piece.audio.sample_rate
                timings += [timing.shifted(offset) for timing in piece.audio.timings]
                samples += piece.audio.wav.shape[-1]
                item.audio_seconds = samples / piece.audio.sample_rate
            with timer.stage("io"):
                stack.close()
        return timings

    def _tell_format(self, job: Job, audio: Audio) -> None:
        """Samples without a header say nothing about themselves."""
        if job.out is None and (self.request.format or "").lower() == HEADERLESS and not self.request.quiet:
            self.console.print(f"{audio.sample_rate} Hz, {len(audio.wav)} channel, 16 bit, little-endian")

    def _print_outcome(self, wanted: int, code: int) -> None:
        failed = [item.id for item in self.report.items if item.error is not None]
        if code == INTERRUPTED:
            done = len(self.report.items) - len(failed)
            self.console.print(f"interrupted: {done} of {wanted} items are finished and kept")
        if failed and wanted > 1:
            self.console.print(f"{len(failed)} of {wanted} items failed: {', '.join(failed)}")


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
