"""`audiogen evaluate`: measure a model against texts and recordings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from audiogen.cli import OK, SOME_FAILED
from audiogen.cli.evaluate_enhance import enhance

if TYPE_CHECKING:
    from rich.table import Table

    from audiogen.metrics.evaluation import Condition, EvalItem
    from audiogen.metrics.scores import Evaluation

evaluate = typer.Typer(
    help="Measure quality: error rates, distances to recordings.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

COLUMNS = {  # metric: heading, factor, digits
    "cer": ("CER %", 100, 1),
    "mcd_db": ("MCD dB", 1, 2),
    "f0_rmse_cents": ("F0 cents", 1, 0),
    "f0_correlation": ("F0 corr.", 1, 2),
    "voicing_error": ("voicing %", 100, 1),
    "duration_error": ("duration %", 100, 1),
    "acoustic_ms": ("acoustic ms/s", 1, 1),
    "vocoder_ms": ("vocoder ms/s", 1, 1),
}


@evaluate.callback()
def _verbs() -> None:
    """Measure quality: error rates, distances to recordings."""


evaluate.command()(enhance)


@evaluate.command()
def tts(
    manifest: Annotated[
        Path, typer.Option(help="Items: lines id|text or id|text|recording, or JSONL with id, text, audio.")
    ],
    model: Annotated[str, typer.Option(help="Name of a model, or path of its weights.")] = "prodiff",
    steps: Annotated[
        str | None, typer.Option(help="Step counts to compare, such as 4,2,1; default: the model's.")
    ] = None,
    recordings: Annotated[
        bool,
        typer.Option(help="Also measure the recordings and their copies through the vocoder: the ceilings."),
    ] = True,
    limit: Annotated[int | None, typer.Option(min=1, help="Use only the first items.")] = None,
    report: Annotated[Path | None, typer.Option(help="JSON file for every number, item by item.")] = None,
    seed: Annotated[int, typer.Option(help="Of the speech and of the intervals.")] = 0,
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads; default: torch's.", envvar="AUDIOGEN_THREADS")
    ] = None,
) -> None:
    """Speak a list of texts and measure the result, with 95 % bootstrap intervals over the items.

    CER: what pocketsphinx, a small English recogniser, gets wrong. Where there are recordings: mel-cepstral
    distortion, F0 and duration errors against them. ms/s: compute time for a second of audio.
    """
    import torch

    from audiogen import hub
    from audiogen.metrics.evaluation import read_manifest
    from audiogen.report import machine_context
    from audiogen.text.frontend import TextFrontEnd

    if threads is not None:
        torch.set_num_threads(threads)
    counts = parse_steps(steps)
    items = read_manifest(manifest)[:limit]
    if report is not None and not report.parent.is_dir():
        raise ValueError(f"--report: there is no folder {report.parent}; make it first")
    system = hub.load(model)
    context = {**machine_context(), **hub.provenance(model), "seed": seed, "manifest": manifest.name}
    conditions = tts_conditions(system, TextFrontEnd(system.language), counts, seed, recordings=recordings)
    result = run(items, conditions, seed)
    if report is not None:
        save(result, context, report)
    show(table(result))
    raise typer.Exit(SOME_FAILED if result.failed else OK)


def parse_steps(text: str | None) -> list[int] | None:
    """Read "4,2,1" as [4, 2, 1]; None stays None. Raises ValueError for anything else."""
    if text is None:
        return None
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(f"--steps {text!r} is no list of step counts; write for example 4,2,1") from None


def tts_conditions(
    system: Any, front_end: Any, steps: list[int] | None, seed: int, *, recordings: bool
) -> list[Condition]:
    """The ceilings, if wanted, then the system at each step count. Raises ValueError for one it lacks."""
    from audiogen.metrics.evaluation import copy_synthesis, recording, speech

    ceilings = [recording(), copy_synthesis(system.vocoder)] if recordings else []
    return [
        *ceilings,
        *(speech(system, front_end, num_steps=n, seed=seed) for n in steps or [system.default_steps]),
    ]


def run(items: list[EvalItem], conditions: list[Condition], seed: int) -> Evaluation:
    """Measure everything, with progress and failures on stderr."""
    from rich.console import Console
    from rich.progress import Progress

    from audiogen.metrics.evaluation import evaluate as measure_all
    from audiogen.metrics.evaluation import wanted
    from audiogen.metrics.intelligibility import Recogniser
    from audiogen.metrics.scores import Score

    recogniser = Recogniser()
    conditions = [condition for condition in conditions if wanted(items, condition)]
    console = Console(stderr=True, markup=False, highlight=False, soft_wrap=True)
    with Progress(console=console, disable=not console.is_terminal, transient=True) as progress:
        task = progress.add_task("evaluating", total=sum(len(wanted(items, c)) for c in conditions))

        def tell(condition: str, score: Score) -> None:
            progress.update(task, advance=1, description=condition)
            if score.error is not None:
                console.print(f"error: item {score.id}, {condition}: {score.error}")

        return measure_all(items, conditions, recogniser, seed=seed, on_score=tell)


def save(result: Evaluation, context: dict[str, Any], path: Path) -> None:
    """Write {"context", "conditions"} as JSON, atomically."""
    from audiogen.files import write_text

    content = {"context": context, "conditions": result.to_dict()}
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def table(result: Evaluation, title: str | None = None) -> Table:
    """One row a condition: each number with its interval below, and how many items failed."""
    from rich.table import Table

    summaries = {name: result.summary(name) for name in result.scores}
    shown = [metric for metric in COLUMNS if any(metric in summary for summary in summaries.values())]
    headings = ("", "items", *(COLUMNS[metric][0] for metric in shown))
    grid = Table(*headings, title=title, caption="brackets: 95 % intervals")
    for name, summary in summaries.items():
        scores = result.scores[name]
        failed = sum(score.error is not None for score in scores)
        count = f"{len(scores) - failed}" + (f" ({failed} failed)" if failed else "")
        grid.add_row(name, count, *(_cell(summary, metric) for metric in shown))
    return grid


def _cell(summary: Any, metric: str) -> str:
    interval = summary.get(metric)
    if interval is None or interval.value != interval.value:
        return "-"
    _, factor, digits = COLUMNS[metric]
    value, low, high = (f"{factor * x:.{digits}f}" for x in (interval.value, interval.low, interval.high))
    return f"{value}\n[{low}, {high}]"


def show(grid: Table) -> None:
    """Print a table on standard output, as wide as it needs to be where nobody looks on."""
    from rich.console import Console

    console = Console(markup=False)
    if not console.is_terminal:
        console = Console(markup=False, width=160)
    console.print(grid)
