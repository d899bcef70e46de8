"""One run of `audiogen vocode`: place, load, decode, write, account."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from audiogen import hub
from audiogen.audio import read_audio
from audiogen.cli import batch
from audiogen.cli.batch import BatchRequest, Words
from audiogen.cli.jobs import Job, UsageError
from audiogen.cli.output import attempt
from audiogen.cli.work import Outcome
from audiogen.report import ItemReport, Report, StageTimer, machine_context
from audiogen.spectral import MelSpec, mel_chunks
from audiogen.speech import SpeechItem

MELS = ".npy"
CHUNK_FRAMES = 256
WORDS = Words("decoding", "inputs")


@dataclass(frozen=True)
class VocodeRequest(BatchRequest):
    """The options of `audiogen vocode`, as its help describes them."""

    inputs: Sequence[Path]
    stream: bool


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
    session = VocodeSession(request, vocoder, report, batch.stderr_console())
    return batch.finish(request, report, lambda: session.decode_all(jobs))


def plan(request: VocodeRequest) -> list[Job]:
    """The inputs and the places of their audio, after all checks that need no model. Raises ValueError."""
    jobs = [Job(SpeechItem(path.stem, str(path))) for path in request.inputs]
    jobs = batch.place_named(request, jobs)
    batch.check_output(request)
    for job in jobs:
        if job.out is not None and job.out.resolve() == Path(job.item.text).resolve():
            raise UsageError(f"{job.out} is the input itself; choose another place for the audio")
    batch.check_folders(request, jobs)
    return jobs


@dataclass
class VocodeSession:
    """A loaded vocoder at work on a request."""

    request: VocodeRequest
    vocoder: Any
    report: Report
    console: Console

    def decode_all(self, jobs: Sequence[Job]) -> int:
        """Decode and write every job, fill the report -> exit code. Finished files stay whatever happens."""
        outcomes, misuse = batch.one_by_one(jobs, self._deliver), batch.misuse_of(jobs)
        request, report, console = self.request, self.report, self.console
        code = batch.work_through(outcomes, len(jobs), request, report, console, words=WORDS, misuse=misuse)
        batch.tell_outcome(report, len(jobs), code, console, WORDS)
        return code

    def _deliver(self, job: Job) -> Outcome:
        """Write the audio of one job -> its cost, and its error unless it is a closed pipe."""
        item, timer = ItemReport(job.item.id), StageTimer(_device(self.vocoder))
        failure = attempt(item, lambda: self._write(job, item, timer))
        item.add(timer.seconds)
        return item, failure

    @torch.inference_mode()
    def _write(self, job: Job, item: ItemReport, timer: StageTimer) -> None:
        """Read, decode and write piece by piece, or all at once without --stream."""
        if job.error is not None:
            raise job.error
        rate = self.vocoder.mel_spec.sample_rate
        blocks = self._decoded(Path(job.item.text), timer)
        whole = not self.request.stream
        batch.write_blocks(job, blocks, rate, self.request.format, item, timer, is_all=whole)

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
