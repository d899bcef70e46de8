"""Recordings and voices that clients send, kept in files of their own until their work is done."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Set
from contextlib import ExitStack
from pathlib import Path

import torch
from fastapi import UploadFile
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from torch import Tensor

from audiogen.audio import Audio, AudioError, AudioReader
from audiogen.server.errors import ApiError


async def refuse_unknown_fields(request: Request, known: Set[str]) -> None:
    """Raises ApiError 400 for a form with other fields, which would be a misspelling that nobody notices."""
    for name in await request.form():
        if name not in known:
            message = f"unknown field {name!r}; use {', '.join(sorted(known))}"
            raise ApiError(400, message, param=name)


async def kept(upload: UploadFile, resources: ExitStack) -> Path:
    """A file with what was uploaded, in a folder that nobody else has and that goes with the resources."""
    folder = Path(resources.enter_context(tempfile.TemporaryDirectory(prefix="audiogen-")))
    path = folder / "upload"

    def copy() -> None:
        with path.open("wb") as file:
            shutil.copyfileobj(upload.file, file)

    await run_in_threadpool(copy)
    return path


class Recording:
    """An uploaded recording, read block by block as often as wanted.

    name: as the client calls it. most_s: seconds that it may have. Raises ApiError 400 for a file that is no
    audio; reading raises ApiError 413 once there is more.
    """

    def __init__(self, path: Path, name: str, most_s: float) -> None:
        self._path, self._name, self._most_s = path, name, most_s
        try:
            self._reader = AudioReader(path)
        except AudioError as error:
            raise self._bad(error) from error
        self.sample_rate, self.channels = self._reader.sample_rate, self._reader.channels

    def blocks(self) -> Iterator[Tensor]:
        """All of it from the start, (C, T) float32 at a time."""
        samples = 0
        try:
            for block in self._reader.blocks():
                samples += block.shape[-1]
                if samples > self._most_s * self.sample_rate:
                    message = f"{self._name} is longer than {self._most_s:g} s; send it in parts"
                    raise ApiError(413, message, code="audio_too_long", param="file")
                yield block
        except AudioError as error:
            raise self._bad(error) from error

    def read(self) -> Audio:
        """All of it at once."""
        wav = torch.cat([torch.zeros(self.channels, 0), *self.blocks()], dim=-1)
        return Audio(wav, self.sample_rate)

    def _bad(self, error: AudioError) -> ApiError:
        message = str(error).replace(str(self._path), self._name)
        return ApiError(400, message, code="invalid_audio", param="file")
