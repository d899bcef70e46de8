"""Workers on this machine: spawned processes, each with the model, to which groups of jobs are handed."""

from __future__ import annotations

import multiprocessing
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from audiogen.cli.work import (
    Delivery,
    Event,
    Events,
    Group,
    Listener,
    Open,
    Ready,
    WorkersFailed,
    died,
    portable,
)
from audiogen.files import sweep_parts
from audiogen.memory import keep_freed

TRIES = 2  # of a group; then each of its jobs has one of its own, so that only the culprit is lost
STILLBORN = 3  # workers in a row that may die before they have loaded
SOON_S = 5.0


@dataclass
class Task:
    """A group to do. number: its place among all. origin: the place of a job that is tried alone.

    done: places that are delivered.
    """

    number: int
    group: Group
    origin: int | None = None
    done: set[int] = field(default_factory=set)
    tries: int = 0

    @property
    def left(self) -> tuple[int, ...]:
        """Places that are not delivered yet."""
        return tuple(place for place in self.group.wanted if place not in self.done)


@dataclass
class Worker:
    """A process, the way to it, and what it is doing."""

    number: int
    process: BaseProcess
    pipe: Connection
    ready: bool = False
    task: Task | None = None


def run_local(opens: Sequence[Open], groups: Sequence[Group]) -> Events:
    """Do the groups by one worker for each of `opens` -> what happens, as it happens.

    A worker that dies is replaced, and what it had not delivered is done again. Raises WorkersFailed, and
    the ValueError of a worker that cannot load.
    """
    pool = Pool(opens, deque(Task(number, group) for number, group in enumerate(groups)))
    try:
        while pool.tasks or any(worker.task is not None for worker in pool.workers.values()):
            pool.fill()
            for pipe in wait([worker.pipe for worker in pool.workers.values()]):
                yield from pool.listen(pipe)
        pool.stop()
    finally:
        pool.kill()


class Pool:
    """The workers and the tasks that none of them has."""

    def __init__(self, opens: Sequence[Open], tasks: deque[Task]) -> None:
        self.opens, self.tasks = opens, tasks
        self.workers: dict[int, Worker] = {}
        self._spawn = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
        self._stillborn = 0

    def fill(self) -> None:
        """Start the workers that are missing, as long as there is something left to do."""
        for number, open_session in enumerate(self.opens):
            if number not in self.workers and len(self.tasks) > self._idle():
                ours, theirs = self._spawn.Pipe()
                process = self._spawn.Process(target=serve, args=(open_session, theirs), daemon=True)
                with uninterrupted():
                    process.start()
                theirs.close()  # so that its end is heard of when it dies
                self.workers[number] = Worker(number, process, ours)

    def _idle(self) -> int:
        """Workers that will ask for a task."""
        return sum(worker.task is None for worker in self.workers.values())

    def listen(self, pipe: Any) -> list[Event]:
        """Hear a worker out and answer -> what it has to say to the world."""
        worker = next(worker for worker in self.workers.values() if worker.pipe is pipe)
        try:
            message = pipe.recv()
        except (EOFError, OSError):
            return self._lost(worker)
        if isinstance(message, Exception):
            raise message
        if isinstance(message, Delivery):
            assert worker.task is not None, "only a worker with a task delivers"
            return [self._delivered(worker.task, message)]
        events: list[Event] = []
        if isinstance(message, Ready):
            worker.ready, self._stillborn = True, 0
            events.append(message)
        self._hand_out(worker)
        return events

    def _hand_out(self, worker: Worker) -> None:
        """Give a worker its next task, or let it go."""
        worker.task = self.tasks.popleft() if self.tasks else None
        try:
            worker.pipe.send(None if worker.task is None else replace_wanted(worker.task))
        except OSError:
            return  # it has died since; its end is heard of soon
        if worker.task is None:
            worker.process.join(SOON_S)
            worker.pipe.close()
            del self.workers[worker.number]

    def _delivered(self, task: Task, message: Delivery) -> Delivery:
        """Note a delivery -> the same with the places of all."""
        task.done.add(message.place)
        place = message.place if task.origin is None else task.origin
        return replace(message, group=task.number, place=place)

    def _lost(self, worker: Worker) -> list[Event]:
        """Bury a worker, and put what it left undone before all else."""
        del self.workers[worker.number]
        worker.pipe.close()
        worker.process.join()
        if not worker.ready:
            self._stillborn += 1
            if self._stillborn == STILLBORN:
                raise WorkersFailed(
                    f"{STILLBORN} workers died while they loaded the model (exit code "
                    f"{worker.process.exitcode}; is the memory enough?); try fewer --workers"
                )
        task = worker.task
        if task is None or not task.left:
            return []
        sweep(task)
        task.tries += 1
        if task.origin is not None:
            job = task.group.jobs[0]
            item = died(job)
            return [Delivery(task.number, task.origin, item, RuntimeError(item.error))]
        if task.tries < TRIES:
            self.tasks.appendleft(task)
        else:
            singles = (Task(task.number, task.group.single(place), place) for place in task.left)
            self.tasks.extendleft(singles)
        return []

    def stop(self) -> None:
        """Let the workers end in peace: nothing is left to do."""
        for worker in self.workers.values():
            worker.pipe.close()
        for worker in self.workers.values():
            worker.process.join(SOON_S)

    def kill(self) -> None:
        """End whoever is left, politely first: a worker removes what it has half written."""
        for worker in self.workers.values():
            worker.process.terminate()
        for worker in self.workers.values():
            worker.process.join(SOON_S)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()


def replace_wanted(task: Task) -> Group:
    """The group as it is to be done now: what was delivered once is not wanted again."""
    return replace(task.group, wanted=task.left)


def sweep(task: Task) -> None:
    """Remove what a dead worker has half written of a task."""
    for place in task.left:
        if (out := task.group.jobs[place].out) is not None:
            names = {out.name, *(out.with_suffix(suffix).name for suffix in (".json", ".srt"))}
            sweep_parts(out.parent, names)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Whoever is started here takes no notice of the terminal's interrupt, from the very first."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set handlers; what is started hears a late interrupt
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def serve(open_session: Open, pipe: Connection) -> None:
    """The life of a worker: load, then do group after group until there is none, or nobody who asks."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal interrupts all; the parent says what follows
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    keep_freed()
    listener, started = Listener(), time.perf_counter()
    try:
        session = open_session(listener.console)
    except Exception as error:
        pipe.send(portable(error, str(error)))
        return
    try:
        pipe.send(Ready(session.context, time.perf_counter() - started, listener.take()))
        while (group := pipe.recv()) is not None:
            for place, (item, failure) in session.work(group):
                pipe.send(Delivery(0, place, item, portable(failure, item.error), listener.take()))
            pipe.send(None)
    except (EOFError, OSError):
        return  # the parent is gone
