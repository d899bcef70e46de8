"""fit, validate, test and predict: every word goes to Lightning's own command line."""

from __future__ import annotations

import typer


def run(ctx: typer.Context) -> None:
    """Hand the verb and its arguments to LightningCLI."""
    from audiogen.training.cli import main

    main([str(ctx.info_name), *ctx.args])
