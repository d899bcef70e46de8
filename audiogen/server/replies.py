"""Answers made of a job's parts: a stream, server-sent events, or a file."""

from __future__ import annotations

import asyncio
import base64
import json
import os
from collections.abc import AsyncIterator, Iterator
from typing import IO

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from audiogen.audio import STREAM_FORMATS
from audiogen.server.errors import ApiError
from audiogen.server.jobs import Job, Part
from audiogen.server.worker import Worker

MEDIA_TYPES = {
    "mp3": "audio/mpeg",
    "opus": "audio/ogg",
    "flac": "audio/flac",
    "wav": "audio/wav",
    "pcm": "audio/pcm",
}
PCM_RATE = 24000  # what OpenAI's clients play samples without a header at
CLIENT_GONE = 499
BLOCK = 65536  # bytes of a file at a time


class StreamBroken(Exception):
    """An error after the answer has begun: the connection ends without the mark that all was sent."""


def check_format(format: str, formats: tuple[str, ...] = tuple(STREAM_FORMATS)) -> str:
    """The format, if it can be had. Raises ApiError 400."""
    if format in formats:
        return format
    if format == "aac":
        message = "aac is not available: this server writes no AAC; use mp3 or opus"
    else:
        message = f"unknown response_format {format!r}; use {', '.join(formats)}"
    raise ApiError(400, message, param="response_format", code="unsupported_format")


def rate_of(format: str) -> int | None:
    """The sample rate that a format must have, None for the model's own."""
    return PCM_RATE if format == "pcm" else None


async def parts_of(request: Request, worker: Worker, job: Job) -> AsyncIterator[Part]:
    """Let a model do the job, and give the parts as they come; a client that leaves cancels it.

    Raises ApiError.
    """
    worker.submit(job)
    watch = asyncio.create_task(_cancel_when_gone(request, job))
    try:
        async for part in job.parts():
            yield part
    finally:
        watch.cancel()


async def _cancel_when_gone(request: Request, job: Job) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
    job.cancel()


async def stream_reply(request: Request, worker: Worker, job: Job, format: str) -> Response:
    """The parts as they come, after the first: an error before it has a status of its own."""
    parts = parts_of(request, worker, job)
    first = await anext(parts, None)
    if first is None:
        return Response(status_code=CLIENT_GONE)
    return StreamingResponse(_body(first, parts), media_type=MEDIA_TYPES[format])


async def _body(first: Part, rest: AsyncIterator[Part]) -> AsyncIterator[bytes]:
    try:
        yield _bytes(first)
        async for part in rest:
            yield _bytes(part)
    except ApiError as error:
        raise StreamBroken(error.detail) from error


async def events_reply(request: Request, worker: Worker, job: Job) -> Response:
    """The parts in base64, as OpenAI's server-sent events; errors after the first are events too."""
    parts = parts_of(request, worker, job)
    first = await anext(parts, None)
    if first is None:
        return Response(status_code=CLIENT_GONE)
    return StreamingResponse(_events(first, parts), media_type="text/event-stream")


async def _events(first: Part, rest: AsyncIterator[Part]) -> AsyncIterator[bytes]:
    yield _delta(first)
    try:
        async for part in rest:
            yield _delta(part)
    except ApiError as error:
        yield _event({"type": "error", **error.content})
        return
    # nothing is metered by the token here, but clients read the field
    usage = {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}
    yield _event({"type": "speech.audio.done", "usage": usage})


def _delta(part: Part) -> bytes:
    return _event({"type": "speech.audio.delta", "audio": base64.b64encode(_bytes(part)).decode()})


def _event(content: object) -> bytes:
    return f"data: {json.dumps(content)}\n\n".encode()


def _bytes(part: Part) -> bytes:
    assert isinstance(part, bytes), "streams are made of bytes"
    return part


async def whole_reply(request: Request, worker: Worker, job: Job, format: str) -> Response:
    """The only part of a job, with its length."""
    async for part in parts_of(request, worker, job):
        media_type = MEDIA_TYPES[format]
        if isinstance(part, bytes):
            return Response(part, media_type=media_type)
        size = part.seek(0, os.SEEK_END)
        return StreamingResponse(_blocks(part), media_type=media_type, headers={"Content-Length": str(size)})
    return Response(status_code=CLIENT_GONE)


def _blocks(file: IO[bytes]) -> Iterator[bytes]:
    """The file from its start, block by block; then it is closed."""
    with file:
        file.seek(0)
        while block := file.read(BLOCK):
            yield block
