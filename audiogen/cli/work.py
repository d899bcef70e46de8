"""What workers and those who employ them say to one another; light to import, for a worker starts with it."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from rich.console import Console

from audiogen.report import ItemReport

if TYPE_CHECKING:
    from audiogen.cli.jobs import Job

Outcome = tuple[ItemReport, Exception | None]


@dataclass(frozen=True)
class Crew:
    """Workers of an engine: how many (None: as many as there is room for), with how many threads each."""

    engine: str
    workers: int | None
    threads: int


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class Group:
    """Jobs that are worked on together, and the places among them of those that are to be written.

    The others are there because the last bits of what a network says depend on the whole batch: a run that
    goes on where another stopped makes the same batches again.
    """

    jobs: tuple[Job, ...]
    wanted: tuple[int, ...]

    def single(self, place: int) -> Group:
        """One of the jobs alone."""
        return Group((self.jobs[place],), (0,))


class Session(Protocol):
    """A loaded model at work on a request. context: what the numbers of the report depend on."""

    context: dict[str, Any]

    def work(self, group: Group) -> Iterator[tuple[int, Outcome]]:
        """Place and outcome of each wanted job, as they are done."""
        ...


Open = Callable[[Console], Session]  # loads the model; what it tells goes to the console


@dataclass(frozen=True)
class Ready:
    """A worker has loaded its model, and what it told meanwhile."""

    context: dict[str, Any]
    load_seconds: float
    told: str = ""


@dataclass(frozen=True)
class Delivery:
    """What has become of a job: its group's number, its place in it, and what was told meanwhile."""

    group: int
    place: int
    item: ItemReport
    error: Exception | None
    told: str = ""


Event = Ready | Delivery
Events = Generator[Event, None, None]


class WorkersFailed(ValueError):
    """Workers that cannot be had, or cannot even begin."""


class Listener:
    """A worker's console: what it prints is kept until `take`, to be told beside the progress bar."""

    def __init__(self) -> None:
        self._text = io.StringIO()
        self.console = Console(
            file=self._text, markup=False, highlight=False, soft_wrap=True, color_system=None, width=10000
        )

    def take(self) -> str:
        """What was told, and forget it."""
        told = self._text.getvalue()
        self._text.seek(0)
        self._text.truncate()
        return told


def portable(error: Exception | None, message: str | None) -> Exception | None:
    """An error that travels between processes: of a kind that exit codes know, with its message."""
    if error is None:
        return None
    for kind in (ValueError, OSError):
        if isinstance(error, kind):
            return kind(message)
    return RuntimeError(message)


def died(job: Job) -> ItemReport:
    """The report of an item that its worker did not survive."""
    return ItemReport(job.item.id, error="its worker died each time (out of memory?); the others went on")
