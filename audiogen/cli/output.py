"""Where a run writes, audio files, standard output, timestamps, and what it does when an item fails."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Self

from audiogen.audio import HEADERLESS, Audio, AudioWriter, limit, wav_header
from audiogen.cli.jobs import Job, UsageError
from audiogen.files import Place, RemotePath, location, replacing, write_text

if TYPE_CHECKING:
    from types import TracebackType

    from torch import Tensor

    from audiogen.audio import Timing
    from audiogen.report import ItemReport

TIMESTAMP_FORMATS = ("json", "srt")


class StdoutPcm:
    """Signed 16-bit little-endian samples on standard output, channels interleaved, without a header."""

    def __init__(self) -> None:
        self._file = sys.stdout.buffer

    def write(self, wav: Tensor) -> None:
        """Append wav (C, T), clamped to [-1, 1]."""
        # the upper half of 32 bits: how libsndfile makes the samples of a file, to the last bit
        samples = (limit(wav).double() * 2**31).round().clamp(max=2**31 - 1).int() >> 16
        self._file.write(samples.T.contiguous().numpy().astype("<i2").tobytes())
        self._file.flush()

    def __enter__(self) -> Self:
        """Use as AudioWriter is used."""
        return self

    def __exit__(self, *error: object) -> None:
        """Nothing to finish: what was written has been heard."""


class StdoutWav(StdoutPcm):
    """The same as a WAV that sounds from its first block on.

    frames: samples that will come; None when that is not known yet: then the header says "until the end".
    """

    def __init__(self, sample_rate: int, channels: int, frames: int | None) -> None:
        super().__init__()
        self._file.write(wav_header(sample_rate, channels, frames))


class StoreWriter:
    """An audio file in an object store: written on this machine, sent when it is complete."""

    def __init__(self, place: RemotePath, sample_rate: int, channels: int, format: str | None) -> None:
        self._stack = ExitStack()
        temporary = self._stack.enter_context(replacing(place))
        writer = AudioWriter(temporary, sample_rate, channels, format)
        self._writer = self._stack.enter_context(writer)

    def write(self, wav: Tensor) -> None:
        """Append wav (C, T), clamped to [-1, 1]."""
        self._writer.write(wav)

    def __enter__(self) -> Self:
        """Use as AudioWriter is used."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Send the finished file, or forget what an error left half written."""
        self._stack.__exit__(kind, error, trace)


Sink = AudioWriter | StdoutPcm | StoreWriter


def open_sink(job: Job, first: Audio, is_all: bool, format: str | None) -> Sink:
    """Something to write the job's blocks to; `first` is the first of them, and alone if `is_all`."""
    channels, samples = first.wav.shape
    if job.out is None and (format or "").lower() == HEADERLESS:
        return StdoutPcm()
    if job.out is None:
        return StdoutWav(first.sample_rate, channels, samples if is_all else None)
    job.out.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(job.out, RemotePath):
        return StoreWriter(job.out, first.sample_rate, channels, format)
    return AudioWriter(job.out, first.sample_rate, channels, format)


def check_folder(folder: Place) -> None:
    """Make the folder and try to write in it. Raises UsageError: better now than after an hour of work."""
    if isinstance(folder, RemotePath):
        check_store(folder)
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UsageError(f"cannot write in {folder} ({error.strerror}); choose another folder") from error


def check_store(folder: RemotePath) -> None:
    """Write a small object into the folder and remove it. Raises UsageError."""
    store, probe = folder.store, folder / f".audiogen-{os.urandom(4).hex()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        store.pipe_file(probe.key, b"")
        store.rm_file(probe.key)
    except Exception as error:  # every store has errors of its own
        raise UsageError(
            f"cannot write in {folder} ({error}); check its name and your credentials"
        ) from error


def timestamps_path(wanted: str, job: Job) -> Place:
    """The file for a job's timestamps: `wanted` itself, or beside the audio when that is "json" or "srt"."""
    if wanted not in TIMESTAMP_FORMATS:
        return location(wanted)
    assert job.out is not None, "check_timestamps refuses standard output"
    return job.out.with_suffix(f".{wanted}")


def check_timestamps(wanted: str, jobs: Sequence[Job]) -> None:
    """Raises UsageError if --timestamps names no known format, or one file for many items."""
    if wanted in TIMESTAMP_FORMATS:
        if any(job.out is None and job.error is None for job in jobs):
            raise UsageError(
                f"--timestamps {wanted} goes beside an audio file; give FILE.{wanted} for standard output"
            )
        return
    if Path(wanted).suffix.lstrip(".").lower() not in TIMESTAMP_FORMATS:
        raise UsageError(f"--timestamps {wanted!r} is neither json, srt, FILE.json nor FILE.srt")
    if len(jobs) > 1:
        raise UsageError(f"--timestamps {wanted} is one file for {len(jobs)} items; use json or srt")


def write_timestamps(path: Place, timings: Sequence[Timing], seconds: float) -> None:
    """JSON: words and phones with seconds. SRT: a cue a word."""
    if path.suffix.lower() == ".srt":
        write_text(path, to_srt(timings))
        return
    content: dict[str, object] = {"audio_seconds": round(seconds, 4)}
    for kind in ("word", "phone"):
        content[f"{kind}s"] = [
            {"text": timing.text, "start_s": round(timing.start_s, 4), "end_s": round(timing.end_s, 4)}
            for timing in timings
            if timing.kind == kind
        ]
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def to_srt(timings: Sequence[Timing]) -> str:
    """SubRip cues, one a word."""
    words = [timing for timing in timings if timing.kind == "word"]
    return "\n".join(
        f"{number}\n{_clock(word.start_s)} --> {_clock(word.end_s)}\n{word.text}\n"
        for number, word in enumerate(words, 1)
    )


def _clock(seconds: float) -> str:
    milliseconds = round(1000 * seconds)
    minutes, milliseconds = divmod(milliseconds, 60000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{milliseconds // 1000:02d},{milliseconds % 1000:03d}"


def attempt(item: ItemReport, work: Callable[[], None]) -> Exception | None:
    """Do the work of one item -> its error, noted in the item. Raises BrokenPipeError alone."""
    try:
        work()
    except BrokenPipeError:
        raise
    except Exception as error:
        told = isinstance(error, (ValueError, OSError))
        item.error = str(error) if told else f"{type(error).__name__}: {error}"
        return error
    return None
