"""One run of `audiogen music`: plan, load, make, write, account."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor

from audiogen import hub, weights
from audiogen.audio import HEADERLESS, Audio, read_audio, soft_limit
from audiogen.cli import OK, batch
from audiogen.cli.batch import TextRequest, Words
from audiogen.cli.jobs import STDOUT, Defaults, Job, UsageError, read_jobs
from audiogen.cli.output import Sink, attempt, open_sink
from audiogen.cli.work import Outcome
from audiogen.music import STAGES, MusicOptions, MusicSystem, PromptPlan, continued
from audiogen.report import ItemReport, PlayOut, Report, StageTimer, machine_context
from audiogen.speech import stable_seed

WORDS = Words("making music", "items", one="item ")


@dataclass(frozen=True)
class MusicRequest(TextRequest):
    """The options of `audiogen music`, as its help describes them; seconds: None = without end."""

    seconds: float | None
    changes: Sequence[str]
    continue_from: Path | None
    options: MusicOptions


def run(request: MusicRequest, started: float) -> int:
    """Do what was asked -> exit code.

    started: time.perf_counter() when the command began. Raises ValueError for what cannot be done at all, and
    NothingToDo.
    """
    if request.stream:
        request = streamed(request)
    changes = read_changes(request.changes)
    jobs = plan(request)
    console = batch.stderr_console()
    missing = batch.not_there_yet(request, jobs, console)
    if not missing:
        return OK
    if request.threads is not None:
        torch.set_num_threads(request.threads)
    system = load_musician(request.model, request.device)
    before = None if request.continue_from is None else read_before(request.continue_from, system)
    about = context(request, system)
    report = Report({**about, "load_seconds": time.perf_counter() - started}, stages=STAGES)
    session = MusicSession(request, system, changes, before, report, console)
    return batch.finish(request, report, lambda: session.make_all(missing))


def streamed(request: MusicRequest) -> MusicRequest:
    """A request for a stream, to standard output unless it has a file. Raises UsageError for many items."""
    if request.manifest is not None or request.out_dir is not None:
        raise UsageError("--stream plays one item while it is made; leave out --manifest and --out-dir")
    if request.seconds is None and request.output not in (None, STDOUT):
        raise UsageError("--endless has no end that a file could have; pipe it into a player")
    return batch.to_listener(request)


def read_changes(texts: Sequence[str]) -> list[tuple[float, str]]:
    """SECOND=WORDS -> pairs. Raises UsageError for anything else."""
    changes = []
    for text in texts:
        second, equals, words = text.partition("=")
        try:
            changes.append((float(second), words.strip()))
        except ValueError:
            equals = ""
        if not equals or not words.strip():
            raise UsageError(f"--change {text!r} is not SECOND=WORDS, as in --change '20=fast violin'")
    return changes


def plan(request: MusicRequest) -> list[Job]:
    """The items with their places, after all checks that need no model. Raises ValueError or NothingToDo."""
    if request.seconds is not None and not (request.seconds > 0 and math.isfinite(request.seconds)):
        raise UsageError(f"--seconds must be positive, got {request.seconds:g}")
    PromptPlan("", read_changes(request.changes))
    defaults = Defaults(request.seed)
    jobs = read_jobs(request.text, request.manifest, defaults, single=request.out_dir is None)
    jobs = batch.place_named(request, jobs)
    batch.check_output(request, streamable=("wav", HEADERLESS))
    batch.check_folders(request, jobs)
    return jobs


def load_musician(name: str, device: str) -> Any:
    """The system, in eval mode on the device. Raises ValueError where the model makes no music."""
    system = hub.load(name, device)
    if not hasattr(system, "passes"):
        raise weights.UnknownModel(f"model {name!r} makes no music; use a music model such as melody")
    return system


def read_before(path: Path, system: MusicSystem) -> Tensor:
    """The recording to go on from (1, T), channels averaged. Raises ValueError and OSError."""
    wav = read_audio(path, system.sample_rate).mean(0, keepdim=True)
    if wav.shape[-1] < system.chunk_seconds * system.sample_rate:
        raise UsageError(f"{path} is shorter than the {system.chunk_seconds:.2f} s that music can go on from")
    return wav


def context(request: MusicRequest, system: MusicSystem) -> dict[str, Any]:
    """What the numbers of the report depend on. Raises ValueError for options the system cannot follow."""
    passes = system.passes(request.seconds or system.chunk_seconds, request.options)
    return {
        **machine_context(getattr(system, "device", "cpu")),
        "seconds": request.seconds,
        **vars(request.options),
        "lm_passes": passes.lm,
        "diffusion_passes": passes.diffusion,
        "batch_size": request.batch_size,
        "chunk_seconds": system.chunk_seconds,
        "sample_rate": system.sample_rate,
        "seed": request.seed,
        **hub.provenance(request.model),
    }


@dataclass
class MusicSession:
    """A loaded system at work on a request."""

    request: MusicRequest
    system: MusicSystem
    changes: Sequence[tuple[float, str]]
    before: Tensor | None
    report: Report
    console: Console

    def make_all(self, jobs: Sequence[Job]) -> int:
        """Make and write every job, fill the report -> exit code. Finished files stay whatever happens."""
        request, report, console = self.request, self.report, self.console
        code = batch.work_through(
            self._outcomes(jobs), len(jobs), request, report, console, words=WORDS, misuse=request.misuse
        )
        batch.tell_outcome(report, len(jobs), code, console, WORDS)
        return code

    def _outcomes(self, jobs: Sequence[Job]) -> Iterator[Outcome]:
        """What became of each job, the hopeless ones first."""
        yield from batch.hopeless(jobs)
        good = [job for job in jobs if job.error is None]
        size = 1 if self.before is not None else self.request.batch_size
        for first in range(0, len(good), size):
            yield from self._deliver(good[first : first + size], warm=first > 0)

    def _deliver(self, jobs: Sequence[Job], warm: bool) -> Iterator[Outcome]:
        """Make a batch of jobs and write them -> the cost of each, an equal share, and the batch's error."""
        timer = StageTimer(getattr(self.system, "device", "cpu"))
        passes = None
        if self.request.seconds is not None:
            passes = self.system.passes(self.request.seconds, self.request.options).total
        items = [
            ItemReport(job.item.id, nfe=passes, stages=dict.fromkeys(STAGES, 0.0), warm=warm) for job in jobs
        ]
        failure = attempt(items[0], lambda: self._write(jobs, items, timer))
        for item in items:
            item.error = items[0].error
            item.add({name: seconds / len(items) for name, seconds in timer.seconds.items()})
            yield item, failure

    def _write(self, jobs: Sequence[Job], items: Sequence[ItemReport], timer: StageTimer) -> None:
        """Write the blocks of a batch into the jobs' files as they come."""
        self._tell_unknown_words(jobs)
        blocks: Iterable[Tensor] = self._blocks(jobs, timer)
        rate, samples = self.system.sample_rate, 0
        if self.request.stream:
            items[0].play_out = play_out = PlayOut()
            blocks = play_out.watch(blocks, lambda wav: wav.shape[-1] / rate)
        sinks: list[Sink] = []
        with ExitStack() as stack:
            for block in blocks:
                with timer.stage("io"):
                    wavs = [soft_limit(wav) for wav in block.float().cpu()]
                    for job, wav in zip(jobs if not sinks else (), wavs, strict=False):
                        audio = Audio(wav, rate)
                        batch.tell_format(self.request, job, audio, self.console)
                        sink = open_sink(job, audio, False, self.request.format)
                        stack.enter_context(sink)
                        sinks.append(sink)
                    for sink, wav in zip(sinks, wavs, strict=True):
                        sink.write(wav)
                samples += block.shape[-1]
                for item in items:
                    item.audio_seconds = samples / rate
            with timer.stage("io"):
                stack.close()

    def _blocks(self, jobs: Sequence[Job], timer: StageTimer) -> Iterator[Tensor]:
        """Music of a batch, (B, 1, T) at a time, after the recording it goes on from if there is one."""
        plans = [PromptPlan(job.item.text, self.changes) for job in jobs]
        seeds = [stable_seed(job.item.seed, job.item.id) for job in jobs]
        options, seconds = self.request.options, self.request.seconds

        def prompts(second: float) -> list[str]:
            return [plan.at(second) for plan in plans]

        if self.before is None:
            yield from self.system.stream(prompts, seeds, options, seconds=seconds, timer=timer)
        else:
            yield from continued(self.system, self.before, prompts, seeds[0], options, seconds, timer)

    def _tell_unknown_words(self, jobs: Sequence[Job]) -> None:
        changes = [words for _, words in self.changes]
        for job in jobs:
            told = [
                word for caption in (job.item.text, *changes) for word in self.system.unknown_words(caption)
            ]
            if told:
                listed = ", ".join(dict.fromkeys(told))
                self.console.print(
                    f"warning: item {job.item.id}: words without meaning to this model: {listed}"
                )
