"""`audiogen benchmark`: how fast a model is, so that another person gets the same numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from audiogen.cli import options
from audiogen.cli.options import MACHINE, OUTPUT, SOUND

WORK = "What it works on"


def benchmark(
    model: Annotated[str, typer.Argument(help="Name of a model, or path of its weights.")],
    texts: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="Texts or captions, one a line; default: 24 sentences of 2 to 20 seconds.",
            rich_help_panel=WORK,
        ),
    ] = None,
    recordings: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="PATH",
            help="Recordings, or folders of them; default: 24 made-up ones of 1 to 14 seconds.",
            rich_help_panel=WORK,
        ),
    ] = None,
    timbre: Annotated[
        list[Path] | None,
        typer.Option(metavar="REF", help="Whose voice a converter is to take.", rich_help_panel=WORK),
    ] = None,
    seconds: Annotated[
        float, typer.Option(min=0.1, help="Length of each piece of music.", rich_help_panel=WORK)
    ] = 10.0,
    items: Annotated[
        int | None, typer.Option(min=1, help="Take the first ones only.", rich_help_panel=WORK)
    ] = None,
    repeats: Annotated[
        int, typer.Option(min=1, help="Rounds over all items; their median counts.", rich_help_panel=WORK)
    ] = 3,
    warmup: Annotated[
        int, typer.Option(min=0, help="Runs a length class before the rounds.", rich_help_panel=WORK)
    ] = 1,
    report: options.Report = None,
    markdown: Annotated[
        Path | None, typer.Option(help="File for the tables as well.", rich_help_panel=OUTPUT)
    ] = None,
    vocoder: options.Vocoder = None,
    steps: options.Steps = None,
    quality: Annotated[
        str, typer.Option(help="Preset of an enhancer: fast, balanced or best.", rich_help_panel=SOUND)
    ] = "balanced",
    seed: options.NoiseSeed = 0,
    device: options.Device = "auto",
    threads: options.Threads = None,
    compiled: Annotated[
        bool,
        typer.Option("--compile", help="Compile the vocoder's loops for the CPU.", rich_help_panel=MACHINE),
    ] = False,
    quiet: options.Quiet = False,
) -> None:
    """Measure the real-time factor of a model that speaks, enhances, converts or makes music.

    `audiogen benchmark prodiff --threads 1 --report prodiff.json`

    RTF = seconds of work / seconds of audio: smaller is faster. One item at a time, through the same code as
    the verbs; nothing is read or written while the clock runs. The first request of the process is told
    apart. The tables, in Markdown, go to standard output.

    Exit codes: 0 all is well, 2 wrong use.
    """
    from audiogen.cli.benchmark_run import BenchmarkRequest, run

    request = BenchmarkRequest(
        model=model,
        texts=texts,
        recordings=recordings or [],
        timbre=timbre or [],
        seconds=seconds,
        items=items,
        repeats=repeats,
        warmup=warmup,
        report=report,
        markdown=markdown,
        vocoder=vocoder,
        steps=steps,
        quality=quality,
        seed=seed,
        device=device,
        threads=threads,
        compiled=compiled,
        quiet=quiet,
    )
    raise typer.Exit(run(request))
