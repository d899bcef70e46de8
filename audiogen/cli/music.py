"""`audiogen music`: words in, music out, of any length, and an account of the time."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from audiogen.cli import options
from audiogen.cli.options import MACHINE, OUTPUT, SOUND

WORDS = "What to play"


def music(
    text: Annotated[str | None, typer.Argument(help="The music in words; - reads standard input.")] = None,
    manifest: Annotated[
        str | None,
        typer.Option(
            help="Items to make: a caption a line (blank lines and # skipped), JSONL with text and maybe id, "
            "seed, out, or CSV of id|text; - reads standard input.",
            rich_help_panel=WORDS,
        ),
    ] = None,
    seconds: Annotated[float, typer.Option(help="Length of the new music.", rich_help_panel=WORDS)] = 10.0,
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--change",
            metavar="SECOND=WORDS",
            help="Other words from a second on, at the next chunk's border; may be given again.",
            rich_help_panel=WORDS,
        ),
    ] = None,
    continue_from: Annotated[
        Path | None,
        typer.Option(
            "--continue",
            metavar="FILE",
            help="Recording that the music goes on from; it stands at the start of the result.",
            rich_help_panel=WORDS,
        ),
    ] = None,
    output: Annotated[str | None, options.output("item", "--out")] = None,
    out_dir: Annotated[Path | None, options.out_dir("by id or line number")] = None,
    format: options.ItemFormat = None,
    stream: Annotated[bool, options.stream("item")] = False,
    endless: Annotated[
        bool,
        typer.Option(
            "--endless", help="Stream until nobody listens, whatever --seconds says.", rich_help_panel=OUTPUT
        ),
    ] = False,
    skip_existing: options.SkipExisting = False,
    report: options.Report = None,
    model: options.Model = "melody",
    steps: options.Steps = None,
    guidance: Annotated[
        float | None,
        typer.Option(
            help="Weight of words and tokens in the diffusion; 1 is off and twice as fast.",
            rich_help_panel=SOUND,
        ),
    ] = None,
    temperature: Annotated[
        float, typer.Option(help="Of the language model; 0 is the likeliest music.", rich_help_panel=SOUND)
    ] = 1.0,
    top_k: Annotated[
        int, typer.Option(help="Draw among the likeliest so many tokens; 0 is all.", rich_help_panel=SOUND)
    ] = 0,
    top_p: Annotated[
        float, typer.Option(help="Draw among the likeliest tokens of this share.", rich_help_panel=SOUND)
    ] = 0.95,
    lm_guidance: Annotated[
        float,
        typer.Option(help="Weight of the words in the language model; 1 is off.", rich_help_panel=SOUND),
    ] = 4.0,
    seed: options.ItemSeed = 0,
    opening: Annotated[
        int | None,
        typer.Option(
            help="Chunks made at once at first; fewer are heard earlier. Default: a whole window.",
            rich_help_panel=MACHINE,
        ),
    ] = None,
    advance: Annotated[
        int | None,
        typer.Option(
            help="Chunks made at once later; more are cheaper. Default: the model's.", rich_help_panel=MACHINE
        ),
    ] = None,
    device: options.Device = "auto",
    threads: options.Threads = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Items made together.", rich_help_panel=MACHINE)] = 4,
    fail_fast: Annotated[bool, options.fail_fast("item")] = False,
    quiet: options.Quiet = False,
    no_progress: options.NoProgress = False,
) -> None:
    """Make music of words.

    `audiogen music "slow solo piano in A minor" --seconds 30 -o piano.wav`

    The vocabulary is that of the training captions: instruments, keys, tempos (slow, 120 bpm), moods; words
    it has not learned are named and mean nothing. A single item has the id 0, a line without an id its number
    in four digits.

    Exit codes: 0 all is well, 1 some items failed, 2 wrong use, 3 nothing to do, 130 interrupted.
    """
    started = time.perf_counter()
    from audiogen.cli.batch import exit_code
    from audiogen.cli.music_run import MusicRequest, run
    from audiogen.music import MusicOptions

    request = MusicRequest(
        text=text,
        manifest=manifest,
        seconds=None if endless else seconds,
        changes=changes or [],
        continue_from=continue_from,
        output=output,
        out_dir=out_dir,
        format=format,
        skip_existing=skip_existing,
        report=report,
        model=model,
        seed=seed,
        options=MusicOptions(steps, guidance, temperature, top_k, top_p, lm_guidance, opening, advance),
        device=device,
        threads=threads,
        batch_size=batch_size,
        stream=stream or endless,
        fail_fast=fail_fast,
        quiet=quiet,
        progress=not no_progress,
    )
    raise typer.Exit(exit_code(lambda: run(request, started)))
