"""Reading, writing and resampling of audio: the only file that touches audio libraries."""

from __future__ import annotations

import io
import os
import struct
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal, Self

import torch
from torch import Tensor

if TYPE_CHECKING:
    from types import TracebackType

FORMATS = {"wav": "PCM_16", "flac": "PCM_16", "mp3": "MPEG_LAYER_III", "ogg": "VORBIS", "pcm": "PCM_16"}
HEADERLESS = "pcm"
STREAM_FORMATS = {  # container and coding of what is sent while it is made
    "mp3": ("MP3", "MPEG_LAYER_III"),
    "opus": ("OGG", "OPUS"),
    "flac": ("FLAC", "PCM_16"),
    "wav": ("RAW", "PCM_16"),  # after a header of our own
    "pcm": ("RAW", "PCM_16"),
}
OPUS_RATES = (8000, 12000, 16000, 24000, 48000)
# MP3 of constant rate, 64 kbit/s a channel at 16 to 24 kHz: players tell the length of a stream by it.
# FLAC of level 0 has blocks of 1152 samples, others of 4096, which are heard later.
STREAM_SETTINGS: dict[str, dict[str, Any]] = {
    "mp3": {"bitrate_mode": "CONSTANT", "compression_level": 0.63},
    "flac": {"compression_level": 0.0},
}
OGG_PAGE_MS = 50.0  # libsndfile's shortest; its own choice of a second would be heard as delay
SET_OGG_PAGE_LATENCY_MS = 0x1302  # of sndfile.h
UNKNOWN_LENGTH = 0xFFFFFFFF
AUDIO_SUFFIXES = (".wav", ".flac", ".ogg", ".mp3", ".opus", ".aiff", ".aif", ".au")  # that libsndfile reads


@dataclass(frozen=True)
class Timing:
    """When one phone or word is heard, in seconds from the start of the audio."""

    text: str
    start_s: float
    end_s: float
    kind: Literal["phone", "word"]

    def shifted(self, seconds: float) -> Timing:
        """The same unit, heard `seconds` later."""
        return replace(self, start_s=self.start_s + seconds, end_s=self.end_s + seconds)


@dataclass(frozen=True)
class Audio:
    """A waveform that knows its sample rate. wav: (C, T) float32 in [-1, 1]."""

    wav: Tensor
    sample_rate: int
    timings: tuple[Timing, ...] = ()

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return self.wav.shape[-1] / self.sample_rate

    def save(self, path: str | os.PathLike[str], format: str | None = None) -> None:
        """Write atomically; the format follows the suffix unless it is given."""
        write_audio(path, self.wav, self.sample_rate, format)


class AudioError(ValueError):
    """A file that cannot be read or written as audio."""


def read_audio(path: str | os.PathLike[str], sample_rate: int | None = None) -> Tensor:
    """Read any file libsndfile knows -> (C, T) float32, resampled to `sample_rate` (Hz) when given.

    Raises FileNotFoundError for a missing file and AudioError for one that is not audio.
    """
    import soundfile

    if not Path(path).exists():
        raise FileNotFoundError(f"no such audio file: {path}")
    try:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise AudioError(f"cannot read {path} as audio ({error}); convert it to WAV or FLAC") from error
    wav = torch.from_numpy(samples.T.copy())
    return wav if sample_rate is None else resample(wav, rate, sample_rate)


def resample(wav: Tensor, rate: int, new_rate: int) -> Tensor:
    """(..., T) at `rate` Hz -> (..., ceil(T new_rate / rate)) by a windowed-sinc filter."""
    if rate == new_rate:
        return wav
    from torchaudio.functional import resample as sinc_resample

    return sinc_resample(wav, rate, new_rate, lowpass_filter_width=32)


def audio_format(path: str | os.PathLike[str], format: str | None = None) -> str:
    """Name of the container: `format`, or the suffix of `path`. Raises AudioError for an unknown one."""
    name = (format or Path(path).suffix.lstrip(".")).lower()
    if name not in FORMATS:
        raise AudioError(f"unknown audio format {name!r} for {path}; use one of {', '.join(FORMATS)}")
    return name


class Resampler:
    """Blocks of one signal at `rate` Hz to blocks at `new_rate` (soxr): joined, the same however it was cut.

    Nothing is delayed: sample n of the result is of the time n / new_rate.
    """

    def __init__(self, rate: int, new_rate: int, channels: int) -> None:
        self._stream = None
        if rate != new_rate:
            import soxr

            self._stream = soxr.ResampleStream(rate, new_rate, channels, dtype="float32")

    def __call__(self, wav: Tensor, last: bool = False) -> Tensor:
        """The next block (C, T) -> what is ready of the result (C, T'), with `last` all that is left."""
        if self._stream is None:
            return wav
        return torch.from_numpy(self._stream.resample_chunk(wav.T.contiguous().numpy(), last=last).T)


def soft_limit(wav: Tensor, knee: float = 0.95) -> Tensor:
    """wav unchanged up to `knee`, and what is larger bent smoothly towards the largest 16-bit sample."""
    room = 1 - 2**-15 - knee
    over = (wav.abs() - knee).clamp(min=0) / room
    return torch.where(over > 0, wav.sign() * (knee + room * torch.tanh(over)), wav)


def limit(wav: Tensor) -> Tensor:
    """Clamp to [-1, 1], so that no later conversion to integers can wrap; NaN is an AudioError."""
    if not bool(torch.isfinite(wav).all()):
        raise AudioError("the audio holds NaN or infinite samples; nothing was written")
    return wav.clamp(-1.0, 1.0)


class AudioReader:
    """A file that is read block by block, as often as wanted.

    Raises FileNotFoundError for a missing file and AudioError for one that is not audio.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        import soundfile

        self.path = Path(path)
        if not self.path.is_file():
            raise FileNotFoundError(f"no such audio file: {path}")
        try:
            info = soundfile.info(path)
        except soundfile.LibsndfileError as error:
            raise AudioError(f"cannot read {path} as audio ({error}); convert it to WAV or FLAC") from error
        self.sample_rate: int = info.samplerate
        self.channels: int = info.channels

    def blocks(self, samples: int = 65536) -> Iterator[Tensor]:
        """The whole file from its start, (C, <= samples) float32 at a time. Raises AudioError."""
        import soundfile

        try:
            with soundfile.SoundFile(self.path) as file:
                while len(block := file.read(samples, dtype="float32", always_2d=True)):
                    yield torch.from_numpy(block.T.copy())
        except soundfile.LibsndfileError as error:
            raise AudioError(f"cannot read {self.path} to its end ({error}); convert it again") from error


class AudioWriter:
    """Append blocks to a file that appears under its name only when it is complete.

    path: a file name, or a binary file object (standard output), which is written to directly.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | IO[bytes],
        sample_rate: int,
        channels: int = 1,
        format: str | None = None,
    ) -> None:
        import soundfile

        self.path = Path(path) if isinstance(path, (str, os.PathLike)) else None
        name = audio_format(self.path, format) if self.path is not None else (format or "wav")
        target: Any = path
        if self.path is not None:
            handle, self._temporary = tempfile.mkstemp(
                dir=self.path.parent, prefix=f".{self.path.name}.", suffix=".part"
            )
            os.close(handle)
            umask = os.umask(0)
            os.umask(umask)
            os.chmod(
                self._temporary, 0o666 & ~umask
            )  # mkstemp makes it private; a finished file should not be
            target = self._temporary
        raw = name == HEADERLESS
        self._file = soundfile.SoundFile(
            target,
            "w",
            samplerate=sample_rate,
            channels=channels,
            format="RAW" if raw else name.upper(),
            subtype=FORMATS[name],
            endian="LITTLE" if raw else None,
        )

    def write(self, wav: Tensor) -> None:
        """Append wav (C, T), clamped to [-1, 1]."""
        self._file.write(limit(wav).T.cpu().numpy())

    def __enter__(self) -> Self:
        """Use as a context manager: leaving without an error makes the file appear."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Rename the finished file into place, or remove what an error left half written."""
        self._file.close()
        if self.path is None:
            return
        if kind is None:
            os.replace(self._temporary, self.path)
        else:
            Path(self._temporary).unlink(missing_ok=True)


def write_audio(
    path: str | os.PathLike[str] | IO[bytes], wav: Tensor, sample_rate: int, format: str | None = None
) -> None:
    """Write wav (C, T) at once: clamped, atomically, in the format of the suffix unless given."""
    with AudioWriter(path, sample_rate, wav.shape[0], format) as writer:
        writer.write(wav)


class _Outbox(io.RawIOBase):
    """A file to libsndfile, whose bytes leave by `take`; what has left cannot be written anew."""

    def __init__(self) -> None:
        self._waiting = bytearray()
        self._gone = 0  # bytes taken
        self._place = 0

    def seekable(self) -> bool:
        """Codecs go back to complete their headers."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to a byte counted from the start, from here or from the end."""
        self._place = offset + (0, self._place, self._gone + len(self._waiting))[whence]
        return self._place

    def tell(self) -> int:
        """Where the next bytes go."""
        return self._place

    def write(self, data: Any) -> int:
        """Put bytes at the place; those before what is still here are lost."""
        start = max(0, self._gone - self._place)
        first = self._place + start - self._gone
        kept = bytes(data)[start:]
        self._waiting[first : first + len(kept)] = kept
        self._place += len(data)
        return len(data)

    def take(self) -> bytes:
        """All bytes since the last time."""
        taken = bytes(self._waiting)
        self._gone += len(taken)
        self._waiting.clear()
        return taken


class StreamEncoder:
    """Blocks of a signal to the bytes of a file that sounds from its first block on.

    format: one of STREAM_FORMATS. new_rate: in Hz, another one than the signal's; Opus is of the next rate
    that it has. A whole signal as the first and last block gives the file that `write_audio` would, its
    length in the header; in all other cases a header says that the length is not known. Raises AudioError for
    other formats, and rates that the format has not.
    """

    def __init__(
        self, format: str, sample_rate: int, channels: int = 1, *, new_rate: int | None = None
    ) -> None:
        import soundfile

        if format not in STREAM_FORMATS:
            raise AudioError(f"cannot stream {format!r}; use one of {', '.join(STREAM_FORMATS)}")
        self.sample_rate = new_rate or sample_rate
        if format == "opus":
            self.sample_rate = next((r for r in OPUS_RATES if r >= self.sample_rate), OPUS_RATES[-1])
        self._format, self._channels, self._begun = format, channels, False
        self._resampler = Resampler(sample_rate, self.sample_rate, channels)
        self._outbox = _Outbox()
        container, coding = STREAM_FORMATS[format]
        raw = container == "RAW"
        try:
            self._file = soundfile.SoundFile(
                self._outbox,
                "w",
                samplerate=self.sample_rate,
                channels=channels,
                format=container,
                subtype=coding,
                endian="LITTLE" if raw else None,
                **STREAM_SETTINGS.get(format, {}),
            )
        except soundfile.LibsndfileError as error:
            raise AudioError(
                f"{format} cannot hold {channels} channels of {sample_rate} Hz: {error}"
            ) from error
        if format == "opus":
            _set_page_latency(self._file)

    def __call__(self, wav: Tensor, last: bool = False) -> bytes:
        """The next block (C, T) -> the bytes that are ready, with `last` all that are left."""
        ready = limit(self._resampler(wav, last))
        self._file.write(ready.T.cpu().numpy())
        if last:
            self._file.close()
        header = b""
        if self._format == "wav" and not self._begun:
            header = wav_header(self.sample_rate, self._channels, ready.shape[-1] if last else None)
        self._begun = True
        return header + self._outbox.take()


def _set_page_latency(file: Any) -> None:
    """Let the Ogg pages of a SoundFile be short; soundfile has no name for this command of libsndfile."""
    import soundfile

    milliseconds = soundfile._ffi.new("double *", OGG_PAGE_MS)
    soundfile._snd.sf_command(file._file, SET_OGG_PAGE_LATENCY_MS, milliseconds, 8)


def wav_header(sample_rate: int, channels: int, frames: int | None) -> bytes:
    """The header of a 16-bit WAV. frames: samples of a channel; None: until the end, whenever that is."""
    size = UNKNOWN_LENGTH if frames is None else 2 * channels * frames
    riff = UNKNOWN_LENGTH if frames is None else size + 36
    layout = (16, 1, channels, sample_rate, 2 * channels * sample_rate, 2 * channels, 16)
    return struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", riff, b"WAVE", b"fmt ", *layout, b"data", size)


def levelled(wav: Tensor, level_db: float = -25.0, peak: float = 0.95) -> Tensor:
    """wav (..., T) at an RMS level of `level_db` below full scale, or lower where its peak would pass `peak`.

    Silence stays silence.
    """
    rms = wav.square().mean().sqrt().clamp(min=1e-9)
    gain = min(10 ** (level_db / 20) / float(rms), peak / max(float(wav.abs().max()), 1e-9))
    return wav * gain
