"""POST /v1/audio/speech: one text, streamed while it is made, or whole and batched with others."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict
from starlette.requests import Request
from starlette.responses import Response

from audiogen.audio import StreamEncoder
from audiogen.server.errors import ApiError, blaming
from audiogen.server.jobs import Job, Work, alone
from audiogen.server.limits import Limits
from audiogen.server.models import SPEECH, Served
from audiogen.server.replies import check_format, events_reply, rate_of, stream_reply, whole_reply
from audiogen.server.state import state_of
from audiogen.speech import (
    FrontEnd,
    Piece,
    SpeechItem,
    SpeechOptions,
    SpeechSystem,
    audio_of,
    check_steps,
    join,
    speak,
    speaker_index,
)
from audiogen.speech_stream import speak_in_chunks

if TYPE_CHECKING:
    from audiogen.text.frontend import Sentence

router = APIRouter()
# clients have these built in; here they all are the voice that a model has first
OPENAI_VOICES = (
    *("alloy", "ash", "ballad", "cedar", "coral", "echo", "fable"),
    *("marin", "nova", "onyx", "sage", "shimmer", "verse"),
)
ITEM = "0"  # as the only text of `audiogen tts` is named: the same seed sounds the same


class VoiceId(BaseModel):
    """A voice by its id, as OpenAI's custom voices are given."""

    model_config = ConfigDict(extra="forbid")

    id: str


class SpeechBody(BaseModel):
    """OpenAI's fields; instructions are ignored.

    Ours: seed, steps, and stream; without it the answer is whole, with its length.
    """

    model_config = ConfigDict(extra="forbid")

    input: str
    model: str | None = None
    voice: str | VoiceId = "alloy"
    response_format: str = "mp3"
    speed: float = 1.0
    stream_format: Literal["audio", "sse"] = "audio"
    instructions: str | None = None
    seed: int = 0
    steps: int | None = None
    stream: bool = True


@dataclass(frozen=True)
class Asked:
    """A checked request."""

    item: SpeechItem
    options: SpeechOptions
    format: str


@router.post("/v1/audio/speech")
async def speech(request: Request, body: SpeechBody) -> Response:
    """Speak a text."""
    state = state_of(request)
    model = state.models.pick(SPEECH, body.model)
    asked = check(body, model.system, state.limits)
    if body.stream or body.stream_format == "sse":
        job = Job(alone(lambda job: stream_speech(model, job)), asked)
        if body.stream_format == "sse":
            return await events_reply(request, model.worker, job)
        return await stream_reply(request, model.worker, job, asked.format)
    work = together(model, state.limits.batch)
    job = Job(work, asked, group=asked.options)
    return await whole_reply(request, model.worker, job, asked.format)


def check(body: SpeechBody, system: SpeechSystem, limits: Limits) -> Asked:
    """What is asked for. Raises ApiError 400 that names the field at fault."""
    if not body.input.strip():
        raise ApiError(400, "input is empty; give a text to speak", param="input")
    if len(body.input) > limits.text:
        message = f"input has {len(body.input)} characters, more than {limits.text}; send it in parts"
        raise ApiError(400, message, param="input", code="string_above_max_length")
    format = check_format(body.response_format)
    with blaming("speed"):
        options = SpeechOptions(speed=body.speed)
    with blaming("steps"):
        options = SpeechOptions(body.steps, body.speed)
        check_steps(system, body.steps)
    speaker = voice_of(body.voice if isinstance(body.voice, str) else body.voice.id, system)
    return Asked(SpeechItem(ITEM, body.input, body.seed, speaker), options, format)


def voice_of(voice: str, system: SpeechSystem) -> int:
    """Number of the speaker that a voice names. Raises ApiError 400."""
    if voice in OPENAI_VOICES and voice not in system.speakers:
        return 0
    with blaming("voice"):
        return speaker_index(system, voice)


def stream_speech(model: Served, job: Job) -> Generator[None]:
    """Speak a job's text, a step a chunk. Raises what a chunk brings."""
    asked: Asked = job.content
    encoder = _encoder(model, asked)
    for piece in speak_in_chunks(model.system, asked.item, asked.options, front_end=model.reads):
        audio = audio_of(piece)
        job.heard(audio.seconds)
        if part := encoder(audio.wav, piece.last):
            job.put(part)
        yield


def together(model: Served, batch_size: int) -> Work:
    """The work of speaking texts in common batches, a step a sentence; each sounds as it would alone."""

    def work(jobs: Sequence[Job]) -> Generator[None]:
        reading = Reading(model.reads, jobs)
        options = jobs[0].content.options
        pieces = speak(
            model.system, reading.items(), options, front_end=reading.sentences, batch_size=batch_size
        )
        for index, group in groupby(pieces, key=lambda piece: piece.item):
            found = []
            for piece in group:
                found.append(piece)
                if not piece.last:
                    yield
            _deliver(model, jobs[index], found)
            yield
        for job in jobs:
            job.finish()

    return work


class Reading:
    """Texts of jobs on their way to `speak`, which reads one after another; that of a cancelled job ends."""

    def __init__(self, front_end: FrontEnd, jobs: Sequence[Job]) -> None:
        self._front_end, self._jobs = front_end, jobs
        self._current = jobs[0]

    def items(self) -> Iterator[SpeechItem]:
        """One a job."""
        for job in self._jobs:
            self._current = job
            yield job.content.item

    def sentences(self, text: str) -> Iterator[Sentence]:
        """The sentences of the item that was read last."""
        job = self._current
        for sentence in self._front_end(text):
            if job.cancelled:
                return
            yield sentence


def _deliver(model: Served, job: Job, pieces: Sequence[Piece]) -> None:
    """Join the pieces of a job and hand them over as one file; or its error."""
    try:
        audio = join([audio_of(piece) for piece in pieces])
        job.heard(audio.seconds)
        job.put(_encoder(model, job.content)(audio.wav, last=True))
    except Exception as error:
        job.fail(error)


def _encoder(model: Served, asked: Asked) -> StreamEncoder:
    rate = rate_of(asked.format)
    return StreamEncoder(asked.format, model.system.sample_rate, new_rate=rate)
