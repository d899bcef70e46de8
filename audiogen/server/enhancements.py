"""POST /v1/audio/enhancements: a recording without its noise, of the same rate, channels and length."""

from __future__ import annotations

import tempfile
from collections.abc import Generator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, File, Form, UploadFile
from starlette.requests import Request
from starlette.responses import Response

from audiogen.audio import AudioWriter
from audiogen.enhancement import EnhanceOptions, check_options, enhance_blocks
from audiogen.server.errors import ApiError, blaming
from audiogen.server.jobs import Job, alone
from audiogen.server.models import ENHANCEMENT, Served
from audiogen.server.recordings import Recording, kept, refuse_unknown_fields
from audiogen.server.replies import check_format, whole_reply
from audiogen.server.state import state_of

router = APIRouter()
FIELDS = {"file", "model", "quality", "steps", "seed", "response_format"}
LOSSLESS = ("wav", "flac")
FLAC_CHANNELS = 8


@dataclass(frozen=True)
class Asked:
    """A checked request."""

    recording: Recording
    options: EnhanceOptions
    seed: int
    format: str


@router.post("/v1/audio/enhancements")
async def enhancements(
    request: Request,
    file: Annotated[UploadFile, File()],
    model: Annotated[str | None, Form()] = None,
    quality: Annotated[str, Form()] = "balanced",
    steps: Annotated[int | None, Form()] = None,
    seed: Annotated[int, Form()] = 0,
    response_format: Annotated[str, Form()] = "wav",
) -> Response:
    """Take the noise out of a recording."""
    await refuse_unknown_fields(request, FIELDS)
    state = state_of(request)
    chosen = state.models.pick(ENHANCEMENT, model)
    format = check_format(response_format, LOSSLESS)
    with blaming("steps" if steps is not None else "quality"):
        options = EnhanceOptions(quality, steps)
        check_options(chosen.system, options)
    job = Job(alone(lambda job: enhance(chosen, job)))
    try:
        path = await kept(file, job.resources)
        recording = Recording(path, file.filename or "the recording", state.limits.seconds)
        if format == "flac" and recording.channels > FLAC_CHANNELS:
            message = f"flac holds {FLAC_CHANNELS} channels, not {recording.channels}; use wav"
            raise ApiError(400, message, param="response_format")
    except BaseException:
        job.resources.close()
        raise
    job.content = Asked(recording, options, seed, format)
    return await whole_reply(request, chosen.worker, job, format)


def enhance(model: Served, job: Job) -> Generator[None]:
    """Enhance a job's recording into a file without a name, a step a block.

    Raises ValueError as `enhance_blocks`.
    """
    asked: Asked = job.content
    source = asked.recording
    with ExitStack() as stack:
        result = stack.enter_context(tempfile.TemporaryFile())
        with AudioWriter(result, source.sample_rate, source.channels, asked.format) as writer:
            for block in enhance_blocks(model.system, source, asked.options, seed=asked.seed):
                job.heard(block.shape[-1] / source.sample_rate)
                writer.write(block)
                yield
        stack.pop_all()  # who reads the file closes it
    job.put(result)
