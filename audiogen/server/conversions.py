"""POST /v1/audio/conversions: what a recording says, in the voice of another or of a voice file."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
from fastapi import APIRouter, File, Form, UploadFile
from starlette.requests import Request
from starlette.responses import Response

from audiogen.audio import StreamEncoder
from audiogen.conversion import ConvertOptions, convert_blocks
from audiogen.server.errors import ApiError, blaming
from audiogen.server.jobs import Job, alone
from audiogen.server.models import CONVERSION, Served
from audiogen.server.recordings import Recording, kept, refuse_unknown_fields
from audiogen.server.replies import check_format, rate_of, stream_reply
from audiogen.server.state import state_of
from audiogen.voice import Voice, WrongVoice, load_voice

router = APIRouter()
FIELDS = {"file", "reference", "voice", "model", "steps", "keep_duration", "tempo", "seed", "response_format"}


@dataclass(frozen=True)
class Asked:
    """A checked request: a source, and references or a voice file."""

    source: Recording
    references: Sequence[Recording]
    voice: Path | None
    options: ConvertOptions
    seed: int
    format: str


@router.post("/v1/audio/conversions")
async def conversions(
    request: Request,
    file: Annotated[UploadFile, File()],
    reference: Annotated[list[UploadFile] | None, File()] = None,
    voice: Annotated[UploadFile | None, File()] = None,
    model: Annotated[str | None, Form()] = None,
    steps: Annotated[int | None, Form()] = None,
    keep_duration: Annotated[bool, Form()] = False,
    tempo: Annotated[float, Form()] = 1.0,
    seed: Annotated[int, Form()] = 0,
    response_format: Annotated[str, Form()] = "wav",
) -> Response:
    """Say what a recording says in another voice."""
    await refuse_unknown_fields(request, FIELDS)
    state = state_of(request)
    chosen = state.models.pick(CONVERSION, model)
    format = check_format(response_format)
    if bool(reference) == (voice is not None):
        message = "whose voice? send recordings of it as reference, or a voice file as voice, not both"
        raise ApiError(400, message, param="reference")
    with blaming("tempo"):
        options = ConvertOptions(keep_duration=keep_duration, tempo=tempo)
    with blaming("steps"):
        options = ConvertOptions(num_steps=steps, keep_duration=keep_duration, tempo=tempo)
        chosen.system.nfe(options)
    job = Job(alone(lambda job: convert(chosen, job)))
    try:
        source = await _recording(file, job.resources, state.limits.seconds)
        references = [
            await _recording(upload, job.resources, state.limits.seconds) for upload in reference or []
        ]
        path = None if voice is None else await kept(voice, job.resources)
    except BaseException:
        job.resources.close()
        raise
    job.content = Asked(source, references, path, options, seed, format)
    return await stream_reply(request, chosen.worker, job, format)


async def _recording(upload: UploadFile, resources: ExitStack, most_s: float) -> Recording:
    return Recording(await kept(upload, resources), upload.filename or "the recording", most_s)


def convert(model: Served, job: Job) -> Generator[None]:
    """Convert a job's recording, a step a block. Raises ValueError as `convert_blocks`."""
    asked: Asked = job.content
    rate = model.system.sample_rate
    encoder = StreamEncoder(asked.format, rate, new_rate=rate_of(asked.format))
    source, voice = asked.source.read(), _voice(model, asked)
    for block in convert_blocks(model.system, source, voice, options=asked.options, seed=asked.seed):
        job.heard(block.shape[-1] / rate)
        if part := encoder(block):
            job.put(part)
        yield
    job.put(encoder(torch.zeros(1, 0), last=True))


def _voice(model: Served, asked: Asked) -> Voice:
    """The voice to convert to. Raises ApiError 400 for a file of another model."""
    if asked.voice is None:
        made: Voice = model.system.voice([recording.read() for recording in asked.references])
        return made
    try:
        return load_voice(asked.voice, model.system)
    except WrongVoice as error:
        message = str(error).replace(str(asked.voice), "the voice file")
        raise ApiError(400, message, param="voice") from error
