"""Noisy recordings of any rate, length and number of channels through a system, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from audiogen.audio import Audio, Resampler, soft_limit
from audiogen.report import StageTimer

SILENCE = 1e-6  # a channel that never moves more than this from its mean is silent
QUIET = 1e-5  # the same for a chunk, as a part of the recording's peak: 100 dB
CHANNELS_AT_ONCE = 8


@dataclass(frozen=True)
class EnhanceOptions:
    """How to enhance.

    quality: one of the system's `presets`. num_steps: sampler steps in place of the preset's, 0 = the
    predictor alone. warm_start: time in (0, 1] at which sampling starts at the latest; 1 leaves it to the
    preset. Raises ValueError outside these ranges.
    """

    quality: str = "balanced"
    num_steps: int | None = None
    warm_start: float = 1.0

    def __post_init__(self) -> None:
        """Refuse what no system could do."""
        if self.num_steps is not None and self.num_steps < 0:
            raise ValueError(f"steps {self.num_steps} is not a number of steps; use 0 or more")
        if not 0 < self.warm_start <= 1:
            raise ValueError(f"warm_start {self.warm_start} is out of range; use more than 0, up to 1")


class EnhancementSystem(Protocol):
    """What a system must offer to enhance recordings.

    hop_length: samples from frame to frame; chunks begin on a frame. presets: their names are qualities.
    """

    sample_rate: int
    hop_length: int

    @property
    def presets(self) -> Mapping[str, Any]: ...  # noqa: D102

    def nfe(self, options: EnhanceOptions) -> int:
        """Network evaluations of `enhance`. Raises ValueError for options it cannot follow."""
        ...

    def enhance(
        self,
        wav: Tensor,
        seeds: Sequence[int],
        options: EnhanceOptions,
        timer: StageTimer,
        *,
        offset: int = 0,
    ) -> Tensor:
        """wav (B, T) with peaks about 1 -> (B, T); each item depends on itself, its seed and the offset only.

        offset: place of the first sample in the whole recording, a multiple of `hop_length`: the noise of a
        place is the same whichever chunk it is in.
        """
        ...


class AudioSource(Protocol):
    """A recording that can be read more than once, block by block."""

    sample_rate: int
    channels: int

    def blocks(self) -> Iterator[Tensor]:
        """All of it from the start, (C, T) float32 at a time."""
        ...


class InMemory:
    """`Audio` as an `AudioSource`."""

    def __init__(self, audio: Audio) -> None:
        self.sample_rate = audio.sample_rate
        self.channels = audio.wav.shape[0]
        self._wav = audio.wav

    def blocks(self) -> Iterator[Tensor]:
        """Pieces of a second."""
        for start in range(0, self._wav.shape[-1], self.sample_rate):
            yield self._wav[:, start : start + self.sample_rate]


@dataclass(frozen=True)
class Chunking:
    """Chunks of `seconds` that share `overlap_s`, in whose middle one fades into the next during `fade_s`.

    The edges of a chunk, which lack what is beyond them, are not heard. Raises ValueError where that cannot
    be.
    """

    seconds: float = 10.0
    overlap_s: float = 1.0
    fade_s: float = 0.5

    @classmethod
    def of(cls, seconds: float) -> Chunking:
        """Chunks of that length with as much overlap as fits."""
        return cls(seconds, min(1.0, seconds / 4), min(0.5, seconds / 8))

    def __post_init__(self) -> None:
        """Refuse overlaps that do not fit."""
        if not 0 < self.fade_s <= self.overlap_s <= self.seconds / 2:
            raise ValueError(
                f"chunks of {self.seconds:g} s with {self.overlap_s:g} s of overlap and a fade of "
                f"{self.fade_s:g} s cannot be made; use fade <= overlap <= half a chunk"
            )


@dataclass(frozen=True)
class Survey:
    """What the first pass over a recording finds: its samples, and each channel's mean and peak around it."""

    samples: int
    mean: Tensor
    peak: Tensor

    @property
    def silent(self) -> Tensor:
        """(C,): channels in which nothing is heard."""
        return self.peak <= SILENCE

    @property
    def gain(self) -> float:
        """What brings a recording above full scale down to it; 1 for all others."""
        return 1 / max(1.0, float(self.peak.max()))


def survey(source: AudioSource) -> Survey:
    """Read a recording through. Raises ValueError that names the first sample which is NaN or infinite."""
    samples, total = 0, torch.zeros(source.channels, dtype=torch.float64)
    low, high = torch.full((2, source.channels), torch.inf)
    high = -high
    for block in source.blocks():
        if not bool(torch.isfinite(block).all()):
            raise ValueError(_first_fault(block, samples, source.sample_rate))
        total += block.double().sum(-1)
        low, high = torch.minimum(low, block.amin(-1)), torch.maximum(high, block.amax(-1))
        samples += block.shape[-1]
    if samples == 0:
        return Survey(0, torch.zeros(source.channels), torch.zeros(source.channels))
    mean = (total / samples).float()
    return Survey(samples, mean, torch.maximum(high - mean, mean - low))


def _first_fault(block: Tensor, before: int, sample_rate: int) -> str:
    place = int((~torch.isfinite(block)).any(0).nonzero()[0])
    channel = int((~torch.isfinite(block[:, place])).nonzero()[0])
    number = before + place
    return (
        f"sample {number} ({number / sample_rate:.3f} s) of channel {channel} is "
        f"{float(block[channel, place])}: the recording is damaged there; cut it out or write it anew"
    )


def check_options(system: EnhancementSystem, options: EnhanceOptions) -> int:
    """Network evaluations that the options ask for. Raises ValueError where the system cannot follow them."""
    if options.quality not in system.presets:
        raise ValueError(f"unknown quality {options.quality!r}; use one of {', '.join(system.presets)}")
    return system.nfe(options)


def enhance_blocks(
    system: EnhancementSystem,
    source: AudioSource,
    options: EnhanceOptions,
    *,
    seed: int = 0,
    timer: StageTimer | None = None,
    chunking: Chunking | None = None,
) -> Iterator[Tensor]:
    """Enhance a recording -> at least one block (C, T); joined, as long as it and aligned, at its rate.

    The channels are enhanced apart, each at its own level, with the same noise; a constant offset goes, a
    silent channel stays silent. Above half of the system's rate nothing is left. A recording above full scale
    is brought down to it. Memory does not grow with the length.
    timer: gets the stages io (reading and resampling) and acoustic. Raises ValueError for options the system
    cannot follow and for NaN, in the recording or of the model.
    """
    timer, chunking = timer or StageTimer(), chunking or Chunking()
    check_options(system, options)
    with timer.stage("io"):
        found = survey(source)
    if not found.samples:
        yield torch.zeros(source.channels, 0)
        return
    heard = ~found.silent
    if not bool(heard.any()):
        yield from timer.each("io", (torch.zeros_like(block) for block in source.blocks()))
        return
    scale = torch.where(heard, found.peak, 1.0)[:, None]
    mean = found.mean[:, None]
    read = (((block - mean) / scale)[heard] for block in timer.each("io", source.blocks()))
    normalised = resampled(read, source.sample_rate, system.sample_rate, timer)
    worker = Enhancer(system, options, seed, timer)
    pieces = ((start, worker(start, wav)) for start, wav in chunks(normalised, chunking, system))
    clean = resampled(joined(pieces, chunking, system), system.sample_rate, source.sample_rate, timer)
    for block in _exactly(clean, found.samples):
        wav = torch.zeros(source.channels, block.shape[-1])
        wav[heard] = block
        yield soft_limit(wav * scale * found.gain)


def enhance_audio(
    system: EnhancementSystem,
    audio: Audio,
    options: EnhanceOptions | None = None,
    *,
    seed: int = 0,
    chunking: Chunking | None = None,
) -> Audio:
    """`enhance_blocks` of audio that is in memory."""
    source = InMemory(audio)
    blocks = enhance_blocks(system, source, options or EnhanceOptions(), seed=seed, chunking=chunking)
    return Audio(torch.cat([audio.wav[:, :0], *blocks], dim=-1), audio.sample_rate)


@dataclass(frozen=True)
class Enhancer:
    """A system at work on the chunks of one recording."""

    system: EnhancementSystem
    options: EnhanceOptions
    seed: int
    timer: StageTimer

    def __call__(self, start: int, wav: Tensor) -> Tensor:
        """The chunk wav (C, T) that begins at sample `start` -> (C, T) float32; silence stays as it is."""
        clean = torch.zeros_like(wav)
        heard = (wav.amax(-1) - wav.amin(-1) > QUIET).nonzero()[:, 0]
        for first in range(0, len(heard), CHANNELS_AT_ONCE):
            some = heard[first : first + CHANNELS_AT_ONCE]
            with self.timer.stage("acoustic"):
                given = wav[some].to(getattr(self.system, "device", "cpu"))
                seeds = [self.seed] * len(some)
                made = self.system.enhance(given, seeds, self.options, StageTimer(), offset=start)
                clean[some] = made.float().cpu()
        if not bool(torch.isfinite(clean).all()):
            raise ValueError("the model gave NaN or infinite samples; try another quality or number of steps")
        return clean


def resampled(blocks: Iterable[Tensor], rate: int, new_rate: int, timer: StageTimer) -> Iterator[Tensor]:
    """Blocks (C, T) at another rate; joined, they are no shorter than the time of what came in."""
    resampler, channels = None, 0
    for block in blocks:
        if resampler is None:
            channels = block.shape[0]
            resampler = Resampler(rate, new_rate, channels)
        with timer.stage("io"):
            ready = resampler(block)
        if ready.shape[-1]:
            yield ready
    if resampler is not None and rate != new_rate:  # of one sample at a high rate there would be nothing left
        with timer.stage("io"):
            end = resampler(torch.zeros(channels, 2 * -(-rate // new_rate)), last=True)
        yield end


def chunks(
    blocks: Iterable[Tensor], chunking: Chunking, system: EnhancementSystem
) -> Iterator[tuple[int, Tensor]]:
    """Blocks (C, T) -> overlapping chunks, each with the place of its first sample, a multiple of the hop.

    All are equally long up to a hop, unless the whole is shorter: the last one overlaps more. At most two
    chunks are kept.
    """
    hop = system.hop_length
    length = _whole_hops(chunking.seconds, system)
    stride = length - _whole_hops(chunking.overlap_s, system)
    start, held = 0, 0
    kept: list[Tensor] = []
    for block in blocks:
        kept.append(block)
        held += block.shape[-1]
        while held >= length + stride:
            whole = torch.cat(kept, dim=-1)
            yield start, whole[:, :length]
            start, kept, held = start + stride, [whole[:, stride:].clone()], held - stride
    if not held:
        return
    whole = torch.cat(kept, dim=-1)
    if held > length:
        yield start, whole[:, :length]
        step = -(-(held - length) // hop) * hop
        start, whole = start + step, whole[:, step:]
    yield start, whole


def joined(
    pieces: Iterable[tuple[int, Tensor]], chunking: Chunking, system: EnhancementSystem
) -> Iterator[Tensor]:
    """Enhanced chunks and their places -> what is heard of them, (C, T) at a time."""
    overlap = _whole_hops(chunking.overlap_s, system)
    fade = min(overlap, max(1, round(chunking.fade_s * system.sample_rate)))
    margin = (overlap - fade) // 2
    ramp = (torch.arange(fade) + 0.5) / fade
    first, kept = 0, None
    for start, wav in pieces:
        if kept is not None:
            middle = start + margin - first
            yield kept[:, :middle]
            mixed = torch.lerp(kept[:, middle : middle + fade], wav[:, margin : margin + fade], ramp)
            first, wav = start + margin, torch.cat((mixed, wav[:, margin + fade :]), dim=-1)
        kept = wav
    if kept is not None:
        yield kept


def _whole_hops(seconds: float, system: EnhancementSystem) -> int:
    """Samples of about so many seconds, a multiple of the hop."""
    return max(1, round(seconds * system.sample_rate / system.hop_length)) * system.hop_length


def _exactly(blocks: Iterable[Tensor], samples: int) -> Iterator[Tensor]:
    """The first `samples` of what is joined of the blocks."""
    for block in blocks:
        if samples and (part := block[:, :samples]).shape[-1]:
            samples -= part.shape[-1]
            yield part
    assert samples == 0, "resampling gives no less than it is asked for"
