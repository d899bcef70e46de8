"""`audiogen tts`: texts in, audio files and an account of the time out."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from audiogen.cli import NOTHING_TO_DO

TEXT, SOUND, OUTPUT, MACHINE = "What to speak", "How it sounds", "Where it goes", "How it runs"


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
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            help="File for a single item; - is WAV on standard output.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    out_dir: Annotated[
        Path | None, typer.Option(help="Folder for files named by id or line number.", rich_help_panel=OUTPUT)
    ] = None,
    format: Annotated[
        str | None,
        typer.Option(
            help="wav, flac, mp3, ogg or pcm (samples alone, signed 16 bit); default: by the file's name.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    stream: Annotated[
        bool,
        typer.Option(
            "--stream",
            help="Write one text chunk by chunk while it is made, to standard output unless -o names a file.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    skip_existing: Annotated[
        bool,
        typer.Option(
            "--skip-existing", help="Leave files alone that are there already.", rich_help_panel=OUTPUT
        ),
    ] = False,
    timestamps: Annotated[
        str | None,
        typer.Option(
            help="When each phone and word is heard: json or srt beside the audio, or FILE.json, FILE.srt.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="JSON file for the timings of the run.", rich_help_panel=OUTPUT)
    ] = None,
    model: Annotated[
        str, typer.Option(help="Name of a model, or path of its weights.", rich_help_panel=SOUND)
    ] = "prodiff",
    vocoder: Annotated[
        str | None,
        typer.Option(
            help="Another vocoder than the model's: name, path or griffin-lim.", rich_help_panel=SOUND
        ),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help="Sampler steps; default: the model's.", rich_help_panel=SOUND)
    ] = None,
    seed: Annotated[
        int,
        typer.Option(
            help="Hashed with each item's id: an item sounds the same in any batch.", rich_help_panel=SOUND
        ),
    ] = 0,
    speaker: Annotated[str, typer.Option(help="Name or number of the voice.", rich_help_panel=SOUND)] = "0",
    speed: Annotated[float, typer.Option(help="2 is twice as fast; 0.25 to 4.", rich_help_panel=SOUND)] = 1.0,
    pitch: Annotated[float, typer.Option(help="Semitones up or down.", rich_help_panel=SOUND)] = 0.0,
    energy: Annotated[float, typer.Option(help="dB up or down.", rich_help_panel=SOUND)] = 0.0,
    device: Annotated[
        str,
        typer.Option(help="auto, cpu, cuda, cuda:1 ...", envvar="AUDIOGEN_DEVICE", rich_help_panel=MACHINE),
    ] = "auto",
    threads: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="CPU threads; default: torch's choice.",
            envvar="AUDIOGEN_THREADS",
            rich_help_panel=MACHINE,
        ),
    ] = None,
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
    fail_fast: Annotated[
        bool, typer.Option("--fail-fast", help="Stop at the first bad item.", rich_help_panel=MACHINE)
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Errors and warnings only.", rich_help_panel=MACHINE)
    ] = False,
    no_progress: Annotated[
        bool, typer.Option("--no-progress", help="No progress bar.", rich_help_panel=MACHINE)
    ] = False,
) -> None:
    """Speak a text, or every line of a manifest.

    `audiogen tts "Please stay on the line." -o hello.wav`

    Numbers, dates, money and the like are spoken as words; `[[phones]]` are spoken as they stand and
    `[pause:0.5s]` is silence. A single text has the id 0, a line without an id its number in four digits.

    Exit codes: 0 all is well, 1 some items failed, 2 wrong use, 3 nothing to do, 130 interrupted.
    """
    started = time.perf_counter()
    from audiogen.cli.jobs import NothingToDo
    from audiogen.cli.run import Request, run
    from audiogen.speech import SpeechOptions

    request = Request(
        text=text,
        manifest=manifest,
        language=language,
        lexicon=lexicon,
        output=output,
        out_dir=out_dir,
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
    )
    try:
        code = run(request, started)
    except NothingToDo as error:
        print(f"nothing to do: {error}", file=sys.stderr)
        code = NOTHING_TO_DO
    raise typer.Exit(code)
