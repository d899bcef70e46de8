"""`audiogen info`: what a model is, without loading it."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from audiogen.cli import options

UNTOLD = {"symbols", "notes", "hparams"}  # long, or told apart


def info(
    model: Annotated[str, typer.Argument(help="Name of a model, or path of its weights.")],
    as_json: options.AsJson = False,
) -> None:
    """Tell what a model is: system, size, rate, voices, steps, licence, data, checksum.

    `audiogen info prodiff`

    Reads the header of the weights and the card beside them; nothing is loaded.

    Exit codes: 0 all is well, 1 the weights are not those that the card names, 2 no such model.
    """
    from audiogen.cli import OK, SOME_FAILED
    from audiogen.cli.shelf import read_model
    from audiogen.cli.terminal import say

    facts = read_model(model).to_dict()
    if as_json:
        typer.echo(json.dumps(facts, indent=2, ensure_ascii=False))
    else:
        for line in told(facts):
            typer.echo(line)
    changed = facts["card_sha256"] not in (None, facts["sha256"])
    if changed:
        say(f"error: the card says SHA-256 {facts['card_sha256']}: the weights are damaged or others")
    raise typer.Exit(SOME_FAILED if changed else OK)


def told(facts: dict[str, Any]) -> list[str]:
    """Lines for people, without what nothing is known of."""
    lines = [
        f"{key.replace('_', ' '):<14} {plain(value)}"
        for key, value in facts.items()
        if key not in UNTOLD and value not in (None, {}, [])
    ]
    lines += [f"{key:<14} {note}" for key, note in facts["notes"].items() if key not in ("licence", "data")]
    hparams = {key: value for key, value in facts["hparams"].items() if key not in {*UNTOLD, *facts}}
    return [*lines, "made with", *(f"  {key}: {plain(value)}" for key, value in hparams.items())]


def plain(value: Any) -> str:
    """A value in few words."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 10000:
        return f"{value:,}"
    if isinstance(value, dict):
        return ", ".join(f"{key} {plain(item)}" for key, item in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
