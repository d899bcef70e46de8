"""`audiogen sing`: scores in, songs and an account of the time out."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from audiogen.cli import options
from audiogen.cli.options import MACHINE, OUTPUT, SOUND


def sing(
    scores: Annotated[
        list[Path],
        typer.Argument(
            metavar="SCORE...", exists=True, dir_okay=False, help="Songs: .json, .musicxml, .xml or .mxl."
        ),
    ],
    output: Annotated[str | None, options.output("song")] = None,
    out_dir: Annotated[Path | None, options.out_dir("as the scores")] = None,
    format: Annotated[
        str | None,
        typer.Option(help="wav, flac, mp3, ogg or pcm; default: by the file's name.", rich_help_panel=OUTPUT),
    ] = None,
    timestamps: options.Timestamps = None,
    report: options.Report = None,
    model: Annotated[
        str | None,
        typer.Option(help="Path of a trained singing model; none ships.", rich_help_panel=SOUND),
    ] = None,
    vocoder: options.Vocoder = None,
    steps: options.Steps = None,
    seed: Annotated[
        int,
        typer.Option(help="Hashed with each score's name and phrase.", rich_help_panel=SOUND),
    ] = 0,
    speaker: options.Speaker = "0",
    transpose: Annotated[int, typer.Option(help="Semitones up or down.", rich_help_panel=SOUND)] = 0,
    speed: options.Speed = 1.0,
    device: options.Device = "auto",
    threads: options.Threads = None,
    batch_size: Annotated[
        int, typer.Option(min=1, help="Phrases sung together.", rich_help_panel=MACHINE)
    ] = 8,
    fail_fast: Annotated[bool, options.fail_fast("score")] = False,
    quiet: options.Quiet = False,
    no_progress: options.NoProgress = False,
) -> None:
    """Sing scores: melodies with lyrics, as MusicXML or JSON (see docs/singing.md).

    `audiogen sing song.musicxml --model my_singer.safetensors -o song.wav`

    audiogen ships no singing weights: train a model with configs/comospeech_sing.yaml.

    Exit codes: 0 all is well, 1 some scores failed, 2 wrong use, 130 interrupted.
    """
    started = time.perf_counter()
    from audiogen.cli.run import Request
    from audiogen.cli.sing_run import Song, run
    from audiogen.speech import SpeechOptions

    request = Request(
        text=None,
        manifest=None,
        language=None,
        lexicon=None,
        output=output,
        out_dir=out_dir,
        format=format,
        skip_existing=False,
        timestamps=timestamps,
        report=report,
        model=model or "",
        vocoder=vocoder,
        seed=seed,
        speaker=speaker,
        options=SpeechOptions(steps),
        device=device,
        threads=threads,
        compiled=False,
        batch_size=batch_size,
        stream=False,
        fail_fast=fail_fast,
        quiet=quiet,
        progress=not no_progress,
    )
    raise typer.Exit(run(request, scores, Song(transpose, speed), started))
