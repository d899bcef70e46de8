"""`audiogen enhance`: noisy recordings in, the same recordings with less noise out."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from audiogen.cli import NOTHING_TO_DO, options
from audiogen.cli.options import MACHINE, OUTPUT, SOUND


def enhance(
    inputs: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="INPUT...", help="Recordings, and folders, which are searched with all their subfolders."
        ),
    ] = None,
    manifest: Annotated[
        Path | None,
        typer.Option(
            help="More recordings: a path a line (blank lines and # skipped), or JSONL with audio and maybe "
            "id and out. A relative path is looked for from the manifest's folder, then from here.",
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            help="File for a single recording; - is WAV on standard output.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    out_dir: Annotated[
        Path | None,
        typer.Option(help="Folder for files named as the inputs; subfolders too.", rich_help_panel=OUTPUT),
    ] = None,
    format: Annotated[
        str | None,
        typer.Option(
            help="wav, flac, mp3 or ogg; default: FLAC stays FLAC, all else is WAV.", rich_help_panel=OUTPUT
        ),
    ] = None,
    skip_existing: options.SkipExisting = False,
    report: Annotated[
        Path | None,
        typer.Option(help="JSON file for the timings and scores of the run.", rich_help_panel=OUTPUT),
    ] = None,
    reference: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            file_okay=False,
            help="Clean recordings of the same names: report PESQ, ESTOI and SI-SDR before and after.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    model: options.Model = "storm",
    quality: Annotated[
        str,
        typer.Option(help="fast, balanced or best: a preset of the model.", rich_help_panel=SOUND),
    ] = "balanced",
    steps: Annotated[
        int | None,
        typer.Option(
            help="Sampler steps in place of the preset's; 0 is the predictor alone.", rich_help_panel=SOUND
        ),
    ] = None,
    warm_start: Annotated[
        float,
        typer.Option(
            help="Start sampling at this share of the way at the latest: nearer to 0 keeps more of the "
            "predictor.",
            rich_help_panel=SOUND,
        ),
    ] = 1.0,
    seed: Annotated[int, typer.Option(help="Seed of the sampler's noise.", rich_help_panel=SOUND)] = 0,
    chunk_seconds: Annotated[
        float,
        typer.Option(
            min=1.0, help="Length of the pieces in which a recording is worked on.", rich_help_panel=MACHINE
        ),
    ] = 10.0,
    device: options.Device = "auto",
    threads: options.Threads = None,
    fail_fast: Annotated[
        bool, typer.Option("--fail-fast", help="Stop at the first bad recording.", rich_help_panel=MACHINE)
    ] = False,
    quiet: options.Quiet = False,
    no_progress: options.NoProgress = False,
) -> None:
    """Take the noise out of recordings of speech.

    `audiogen enhance noisy.wav -o clean.wav`

    Any sample rate, length and number of channels; the result has the same, aligned to the sample. It holds
    the model's band: of a recording at 44.1 kHz and a model at 16 kHz, what lies below 8 kHz. Memory does
    not grow with the length.

    Exit codes: 0 all is well, 1 some recordings failed, 2 wrong use, 3 nothing to do, 130 interrupted.
    """
    started = time.perf_counter()
    from audiogen.cli.enhance_run import EnhanceRequest, run
    from audiogen.cli.jobs import NothingToDo
    from audiogen.enhancement import Chunking, EnhanceOptions

    request = EnhanceRequest(
        inputs=inputs or [],
        manifest=manifest,
        output=output,
        out_dir=out_dir,
        format=format,
        skip_existing=skip_existing,
        report=report,
        reference=reference,
        model=model,
        options=EnhanceOptions(quality, steps, warm_start),
        chunking=Chunking.of(chunk_seconds),
        seed=seed,
        device=device,
        threads=threads,
        fail_fast=fail_fast,
        quiet=quiet,
        progress=not no_progress,
    )
    try:
        code = run(request, started)
    except NothingToDo as error:
        print(f"nothing to do: {error}", file=sys.stderr)
        code = NOTHING_TO_DO
    raise typer.Exit(code)
