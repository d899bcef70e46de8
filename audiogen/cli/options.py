"""Options that several verbs share, each written once. Typer reads them from the annotations."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

SOUND, OUTPUT, MACHINE = "How it sounds", "Where it goes", "How it runs"


def recordings(metavar: str) -> Any:
    """The argument for many recordings."""
    return typer.Argument(
        metavar=metavar, help="Recordings, and folders, which are searched with all their subfolders."
    )


def output(one: str, *others: str) -> Any:
    """--output. one: what the file is for. others: more names of the option."""
    return typer.Option(
        "--output",
        *others,
        "-o",
        help=f"File for a single {one}; - is WAV on standard output.",
        rich_help_panel=OUTPUT,
    )


def out_dir(named: str) -> Any:
    """--out-dir. named: how the files in it are named."""
    return typer.Option(metavar="PATH", help=f"Folder for files named {named}.", rich_help_panel=OUTPUT)


def stream(one: str) -> Any:
    """--stream of what is made chunk by chunk."""
    return typer.Option(
        "--stream",
        help=f"Write one {one} chunk by chunk while it is made, to standard output unless -o names a file.",
        rich_help_panel=OUTPUT,
    )


def fail_fast(one: str) -> Any:
    """--fail-fast. one: what may be bad."""
    return typer.Option("--fail-fast", help=f"Stop at the first bad {one}.", rich_help_panel=MACHINE)


ItemFormat = Annotated[
    str | None,
    typer.Option(
        help="wav, flac, mp3, ogg or pcm (samples alone, signed 16 bit); default: by the file's name.",
        rich_help_panel=OUTPUT,
    ),
]
RecordingFormat = Annotated[
    str | None,
    typer.Option(
        help="wav, flac, mp3 or ogg; default: FLAC stays FLAC, all else is WAV.", rich_help_panel=OUTPUT
    ),
]
SkipExisting = Annotated[
    bool,
    typer.Option("--skip-existing", help="Leave files alone that are there already.", rich_help_panel=OUTPUT),
]
Timestamps = Annotated[
    str | None,
    typer.Option(
        help="When each phone and word is heard: json or srt beside the audio, or FILE.json, FILE.srt.",
        rich_help_panel=OUTPUT,
    ),
]
Report = Annotated[
    Path | None, typer.Option(help="JSON file for the timings of the run.", rich_help_panel=OUTPUT)
]
Model = Annotated[str, typer.Option(help="Name of a model, or path of its weights.", rich_help_panel=SOUND)]
Vocoder = Annotated[
    str | None,
    typer.Option(help="Another vocoder than the model's: name, path or griffin-lim.", rich_help_panel=SOUND),
]
Steps = Annotated[
    int | None, typer.Option(help="Sampler steps; default: the model's.", rich_help_panel=SOUND)
]
Speaker = Annotated[str, typer.Option(help="Name or number of the voice.", rich_help_panel=SOUND)]
Speed = Annotated[float, typer.Option(help="2 is twice as fast; 0.25 to 4.", rich_help_panel=SOUND)]
ItemSeed = Annotated[
    int,
    typer.Option(
        help="Hashed with each item's id: an item sounds the same in any batch.", rich_help_panel=SOUND
    ),
]
NoiseSeed = Annotated[int, typer.Option(help="Seed of the sampler's noise.", rich_help_panel=SOUND)]
ChunkSeconds = Annotated[
    float,
    typer.Option(
        min=1.0, help="Length of the pieces in which a recording is worked on.", rich_help_panel=MACHINE
    ),
]
Device = Annotated[
    str, typer.Option(help="auto, cpu, cuda, cuda:1 ...", envvar="AUDIOGEN_DEVICE", rich_help_panel=MACHINE)
]
Threads = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="CPU threads; default: torch's choice.",
        envvar="AUDIOGEN_THREADS",
        rich_help_panel=MACHINE,
    ),
]
Engine = Annotated[
    str | None,
    typer.Option(
        help="Share the items among workers: local processes, or the actors of a ray cluster.",
        rich_help_panel=MACHINE,
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Workers of the engine, each with the model and --threads (1); default: as many as fit.",
        rich_help_panel=MACHINE,
    ),
]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Errors and warnings only.", rich_help_panel=MACHINE)
]
NoProgress = Annotated[bool, typer.Option("--no-progress", help="No progress bar.", rich_help_panel=MACHINE)]
AsJson = Annotated[bool, typer.Option("--json", help="JSON on standard output, for programs.")]
