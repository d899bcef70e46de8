"""One run of `audiogen convert`: find, load, listen to the references, convert, write, account."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from audiogen import hub, weights
from audiogen.audio import AUDIO_SUFFIXES, Audio, AudioReader, audio_format
from audiogen.cli import INTERRUPTED, OK, SOME_FAILED, USAGE, close_stdout
from audiogen.cli.enhance_jobs import find_jobs
from audiogen.cli.jobs import STDOUT, Job, UsageError
from audiogen.cli.output import Sink, attempt, check_folder, open_sink
from audiogen.cli.run import progress_bar
from audiogen.conversion import ConvertOptions, convert_blocks
from audiogen.report import ItemReport, Report, StageTimer, machine_context
from audiogen.voice import Style, Voice, load_voice, reference_style

OWN_STYLE = "voice"


@dataclass(frozen=True)
class ConvertRequest:
    """The options of `audiogen convert`, as its help describes them."""

    sources: Sequence[Path]
    manifest: Path | None
    timbre: Sequence[Path]
    voice: Path | None
    style: str | None
    output: str | None
    out_dir: Path | None
    format: str | None
    skip_existing: bool
    report: Path | None
    model: str
    vocoder: str | None
    options: ConvertOptions
    seed: int
    chunk_seconds: float
    device: str
    threads: int | None
    fail_fast: bool
    quiet: bool
    progress: bool


def run(request: ConvertRequest, started: float) -> int:
    """Do what was asked -> exit code.

    started: time.perf_counter() when the command began. Raises ValueError for what cannot be done at all, and
    NothingToDo.
    """
    jobs = plan(request)
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
    system = load_converter(request.model, request.device, request.vocoder)
    system.nfe(request.options)
    voice, style = listen(request, system)
    report = Report({**context(request, system, voice), "load_seconds": time.perf_counter() - started})
    try:
        code = ConvertSession(request, system, voice, style, report, console).convert_all(missing)
    except BrokenPipeError:  # the reader of standard output has heard enough
        close_stdout()
        code = OK
    if request.report is not None:
        report.save(request.report)
    if not request.quiet and any(item.error is None for item in report.items):
        report.print_table()
    return code


def plan(request: ConvertRequest) -> list[Job]:
    """The recordings and their places, after all checks that need no model."""
    if bool(request.timbre) == (request.voice is not None):
        raise UsageError("whose voice? give --timbre REF (again for more), or --voice FILE, not both")
    if request.style == OWN_STYLE and request.options.pitch:
        raise UsageError(
            "--pitch moves an intonation that is heard now; give --style a recording, or leave it"
        )
    if request.format is not None:
        audio_format("--format", request.format)
    jobs = find_jobs(request.sources, request.manifest, request.format, request.output, request.out_dir)
    if request.output == STDOUT and (request.format or "wav").lower() != "wav":
        raise UsageError(f"standard output takes WAV only, not {request.format}; give a file name")
    if request.output not in (None, STDOUT):
        audio_format(str(request.output), request.format)
    folders = {job.out.parent for job in jobs if job.out is not None and request.out_dir is None}
    folders |= {path for path in (request.out_dir, request.report and request.report.parent) if path}
    for folder in folders:
        check_folder(folder)
    return jobs


def load_converter(name: str, device: str, vocoder: str | None = None) -> Any:
    """The system, in eval mode on the device. Raises ValueError where the model does not convert."""
    system = hub.load(name, device, vocoder)
    if not hasattr(system, "convert"):
        raise weights.UnknownModel(f"model {name!r} does not convert; use a converter such as stablevc")
    return system


def read_recording(path: Path) -> Audio:
    """A whole file. Raises FileNotFoundError and AudioError."""
    reader = AudioReader(path)
    wav = torch.cat([torch.zeros(reader.channels, 0), *reader.blocks()], dim=-1)
    return Audio(wav, reader.sample_rate)


def recordings(paths: Sequence[Path]) -> list[Path]:
    """Files, and those below folders. Raises UsageError for a folder without recordings."""
    found = []
    for path in paths:
        below = (
            sorted(p for p in path.rglob("*") if p.suffix.lower() in AUDIO_SUFFIXES)
            if path.is_dir()
            else [path]
        )
        if not below:
            raise UsageError(f"{path} holds no recordings (such as .wav or .flac)")
        found += below
    return found


def voice_of(system: Any, paths: Sequence[Path]) -> Voice:
    """A voice of recordings. Raises ValueError that names a bad one."""
    files = recordings(paths)
    try:
        made: Voice = system.voice([read_recording(path) for path in files])
    except ValueError as error:
        numbered = ", ".join(f"reference {n}: {path}" for n, path in enumerate(files, 1))
        raise ValueError(f"{error} ({numbered})") from error
    return made


def listen(request: ConvertRequest, system: Any) -> tuple[Voice, Style | None]:
    """The voice, and the style unless it is each source's own. Raises ValueError for bad references."""
    if request.voice is not None:
        voice = load_voice(request.voice, system)
    else:
        voice = voice_of(system, request.timbre)
    if request.style is None:
        return voice, None
    if request.style == OWN_STYLE:
        return voice, voice.style
    recording = read_recording(Path(request.style))
    return voice, reference_style(system, recording, pitch=request.options.pitch)


def context(request: ConvertRequest, system: Any, voice: Voice) -> dict[str, Any]:
    """What the numbers of the report depend on."""
    return {
        **machine_context(getattr(system, "device", "cpu")),
        **asdict(request.options),
        "nfe": system.nfe(request.options),
        "chunk_seconds": request.chunk_seconds,
        "sample_rate": system.sample_rate,
        "seed": request.seed,
        "voice": str(request.voice) if request.voice is not None else [str(path) for path in request.timbre],
        "voice_seconds": voice.seconds,
        "voice_f0_hz": voice.f0_hz,
        "style": request.style or "source",
        **hub.provenance(request.model, request.vocoder),
    }


@dataclass
class ConvertSession:
    """A loaded system at work on a request."""

    request: ConvertRequest
    system: Any
    voice: Voice
    style: Style | None
    report: Report
    console: Console

    def convert_all(self, jobs: Sequence[Job]) -> int:
        """Convert and write every job, fill the report -> exit code. Finished files stay whatever happens."""
        loaded, code = time.perf_counter(), OK
        shown = self.request.progress and not self.request.quiet
        with progress_bar(self.console, shown=shown) as progress:
            task = progress.add_task("converting", total=len(jobs))
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

    def _deliver(self, job: Job) -> tuple[ItemReport, Exception | None]:
        """Write one job's recording -> its cost, and its error unless it is a closed pipe."""
        item = ItemReport(job.item.id, nfe=self.system.nfe(self.request.options))
        timer = StageTimer(getattr(self.system, "device", "cpu"))

        def work() -> None:
            if job.error is not None:
                raise job.error
            self._write(job, item, timer)

        failure = attempt(item, work)
        item.add(timer.seconds)
        return item, failure

    def _write(self, job: Job, item: ItemReport, timer: StageTimer) -> None:
        """Convert a recording into its file."""
        with timer.stage("io"):
            source = read_recording(Path(job.item.text))
        blocks = convert_blocks(
            self.system,
            source,
            self.voice,
            style=self.style,
            options=self.request.options,
            seed=self.request.seed,
            timer=timer,
            chunk_s=self.request.chunk_seconds,
            overlap_s=min(1.0, self.request.chunk_seconds / 4),
        )
        sink: Sink | None = None
        samples = 0
        with ExitStack() as stack:
            for wav in blocks:
                with timer.stage("io"):
                    if sink is None:
                        first = Audio(wav, self.system.sample_rate)
                        sink = open_sink(job, first, False, self.request.format)
                        stack.enter_context(sink)
                    sink.write(wav)
                samples += wav.shape[-1]
                item.audio_seconds = samples / self.system.sample_rate
            with timer.stage("io"):
                stack.close()

    def _print_outcome(self, wanted: int, code: int) -> None:
        failed = [item.id for item in self.report.items if item.error is not None]
        if code == INTERRUPTED:
            done = len(self.report.items) - len(failed)
            self.console.print(f"interrupted: {done} of {wanted} recordings are finished and kept")
        if failed and wanted > 1:
            self.console.print(f"{len(failed)} of {wanted} recordings failed: {', '.join(failed)}")
