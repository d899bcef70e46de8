"""What long commands tell the person who waits: lines and a bar on stderr."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import typer


def say(text: str) -> None:
    """A line on stderr."""
    typer.echo(text, err=True)


def progress(items: Iterable[Any], description: str, total: int) -> Iterable[Any]:
    """A progress bar on stderr."""
    from rich.console import Console
    from rich.progress import track

    return track(items, description, total, console=Console(stderr=True))
