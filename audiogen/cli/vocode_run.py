"""One run of `audiogen vocode`: place, load, decode, write, account."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from audiogen import hub
from audiogen.audio import Audio, audio_format, read_audio
from audiogen.cli import INTERRUPTED, OK, SOME_FAILED, USAGE, close_stdout
from audiogen.cli.jobs import STDOUT, Job, UsageError, place
from audiogen.cli.output import Sink, attempt, check_folder, open_sink
from audiogen.cli.run import progress_bar
from audiogen.report import ItemReport, Report, StageTimer, machine_context
from audiogen.spectral import MelSpec, mel_chunks
from audiogen.speech import SpeechItem

MELS = ".npy"
CHUNK_FRAMES = 256


@dataclass(frozen=True)
class VocodeRequest:
    """The options of `audiogen vocode`, as its help describes them."""

    inputs: Sequence[Path]
    output: str | None
    out_dir: Path | None
    format: str | None
    report: Path | None
    model: str
    stream: bool
    device: str
    threads: int | None
    fail_fast: bool
    quiet: bool
    progress: bool


def run(request: VocodeRequest, started: float) -> int:
    """Do what was asked -> exit code.

    started: time.perf_counter() when the command began. Raises ValueError for what cannot be done at all.
    """
    jobs = plan(request)
    if request.threads is not None:
        torch.set_num_threads(request.threads)
    vocoder = hub.load_vocoder(request.model, request.device)
    if request.stream and vocoder.lookahead is None:
        raise UsageError(f"{request.model} needs the whole signal at once; leave --stream out")
    origin = {"model": request.model} if request.model == hub.GRIFFIN_LIM else hub.provenance(request.model)
    report = Report(
        {
            **machine_context(hub.resolve_device(request.device)),
            "sample_rate": vocoder.mel_spec.sample_rate,
            "stream": request.stream,
            **origin,
            "load_seconds": time.perf_counter() - started,
        }
    )
    try:
        code = VocodeSession(request, vocoder, report).decode_all(jobs)
    except BrokenPipeError:  # the reader of standard output has heard enough
        close_stdout()
        code = OK
    if request.report is not None:
        report.save(request.report)
    if not request.quiet and any(item.error is None for item in report.items):
        report.print_table()
    return code


def plan(request: VocodeRequest) -> list[Job]:
    """The inputs and the places of their audio, after all checks that need no model. Raises ValueError."""
    jobs = [Job(SpeechItem(path.stem, str(path))) for path in request.inputs]
    if request.format is not None:
        audio_format("--format", request.format)
    jobs = place(jobs, request.output, request.out_dir, f".{(request.format or 'wav').lower()}")
    if request.output == STDOUT and (request.format or "wav").lower() != "wav":
        raise UsageError(f"standard output takes WAV only, not {request.format}; give a file name")
    if request.output not in (None, STDOUT):
        audio_format(str(request.output), request.format)
    for job in jobs:
        if job.out is not None and job.out.resolve() == Path(job.item.text).resolve():
            raise UsageError(f"{job.out} is the input itself; choose another place for the audio")
    folders = {job.out.parent for job in jobs if job.out is not None}
    if request.report is not None:
        folders.add(request.report.parent)
    for folder in folders:
        check_folder(folder)
    return jobs


@dataclass
class VocodeSession:
    """A loaded vocoder at work on a request."""

    request: VocodeRequest
    vocoder: Any
    report: Report

    def decode_all(self, jobs: Sequence[Job]) -> int:
        """Decode and write every job, fill the report -> exit code. Finished files stay whatever happens."""
        console = Console(stderr=True, markup=False, highlight=False, soft_wrap=True)
        loaded, code = time.perf_counter(), OK
        shown = self.request.progress and not self.request.quiet
        with progress_bar(console, shown=shown) as progress:
            task = progress.add_task("decoding", total=len(jobs))
            try:
                for number, job in enumerate(jobs):
                    item, error = self._deliver(job)
                    item.warm = number > 0
                    self.report.items.append(item)
                    progress.advance(task)
                    if error is None:
                        self.report.finished_after(time.perf_counter() - loaded)
                        continue
                    console.print(f"error: {item.id}: {item.error}")
                    told = isinstance(error, (ValueError, OSError))
                    code = USAGE if len(jobs) == 1 and told else SOME_FAILED
                    if self.request.fail_fast:
                        break
            except KeyboardInterrupt:
                code = INTERRUPTED
        failed = [item.id for item in self.report.items if item.error is not None]
        if failed and len(jobs) > 1:
            console.print(f"{len(failed)} of {len(jobs)} inputs failed: {', '.join(failed)}")
        return code

    def _deliver(self, job: Job) -> tuple[ItemReport, Exception | None]:
        """Write the audio of one job -> its cost, and its error unless it is a closed pipe."""
        item, timer = ItemReport(job.item.id), StageTimer(_device(self.vocoder))
        failure = attempt(item, lambda: self._write(job, item, timer))
        item.add(timer.seconds)
        return item, failure

    @torch.inference_mode()
    def _write(self, job: Job, item: ItemReport, timer: StageTimer) -> None:
        """Read, decode and write piece by piece, or all at once without --stream."""
        spec = self.vocoder.mel_spec
        sink: Sink | None = None
        samples = 0
        with ExitStack() as stack:
            for wav in self._decoded(Path(job.item.text), timer):
                with timer.stage("io"):
                    if sink is None:
                        audio = Audio(wav, spec.sample_rate)
                        sink = open_sink(job, audio, not self.request.stream, self.request.format)
                        stack.enter_context(sink)
                    sink.write(wav)
                samples += wav.shape[-1]
                item.audio_seconds = samples / spec.sample_rate
            with timer.stage("io"):
                stack.close()

    def _decoded(self, path: Path, timer: StageTimer) -> Iterator[Tensor]:
        """The audio (1, T) of a file in pieces of at least a sample; one piece without --stream."""
        device = _device(self.vocoder)
        mels = read_mels(path, self.vocoder.mel_spec, CHUNK_FRAMES, timer)
        if not self.request.stream:
            mel = torch.cat(list(mels), dim=-1).to(device)
            with timer.stage("vocoder"):
                wav = self.vocoder.decode(mel)[0].cpu()
            yield wav
            return
        state = self.vocoder.init_state(1)
        for mel, last in with_last(mels):
            with timer.stage("vocoder"):
                state, audio = self.vocoder.stream(state, mel.to(device), last=last)
                wav = audio[0].cpu()
            if wav.shape[-1]:
                yield wav


def with_last(pieces: Iterator[Tensor]) -> Iterator[tuple[Tensor, bool]]:
    """Each piece, and whether it is the last."""
    before = next(pieces)
    for piece in pieces:
        yield before, False
        before = piece
    yield before, True


def read_mels(path: Path, spec: MelSpec, frames: int, timer: StageTimer) -> Iterator[Tensor]:
    """Log-mels (1, n_mels, <= frames) of a .npy file or of a recording, at least one piece.

    Raises FileNotFoundError, and ValueError for what cannot be decoded.
    """
    if path.suffix.lower() == MELS:
        with timer.stage("io"):
            mel = open_mel(path, spec)
        for start in range(0, mel.shape[-1], frames):
            with timer.stage("io"):
                piece = torch.from_numpy(mel[None, :, start : start + frames].astype(np.float32))
            if not bool(torch.isfinite(piece).all()):
                raise ValueError(f"{path} holds NaN or infinity; the model that made it has failed")
            yield piece
        return
    with timer.stage("io"):
        wav = read_audio(path, spec.sample_rate).mean(0, keepdim=True)
    if wav.shape[-1] == 0:
        raise ValueError(f"{path} is empty; give a recording of at least one sample")
    if not bool(torch.isfinite(wav).all()):
        raise ValueError(f"{path} holds NaN or infinite samples; write the recording anew")
    pieces = mel_chunks(wav, spec, frames)
    while True:
        with timer.stage("acoustic"):
            made = next(pieces, None)
        if made is None:
            return
        yield made


def open_mel(path: Path, spec: MelSpec) -> np.ndarray[Any, Any]:
    """The mel (n_mels, N) of a .npy file, mapped and not read. Raises FileNotFoundError or ValueError."""
    if not path.is_file():
        raise FileNotFoundError(f"no such mel file: {path}")
    try:
        mel: np.ndarray[Any, Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"cannot read {path} as an array ({error}); write it with numpy.save") from error
    shape = mel.shape
    if mel.ndim == 3 and shape[0] == 1:
        mel = mel[0]
    if mel.ndim != 2 or mel.dtype.kind != "f":
        raise ValueError(
            f"{path} holds {mel.dtype} of shape {shape}; give floats of shape ({spec.n_mels}, frames), or "
            f"(1, {spec.n_mels}, frames)"
        )
    if mel.shape[1] == spec.n_mels != mel.shape[0]:
        raise ValueError(f"{path} has the shape {shape}, not ({spec.n_mels}, frames); transpose it")
    if mel.shape[0] != spec.n_mels:
        raise ValueError(
            f"{path} has {mel.shape[0]} mel bands and the vocoder takes {spec.n_mels}; choose the vocoder of "
            "its front end with --model"
        )
    least = 2 if spec.center else 1
    if mel.shape[1] < least:
        raise ValueError(f"{path} has {mel.shape[1]} frames; the vocoder makes audio of at least {least}")
    return mel


def _device(vocoder: Any) -> torch.device:
    """Where a vocoder's tensors are."""
    return next(chain(vocoder.parameters(), vocoder.buffers())).device
