"""The work of one request on its way: done in a model's thread, waited for in the event loop."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Generator, Hashable, Sequence
from contextlib import ExitStack, suppress
from typing import IO, Any, TypeAlias

from audiogen.server.errors import told

Part: TypeAlias = bytes | IO[bytes]  # what is sent next, or the file of all of it


class Job:
    """One request's work.

    work: does it, and that of other jobs of the same `group` (None: alone), in the model's thread, where it
    calls `put` and `fail`; at each of its steps others may have their turn. content: what the request asks
    for. resources: closed when the work is done, or will not be. Made in the event loop, which takes the
    parts from it.
    """

    def __init__(self, work: Work, content: Any = None, *, group: Hashable | None = None) -> None:
        self.work, self.content, self.group = work, content, group
        self.resources = ExitStack()
        self.audio_seconds = 0.0
        self.first_audio_seconds: float | None = None
        self._begun = time.monotonic()
        self._loop = asyncio.get_running_loop()
        self._parts: asyncio.Queue[Part | Exception | None] = asyncio.Queue()
        self._cancelled = threading.Event()

    @property
    def cancelled(self) -> bool:
        """Whether nobody waits any more: the work stops at its next step."""
        return self._cancelled.is_set()

    def heard(self, seconds: float) -> None:
        """Note that so much more audio is ready (seconds)."""
        if self.first_audio_seconds is None and seconds > 0:
            self.first_audio_seconds = time.monotonic() - self._begun
        self.audio_seconds += seconds

    def put(self, part: Part) -> None:
        """Hand over the next part."""
        self._send(part)

    def finish(self) -> None:
        """Nothing more will come."""
        self._send(None)

    def fail(self, error: Exception) -> None:
        """Nothing more will come, because of an error."""
        self._send(error)

    def _send(self, part: Part | Exception | None) -> None:
        with suppress(RuntimeError):  # the event loop is closed: the server has stopped
            self._loop.call_soon_threadsafe(self._parts.put_nowait, part)

    def cancel(self) -> None:
        """Nobody waits any more; from any thread, as often as one likes."""
        if not self.cancelled:
            self._cancelled.set()
            self._send(None)

    async def parts(self) -> AsyncIterator[Part]:
        """The parts as they come; leaving the loop cancels. Raises ApiError."""
        try:
            while (part := await self._next()) is not None:
                yield part
        finally:
            self.cancel()

    async def _next(self) -> Part | None:
        if self.cancelled:
            return None
        part = await self._parts.get()
        if isinstance(part, Exception):
            raise told(part)
        return part


Work: TypeAlias = Callable[[Sequence[Job]], Generator[None]]


def alone(work: Callable[[Job], Generator[None]]) -> Work:
    """The work of a job that is never grouped with others."""

    def one(jobs: Sequence[Job]) -> Generator[None]:
        (job,) = jobs
        yield from work(job)
        job.finish()

    return one
