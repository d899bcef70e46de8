"""Speech while it is made: one text through any speaking system, in chunks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol, cast

import torch

from audiogen.audio import Audio
from audiogen.report import StageTimer
from audiogen.speech import (
    FADE_S,
    FrontEnd,
    Piece,
    Queued,
    SpeechItem,
    SpeechOptions,
    SpeechSystem,
    audio_of,
    check_steps,
    checked,
    fade_ends,
    followed_by_silence,
    join,
    queue_sentences,
)
from audiogen.streaming import chunk_sizes

if TYPE_CHECKING:
    from pathlib import Path

    from audiogen.text.frontend import Sentence


class StreamingSystem(SpeechSystem, Protocol):
    """A system that gives a sentence in chunks."""

    def stream_sentence(
        self,
        sentence: Sentence,
        seed: int,
        speaker: int,
        options: SpeechOptions,
        timer: StageTimer,
        sizes: Iterator[int],
    ) -> Iterator[tuple[Audio, bool]]:
        """Chunks (C, T) and whether each is the last; joined, what `synthesize_sentences` gives.

        The first has the timings of the sentence. sizes: frames a chunk.
        """
        ...


def speak_in_chunks(
    system: SpeechSystem, item: SpeechItem, options: SpeechOptions, *, front_end: FrontEnd
) -> Iterator[Piece]:
    """Speak one item in chunks, the first as early as possible; joined, they are the pieces of `speak`.

    Work is done when a chunk is asked for, and not before: who stops asking, or closes the iterator, stops
    it. Sentences are not batched; a system that is no `StreamingSystem` speaks sentence by sentence. An error
    is the last piece.
    """
    sizes = chunk_sizes()
    timer = StageTimer(getattr(system, "device", "cpu"))
    for number, queued in enumerate(queue_sentences(system, [item], front_end)):
        timer.seconds = {"text": queued.text_seconds}
        if isinstance(queued.content, Exception):
            yield Piece(0, None, True, queued.content, timer.seconds, (), number)
            return
        dropped = queued.content.dropped
        try:
            for audio, last in _sentence_chunks(system, queued.content, queued, options, timer, sizes):
                stages, timer.seconds = _by_stage(timer.seconds), {}
                yield Piece(0, audio, last and queued.last, None, stages, dropped, number)
                dropped = ()
        except Exception as error:
            yield Piece(0, None, True, error, _by_stage(timer.seconds), dropped, number)
            return


def _sentence_chunks(
    system: SpeechSystem,
    sentence: Sentence,
    queued: Queued,
    options: SpeechOptions,
    timer: StageTimer,
    sizes: Iterator[int],
) -> Iterator[tuple[Audio, bool]]:
    """What `_finish` makes of a sentence, in chunks. Raises what the system raises."""
    if not queued.voiced:
        yield followed_by_silence(Audio(torch.zeros(1, 0), system.sample_rate), sentence, queued.last), True
        return
    arguments = (queued.seed, queued.speaker, options, timer)
    if hasattr(system, "stream_sentence"):
        chunks = cast(StreamingSystem, system).stream_sentence(sentence, *arguments, sizes)
    else:
        chunks = _whole(system, sentence, *arguments)
    finite = timer.each("call", _checked_chunks(chunks))
    for audio, last in fade_chunks(finite, round(FADE_S * system.sample_rate)):
        yield followed_by_silence(audio, sentence, queued.last) if last else audio, last


def _whole(
    system: SpeechSystem,
    sentence: Sentence,
    seed: int,
    speaker: int,
    options: SpeechOptions,
    timer: StageTimer,
) -> Iterator[tuple[Audio, bool]]:
    """A sentence as its only chunk."""
    yield system.synthesize_sentences([sentence], [seed], [speaker], options, timer)[0], True


def _checked_chunks(chunks: Iterable[tuple[Audio, bool]]) -> Iterator[tuple[Audio, bool]]:
    """The chunks on the CPU. Raises ValueError for samples that are not finite."""
    for audio, last in chunks:
        result = checked(replace(audio, wav=audio.wav.detach().float().cpu()))
        if isinstance(result, Exception):
            raise result
        yield result, last


def _by_stage(seconds: Mapping[str, float]) -> dict[str, float]:
    """A system's vocoder apart from the rest of its call."""
    vocoder, call = seconds.get("vocoder", 0.0), seconds.get("call", 0.0)
    return {"text": seconds.get("text", 0.0), "acoustic": call - vocoder, "vocoder": vocoder}


def fade_chunks(chunks: Iterable[tuple[Audio, bool]], length: int) -> Iterator[tuple[Audio, bool]]:
    """`fade_ends` of the joined chunks, in chunks that each come with whether it is the last.

    The last `length` samples of a chunk wait for the next one: they may be the end.
    """
    ramp = torch.arange(length) / max(1, length)
    held: Audio | None = None
    begun = False
    for chunk, last in chunks:
        audio = chunk if held is None else join((held, chunk))
        if not begun and audio.wav.shape[-1] < 2 * length:  # too short, it may be, for both ramps
            if last:
                yield replace(audio, wav=fade_ends(audio.wav, length)), last
            held = audio
            continue
        wav, timings = audio.wav.clone(), audio.timings
        if not begun:
            wav[:, :length] *= ramp
        if last:
            wav[:, wav.shape[-1] - length :] *= ramp.flip(0)
        end = wav.shape[-1] - (0 if last else length)
        begun, held = True, replace(audio, wav=wav[:, end:], timings=())
        if end > 0:
            yield replace(audio, wav=wav[:, :end], timings=timings), last


def stream(
    system: SpeechSystem,
    text: str,
    options: SpeechOptions,
    *,
    seed: int = 0,
    speaker: str | int = 0,
    lexicon: Path | None = None,
) -> Iterator[Audio]:
    """`synthesize` in chunks, each made when it is asked for; closing the iterator stops the work."""
    from audiogen.text.frontend import TextFrontEnd

    check_steps(system, options.num_steps)
    item = SpeechItem("0", text, seed, speaker)
    front_end = TextFrontEnd(system.language, lexicon).sentences
    return (audio_of(piece) for piece in speak_in_chunks(system, item, options, front_end=front_end))
