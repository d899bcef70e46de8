"""From clips with texts to one tensor file an acoustic model trains on.

Pieces, durations, mels, pitch, energy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from audiogen.data.aligner import PAUSE, Aligner, Alignment
from audiogen.data.clips import Clip
from audiogen.data.pitch import pitch
from audiogen.data.progress import Progress, quiet
from audiogen.data.store import DataError, save_ragged
from audiogen.spectral import MelSpec, log_mel, magnitude
from audiogen.text.frontend import START, NothingToSay, Sentence, TextFrontEnd, Token
from audiogen.text.symbols import BOUNDARY, IDS, MARKS, SYMBOLS

LEADING_S, TRAILING_S = 0.08, 0.25  # silence kept before and after a piece
SPLIT_S = 0.10  # a pause between sentences at least this long is a place to cut


@dataclass(frozen=True)
class Piece:
    """A stretch of one clip that holds whole sentences.

    starts_s: (S + 1,) token boundaries from the piece's start.
    """

    id: str
    clip: Clip
    start_s: float
    end_s: float
    text: str
    tokens: tuple[Token, ...]
    starts_s: Tensor


@dataclass(frozen=True)
class Features:
    """What is stored of a piece.

    Mel (n_mels, N), f0 in Hz (N,) with 0 = unvoiced, log-energy (N,), durations (S,).
    """

    mel: Tensor
    f0: Tensor
    energy: Tensor
    durations: Tensor


def is_pause(token: Token) -> bool:
    """Whether a token stands for silence: a word boundary or a mark."""
    return token.symbol == BOUNDARY or token.symbol in MARKS


def build_speech(
    path: Path,
    clips: Sequence[Clip],
    *,
    spec: MelSpec,
    language: str,
    test_ids: Iterable[str],
    held_out: Iterable[str],
    metadata: Mapping[str, Any],
    f0_range: tuple[float, float] = (70.0, 450.0),
    workers: int = 1,
    progress: Progress = quiet,
    say: Callable[[str], object] = print,
) -> list[Piece]:
    """Align clips with texts and write columns tokens, stress, long, durations, mel, f0, energy.

    Speaker -> the pieces.

    test_ids and held_out name clips: the former are for evaluation, the latter must not be trained on.
    """
    front_end = TextFrontEnd(language)
    spoken: list[tuple[Clip, list[Sentence]]] = []
    for clip in progress(clips, "reading texts", len(clips)):
        try:
            spoken.append((clip, front_end(clip.text or "")))
        except NothingToSay:
            say(f"left out {clip.id}: nothing to say in {clip.text!r}")
    waves = [clip.read(spec.sample_rate) for clip, _ in progress(spoken, "reading audio", len(spoken))]
    alignments, keep = align(spoken, waves, spec.sample_rate, progress)
    pieces: list[tuple[Piece, Tensor]] = []
    for (clip, sentences), wav, alignment, good in zip(spoken, waves, alignments, keep, strict=True):
        if not good:
            say(f"left out {clip.id}: text and sound do not match (score {alignment.score:.1f})")
            continue
        pieces.extend(cut(clip, sentences, wav, alignment, spec.sample_rate))
    features = list(extract(pieces, spec, f0_range, workers, progress))
    write(path, [p for p, _ in pieces], features, spec, language, set(test_ids), set(held_out), metadata)
    return [piece for piece, _ in pieces]


def align(
    spoken: Sequence[tuple[Clip, Sequence[Sentence]]],
    waves: Sequence[Tensor],
    sample_rate: int,
    progress: Progress,
) -> tuple[list[Alignment], list[bool]]:
    """Align every clip with the tokens of all its sentences, a boundary before the first.

    Each voice has phone models of its own. Returns the alignments and which of them are plausible.
    """
    symbols = [
        [PAUSE if is_pause(token) else token.symbol for token in (START, *all_tokens(sentences))]
        for _, sentences in spoken
    ]
    aligner = Aligner(sample_rate)
    aligned: dict[int, tuple[Alignment, bool]] = {}
    for speaker in sorted({clip.speaker for clip, _ in spoken}):
        members = [i for i, (clip, _) in enumerate(spoken) if clip.speaker == speaker]
        bar = partial(progress, description=f"aligning {speaker}", total=aligner.iterations)
        found = aligner.align([waves[i] for i in members], [symbols[i] for i in members], bar)
        keep = plausible([alignment.score for alignment in found])
        aligned |= dict(zip(members, zip(found, keep, strict=True), strict=True))
    return [aligned[i][0] for i in range(len(spoken))], [aligned[i][1] for i in range(len(spoken))]


def all_tokens(sentences: Sequence[Sentence]) -> list[Token]:
    """The tokens of consecutive sentences; no two pauses meet, since only marks end a sentence."""
    return [token for sentence in sentences for token in sentence.tokens]


def plausible(scores: Sequence[float], limit: float = 6.0) -> list[bool]:
    """Which scores are no outliers: at most `limit` robust standard deviations below the median."""
    values = torch.tensor(scores)
    centre = values.median()
    spread = 1.4826 * (values - centre).abs().median().clamp(min=2.0)
    return (values > centre - limit * spread).tolist()


def cut(
    clip: Clip, sentences: Sequence[Sentence], wav: Tensor, alignment: Alignment, sample_rate: int
) -> Iterator[tuple[Piece, Tensor]]:
    """Pieces of a clip with their samples.

    Cut between sentences where the speaker pauses, outer silence shortened.
    """
    starts = alignment.starts.tolist()
    last, first, text = 1, 0, []
    for number, sentence in enumerate(sentences):
        last += len(sentence.tokens)
        text.append(sentence.text)
        final = number == len(sentences) - 1
        if not final and starts[last] - starts[last - 1] < SPLIT_S:
            continue
        tokens = (START, *all_tokens(sentences)[max(first, 0) : last - 1])
        begin = starts[0] if first == 0 else (starts[first] + starts[first + 1]) / 2
        bounds = [
            begin,
            *starts[first + 1 : last],
            (starts[last - 1] + starts[last]) / 2 if not final else starts[last],
        ]
        bounds[0] = max(bounds[0], bounds[1] - LEADING_S)
        bounds[-1] = min(bounds[-1], bounds[-2] + TRAILING_S)
        samples = wav[round(bounds[0] * sample_rate) : round(bounds[-1] * sample_rate)]
        relative = torch.tensor(bounds) - bounds[0]
        name = clip.id if final and first == 0 else f"{clip.id}#{number}"
        yield Piece(name, clip, bounds[0], bounds[-1], " ".join(text), tokens, relative), samples
        first, text = last - 1, []


def extract(
    pieces: Sequence[tuple[Piece, Tensor]],
    spec: MelSpec,
    f0_range: tuple[float, float],
    workers: int,
    progress: Progress,
    track: Callable[..., Any] = pitch,
) -> Iterator[Features]:
    """Features of every piece, in order; pitch by `workers` processes. track: `pitch` or `fast_pitch`."""
    from joblib import Parallel, delayed

    tasks = (delayed(track)(samples.numpy(), spec, f0_range) for _, samples in pieces)
    tracks = Parallel(n_jobs=workers, return_as="generator")(tasks)
    for (piece, samples), f0 in zip(pieces, progress(tracks, "pitch", len(pieces)), strict=True):
        magnitudes = magnitude(samples[None], spec)
        mel = log_mel(magnitudes, spec)[0]
        frames = mel.shape[-1]
        energy = magnitudes[0].square().sum(0).sqrt().clamp(min=1e-2).log()
        padded = torch.zeros(frames)
        padded[: min(frames, len(f0))] = torch.from_numpy(f0)[:frames].float()
        yield Features(mel, padded, energy, frame_durations(piece.starts_s, frames, spec))


def frame_durations(starts_s: Tensor, frames: int, spec: MelSpec) -> Tensor:
    """Token boundaries in seconds (S + 1,).

    Returns frames a token (S,), summing to `frames`; frame n is centred at n hops.
    """
    bounds = (starts_s * spec.frame_rate).ceil().long().clamp(max=frames)
    bounds[0], bounds[-1] = 0, frames
    return bounds.diff()


def write(
    path: Path,
    pieces: Sequence[Piece],
    features: Sequence[Features],
    spec: MelSpec,
    language: str,
    test_ids: set[str],
    held_out: set[str],
    metadata: Mapping[str, Any],
    more: Mapping[str, Sequence[Tensor]] | None = None,
) -> None:
    """Store everything training needs, mels in half precision. more: further columns."""
    if not pieces:
        raise DataError(
            "no clip could be aligned with its text; check that texts and recordings belong together"
        )
    speakers = sorted({piece.clip.speaker for piece in pieces})
    columns = {
        "tokens": [torch.tensor([IDS[t.symbol] for t in p.tokens], dtype=torch.int16) for p in pieces],
        "stress": [torch.tensor([t.stress for t in p.tokens], dtype=torch.int8) for p in pieces],
        "long": [torch.tensor([t.long for t in p.tokens], dtype=torch.int8) for p in pieces],
        "durations": [f.durations.to(torch.int16) for f in features],
        "mel": [f.mel.half() for f in features],
        "f0": [f.f0 for f in features],
        "energy": [f.energy.half() for f in features],
        "speaker": [torch.tensor([speakers.index(p.clip.speaker)], dtype=torch.int16) for p in pieces],
        **(more or {}),
    }
    facts = {
        "mel_spec": asdict(spec),
        "symbols": SYMBOLS,
        "language": language,
        "speakers": speakers,
        "ids": [p.id for p in pieces],
        "texts": [p.text for p in pieces],
        "test": [p.id for p in pieces if p.clip.id in test_ids],
        "held_out": [p.id for p in pieces if p.clip.id in held_out],
        **metadata,
    }
    save_ragged(path, columns, facts)
