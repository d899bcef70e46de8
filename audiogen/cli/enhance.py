"""`audiogen enhance`: noisy recordings in, the same recordings with less noise out."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from audiogen.cli import options
from audiogen.cli.options import OUTPUT, SOUND


def enhance(
    inputs: Annotated[list[str] | None, options.recordings("INPUT...")] = None,
    manifest: Annotated[
        str | None,
        typer.Option(
            metavar="PATH",
            help="More recordings: a path a line (blank lines and # skipped), or JSONL with audio and maybe "
            "id and out. A relative path is looked for from the manifest's folder, then from here.",
        ),
    ] = None,
    output: Annotated[str | None, options.output("recording")] = None,
    out_dir: Annotated[str | None, options.out_dir("as the inputs; subfolders too")] = None,
    format: options.RecordingFormat = None,
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
    seed: options.NoiseSeed = 0,
    chunk_seconds: options.ChunkSeconds = 10.0,
    device: options.Device = "auto",
    threads: options.Threads = None,
    engine: options.Engine = None,
    workers: options.Workers = None,
    fail_fast: Annotated[bool, options.fail_fast("recording")] = False,
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
    from audiogen.cli.batch import exit_code
    from audiogen.cli.engine import crew_of
    from audiogen.cli.enhance_run import EnhanceRequest, run
    from audiogen.enhancement import Chunking, EnhanceOptions
    from audiogen.files import location

    request = EnhanceRequest(
        inputs=[location(name) for name in inputs or []],
        manifest=None if manifest is None else location(manifest),
        output=output,
        out_dir=None if out_dir is None else location(out_dir),
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
        crew=crew_of(engine, workers, threads),
    )
    raise typer.Exit(exit_code(lambda: run(request, started)))
