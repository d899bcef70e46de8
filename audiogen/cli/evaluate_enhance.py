"""`audiogen evaluate enhance`: scores of an enhancer at several numbers of steps."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from audiogen.cli import OK, SOME_FAILED

if TYPE_CHECKING:
    from rich.table import Table

    from audiogen.metrics.bootstrap import Interval
    from audiogen.metrics.enhancement_evaluation import EnhanceCondition, EnhanceEvaluation, EnhanceItem

COLUMNS = {  # metric: heading, digits
    "rtf": ("RTF", 3),
    "pesq_wb": ("PESQ", 2),
    "estoi": ("ESTOI", 3),
    "si_sdr_db": ("SI-SDR dB", 1),
}


def enhance(
    noisy: Annotated[
        Path, typer.Option("--noisy", exists=True, file_okay=False, help="Folder of noisy recordings.")
    ],
    clean: Annotated[
        Path,
        typer.Option("--clean", exists=True, file_okay=False, help="Folder of references of the same names."),
    ],
    model: Annotated[str, typer.Option(help="Name of a model, or path of its weights.")] = "storm",
    steps: Annotated[
        str | None, typer.Option(help="Step counts to compare, such as 1,4,8; default: each preset.")
    ] = None,
    quality: Annotated[str, typer.Option(help="The preset whose solver takes the steps.")] = "balanced",
    limit: Annotated[int | None, typer.Option(min=1, help="Use only the first recordings.")] = None,
    report: Annotated[Path | None, typer.Option(help="JSON file for every number, item by item.")] = None,
    seed: Annotated[int, typer.Option(help="Of the sampler and of the intervals.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda ...", envvar="AUDIOGEN_DEVICE")] = "auto",
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads; default: torch's.", envvar="AUDIOGEN_THREADS")
    ] = None,
) -> None:
    """Enhance a folder of recordings and compare with their references, with 95 % bootstrap intervals.

    The recordings as they are, the predictor alone, then each number of steps. NFE: network evaluations.
    PESQ: wide-band, 1.04 to 4.64. ESTOI: 0 to 1. RTF: compute time for a second of audio.
    """
    import torch

    from audiogen import hub
    from audiogen.cli.enhance_run import load_enhancer
    from audiogen.cli.evaluate import parse_steps, show
    from audiogen.data.pairs import list_pairs
    from audiogen.metrics.enhancement import require_scorers
    from audiogen.metrics.enhancement_evaluation import EnhanceItem, by_quality, by_steps, unprocessed
    from audiogen.report import machine_context

    require_scorers()
    counts = parse_steps(steps)
    items = [EnhanceItem(pair.id, pair.noisy, pair.clean) for pair in list_pairs(clean, noisy)][:limit]
    if report is not None and not report.parent.is_dir():
        raise ValueError(f"--report: there is no folder {report.parent}; make it first")
    if threads is not None:
        torch.set_num_threads(threads)
    system = load_enhancer(model, device)
    ways = by_quality(system, seed) if counts is None else by_steps(system, counts, quality, seed)
    result = run(items, [unprocessed(), *ways], seed)
    if report is not None:
        machine = machine_context(getattr(system, "device", "cpu"))
        save(result, {**machine, **hub.provenance(model), "seed": seed, "items": len(items)}, report)
    show(table(result))
    raise typer.Exit(SOME_FAILED if result.failed else OK)


def run(items: Sequence[EnhanceItem], conditions: Sequence[EnhanceCondition], seed: int) -> EnhanceEvaluation:
    """Measure everything, with progress and failures on stderr."""
    from rich.console import Console
    from rich.progress import Progress

    from audiogen.metrics.enhancement_evaluation import EnhanceScore, evaluate

    console = Console(stderr=True, markup=False, highlight=False, soft_wrap=True)
    with Progress(console=console, disable=not console.is_terminal, transient=True) as progress:
        task = progress.add_task("evaluating", total=len(items) * len(conditions))

        def tell(condition: str, score: EnhanceScore) -> None:
            progress.update(task, advance=1, description=condition)
            if score.error is not None:
                console.print(f"error: item {score.id}, {condition}: {score.error}")

        return evaluate(items, conditions, seed=seed, on_score=tell)


def save(result: EnhanceEvaluation, context: dict[str, Any], path: Path) -> None:
    """Write {"context", "conditions"} as JSON, atomically."""
    from audiogen.files import write_text

    content = {"context": context, "conditions": result.to_dict()}
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def table(result: EnhanceEvaluation, title: str | None = None) -> Table:
    """One row a condition: each number with its interval below, and how many items failed."""
    from rich.table import Table

    headings = ("", "items", "NFE", *(heading for heading, _ in COLUMNS.values()))
    grid = Table(*headings, title=title, caption="brackets: 95 % intervals")
    for name, scores in result.scores.items():
        summary = result.summary(name)
        failed = sum(score.error is not None for score in scores)
        count = f"{len(scores) - failed}" + (f" ({failed} failed)" if failed else "")
        cells = (_cell(summary.get(metric), digits) for metric, (_, digits) in COLUMNS.items())
        grid.add_row(name, count, str(result.nfe[name]), *cells)
    return grid


def _cell(interval: Interval | None, digits: int) -> str:
    if interval is None:
        return "-"
    value, low, high = (f"{x:.{digits}f}" for x in (interval.value, interval.low, interval.high))
    return f"{value}\n[{low}, {high}]"
