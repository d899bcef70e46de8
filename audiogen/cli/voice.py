"""`audiogen voice`: make files of voices to convert to, and look at them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from audiogen.cli import SETTINGS, options
from audiogen.cli.options import OUTPUT

if TYPE_CHECKING:
    from audiogen.voice import Voice

app = typer.Typer(no_args_is_help=True, help="Voices for `audiogen convert --voice`.", **SETTINGS)


@app.command()
def create(
    references: Annotated[
        list[Path], typer.Argument(metavar="REF...", help="Recordings of one speaker, or folders of them.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write.", rich_help_panel=OUTPUT)],
    model: options.Model = "stablevc",
    device: options.Device = "auto",
) -> None:
    """Make a voice of recordings: what a converter needs to know of a speaker, computed once.

    `audiogen voice create anna/*.wav -o anna.voice`

    About ten seconds of clean speech are enough. The file belongs to the model it was made with.
    """
    from audiogen.cli.convert_run import load_converter, voice_of
    from audiogen.cli.output import check_folder

    check_folder(output.parent)
    voice = voice_of(load_converter(model, device), references)
    voice.save(output)
    typer.echo(f"{_facts(voice)} -> {output}", err=True)


@app.command()
def show(
    voice: Annotated[Path, typer.Argument(help="A file of `audiogen voice create`.")],
    model: options.Model = "stablevc",
) -> None:
    """Check that a voice belongs to a model, and say what it was made of."""
    from audiogen.cli.convert_run import load_converter
    from audiogen.voice import load_voice

    typer.echo(_facts(load_voice(voice, load_converter(model, "cpu"))))


def _facts(voice: Voice) -> str:
    tone = (
        f"F0 {voice.f0_hz:.0f} Hz, spread {12 * voice.f0_octaves:.1f} semitones"
        if voice.f0_hz
        else "unvoiced"
    )
    return f"a voice of {voice.seconds:.1f} s, {tone}, for model {voice.model}"
