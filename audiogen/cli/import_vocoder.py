"""`audiogen import-vocoder`: an official vocoder release becomes a model of ours."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def import_vocoder(
    checkpoint: Annotated[
        Path,
        typer.Argument(
            help="pytorch_model.bin (vocos), g_* or generator_* (HiFi-GAN), bigvgan_generator.pt; or the "
            "same as .safetensors."
        ),
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="File to write: models/NAME/model.safetensors.")
    ] = Path("model.safetensors"),
    config: Annotated[
        Path | None,
        typer.Option(help="config.yaml or config.json of the release; default: beside the checkpoint."),
    ] = None,
    layout: Annotated[
        str | None, typer.Option(help="vocos, hifigan or bigvgan; default: by the config.")
    ] = None,
    licence: Annotated[
        str | None, typer.Option(help="Licence of the weights, kept in the file: MIT, CC-BY-4.0 ...")
    ] = None,
    attribution: Annotated[
        str | None, typer.Option(help="Whose weights they are and where they come from, kept in the file.")
    ] = None,
) -> None:
    """Turn an official release of vocos (on mels), HiFi-GAN or BigVGAN into a vocoder for --model, --vocoder.

    `audiogen import-vocoder g_02500000 --config config.json -o hifigan.safetensors --licence MIT`

    Nothing but tensors is unpickled. Prints the SHA-256 and the front end that the vocoder needs.
    """
    from audiogen import hub

    notes = {"licence": licence, "attribution": attribution}
    output.parent.mkdir(parents=True, exist_ok=True)
    system = hub.import_vocoder(
        checkpoint, output, config, layout, {name: note for name, note in notes.items() if note is not None}
    )
    typer.echo(f"{hub.sha256(output)}  {output}")
    typer.echo(f"{system.hparams['kind']}, {system.mel_spec}")
