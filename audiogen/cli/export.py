"""`audiogen export`: a training checkpoint becomes a model that can be shared."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def export(
    checkpoint: Annotated[Path, typer.Argument(help="Checkpoint of a run: runs/NAME/last.ckpt.")],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="File to write: models/NAME/model.safetensors.")
    ] = Path("model.safetensors"),
) -> None:
    """Write the averaged weights of a checkpoint as safetensors, hyper-parameters included.

    The file is what `--model` takes; nothing of the optimiser is in it. Prints its SHA-256.
    """
    from audiogen import hub
    from audiogen.training.checkpoint import load_checkpoint

    system = load_checkpoint(checkpoint)
    output.parent.mkdir(parents=True, exist_ok=True)
    hub.save(system, output)
    typer.echo(f"{hub.sha256(output)}  {output}")
