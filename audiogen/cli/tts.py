"""`audiogen tts`: texts in, audio files and an account of the time out."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from audiogen.cli import options
from audiogen.cli.options import MACHINE, SOUND

TEXT = "What to speak"


def tts(
    text: Annotated[str | None, typer.Argument(help="Text to speak; - reads standard input.")] = None,
    manifest: Annotated[
        str | None,
        typer.Option(
            help="Items to speak: a text a line (blank lines and # skipped), JSONL with text and maybe id, "
            "speaker, seed, out, or CSV of id|text; - reads standard input.",
            rich_help_panel=TEXT,
        ),
    ] = None,
    language: Annotated[
        str | None, typer.Option(help="espeak-ng language; default: the model's.", rich_help_panel=TEXT)
    ] = None,
    lexicon: Annotated[
        Path | None, typer.Option(help="Own pronunciations: word, tab, phones.", rich_help_panel=TEXT)
    ] = None,
    output: Annotated[str | None, options.output("item")] = None,
    out_dir: Annotated[str | None, options.out_dir("by id or line number")] = None,
    format: options.ItemFormat = None,
    stream: Annotated[bool, options.stream("text")] = False,
    skip_existing: options.SkipExisting = False,
    timestamps: options.Timestamps = None,
    report: options.Report = None,
    model: options.Model = "prodiff",
    vocoder: options.Vocoder = None,
    steps: options.Steps = None,
    seed: options.ItemSeed = 0,
    speaker: options.Speaker = "0",
    speed: options.Speed = 1.0,
    pitch: Annotated[float, typer.Option(help="Semitones up or down.", rich_help_panel=SOUND)] = 0.0,
    energy: Annotated[float, typer.Option(help="dB up or down.", rich_help_panel=SOUND)] = 0.0,
    device: options.Device = "auto",
    threads: options.Threads = None,
    engine: options.Engine = None,
    workers: options.Workers = None,
    compiled: Annotated[
        bool,
        typer.Option(
            "--compile",
            help="Compile the vocoder's loops for the CPU: pays off in long runs.",
            rich_help_panel=MACHINE,
        ),
    ] = False,
    batch_size: Annotated[
        int,
        typer.Option(
            min=1, help="Sentences spoken together; a stream takes one by one.", rich_help_panel=MACHINE
        ),
    ] = 8,
    fail_fast: Annotated[bool, options.fail_fast("item")] = False,
    quiet: options.Quiet = False,
    no_progress: options.NoProgress = False,
) -> None:
    """Speak a text, or every line of a manifest.

    `audiogen tts "Please stay on the line." -o hello.wav`

    Numbers, dates, money and the like are spoken as words; `[[phones]]` are spoken as they stand and
    `[pause:0.5s]` is silence. A single text has the id 0, a line without an id its number in four digits.

    Exit codes: 0 all is well, 1 some items failed, 2 wrong use, 3 nothing to do, 130 interrupted.
    """
    started = time.perf_counter()
    from audiogen.cli.batch import exit_code
    from audiogen.cli.engine import crew_of
    from audiogen.cli.run import Request, run
    from audiogen.files import location
    from audiogen.speech import SpeechOptions

    request = Request(
        text=text,
        manifest=manifest,
        language=language,
        lexicon=lexicon,
        output=output,
        out_dir=None if out_dir is None else location(out_dir),
        format=format,
        skip_existing=skip_existing,
        timestamps=timestamps,
        report=report,
        model=model,
        vocoder=vocoder,
        seed=seed,
        speaker=speaker,
        options=SpeechOptions(steps, speed, pitch, energy),
        device=device,
        threads=threads,
        compiled=compiled,
        batch_size=batch_size,
        stream=stream,
        fail_fast=fail_fast,
        quiet=quiet,
        progress=not no_progress,
        crew=crew_of(engine, workers, threads),
    )
    raise typer.Exit(exit_code(lambda: run(request, started)))
