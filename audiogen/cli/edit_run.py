"""One run of `audiogen edit`: read the wishes, load, steer, write, account."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor

from audiogen import hub, weights
from audiogen.audio import soft_limit, write_audio
from audiogen.cli import OK, SOME_FAILED, USAGE, batch
from audiogen.cli.batch import BatchRequest
from audiogen.cli.edit_wishes import Wishes, controls_of, read_mono
from audiogen.cli.jobs import Job, UsageError
from audiogen.cli.music_run import load_musician
from audiogen.cli.output import attempt
from audiogen.controls import Control
from audiogen.controls.requests import parse_seconds
from audiogen.report import ItemReport, Report, StageTimer, machine_context
from audiogen.speech import SpeechItem
from audiogen.steering import Progress, Steered, SteerOptions
from audiogen.systems.ditto import steer

STAGES = ("read", "steer", "io")


@dataclass(frozen=True)
class EditRequest(BatchRequest):
    """The options of `audiogen edit`, as its help describes them; search: those of `SteerOptions`."""

    prompt: str
    source: Path | None
    wishes: Wishes
    unsteered: Path | None
    budget: str | None
    search: Mapping[str, Any]


@dataclass
class EditedItem(ItemReport):
    """What an edit cost and brought."""

    steered: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """As `ItemReport`, with the errors of the controls before and after, and the search."""
        return {**super().to_dict(), **self.steered}


def run(request: EditRequest, started: float) -> int:
    """Do what was asked -> exit code.

    started: time.perf_counter() when the command began. Raises ValueError for what cannot be done at all.
    """
    options = read_options(request)
    job = plan(request)
    console = batch.stderr_console()
    if request.threads is not None:
        torch.set_num_threads(request.threads)
    system = load_steerable(request.model, request.device)
    loaded = time.perf_counter() - started
    report = Report({**context(request, options, system), "load_seconds": loaded}, stages=STAGES)
    code = batch.finish(request, report, lambda: edited(request, options, system, job, report, console))
    for item in report.items:
        if isinstance(item, EditedItem) and item.error is None and not request.quiet:
            print_errors(item.steered, console)
    return code


def read_options(request: EditRequest) -> SteerOptions:
    """How to search. Raises ValueError for what is out of range."""
    budget = None if request.budget is None else parse_seconds(request.budget, "--budget")
    return SteerOptions(**request.search, budget_s=budget)


def plan(request: EditRequest) -> Job:
    """The piece and its place, after all checks that need no model. Raises ValueError."""
    request.wishes.check(request.source)
    if not request.prompt.strip() and request.source is None and request.wishes.continue_from is None:
        raise UsageError("the music is described by nothing: give words, --source or --continue")
    job = Job(SpeechItem("0", request.prompt))
    (job,) = batch.place_named(request, [job])
    batch.check_output(request)
    batch.check_folders(request, [job], request.unsteered)
    return job


def load_steerable(name: str, device: str) -> Any:
    """The system, in eval mode on the device. Raises ValueError where it cannot be steered."""
    system = load_musician(name, device)
    if not hasattr(system, "generator"):
        raise weights.UnknownModel(f"model {name!r} cannot be steered; use a music model such as melody")
    return system


def context(request: EditRequest, options: SteerOptions, system: Any) -> dict[str, Any]:
    """What the numbers of the report depend on."""
    return {
        **machine_context(getattr(system, "device", "cpu")),
        **asdict(options),
        "sample_rate": system.sample_rate,
        **hub.provenance(request.model),
    }


def edited(
    request: EditRequest, options: SteerOptions, system: Any, job: Job, report: Report, console: Console
) -> int:
    """Steer and write the piece, fill the report -> exit code."""
    item = EditedItem(job.item.id, stages=dict.fromkeys(STAGES, 0.0), warm=False)
    timer, began = StageTimer(getattr(system, "device", "cpu")), time.perf_counter()
    report.items.append(item)
    failure = attempt(item, lambda: _edit(request, options, system, job, item, timer, console))
    item.add(timer.seconds)
    if failure is not None:
        console.print(f"error: {item.error}")
        return USAGE if isinstance(failure, (ValueError, OSError)) else SOME_FAILED
    report.finished_after(time.perf_counter() - began)
    return OK


def _edit(
    request: EditRequest,
    options: SteerOptions,
    system: Any,
    job: Job,
    item: EditedItem,
    timer: StageTimer,
    console: Console,
) -> None:
    rate = system.sample_rate
    with timer.stage("read"):
        source = None if request.source is None else read_mono(request.source, rate)
        controls = controls_of(request.wishes, source, rate)
    if told := system.unknown_words(request.prompt):
        console.print(f"warning: words without meaning to this model: {', '.join(dict.fromkeys(told))}")
    with timer.stage("steer"):
        steered = searched(request, options, system, controls, source, console)
    for warning in steered.warnings:
        console.print(f"warning: {warning}")
    item.nfe, item.steered = steered.network_calls, account(steered)
    with timer.stage("io"):
        if request.unsteered is not None:
            write_audio(request.unsteered, soft_limit(steered.unsteered.float().cpu()), rate)
    audio = soft_limit(steered.audio.float().cpu())
    batch.write_blocks(job, [audio], rate, request.format, item, timer, is_all=True)


def searched(
    request: EditRequest,
    options: SteerOptions,
    system: Any,
    controls: list[Control],
    source: Tensor | None,
    console: Console,
) -> Steered:
    """The search, with a bar; the first Ctrl-C ends it with the best so far."""
    with (
        batch.progress_bar(console, shown=request.progress and not request.quiet) as bar,
        interruptible() as interrupted,
    ):
        task = bar.add_task("steering", total=options.steps)

        def show(now: Progress) -> None:
            told = f"steering, loss {now.loss:.3g}"
            bar.update(task, completed=now.step, total=now.steps, description=told)

        return steer(
            system,
            request.prompt,
            controls,
            options,
            source=source,
            progress=show,
            cancelled=interrupted.is_set,
        )


@contextmanager
def interruptible() -> Iterator[threading.Event]:
    """An event that the first Ctrl-C sets; the second one interrupts as ever."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return

    def note(number: int, frame: Any) -> None:
        event.set()
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, note)
    try:
        yield event
    finally:
        signal.signal(signal.SIGINT, before)


def account(steered: Steered) -> dict[str, Any]:
    """What the report says of a search."""
    return {
        "controls": [asdict(error) for error in steered.errors],
        "search": {
            "steps": steered.steps,
            "stopped": steered.stopped,
            "seconds": steered.seconds,
            "seconds_per_step": steered.per_step,
            "seed": steered.seed,
            "losses": steered.losses.amin(1).tolist() if len(steered.losses) else [],
        },
    }


def print_errors(steered: Mapping[str, Any], console: Console) -> None:
    """A table of the controls' errors, without steering and with it."""
    from rich import box
    from rich.table import Table

    table = Table("wish", "before", "after", "unit of the error", box=box.SIMPLE_HEAD)
    for error in steered["controls"]:
        table.add_row(error["name"], f"{error['before']:.3g}", f"{error['after']:.3g}", error["unit"])
    console.print(table)
    search = steered["search"]
    ends = {
        "steps": "all were made",
        "budget": "the time was up",
        "cancelled": "it was interrupted",
        "enough": "all wishes are granted",
    }
    console.print(
        f"{search['steps']} steps of {search['seconds_per_step']:.2f} s; {ends[search['stopped']]}; seed "
        f"{search['seed']}"
    )
