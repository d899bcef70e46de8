"""Recordings of any rate, length and number of channels in another voice, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, repeat
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from audiogen.audio import Audio, resample, soft_limit
from audiogen.content import ContentEncoder, merge_runs, resample_tokens
from audiogen.nn.voice_network import Stacked, Style, memories
from audiogen.report import StageTimer
from audiogen.streaming import decode_chunks
from audiogen.vocoders import MelVocoder
from audiogen.voice import Voice, VoiceSystem, curves_of, heard, style_of

CONTENT_S, CONTENT_EDGE_S = 30.0, 1.0  # recordings are encoded in pieces with some more on either side
VOCODER_FRAMES = 1024  # decoded at once
FEWEST_FRAMES = 4  # the shortest mel the vocoders take


@dataclass(frozen=True)
class ConvertOptions:
    """How to convert.

    num_steps: of the sampler, None for the system's own. solver: of the system's, None for its own.
    timbre_scale, style_scale: guidance, 1 = off, None for the system's own. keep_duration: keep the source's
    timing, else durations are predicted anew. tempo: 2 is twice as fast. seconds: length of the result, None
    for what comes of it. pitch: semitones, of the style's intonation. Raises ValueError out of these ranges.
    """

    num_steps: int | None = None
    solver: str | None = None
    timbre_scale: float | None = None
    style_scale: float | None = None
    keep_duration: bool = False
    tempo: float = 1.0
    seconds: float | None = None
    pitch: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what no system could do."""
        if self.num_steps is not None and self.num_steps < 1:
            raise ValueError(f"steps {self.num_steps} is not a number of steps; use 1 or more")
        for name in ("timbre_scale", "style_scale"):
            scale = getattr(self, name)
            if scale is not None and not 0 <= scale <= 10:
                raise ValueError(f"{name} {scale} is out of range; use 0 to 10, 1 is no guidance")
        if not 0.25 <= self.tempo <= 4:
            raise ValueError(f"tempo {self.tempo} is out of range; use 0.25 to 4")
        if not -24 <= self.pitch <= 24:
            raise ValueError(f"pitch {self.pitch} is out of range; use -24 to 24 semitones")
        if self.seconds is not None and not self.seconds > 0:
            raise ValueError(f"seconds {self.seconds} is no length; use more than 0")
        if self.seconds is not None and self.keep_duration:
            raise ValueError("both a length in seconds and keep_duration were asked for; choose one")


class ConversionSystem(VoiceSystem, Protocol):
    """What a system must offer to convert recordings."""

    sample_rate: int
    content: ContentEncoder | None
    vocoder: MelVocoder | None

    def nfe(self, options: ConvertOptions) -> int:
        """Network evaluations a chunk. Raises ValueError for options it cannot follow."""
        ...

    def restore(self, mel: Tensor) -> Tensor: ...  # noqa: D102

    def sample(
        self,
        tokens: Tensor,
        durations: Tensor,
        heard: Stacked,
        seeds: Sequence[int],
        options: ConvertOptions,
        *,
        first_frame: int = 0,
    ) -> Tensor:
        """Runs (B, S) with durations (B, S) -> standardised mel (B, n_mels, N); each item by itself."""
        ...


class Chunk(NamedTuple):
    """Runs [first, last), worked on at once, of which [begin, end) are heard; the others are context."""

    first: int
    begin: int
    end: int
    last: int


@torch.inference_mode()
def convert_blocks(
    system: ConversionSystem,
    source: Audio,
    voice: Voice,
    *,
    style: Style | None = None,
    options: ConvertOptions | None = None,
    seed: int = 0,
    timer: StageTimer | None = None,
    chunk_s: float = 8.0,
    overlap_s: float = 1.0,
) -> Iterator[Tensor]:
    """What source says, in a voice -> blocks (1, T) at the system's rate, at the source's level.

    style: of which the intonation is taken, by default the source's own. The source is of any rate, its
    channels are mixed. Long recordings are worked on in chunks that begin and end between tokens and fade
    into each other during overlap_s. The result is as long as the source, to a sample, where its durations
    are kept. timer: gets the stages content, prosody, acoustic and vocoder. Raises ValueError for a source
    in which nothing can be heard and for options the system cannot follow.
    """
    options, timer = options or ConvertOptions(), timer or StageTimer()
    system.nfe(options)
    wav = heard(source, system.sample_rate, "the source")
    with timer.stage("content"):
        tokens, runs = content_runs(system, wav)
    with timer.stage("prosody"):
        told = style or curves_of(wav, system, pitch=options.pitch)
    with timer.stage("acoustic"):
        mel = _mel(system, tokens, runs, voice, told, options, seed, (chunk_s, overlap_s))
    if not bool(torch.isfinite(mel).all()):
        raise ValueError("the model gave NaN or infinite frames; try another number of steps")
    assert system.vocoder is not None, "checked by content_runs"
    length = len(wav) if options.keep_duration and options.tempo == 1 else None
    gain = float(source.wav.mean(0).std()) / max(float(wav.std()), 1e-9)
    sounds = decode_chunks(system.vocoder, mel, repeat(VOCODER_FRAMES))
    blocks = (block[0].float().cpu() for block, _ in timer.each("vocoder", sounds))
    for block in blocks if length is None else _exactly(blocks, length):
        yield soft_limit(gain * block)


def convert_audio(
    system: ConversionSystem,
    source: Audio,
    voice: Voice,
    *,
    style: Style | None = None,
    options: ConvertOptions | None = None,
    seed: int = 0,
) -> Audio:
    """`convert_blocks` at once."""
    blocks = convert_blocks(system, source, voice, style=style, options=options, seed=seed)
    return Audio(torch.cat(list(blocks), dim=-1), system.sample_rate)


@torch.no_grad()
def content_runs(system: ConversionSystem, wav: Tensor) -> tuple[Tensor, Tensor]:
    """wav (T,) -> runs of equal content tokens (S,) and their lengths in mel frames (S,).

    Raises ValueError for a system that lacks its content encoder or its vocoder.
    """
    if system.content is None or system.vocoder is None:
        raise ValueError(
            "this system lacks its content encoder or its vocoder; load it with audiogen.load, which "
            "attaches what its hyper-parameters `content` and `vocoder` name"
        )
    hop = system.mel_spec.hop_length
    piece, edge = (round(s * system.mel_spec.frame_rate) for s in (CONTENT_S, CONTENT_EDGE_S))
    total = len(wav) // hop + 1
    rows = []
    for start in range(0, total, piece):
        stop = min(total, start + piece)
        left, right = max(0, start - edge), min(total, stop + edge)
        given = wav[left * hop : right * hop - 1]  # as many mel frames as lie between
        if total - start <= piece + edge:
            stop, right, given = total, total, wav[left * hop :]
        tokens = _tokens(system, given, right - left)
        rows.append(tokens[start - left : stop - left])
        if stop == total:
            break
    frames = torch.cat(rows)[None]
    unique, runs, _ = merge_runs(frames, torch.tensor([frames.shape[1]]))
    return unique[0], runs[0]


def _tokens(system: ConversionSystem, wav: Tensor, frames: int) -> Tensor:
    """Content tokens of wav (T,), one a mel frame (frames,)."""
    assert system.content is not None, "checked by content_runs"
    given = resample(wav, system.sample_rate, system.content.sample_rate)[None].to(system.device)
    found = system.content.encode(given, torch.tensor([given.shape[-1]], device=given.device))
    fitted = resample_tokens(found.tokens.cpu(), found.lengths.cpu(), torch.tensor([frames]))
    return fitted[0]


def _mel(
    system: ConversionSystem,
    tokens: Tensor,
    runs: Tensor,
    voice: Voice,
    style: Style | Tensor,
    options: ConvertOptions,
    seed: int,
    chunking: tuple[float, float],
) -> Tensor:
    """Log-mel (1, n_mels, N) of all runs (S,); style: of a reference, or prosody on the source's frames."""
    rate = system.mel_spec.frame_rate
    plan = chunks(runs, *(max(1, round(seconds * rate)) for seconds in chunking))
    durations = lengths(system, tokens, runs, plan, _memory(system, plan, runs, voice, style), options)
    if isinstance(style, Tensor):
        style = style[:, followed(runs, durations)]
    done = torch.cat([durations.new_zeros(1), durations.cumsum(0)])
    pieces = []
    for chunk, known in zip(plan, _memory(system, plan, durations, voice, style), strict=True):
        some = slice(chunk.first, chunk.last)
        said, frames = (part[None, some].to(system.device) for part in (tokens, durations))
        mel = system.sample(said, frames, known, [seed], options, first_frame=int(done[chunk.first]))
        pieces.append(system.restore(mel)[0].float())
    return joined(pieces, [[int(done[run]) for run in chunk] for chunk in plan])[None]


def _memory(
    system: ConversionSystem,
    plan: Sequence[Chunk],
    runs: Tensor,
    voice: Voice,
    style: Style | Tensor,
) -> Iterator[Stacked]:
    """What each chunk hears of the voice and the style; prosody is on the frames of runs (S,)."""
    ends = runs.cumsum(0)
    for chunk in plan:
        if isinstance(style, Tensor):
            span = slice(int(ends[chunk.first] - runs[chunk.first]), int(ends[chunk.last - 1]))
            yield memories(voice.timbre, style_of(style[:, span], system))
        else:
            yield memories(voice.timbre, style)


def followed(runs: Tensor, durations: Tensor) -> Tensor:
    """The source's frame that each frame of the result stands for, run by run.

    runs, durations: frames of each run in the source and in the result, (S,). Returns (sum of durations,).
    """
    owner = torch.repeat_interleave(torch.arange(len(runs)), durations)
    within = torch.arange(len(owner)) - (durations.cumsum(0) - durations)[owner]
    start = runs.cumsum(0) - runs
    return start[owner] + (2 * within + 1) * runs[owner] // (2 * durations[owner])


@torch.no_grad()
def lengths(
    system: ConversionSystem,
    tokens: Tensor,
    runs: Tensor,
    plan: Sequence[Chunk],
    memory: Iterable[Stacked],
    options: ConvertOptions,
) -> Tensor:
    """Frames of every run in the result (S,), 1 or more: the source's, or what each chunk predicts."""
    exact = runs.double()
    if not options.keep_duration:
        parts = []
        for chunk, known in zip(plan, memory, strict=True):
            some = tokens[None, chunk.first : chunk.last].to(system.device)
            predicted = system.net.predict_durations(some, torch.ones_like(some, dtype=torch.bool), known)
            parts.append(predicted[0, chunk.begin - chunk.first : chunk.end - chunk.first].double().cpu())
        exact = torch.cat(parts)
    total = None if options.seconds is None else round(options.seconds * system.mel_spec.frame_rate) + 1
    frames = whole_frames(exact / options.tempo, total)
    if (missing := FEWEST_FRAMES - int(frames.sum())) > 0:
        frames[-1] += missing
    return frames


def whole_frames(exact: Tensor, total: int | None = None) -> Tensor:
    """Lengths (S,) to whole numbers of 1 or more whose sums follow theirs; total: what they are to sum to.

    Raises ValueError for a total of less than one frame a run.
    """
    if total is not None:
        if total < len(exact):
            raise ValueError(f"{len(exact)} sounds do not fit into {total} frames; ask for more seconds")
        exact = exact * (total / exact.sum())
    ends = exact.cumsum(0).round().long()
    frames = torch.diff(ends, prepend=ends.new_zeros(1)).clamp(min=1)
    while total is not None and (excess := int(frames.sum()) - total) > 0:
        longest = frames.argsort(descending=True, stable=True)[:excess]
        frames[longest] = (frames[longest] - 1).clamp(min=1)
    return frames


def chunks(runs: Tensor, size: int, overlap: int) -> list[Chunk]:
    """Runs (S,) in chunks of about `size` frames, each with about overlap / 2 more on either side."""
    ends = runs.cumsum(0)
    total = int(ends[-1])
    count = max(1, -(-total // size))
    cuts = [0]
    for n in range(1, count):
        cut = int(torch.searchsorted(ends, n * total / count))
        if cut > cuts[-1]:
            cuts.append(cut)
    cuts.append(len(runs))
    starts = ends - runs
    found = []
    for begin, end in pairwise(cuts):
        first = int(torch.searchsorted(starts, int(starts[begin]) - overlap // 2, right=True)) - 1
        last = int(torch.searchsorted(ends, int(ends[end - 1]) + overlap // 2)) + 1
        found.append(Chunk(max(0, first), begin, end, min(len(runs), last)))
    return found


def joined(pieces: Sequence[Tensor], places: Sequence[Sequence[int]]) -> Tensor:
    """Mels (n_mels, n) of chunks -> the whole (n_mels, N), fading from one to the next where they overlap.

    places: frames at which a chunk starts, is heard, is heard no more, ends.
    """
    whole = pieces[0].new_zeros(pieces[0].shape[0], places[-1][3])
    for number, (piece, (first, begin, end, last)) in enumerate(zip(pieces, places, strict=True)):
        frame = torch.arange(first, last, device=piece.device) + 0.5
        weight = torch.ones_like(frame)
        if number:
            weight = weight * _ramp(frame, begin, min(begin - first, places[number - 1][3] - begin))
        if number + 1 < len(pieces):
            weight = weight * (1 - _ramp(frame, end, min(last - end, end - places[number + 1][0])))
        whole[:, first:last] += weight * piece
    return whole


def _ramp(frame: Tensor, middle: int, reach: int) -> Tensor:
    """From 0 at middle - reach to 1 at middle + reach."""
    return ((frame - middle) / (2 * max(reach, 0.5)) + 0.5).clamp(0, 1)


def _exactly(blocks: Iterable[Tensor], samples: int) -> Iterator[Tensor]:
    """Blocks (1, T), cut or filled up with zeros to so many samples in all."""
    for block in blocks:
        part = block[:, :samples]
        samples -= part.shape[-1]
        yield part
    if samples:
        yield torch.zeros(1, samples)
