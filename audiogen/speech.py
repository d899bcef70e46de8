"""Texts to speech through any speaking system: sentences in batches, pieces out as soon as they are ready."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from audiogen.audio import Audio
from audiogen.report import StageTimer

if TYPE_CHECKING:
    from pathlib import Path

    from audiogen.spectral import MelSpec
    from audiogen.text.frontend import Sentence

FADE_S = 0.005  # a cut at a non-zero sample is heard as a click; 5 ms is too short to be heard as a fade
SENTENCE_GAP_S = 0.25
CLAUSE_GAP_S = 0.1  # between the parts of a sentence too long to be spoken in one breath
SENTENCE_ENDS = (".", "!", "?", "…")


@dataclass(frozen=True)
class SpeechOptions:
    """How to speak.

    num_steps: sampler steps, None for the system's own choice. speed: 2 is twice as fast (0.25 to 4).
    pitch: semitones (-24 to 24). energy: dB (-40 to 40). Raises ValueError outside these ranges.
    """

    num_steps: int | None = None
    speed: float = 1.0
    pitch: float = 0.0
    energy: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what no system could speak."""
        if self.num_steps is not None and self.num_steps < 1:
            raise ValueError(f"steps {self.num_steps} is not a number of steps; use 1 or more")
        for name, low, high in (("speed", 0.25, 4.0), ("pitch", -24.0, 24.0), ("energy", -40.0, 40.0)):
            if not low <= (value := getattr(self, name)) <= high:
                raise ValueError(f"{name} {value} is out of range; use {low:g} to {high:g}")


@dataclass(frozen=True)
class SpeechItem:
    """One text to speak. `seed` is hashed with `id`, so an item sounds the same alone and in any batch."""

    id: str
    text: str
    seed: int = 0
    speaker: str | int = 0


@dataclass(frozen=True)
class Piece:
    """One spoken sentence of an item, faded at both ends and followed by its silence; or the item's error.

    Of a stream: a chunk of such a sentence, the first with the timings of all of it.

    item: index of the item. last: nothing more comes for it. stages: this piece's share of the seconds.
    dropped: characters that could not be spoken. batch: number of the model call it came from, from 0.
    """

    item: int
    audio: Audio | None
    last: bool
    error: Exception | None = None
    stages: Mapping[str, float] = field(default_factory=dict)
    dropped: tuple[str, ...] = ()
    batch: int = 0


class SpeechSystem(Protocol):
    """What a system must offer to speak."""

    sample_rate: int
    mel_spec: MelSpec
    language: str
    speakers: tuple[str, ...]
    default_steps: int

    @property
    def step_counts(self) -> tuple[int, ...]: ...  # noqa: D102

    def synthesize_sentences(
        self,
        sentences: Sequence[Sentence],
        seeds: Sequence[int],
        speakers: Sequence[int],
        options: SpeechOptions,
        timer: StageTimer,
    ) -> list[Audio]:
        """One Audio (C, T) a sentence; each depends on its own sentence, seed and speaker only."""
        ...


FrontEnd = Callable[[str], "Iterable[Sentence]"]


def stable_seed(*parts: object) -> int:
    """A 63-bit seed that depends on the parts alone: the same on every machine, in every run."""
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def speaker_index(system: SpeechSystem, speaker: str | int) -> int:
    """Index of a speaker given by name or number. Raises ValueError with the names there are."""
    names = system.speakers
    if speaker in names:
        return names.index(str(speaker))
    try:
        index = int(speaker)
    except ValueError:
        index = -1
    if not 0 <= index < max(1, len(names)):
        raise ValueError(
            f"unknown speaker {speaker!r}; use 0 to {max(1, len(names)) - 1} or {', '.join(names)}"
        )
    return index


def check_steps(system: SpeechSystem, num_steps: int | None) -> int:
    """The number of steps that will run. Raises ValueError for one the system was not trained for."""
    if num_steps is None:
        return system.default_steps
    if num_steps not in system.step_counts:
        known = ", ".join(map(str, sorted(system.step_counts)))
        raise ValueError(f"this model cannot speak in {num_steps} steps; use one of {known}")
    return num_steps


@dataclass(frozen=True)
class Queued:
    """A sentence waiting for its batch, or the error that kept a text from becoming sentences."""

    item: int
    content: Sentence | Exception
    text_seconds: float
    seed: int = 0
    speaker: int = 0
    last: bool = True

    @property
    def voiced(self) -> bool:
        """Whether the system has to speak; a sentence without words is a pause."""
        return not isinstance(self.content, Exception) and len(self.content.words) > 0


Result = tuple[Audio | Exception, dict[str, float]]  # and the seconds it took, by stage


def speak(
    system: SpeechSystem,
    items: Iterable[SpeechItem],
    options: SpeechOptions,
    *,
    front_end: FrontEnd,
    batch_size: int = 8,
) -> Iterator[Piece]:
    """Speak items in order; sentences of neighbouring items share padded batches of `batch_size`.

    Items are read as needed and pieces handed out batch by batch, so memory does not grow with the text.
    An item that fails gives one Piece with its error; the others go on.
    """
    failed: set[int] = set()
    for number, batch in enumerate(_batches(queue_sentences(system, items, front_end), batch_size)):
        called = iter(_call(system, [queued for queued in batch if queued.voiced], options))
        for queued in batch:
            result, seconds = next(called) if queued.voiced else _unvoiced(system, queued)
            if queued.item in failed:
                continue
            stages = {"text": queued.text_seconds, **seconds}
            if isinstance(result, Exception) or isinstance(queued.content, Exception):
                failed.add(queued.item)
                error = result if isinstance(result, Exception) else None
                yield Piece(queued.item, None, True, error, stages, (), number)
            else:
                audio = _finish(result, queued.content, queued.last)
                yield Piece(queued.item, audio, queued.last, None, stages, queued.content.dropped, number)


def queue_sentences(
    system: SpeechSystem, items: Iterable[SpeechItem], front_end: FrontEnd
) -> Iterator[Queued]:
    """Texts to queued sentences, each held until it is known whether another follows."""
    for index, item in enumerate(items):
        queued: Queued | None = None
        start = time.perf_counter()
        item_seed = stable_seed(item.seed, item.id)
        try:
            speaker = speaker_index(system, item.speaker)
            for k, sentence in enumerate(front_end(item.text)):
                seconds = time.perf_counter() - start
                if queued is not None:
                    yield replace(queued, last=False)
                queued = Queued(index, sentence, seconds, stable_seed(item_seed, k), speaker)
                start = time.perf_counter()
        except Exception as error:  # any fault of one text, and only of that text
            if queued is not None:
                yield replace(queued, last=False)
            queued = Queued(index, error, time.perf_counter() - start)
        if queued is not None:
            yield queued


def _batches(queue: Iterator[Queued], batch_size: int) -> Iterator[list[Queued]]:
    """Groups in order with at most `batch_size` voiced sentences; errors ride along and wait for no one."""
    batch: list[Queued] = []
    voiced = 0
    for queued in queue:
        batch.append(queued)
        voiced += queued.voiced
        if voiced in (0, batch_size):
            yield batch
            batch, voiced = [], 0
    if batch:
        yield batch


def _unvoiced(system: SpeechSystem, queued: Queued) -> Result:
    """What needs no model: an error, or nothing at all before a pause."""
    if isinstance(queued.content, Exception):
        return queued.content, {}
    return Audio(torch.zeros(1, 0), system.sample_rate), {}


def _call(system: SpeechSystem, batch: Sequence[Queued], options: SpeechOptions) -> list[Result]:
    """One call of the system; if it fails, one call a sentence, so that only the culprit is lost."""
    if not batch:
        return []
    timer = StageTimer(getattr(system, "device", "cpu"))
    sentences = [queued.content for queued in batch if not isinstance(queued.content, Exception)]
    seeds, speakers = [queued.seed for queued in batch], [queued.speaker for queued in batch]
    try:
        with timer.stage("call"):
            audios = system.synthesize_sentences(sentences, seeds, speakers, options, timer)
            audios = [replace(audio, wav=audio.wav.detach().float().cpu()) for audio in audios]
    except Exception as error:
        if len(batch) == 1:
            return [(error, {})]
        return [result for queued in batch for result in _call(system, [queued], options)]
    vocoder = timer.seconds.get("vocoder", 0.0)
    whole = {"acoustic": timer.seconds["call"] - vocoder, "vocoder": vocoder}
    return [
        (checked(audio), {name: share * seconds for name, seconds in whole.items()})
        for audio, share in zip(audios, _shares(audios), strict=True)
    ]


def _shares(audios: Sequence[Audio]) -> list[float]:
    """Each one's part of the batch's audio, which is its part of the batch's time."""
    total = sum(audio.seconds for audio in audios)
    return [audio.seconds / total if total else 1 / len(audios) for audio in audios]


def checked(audio: Audio) -> Audio | Exception:
    """The audio, or an error if it holds NaN or infinite samples."""
    if bool(torch.isfinite(audio.wav).all()):
        return audio
    return ValueError("the model gave NaN or infinite samples; try another seed or number of steps")


def _finish(audio: Audio, sentence: Sentence, last: bool) -> Audio:
    """Fade both ends and append the silence before what follows."""
    wav = fade_ends(audio.wav, round(FADE_S * audio.sample_rate))
    return followed_by_silence(replace(audio, wav=wav), sentence, last)


def followed_by_silence(audio: Audio, sentence: Sentence, last: bool) -> Audio:
    """Append the silence that follows a sentence: the pause asked for, or a natural gap."""
    natural = SENTENCE_GAP_S if sentence.text.rstrip().endswith(SENTENCE_ENDS) else CLAUSE_GAP_S
    gap = natural if sentence.gap_s is None else sentence.gap_s
    silence_s = sentence.pause_s or (0.0 if last else gap)
    silence = audio.wav.new_zeros(audio.wav.shape[0], round(silence_s * audio.sample_rate))
    return replace(audio, wav=torch.cat((audio.wav, silence), dim=-1))


def fade_ends(wav: Tensor, length: int) -> Tensor:
    """Ramp wav (C, T) linearly over `length` samples at both ends; its first and last samples become 0."""
    length = min(length, wav.shape[-1] // 2)
    if length == 0:
        return wav
    ramp = torch.arange(length, device=wav.device) / length
    middle = torch.ones(wav.shape[-1] - 2 * length, device=wav.device)
    return wav * torch.cat((ramp, middle, ramp.flip(0)))


def join(pieces: Sequence[Audio]) -> Audio:
    """Pieces end to end, with timings from the start of the whole. Takes at least one piece."""
    timings, samples = [], 0
    for piece in pieces:
        timings += [timing.shifted(samples / piece.sample_rate) for timing in piece.timings]
        samples += piece.wav.shape[-1]
    return Audio(torch.cat([piece.wav for piece in pieces], dim=-1), pieces[0].sample_rate, tuple(timings))


def synthesize(
    system: SpeechSystem,
    text: str,
    options: SpeechOptions,
    *,
    seed: int = 0,
    speaker: str | int = 0,
    lexicon: Path | None = None,
    batch_size: int = 8,
) -> Audio:
    """Speak one text as the item with id "0": the same audio as `audiogen tts TEXT` with the same seed."""
    from audiogen.text.frontend import TextFrontEnd

    check_steps(system, options.num_steps)
    item = SpeechItem("0", text, seed, speaker)
    front_end = TextFrontEnd(system.language, lexicon)
    pieces = speak(system, [item], options, front_end=front_end, batch_size=batch_size)
    return join([audio_of(piece) for piece in pieces])


def audio_of(piece: Piece) -> Audio:
    """The audio of a piece. Raises its error."""
    if piece.audio is None:
        raise piece.error or AssertionError("a piece holds audio or an error")
    return piece.audio
