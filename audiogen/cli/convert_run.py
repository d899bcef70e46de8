"""One run of `audiogen convert`: find, load, listen to the references, convert, write, account."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from audiogen import hub, weights
from audiogen.audio import AUDIO_SUFFIXES, Audio, AudioReader
from audiogen.cli import OK, batch, engine
from audiogen.cli.batch import BatchRequest, Words
from audiogen.cli.enhance_jobs import find_jobs
from audiogen.cli.jobs import Job, UsageError
from audiogen.cli.output import attempt
from audiogen.cli.work import Group, Outcome
from audiogen.conversion import ConvertOptions, convert_blocks
from audiogen.files import Place, local_copy
from audiogen.report import ItemReport, Report, StageTimer, machine_context
from audiogen.voice import Style, Voice, load_voice, reference_style

OWN_STYLE = "voice"
STAGES = ("content", "prosody", "acoustic", "vocoder", "io")
WORDS = Words("converting", "recordings")


@dataclass(frozen=True)
class ConvertRequest(BatchRequest):
    """The options of `audiogen convert`, as its help describes them."""

    sources: Sequence[Place]
    manifest: Place | None
    timbre: Sequence[Path]
    voice: Path | None
    style: str | None
    vocoder: str | None
    options: ConvertOptions
    seed: int
    chunk_seconds: float


def run(request: ConvertRequest, started: float) -> int:
    """Do what was asked -> exit code.

    started: time.perf_counter() when the command began. Raises ValueError for what cannot be done at all, and
    NothingToDo.
    """
    jobs = plan(request)
    console = batch.stderr_console()
    missing = batch.not_there_yet(request, jobs, console)
    if not missing:
        return OK
    groups = engine.grouped(jobs, missing, engine.handful(missing, request.crew))
    misuse, report = batch.misuse_of(missing), Report(stages=STAGES)
    work = engine.Run(request, missing, groups, open_session, report, WORDS, misuse, console, started)
    return work.carry_out()


def open_session(request: ConvertRequest, console: Console) -> ConvertSession:
    """Load what converts, and listen to the voice. Raises ValueError as `run` does."""
    if request.threads is not None:
        torch.set_num_threads(request.threads)
    system = load_converter(request.model, request.device, request.vocoder)
    system.nfe(request.options)
    voice, style = listen(request, system)
    return ConvertSession(request, system, voice, style, console, context(request, system, voice))


def plan(request: ConvertRequest) -> list[Job]:
    """The recordings and their places, after all checks that need no model."""
    if bool(request.timbre) == (request.voice is not None):
        raise UsageError("whose voice? give --timbre REF (again for more), or --voice FILE, not both")
    if request.style == OWN_STYLE and request.options.pitch:
        raise UsageError(
            "--pitch moves an intonation that is heard now; give --style a recording, or leave it"
        )
    batch.check_format(request.format)
    jobs = find_jobs(request.sources, request.manifest, request.format, request.output, request.out_dir)
    batch.check_output(request)
    batch.check_folders(request, jobs)
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
    console: Console
    context: dict[str, Any]
    _warm: bool = field(default=False, init=False)

    def work(self, group: Group) -> Iterator[tuple[int, Outcome]]:
        """What became of each wanted recording, by its place; all but the first find a warm machine."""
        for place in group.wanted:
            item, error = self._deliver(group.jobs[place])
            item.warm, self._warm = self._warm, True
            yield place, (item, error)

    def _deliver(self, job: Job) -> Outcome:
        """Write one job's recording -> its cost, and its error unless it is a closed pipe."""
        item = ItemReport(job.item.id, nfe=self.system.nfe(self.request.options))
        timer = StageTimer(getattr(self.system, "device", "cpu"))

        failure = attempt(item, lambda: self._write(job, item, timer))
        item.add(timer.seconds)
        return item, failure

    def _write(self, job: Job, item: ItemReport, timer: StageTimer) -> None:
        """Convert a recording into its file."""
        with timer.stage("io"), local_copy(job.item.text) as recording:
            source = read_recording(recording)
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
        batch.write_blocks(job, blocks, self.system.sample_rate, self.request.format, item, timer)
