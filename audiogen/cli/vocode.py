"""`audiogen vocode`: mel spectrograms, or recordings by way of them, into audio files."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from audiogen.cli import options
from audiogen.cli.options import MACHINE, OUTPUT


def vocode(
    inputs: Annotated[
        list[Path],
        typer.Argument(
            metavar="INPUT...",
            help="Log-mels as .npy of shape (n_mels, frames) or (1, n_mels, frames); any other file is a "
            "recording, copied through the vocoder's own front end.",
        ),
    ],
    output: Annotated[str | None, options.output("input")] = None,
    out_dir: Annotated[Path | None, options.out_dir("as the inputs")] = None,
    format: Annotated[
        str | None,
        typer.Option(help="wav, flac, mp3 or ogg; default: by the file's name.", rich_help_panel=OUTPUT),
    ] = None,
    report: options.Report = None,
    model: Annotated[
        str, typer.Option(help="Name of a vocoder, path of its weights, or griffin-lim.")
    ] = "vocos-16k",
    stream: Annotated[
        bool,
        typer.Option(
            "--stream", help="Decode piece by piece, in memory that does not grow.", rich_help_panel=MACHINE
        ),
    ] = False,
    device: options.Device = "auto",
    threads: options.Threads = None,
    fail_fast: Annotated[bool, options.fail_fast("input")] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Errors only.", rich_help_panel=MACHINE)
    ] = False,
    no_progress: options.NoProgress = False,
) -> None:
    """Turn mels into audio, or recordings into what the vocoder makes of their mels (copy-synthesis).

    `audiogen vocode mel.npy -o speech.wav`

    Mels are natural logarithms, made with the vocoder's own front end. Recordings are resampled to its rate,
    their channels averaged.

    Exit codes: 0 all is well, 1 some inputs failed, 2 wrong use, 130 interrupted.
    """
    started = time.perf_counter()
    from audiogen.cli.vocode_run import VocodeRequest, run

    request = VocodeRequest(
        inputs=inputs,
        output=output,
        out_dir=out_dir,
        format=format,
        skip_existing=False,
        report=report,
        model=model,
        stream=stream,
        device=device,
        threads=threads,
        fail_fast=fail_fast,
        quiet=quiet,
        progress=not no_progress,
    )
    raise typer.Exit(run(request, started))
