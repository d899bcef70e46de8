"""One run of `audiogen tts`: plan, load, speak, write, account."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from audiogen import hub, weights
from audiogen.audio import HEADERLESS, Timing
from audiogen.cli import OK, batch, engine
from audiogen.cli.batch import TextRequest, Words
from audiogen.cli.jobs import Defaults, Job, UsageError, read_jobs
from audiogen.cli.output import (
    Sink,
    attempt,
    check_timestamps,
    open_sink,
    timestamps_path,
    write_timestamps,
)
from audiogen.cli.work import Group, Outcome
from audiogen.files import location
from audiogen.report import ItemReport, PlayOut, Report, StageTimer, machine_context
from audiogen.speech import FrontEnd, Piece, SpeechOptions, SpeechSystem, check_steps, speak, speaker_index
from audiogen.speech_stream import speak_in_chunks
from audiogen.text.frontend import TextFrontEnd

LETTERS = 120  # of a long sentence: how much text a place in a batch is for
WORDS = Words("speaking", "items", one="item ")


@dataclass(frozen=True)
class Request(TextRequest):
    """The options of `audiogen tts`, as its help describes them."""

    language: str | None
    lexicon: Path | None
    timestamps: str | None
    vocoder: str | None
    speaker: str
    options: SpeechOptions
    compiled: bool


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
    console = batch.stderr_console()
    missing = batch.not_there_yet(request, jobs, console)
    if not missing:
        return OK
    groups = engine.grouped(jobs, missing, request.batch_size, LETTERS * request.batch_size)
    opener, misuse = partial(open_session, load), request.misuse
    work = engine.Run(request, missing, groups, opener, Report(), WORDS, misuse, console, started)
    return work.carry_out()


def open_session(load: Loader, request: Request, console: Console) -> Session:
    """Load what speaks. Raises ValueError as `run` does."""
    system, front_end = load(request)
    if request.language is not None and request.language[:2] != system.language[:2]:
        console.print(
            f"warning: this voice learned {system.language}; sounds of {request.language} may be off"
        )
    return Session(request, system, front_end, console, context(request, system))


def streamed(request: Request) -> Request:
    """A request for a stream, to standard output unless it has a file. Raises UsageError for many items."""
    if request.crew is not None:
        raise UsageError("--stream plays one text while it is made; leave out --engine and --workers")
    if request.manifest is not None:
        raise UsageError("--stream plays one text while it is made; leave it out to speak a --manifest")
    if request.out_dir is not None:
        raise UsageError("--stream has one output; give -o FILE, or - for standard output, and no --out-dir")
    return batch.to_listener(request)


def plan(request: Request, jobs: list[Job]) -> list[Job]:
    """The items with their places, after all checks that need no model. Raises ValueError or NothingToDo."""
    jobs = batch.place_named(request, jobs)
    batch.check_output(request, streamable=("wav", HEADERLESS))
    beside = None
    if request.timestamps is not None:
        check_timestamps(request.timestamps, jobs)
        beside = location(request.timestamps)
    batch.check_folders(request, jobs, beside)
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
    console: Console
    context: dict[str, Any]
    _warm: bool = field(default=False, init=False)

    def work(self, group: Group) -> Iterator[tuple[int, Outcome]]:
        """What became of each wanted job, by its place. The others are spoken for the sake of the batches."""
        if self.request.stream:
            yield from ((place, self._stream(group.jobs[place])) for place in group.wanted)
            return
        items = (job.item for job in group.jobs)
        options, batch_size = self.request.options, self.request.batch_size
        pieces = speak(self.system, items, options, front_end=self.front_end, batch_size=batch_size)
        for place, spoken in groupby(pieces, key=lambda piece: piece.item):
            if place in group.wanted:
                yield place, self._deliver(group.jobs[place], spoken)
        self._warm = True

    def _stream(self, job: Job) -> Outcome:
        """Speak one job in chunks, under the eyes of its listener."""
        front_end = getattr(self.front_end, "sentences", self.front_end)
        chunks = speak_in_chunks(self.system, job.item, self.request.options, front_end=front_end)
        play_out = PlayOut()
        heard = play_out.watch(chunks, lambda piece: piece.audio.seconds if piece.audio else 0.0)
        item, error = self._deliver(job, heard)
        item.play_out = play_out
        return item, error

    def _deliver(self, job: Job, pieces: Iterable[Piece]) -> Outcome:
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
                item.warm = item.warm and (self._warm or piece.batch > 0)
                if piece.dropped:
                    self.console.print(f"warning: item {item.id}: cannot speak {' '.join(piece.dropped)}")
                if piece.audio is None:
                    raise piece.error or AssertionError("a piece holds audio or an error")
                with timer.stage("io"):
                    if sink is None:
                        batch.tell_format(self.request, job, piece.audio, self.console)
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
