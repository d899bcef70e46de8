"""One run over many items, in this process or by workers, and the single account of it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Generic, TypeVar

from rich.console import Console

from audiogen.cli import batch
from audiogen.cli.batch import BatchRequest, Errors, Words
from audiogen.cli.jobs import STDOUT, Job, UsageError
from audiogen.cli.work import Crew, Delivery, Event, Events, Group, Open, Outcome, Ready, Session, cores
from audiogen.report import ItemReport, Report

ENGINES = ("local", "ray")
AT_ONCE = 8  # items that a worker is handed together, if each stands alone

Request = TypeVar("Request", bound=BatchRequest)


def crew_of(engine: str | None, workers: int | None, threads: int | None) -> Crew | None:
    """The workers of the options, None for none. One thread each unless more are asked for.

    Raises UsageError for an unknown engine, and for more threads than this machine has cores.
    """
    if engine is None and workers is None:
        return None
    engine = engine or ENGINES[0]
    if engine not in ENGINES:
        raise UsageError(f"unknown engine {engine!r}; use {' or '.join(ENGINES)}")
    each = threads or 1
    if engine == "ray":
        return Crew(engine, workers, each)
    workers = workers or max(1, cores() // each)
    if workers * each > cores():
        raise UsageError(
            f"{workers} workers with {each} threads need {workers * each} cores, this machine has {cores()}; "
            f"use --workers {max(1, cores() // each)} or fewer --threads"
        )
    return Crew(engine, workers, each)


def worker_device(device: str, number: int, gpus: int) -> str:
    """The device of a worker: the GPUs in turn, where the request leaves open which."""
    return f"cuda:{number % gpus}" if gpus > 1 and device in ("auto", "cuda") else device


def grouped(
    jobs: Sequence[Job], missing: Sequence[Job], at_most: int, letters: float = float("inf")
) -> list[Group]:
    """Consecutive jobs in groups of `at_most`, and no more letters of text, unless one job has them alone.

    The groups are a function of all jobs; those with nothing in `missing` are left out. Hopeless jobs are in
    no group.
    """
    groups: list[list[Job]] = [[]]
    room = letters
    for job in jobs:
        if job.error is not None:
            continue
        if groups[-1] and (len(groups[-1]) == at_most or len(job.item.text) > room):
            groups.append([])
            room = letters
        groups[-1].append(job)
        room -= len(job.item.text)
    there = {id(job) for job in missing}
    places = ((group, tuple(k for k, job in enumerate(group) if id(job) in there)) for group in groups)
    return [Group(tuple(group), wanted) for group, wanted in places if wanted]


def handful(missing: Sequence[Job], crew: Crew | None) -> int:
    """Jobs to hand out together where each stands alone: few, so that all workers end at the same time."""
    workers = crew.workers if crew is not None and crew.workers is not None else AT_ONCE
    return max(1, min(AT_ONCE, len(missing) // (4 * workers)))


@dataclass
class Run(Generic[Request]):
    """What a verb has planned.

    open_session: loads the model for a request; what workers call, so it is a function of a module. started:
    time.perf_counter() when the command began.
    """

    request: Request
    missing: Sequence[Job]
    groups: Sequence[Group]
    open_session: Callable[[Request, Console], Session]
    report: Report
    words: Words
    misuse: Errors
    console: Console
    started: float
    _loaded: int = 0
    _order: dict[int, int] = field(default_factory=dict)  # item -> its job's number

    def carry_out(self) -> int:
        """Load, work, account -> exit code. Raises ValueError for what cannot be done at all."""
        if self.request.crew is None:
            events = alone(partial(self.open_session, self.request), self.groups, self)
            self._ready(next(events))  # errors of loading are the caller's, not an item's
        else:
            check_crew(self.request, self.request.crew)
            events = self._by_workers(self.request.crew)
        return batch.finish(self.request, self.report, lambda: self._account(events))

    def _by_workers(self, crew: Crew) -> Events:
        """The events of the engine that was asked for."""
        ours = replace(self.request, threads=crew.threads, quiet=True, progress=False, crew=None)
        if crew.engine == "ray":
            from audiogen.cli.engine_ray import run_ray

            return run_ray(partial(self.open_session, ours), self.groups, crew, self.request.device)
        from torch.cuda import device_count

        from audiogen.cli.engine_local import run_local

        assert crew.workers is not None, "crew_of counts the local ones"
        workers, gpus = min(crew.workers, len(self.groups)), device_count()
        devices = [worker_device(ours.device, number, gpus) for number in range(workers)]
        return run_local(
            [partial(self.open_session, replace(ours, device=device)) for device in devices], self.groups
        )

    def _account(self, events: Events) -> int:
        """Fill the report as things happen -> exit code."""
        report, request, crew = self.report, self.request, self.request.crew
        begun = time.perf_counter()
        with closing(self._outcomes(events)) as outcomes:
            code = batch.work_through(
                outcomes,
                len(self.missing),
                request,
                report,
                self.console,
                words=self.words,
                misuse=self.misuse,
            )
        if crew is not None:
            report.wall_seconds = time.perf_counter() - begun
            report.context["workers"] = crew.workers or self._loaded
            report.context["engine"] = crew.engine
        report.items.sort(key=lambda item: self._order[id(item)])
        batch.tell_outcome(report, len(self.missing), code, self.console, self.words)
        return code

    def _outcomes(self, events: Events) -> Generator[Outcome, None, None]:
        """Of every job; the hopeless ones when it is their turn."""
        numbers = {id(job): number for number, job in enumerate(self.missing)}
        hopeless = deque(
            (number, (ItemReport(job.item.id, error=str(job.error)), job.error))
            for number, job in enumerate(self.missing)
            if job.error is not None
        )
        with closing(events):
            for event in events:
                if isinstance(event, Ready):
                    self._ready(event)
                    continue
                if event.told:
                    self.console.print(event.told, end="")
                number = numbers[id(self.groups[event.group].jobs[event.place])]
                while hopeless and hopeless[0][0] < number:
                    yield self._numbered(*hopeless.popleft())
                yield self._numbered(number, (event.item, event.error))
        for number, outcome in hopeless:
            yield self._numbered(number, outcome)

    def _numbered(self, number: int, outcome: Outcome) -> Outcome:
        """The same, and a note of whose outcome it is."""
        self._order[id(outcome[0])] = number
        return outcome

    def _ready(self, event: Event) -> None:
        """Take the context of the first worker; loading is what it cost all of them together."""
        assert isinstance(event, Ready), "workers load first"
        if event.told and not self.report.context:
            self.console.print(event.told, end="")
        self._loaded += 1
        loading = self.report.context.get("load_seconds", 0.0) + event.load_seconds
        self.report.context = {**event.context, **self.report.context, "load_seconds": loading}


def check_crew(request: BatchRequest, crew: Crew) -> None:
    """Raises UsageError for what workers cannot do."""
    if request.output == STDOUT:
        raise UsageError("workers write files; give --out-dir DIR, or leave out --engine and --workers")


def alone(open_session: Open, groups: Iterable[Group], run: Run[Any]) -> Events:
    """The engine without workers: in this process."""
    session = open_session(run.console)
    yield Ready(session.context, time.perf_counter() - run.started)
    for number, group in enumerate(groups):
        for place, (item, error) in session.work(group):
            yield Delivery(number, place, item, error)
