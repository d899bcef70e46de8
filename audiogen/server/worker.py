"""One thread a model: it begins jobs in the order they came, and they take turns chunk by chunk."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Generator, Sequence
from dataclasses import dataclass

from audiogen.server.errors import ApiError
from audiogen.server.jobs import Job
from audiogen.server.metrics import Metrics

MOST_RETRY_S = 60


@dataclass
class Turn:
    """Jobs that are done together, and the steps of their work; seconds: that those have taken."""

    jobs: Sequence[Job]
    steps: Generator[None]
    seconds: float = 0.0

    def step(self) -> bool:
        """Do the next step -> whether there may be more. An error is the jobs'."""
        begun = time.monotonic()
        try:
            if all(job.cancelled for job in self.jobs):
                return False
            next(self.steps)
            return True
        except StopIteration:
            return False
        except Exception as error:
            for job in self.jobs:
                job.fail(error)
            return False
        finally:
            self.seconds += time.monotonic() - begun


class Worker:
    """The queue of a model, and the thread that works on it once `start` is called.

    capacity: jobs that wait or are at work. batch: jobs that are done together, and groups of jobs that take
    turns, at most.
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
        """Give up what waits, end what is at work at its next step, and wait for that."""
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
        turns: deque[Turn] = deque()
        while not self._stopped:
            if len(turns) < self._batch and (jobs := self._take(wait=not turns)):
                turns.appendleft(Turn(jobs, jobs[0].work(jobs)))  # what is new is heard soonest
            if turns:
                turn = turns.popleft()
                if turn.step():
                    turns.append(turn)
                else:
                    self._account(turn)
        for turn in turns:
            self._account(turn)
        self._give_up()

    def _take(self, wait: bool) -> list[Job]:
        """The next job and those waiting that go with it; nothing if there is none, or the server stops."""
        with self._changed:
            self._drop_cancelled()
            while wait and not self._waiting and not self._stopped:
                self._changed.wait()
                self._drop_cancelled()
            if self._stopped or not self._waiting:
                return []
            first = self._waiting[0]
            group = [job for job in self._waiting if job.group == first.group]
            jobs = [first] if first.group is None else group[: self._batch]
            for job in jobs:
                self._waiting.remove(job)
            self._at_work += jobs
            return jobs

    def _account(self, turn: Turn) -> None:
        """End what is left of the work, close what the jobs held and count what they cost."""
        turn.steps.close()
        self._seconds += 0.2 * (turn.seconds / len(turn.jobs) - self._seconds)
        for job in turn.jobs:
            job.resources.close()
            if job.first_audio_seconds is not None:
                self._metrics.heard_first(self.name, job.first_audio_seconds)
        self._metrics.worked(self.name, turn.seconds, sum(job.audio_seconds for job in turn.jobs))
        with self._changed:
            self._at_work = [job for job in self._at_work if job not in turn.jobs]

    def _give_up(self) -> None:
        """Tell those that wait that the server stops."""
        with self._changed:
            for job in self._waiting:
                job.fail(ApiError(503, "the server is shutting down", code="shutting_down"))
                job.resources.close()
            self._waiting.clear()
