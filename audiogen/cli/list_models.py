"""`audiogen list`: the models on this machine."""

from __future__ import annotations

import json

import typer

from audiogen.cli import options


def list_models(as_json: options.AsJson = False) -> None:
    """List the models on this machine: what `--model` takes by name.

    `audiogen list`

    Exit codes: 0 all is well, 1 a model cannot be read, 3 there is none.
    """
    from audiogen.cli import NOTHING_TO_DO, OK, SOME_FAILED
    from audiogen.cli.shelf import read_model
    from audiogen.cli.terminal import say
    from audiogen.weights import CorruptWeights, known_models

    models, code = [], OK
    for name in known_models():
        try:
            models.append(read_model(name))
        except CorruptWeights as error:
            say(f"error: {error}")
            code = SOME_FAILED
    if as_json:
        typer.echo(json.dumps([model.to_dict() for model in models], indent=2, ensure_ascii=False))
    elif models:
        rows = [
            [
                model.name,
                model.system,
                model.verb or "-",
                "-" if model.sample_rate is None else f"{model.sample_rate} Hz",
                f"{model.parameters / 1e6:.1f} M",
                f"{model.bytes / 1e6:.1f} MB",
                short(model.licence or "unknown"),
            ]
            for model in models
        ]
        typer.echo(columns([["name", "system", "for", "rate", "parameters", "size", "licence"], *rows]))
    if not models and code == OK:
        say("no model is installed; train one, or give the path of a model.safetensors")
        code = NOTHING_TO_DO
    raise typer.Exit(code)


def short(licence: str) -> str:
    """A licence's name without what follows."""
    for mark in (". ", "; "):
        licence = licence.partition(mark)[0]
    return licence


def columns(rows: list[list[str]]) -> str:
    """Rows of words as lines, the columns under one another."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
