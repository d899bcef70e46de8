"""`audiogen export`: a training checkpoint becomes a model that can be shared."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer


def export(
    checkpoint: Annotated[Path, typer.Argument(help="Checkpoint of a run: runs/NAME/last.ckpt.")],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="File to write: models/NAME/model.safetensors.")
    ] = Path("model.safetensors"),
    parts: Annotated[
        list[str] | None,
        typer.Option(
            "--part",
            metavar="NAME=FILE",
            help="A diffusion of MeLoDy becomes a whole with its lm, autoencoder and tokenizer: names, "
            "checkpoints or model.safetensors files.",
        ),
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="Another value for a hyper-parameter that no weight depends on, as in --set refinements=4.",
        ),
    ] = None,
    half: Annotated[
        bool, typer.Option("--half", help="Store weights as float16: half the size, rounded to 0.05 %.")
    ] = False,
) -> None:
    """Write the averaged weights of a checkpoint as safetensors, hyper-parameters included.

    The file is what `--model` takes; nothing of the optimiser is in it. Prints its SHA-256.
    """
    from audiogen import hub
    from audiogen.training.checkpoint import load_checkpoint

    system: Any
    if parts:
        from audiogen.systems.melody_music import assemble

        files = {
            "diffusion": str(checkpoint),
            **{n: str(f) for n, f in read_changes(parts, "--part").items()},
        }
        system = assemble(files, **read_changes(changes or []))
    else:
        system = load_checkpoint(checkpoint, read_changes(changes or []))
    output.parent.mkdir(parents=True, exist_ok=True)
    hub.save(system.half() if half else system, output)
    typer.echo(f"{hub.sha256(output)}  {output}")


def read_changes(texts: Sequence[str], option: str = "--set") -> dict[str, Any]:
    """NAME=VALUE, the value as JSON or else a word. Raises BadParameter for anything else."""
    changes: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise typer.BadParameter(f"{text!r} is not NAME=VALUE", param_hint=option)
        try:
            changes[name] = json.loads(value)
        except ValueError:
            changes[name] = value
    return changes
