"""Workers on one machine or many: actors of Ray Data, each with the model, to which groups of jobs stream."""

from __future__ import annotations

import logging
import os
import time
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from audiogen.cli.engine_local import Task, sweep
from audiogen.cli.work import (
    Crew,
    Delivery,
    Event,
    Events,
    Group,
    Listener,
    Open,
    Ready,
    WorkersFailed,
    cores,
    died,
    portable,
)
from audiogen.memory import keep_freed

RETRIES = 3  # of one group whose actor died


@dataclass(frozen=True)
class Result:
    """What an actor says of a group: who it is, its Ready when it is its first, and its deliveries."""

    ready: Ready | None
    deliveries: list[Delivery]
    failure: Exception | None = None


class Actor:
    """An actor: loads the model once, then does the groups that come."""

    def __init__(self, open_session: Open) -> None:
        keep_freed()
        self._listener, started = Listener(), time.perf_counter()
        self._failure: Exception | None = None
        try:
            self._session = open_session(self._listener.console)
            seconds = time.perf_counter() - started
            context = {**self._session.context, "host": os.uname().nodename}
            self._ready: Ready | None = Ready(context, seconds, self._listener.take())
        except Exception as error:  # told with the first group; an actor that cannot be made is made again
            self._failure = portable(error, str(error))

    def __call__(self, rows: dict[str, Any]) -> dict[str, Any]:
        """Do the groups of some rows."""
        return {"result": [_packed(self._do(*_unpacked(row))) for row in rows["group"]]}

    def _do(self, number: int, alone: int | None, group: Group) -> Result:
        if self._failure is not None:
            return Result(None, [], self._failure)
        ready, self._ready = self._ready, None
        deliveries = [
            Delivery(
                number,
                place if alone is None else alone,
                item,
                portable(error, item.error),
                self._listener.take(),
            )
            for place, (item, error) in self._session.work(group)
        ]
        return Result(ready, deliveries)


def run_ray(open_session: Open, groups: Sequence[Group], crew: Crew, device: str) -> Events:
    """Do the groups by the actors of a cluster -> what happens, a group at a time.

    Ray starts an actor that dies again and gives its group to another; the jobs of a group that none has
    survived are tried once more alone, so that only the culprit is lost. Raises WorkersFailed without Ray, or
    where the cluster is too small, and the ValueError of an actor that cannot load.
    """
    ray = import_ray()
    connect(ray)
    cpus, gpus = resources(ray)
    gpu = int(gpus > 0 and (device == "auto" or device.startswith("cuda")))
    workers = fitting(crew, int(cpus), int(gpus) if gpu else None)
    quiet(ray)
    actors = Actors(ray, open_session, workers, crew.threads, gpu)
    seen: set[tuple[int, int]] = set()
    for event in actors.work([(number, None, group) for number, group in enumerate(groups)], RETRIES):
        if isinstance(event, Delivery):
            seen.add((event.group, event.place))
        yield event
    alone = [
        (number, place, group.single(place))
        for number, group in enumerate(groups)
        for place in group.wanted
        if (number, place) not in seen
    ]
    for event in actors.work(alone, 0):
        if isinstance(event, Delivery):
            seen.add((event.group, event.place))
        yield event
    yield from lost(groups, seen)


Order = tuple[int, int | None, Group]  # number of the group, place of a job that is alone, what is to be done


@dataclass(frozen=True)
class Actors:
    """How the actors of a run are made. gpu: how many GPUs each has."""

    ray: Any
    open_session: Open
    workers: int
    threads: int
    gpu: int

    def work(self, orders: Sequence[Order], retries: int) -> Events:
        """Do the orders; those whose actors die more than `retries` times are left out."""
        if not orders:
            return
        for row in self._rows(orders, retries):
            result: Result = _unpacked(row["result"])
            if result.failure is not None:
                raise result.failure
            if result.ready is not None:
                yield result.ready
            yield from result.deliveries

    def _rows(self, orders: Sequence[Order], retries: int) -> Iterable[dict[str, Any]]:
        """The results of Ray Data, as they come."""
        rows = [{"group": _packed(order)} for order in orders]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what later Rays call otherwise; pyproject.toml ends before
            results: Iterable[dict[str, Any]] = (
                self.ray.data.from_items(rows, override_num_blocks=len(rows))
                .map_batches(
                    Actor,
                    fn_constructor_args=(self.open_session,),
                    batch_size=1,
                    compute=self.ray.data.ActorPoolStrategy(size=min(self.workers, len(rows))),
                    num_cpus=self.threads,
                    num_gpus=self.gpu,
                    ray_remote_args_fn=lambda: {"max_restarts": -1, "max_task_retries": retries},
                )
                .iter_rows()
            )
        return results


def lost(groups: Sequence[Group], seen: set[tuple[int, int]]) -> list[Event]:
    """What must be said of jobs that no actor has survived; what is left of them is swept up."""
    events: list[Event] = []
    for number, group in enumerate(groups):
        sweep(Task(number, group))
        for place in group.wanted:
            if (number, place) not in seen:
                item = died(group.jobs[place])
                events.append(Delivery(number, place, item, RuntimeError(item.error)))
    return events


def import_ray() -> Any:
    """The package, silent about itself. Raises WorkersFailed with the remedy where it is not there."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # Ray Data's actors alarm it without need
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise WorkersFailed(
            f"--engine ray needs Ray ({error}); pip install 'audiogen[ray]', or use --engine local"
        ) from error
    return ray


def connect(ray: Any) -> None:
    """Join the cluster of RAY_ADDRESS or of this machine; without one, start one for this run."""
    if ray.is_initialized():
        return
    options = {"logging_level": logging.ERROR, "log_to_driver": False}
    try:
        ray.init(address=os.environ.get("RAY_ADDRESS", "auto"), **options)
    except ConnectionError as error:
        if "RAY_ADDRESS" in os.environ:
            raise WorkersFailed(
                f"no Ray cluster at {os.environ['RAY_ADDRESS']} ({error}); correct or unset RAY_ADDRESS"
            ) from error
        ray.init(address="local", num_cpus=cores(), include_dashboard=False, **options)


def resources(ray: Any) -> tuple[float, float]:
    """CPUs and GPUs of the cluster."""
    found = ray.cluster_resources()
    return found.get("CPU", 0.0), found.get("GPU", 0.0)


def fitting(crew: Crew, cpus: int, gpus: int | None) -> int:
    """Workers that a cluster has room for: those asked for, or as many as fit. gpus: None for work on CPUs.

    Raises WorkersFailed where they do not fit: Ray would wait for ever.
    """
    room = cpus // crew.threads if gpus is None else min(cpus // crew.threads, gpus)
    wanted = crew.workers or room
    if room < 1 or wanted > room:
        raise WorkersFailed(
            f"{wanted or 1} workers with {crew.threads} threads do not fit the Ray cluster of {cpus} CPUs"
            f"{'' if gpus is None else f' and {gpus} GPUs'}; use at most --workers {room} or fewer --threads"
        )
    return wanted


def quiet(ray: Any) -> None:
    """No bars and no log of Ray Data: standard output has nothing, stderr only what audiogen says.

    A group that fails to the last is dropped, and told by `lost`.
    """
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.max_errored_blocks = -1
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)


def _packed(value: object) -> bytes:
    """As Ray itself sends objects between processes of one run."""
    from ray import cloudpickle

    dumps: Any = cloudpickle.dumps  # untyped
    packed: bytes = dumps(value)
    return packed


def _unpacked(data: bytes) -> Any:
    from ray import cloudpickle

    return cloudpickle.loads(data)
