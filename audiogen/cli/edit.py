"""`audiogen edit`: music of words, or of a recording, that follows curves, melodies, forms, regions."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from audiogen.cli import options
from audiogen.cli.options import MACHINE, SOUND

WISHES, SEARCH = "What to wish for", "How to search"


def edit(
    prompt: Annotated[str, typer.Argument(help="The music in words; may be left out with --source.")] = "",
    source: Annotated[
        Path | None,
        typer.Option(help="Recording to begin from in place of noise: it is inverted, then edited."),
    ] = None,
    seconds: Annotated[
        float | None,
        typer.Option(help="Length; default: that of the recording, or all that is made at once."),
    ] = None,
    intensity: Annotated[
        Path | None,
        typer.Option(
            metavar="CSV",
            help="Loudness curve: second,dB a line, 0 dB = full scale; no dB: anything.",
            rich_help_panel=WISHES,
        ),
    ] = None,
    dynamics: Annotated[
        Path | None,
        typer.Option(
            metavar="CSV", help="Curve to rise and fall with, however loud.", rich_help_panel=WISHES
        ),
    ] = None,
    melody: Annotated[
        Path | None,
        typer.Option(metavar="MIDI", help="Tune; rests mean anything.", rich_help_panel=WISHES),
    ] = None,
    structure: Annotated[
        str | None,
        typer.Option(
            metavar="FORM", help="Parts that are alike, as ABBA; a dot is any part.", rich_help_panel=WISHES
        ),
    ] = None,
    inpaint: Annotated[
        list[str] | None,
        typer.Option(
            metavar="START:END",
            help="Hole in the recording to fill, as 4s:6s; may be given again.",
            rich_help_panel=WISHES,
        ),
    ] = None,
    continue_from: Annotated[
        Path | None,
        typer.Option(
            "--continue",
            metavar="FILE",
            help="Recording that the music goes on from.",
            rich_help_panel=WISHES,
        ),
    ] = None,
    loop: Annotated[
        bool,
        typer.Option("--loop", help="Music that can be repeated without a seam.", rich_help_panel=WISHES),
    ] = False,
    overlap: Annotated[str, typer.Option(help="Of --continue and --loop.", rich_help_panel=WISHES)] = "1s",
    tempo: Annotated[
        float | None, typer.Option(metavar="BPM", help="Beats a minute.", rich_help_panel=WISHES)
    ] = None,
    onsets: Annotated[
        Path | None,
        typer.Option(metavar="CSV", help="Moments of onsets: a second a line.", rich_help_panel=WISHES),
    ] = None,
    tilt: Annotated[
        float | None,
        typer.Option(
            metavar="DB", help="Slope of the spectrum in dB an octave, as -4.5.", rich_help_panel=WISHES
        ),
    ] = None,
    text: Annotated[
        str | None, typer.Option(metavar="WORDS", help="What it shall sound like.", rich_help_panel=WISHES)
    ] = None,
    match: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Recording to be like.", rich_help_panel=WISHES),
    ] = None,
    match_what: Annotated[
        str,
        typer.Option(
            help="What of --match, comma-separated: timbre, intensity, dynamics, melody, structure.",
            rich_help_panel=WISHES,
        ),
    ] = "timbre",
    ignore: Annotated[
        list[str] | None,
        typer.Option(
            metavar="START:END",
            help="Span about which nothing is wished, as 3s:5s; may be given again.",
            rich_help_panel=WISHES,
        ),
    ] = None,
    weights: Annotated[
        list[str] | None,
        typer.Option(
            "--weight",
            metavar="WISH=FACTOR",
            help="Importance of a wish, as melody=2; may be given again.",
            rich_help_panel=WISHES,
        ),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(
            metavar="SECONDS", help="Time for all; the best so far is kept.", rich_help_panel=SEARCH
        ),
    ] = None,
    search_steps: Annotated[int, typer.Option(help="Most steps of the search.", rich_help_panel=SEARCH)] = 70,
    lr: Annotated[float, typer.Option(help="How large a step is.", rich_help_panel=SEARCH)] = 0.05,
    restarts: Annotated[
        int, typer.Option(help="Seeds tried at once; the best is kept.", rich_help_panel=SEARCH)
    ] = 1,
    early_stop: Annotated[
        bool, typer.Option("--early-stop", help="End when every wish is granted.", rich_help_panel=SEARCH)
    ] = False,
    surrogate: Annotated[
        int | None,
        typer.Option(
            help="Network calls that are optimised through; default: 1 of a network that jumps.",
            rich_help_panel=SEARCH,
        ),
    ] = None,
    decode_steps: Annotated[
        int | None,
        typer.Option(
            help="Network calls for what is heard; default: those of --surrogate.", rich_help_panel=SEARCH
        ),
    ] = None,
    polish: Annotated[
        int, typer.Option(help="More steps through all of --decode-steps.", rich_help_panel=SEARCH)
    ] = 0,
    shell: Annotated[
        bool,
        typer.Option(
            "--shell/--no-shell", help="Keep the noise as large as noise is.", rich_help_panel=SEARCH
        ),
    ] = True,
    baseline: Annotated[
        str | None,
        typer.Option(
            metavar="ditto1", help="Optimise through the whole sampler, as DITTO did.", rich_help_panel=SEARCH
        ),
    ] = None,
    baseline_steps: Annotated[int, typer.Option(help="Steps of that sampler.", rich_help_panel=SEARCH)] = 20,
    memory: Annotated[
        str,
        typer.Option(help="Its gradients: checkpoint, reversible (BDIA), or plain.", rich_help_panel=SEARCH),
    ] = "checkpoint",
    inversion_steps: Annotated[
        int, typer.Option(help="Steps from a recording back to noise.", rich_help_panel=SEARCH)
    ] = 20,
    model: options.Model = "melody",
    guidance: Annotated[
        float | None, typer.Option(help="Weight of the words; default: the model's.", rich_help_panel=SOUND)
    ] = None,
    seed: options.NoiseSeed = 0,
    output: Annotated[str | None, options.output("piece", "--out")] = None,
    unsteered: Annotated[
        Path | None, typer.Option(help="File for the same seed without steering, to compare.")
    ] = None,
    format: options.ItemFormat = None,
    report: options.Report = None,
    device: options.Device = "auto",
    threads: options.Threads = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Errors and warnings only.", rich_help_panel=MACHINE)
    ] = False,
    no_progress: options.NoProgress = False,
) -> None:
    """Make music that follows what is drawn, played or recorded (DITTO-2).

    `audiogen edit "slow piano" --intensity swell.csv --melody tune.mid -o out.wav`

    `audiogen edit --source song.wav --inpaint 4s:6s -o filled.wav`

    The noise that the music is made of is optimised until the wishes are granted; all wishes can be combined.
    Ctrl-C keeps the best so far. The report has every error before and after.

    Exit codes: 0 all is well, 1 the edit failed, 2 wrong use.
    """
    started = time.perf_counter()
    from audiogen.cli.edit_run import EditRequest, run
    from audiogen.cli.edit_wishes import Wishes

    wishes = Wishes(
        intensity=intensity,
        dynamics=dynamics,
        melody=melody,
        structure=structure,
        inpaint=inpaint or [],
        continue_from=continue_from,
        loop=loop,
        overlap=overlap,
        tempo=tempo,
        onsets=onsets,
        tilt=tilt,
        text=text,
        match=match,
        match_what=match_what,
        ignore=ignore or [],
        weights=weights or [],
    )
    request = EditRequest(
        output=output,
        out_dir=None,
        format=format,
        skip_existing=False,
        report=report,
        model=model,
        device=device,
        threads=threads,
        fail_fast=False,
        quiet=quiet,
        progress=not no_progress,
        prompt=prompt,
        source=source,
        wishes=wishes,
        unsteered=unsteered,
        budget=budget,
        search={
            "seconds": seconds,
            "method": "ditto2" if baseline is None else baseline,
            "steps": search_steps,
            "lr": lr,
            "surrogate": surrogate,
            "decode_steps": decode_steps,
            "polish": polish,
            "baseline_steps": baseline_steps,
            "memory": memory,
            "restarts": restarts,
            "seed": seed,
            "guidance": guidance,
            "shell": shell,
            "early_stop": early_stop,
            "inversion_steps": inversion_steps,
        },
    )
    raise typer.Exit(run(request, started))
