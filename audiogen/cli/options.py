"""Options that several verbs share, each written once. Typer reads them from the annotations."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

SOUND, OUTPUT, MACHINE = "How it sounds", "Where it goes", "How it runs"

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
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Errors and warnings only.", rich_help_panel=MACHINE)
]
NoProgress = Annotated[bool, typer.Option("--no-progress", help="No progress bar.", rich_help_panel=MACHINE)]
