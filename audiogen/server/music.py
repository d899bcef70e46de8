"""POST /v1/audio/music: music of words, streamed while it is made."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Annotated

import torch
from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from audiogen.audio import StreamEncoder, soft_limit
from audiogen.music import MusicOptions
from audiogen.server.errors import ApiError, blaming
from audiogen.server.jobs import Job, alone
from audiogen.server.limits import Limits
from audiogen.server.models import MUSIC, Served
from audiogen.server.replies import check_format, rate_of, stream_reply
from audiogen.server.speech import ITEM
from audiogen.server.state import state_of
from audiogen.speech import stable_seed

router = APIRouter()


class MusicBody(BaseModel):
    """What to play, and for how many seconds."""

    model_config = ConfigDict(extra="forbid")

    prompt: str
    model: str | None = None
    seconds: Annotated[float, Field(gt=0)] = 10.0
    seed: int = 0
    steps: int | None = None
    response_format: str = "mp3"


@dataclass(frozen=True)
class Asked:
    """A checked request."""

    prompt: str
    seconds: float
    seed: int
    options: MusicOptions
    format: str


@router.post("/v1/audio/music")
async def music(request: Request, body: MusicBody) -> Response:
    """Make music of words."""
    state = state_of(request)
    model = state.models.pick(MUSIC, body.model)
    asked = check(body, model, state.limits)
    job = Job(alone(lambda job: stream_music(model, job)), asked)
    return await stream_reply(request, model.worker, job, asked.format)


def check(body: MusicBody, model: Served, limits: Limits) -> Asked:
    """What is asked for. Raises ApiError 400 that names the field at fault."""
    if not body.prompt.strip():
        raise ApiError(400, "prompt is empty; say what to play", param="prompt")
    if len(body.prompt) > limits.text:
        message = f"prompt has {len(body.prompt)} characters, more than {limits.text}; say it shorter"
        raise ApiError(400, message, param="prompt", code="string_above_max_length")
    if body.seconds > limits.seconds:
        message = f"seconds {body.seconds:g} are more than the {limits.seconds:g} that are made at most"
        raise ApiError(400, message, param="seconds")
    format = check_format(body.response_format)
    options = MusicOptions(body.steps)
    with blaming("steps"):
        model.system.passes(body.seconds, options)
    return Asked(body.prompt, body.seconds, stable_seed(body.seed, ITEM), options, format)


def stream_music(model: Served, job: Job) -> Generator[None]:
    """Make a job's music, a step a block."""
    asked: Asked = job.content
    rate = model.system.sample_rate
    encoder = StreamEncoder(asked.format, rate, new_rate=rate_of(asked.format))
    for block in model.system.stream(asked.prompt, [asked.seed], asked.options, seconds=asked.seconds):
        wav = soft_limit(block[0].float().cpu())
        job.heard(wav.shape[-1] / rate)
        if part := encoder(wav):
            job.put(part)
        yield
    job.put(encoder(torch.zeros(1, 0), last=True))
