"""One thread a model: it does the jobs in the order they came in, those that go together at once."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Sequence

from audiogen.server.errors import ApiError
from audiogen.server.jobs import Job
from audiogen.server.metrics import Metrics

MOST_RETRY_S = 60


class Worker:
    """The queue of a model, and the thread that works on it once `start` is called.

    capacity: jobs that wait or are at work; batch: those done at once at most.
    """

    def __init__(self, name: str, metrics: Metrics, *, capacity: int, batch: int) -> None:
        self.name = name
        self._metrics, self._capacity, self._batch = metrics, capacity, batch
        self._waiting: deque[Job] = deque()
        self._at_work: list[Job] = []
        self._seconds = 1.0  # that a job took lately
        self._stopped = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name=f"audiogen {name}", daemon=True)
        metrics.watch_queue(name, lambda: self.length)

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def stop(self) -> None:
        """Give up what waits, end what is at work at its next chunk, and wait for that."""
        with self._changed:
            self._stopped = True
            for job in self._at_work:
                job.cancel()
            self._changed.notify_all()
        self._thread.join()

    @property
    def length(self) -> int:
        """Jobs that wait or are at work, those given up left out."""
        with self._changed:
            self._drop_cancelled()
            return len(self._waiting) + len(self._at_work)

    def submit(self, job: Job) -> None:
        """Let a job wait for its turn. Raises ApiError when as many as may wait do, or the server stops."""
        with self._changed:
            self._drop_cancelled()
            length = len(self._waiting) + len(self._at_work)
            if not self._stopped and length < self._capacity:
                self._waiting.append(job)
                self._changed.notify_all()
                return
        job.resources.close()
        if self._stopped:
            raise ApiError(503, "the server is shutting down", code="shutting_down")
        retry_s = max(1, min(MOST_RETRY_S, math.ceil(length * self._seconds)))
        raise ApiError(
            429,
            f"{length} requests for {self.name!r} wait already; try again in {retry_s} s",
            code="rate_limit_exceeded",
            headers={"Retry-After": str(retry_s)},
        )

    def _drop_cancelled(self) -> None:
        for job in [job for job in self._waiting if job.cancelled]:
            self._waiting.remove(job)
            job.resources.close()

    def _run(self) -> None:
        while jobs := self._take():
            begun = time.monotonic()
            try:
                jobs[0].work(jobs)
            except Exception as error:
                for job in jobs:
                    job.fail(error)
            self._account(jobs, time.monotonic() - begun)
            with self._changed:
                self._at_work = []

    def _take(self) -> list[Job]:
        """The next job and those waiting that go with it; nothing when the server stops."""
        with self._changed:
            while not self._stopped:
                self._drop_cancelled()
                if self._waiting:
                    first = self._waiting[0]
                    group = [job for job in self._waiting if job.group == first.group]
                    jobs = [first] if first.group is None else group[: self._batch]
                    for job in jobs:
                        self._waiting.remove(job)
                    self._at_work = jobs
                    return jobs
                self._changed.wait()
            for job in self._waiting:
                job.fail(ApiError(503, "the server is shutting down", code="shutting_down"))
                job.resources.close()
            self._waiting.clear()
            return []

    def _account(self, jobs: Sequence[Job], seconds: float) -> None:
        """Close what the jobs held and count what they cost."""
        self._seconds += 0.2 * (seconds / len(jobs) - self._seconds)
        for job in jobs:
            job.resources.close()
            if job.first_audio_seconds is not None:
                self._metrics.heard_first(self.name, job.first_audio_seconds)
        self._metrics.worked(self.name, seconds, sum(job.audio_seconds for job in jobs))
