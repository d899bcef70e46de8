"""`audiogen convert`: recordings in, the same words in another voice out."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from audiogen.cli import options
from audiogen.cli.options import SOUND

VOICE = "Whose voice"


def convert(
    sources: Annotated[list[str] | None, options.recordings("SOURCE...")] = None,
    manifest: Annotated[
        str | None,
        typer.Option(
            metavar="PATH", help="More recordings: a path a line, or JSONL with audio and maybe id and out."
        ),
    ] = None,
    timbre: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="REF",
            help="Recordings of the speaker to sound like; give it for each, or a folder of them.",
            rich_help_panel=VOICE,
        ),
    ] = None,
    voice: Annotated[
        Path | None,
        typer.Option(help="A file of `audiogen voice create` instead of --timbre.", rich_help_panel=VOICE),
    ] = None,
    style: Annotated[
        str | None,
        typer.Option(
            metavar="REF",
            help="Recording whose intonation to take; voice: that of the voice; default: the source's own.",
            rich_help_panel=VOICE,
        ),
    ] = None,
    output: Annotated[str | None, options.output("recording")] = None,
    out_dir: Annotated[str | None, options.out_dir("as the sources; subfolders too")] = None,
    format: options.RecordingFormat = None,
    skip_existing: options.SkipExisting = False,
    report: options.Report = None,
    model: options.Model = "stablevc",
    vocoder: options.Vocoder = None,
    steps: options.Steps = None,
    solver: Annotated[
        str | None, typer.Option(help="euler or ab2; default: the model's.", rich_help_panel=SOUND)
    ] = None,
    timbre_scale: Annotated[
        float | None,
        typer.Option(help="Guidance towards the timbre; 1 is none.", rich_help_panel=SOUND),
    ] = None,
    style_scale: Annotated[
        float | None,
        typer.Option(help="Guidance towards the style; 1 is none.", rich_help_panel=SOUND),
    ] = None,
    keep_duration: Annotated[
        bool,
        typer.Option(
            "--keep-duration", help="Keep the source's timing, to the sample.", rich_help_panel=SOUND
        ),
    ] = False,
    tempo: options.Speed = 1.0,
    seconds: Annotated[
        float | None, typer.Option(help="Length that each result shall have.", rich_help_panel=SOUND)
    ] = None,
    pitch: Annotated[
        float, typer.Option(help="Semitones up or down, of the intonation.", rich_help_panel=SOUND)
    ] = 0.0,
    seed: options.NoiseSeed = 0,
    chunk_seconds: options.ChunkSeconds = 8.0,
    device: options.Device = "auto",
    threads: options.Threads = None,
    engine: options.Engine = None,
    workers: options.Workers = None,
    fail_fast: Annotated[bool, options.fail_fast("recording")] = False,
    quiet: options.Quiet = False,
    no_progress: options.NoProgress = False,
) -> None:
    """Say what recordings say in another voice.

    `audiogen convert hello.wav --timbre anna.wav -o anna_says_hello.wav`

    Any sample rate, length and number of channels; the result is mono at the model's rate, as loud as the
    source. A voice that is used more than once is best made a file: `audiogen voice create`.

    Exit codes: 0 all is well, 1 some recordings failed, 2 wrong use, 3 nothing to do, 130 interrupted.
    """
    started = time.perf_counter()
    from audiogen.cli.batch import exit_code
    from audiogen.cli.convert_run import ConvertRequest, run
    from audiogen.cli.engine import crew_of
    from audiogen.conversion import ConvertOptions
    from audiogen.files import location

    request = ConvertRequest(
        sources=[location(name) for name in sources or []],
        manifest=None if manifest is None else location(manifest),
        timbre=timbre or [],
        voice=voice,
        style=style,
        output=output,
        out_dir=None if out_dir is None else location(out_dir),
        format=format,
        skip_existing=skip_existing,
        report=report,
        model=model,
        vocoder=vocoder,
        options=ConvertOptions(
            steps, solver, timbre_scale, style_scale, keep_duration, tempo, seconds, pitch
        ),
        seed=seed,
        chunk_seconds=chunk_seconds,
        device=device,
        threads=threads,
        fail_fast=fail_fast,
        quiet=quiet,
        progress=not no_progress,
        crew=crew_of(engine, workers, threads),
    )
    raise typer.Exit(exit_code(lambda: run(request, started)))
