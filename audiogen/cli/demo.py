"""`audiogen demo`: a page in the browser with a tab a task, on this machine alone."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Annotated

import typer

from audiogen.cli import options

MODELS, PAGE = "Further models", "Where it is shown"


def demo(
    speak: Annotated[
        list[str] | None,
        typer.Option(metavar="PATH", help="A model for Speak; may be given again.", rich_help_panel=MODELS),
    ] = None,
    enhance: Annotated[
        list[str] | None, typer.Option(metavar="PATH", help="A model for Enhance.", rich_help_panel=MODELS)
    ] = None,
    convert: Annotated[
        list[str] | None, typer.Option(metavar="PATH", help="A model for Convert.", rich_help_panel=MODELS)
    ] = None,
    music: Annotated[
        list[str] | None,
        typer.Option(metavar="PATH", help="A model for Compose and Steer.", rich_help_panel=MODELS),
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen at; 0.0.0.0 is every one.", rich_help_panel=PAGE)
    ] = "127.0.0.1",
    port: Annotated[
        int | None,
        typer.Option(min=1, max=65535, help="Default: the first free one from 7860.", rich_help_panel=PAGE),
    ] = None,
    open_browser: Annotated[
        bool, typer.Option("--open/--no-open", help="Open the page in a browser.", rich_help_panel=PAGE)
    ] = True,
    device: options.Device = "auto",
    threads: options.Threads = None,
) -> None:
    """Show a page to speak, enhance, convert and compose on.

    `audiogen demo`

    Installed models are found by themselves and loaded when they are first used. Nothing is sent anywhere:
    the page comes from this machine, and so does all that it shows.
    """
    if find_spec("gradio") is None:
        raise ValueError('the demo needs gradio, which is not installed: pip install "audiogen[demo]"')
    import torch

    from audiogen.demo.models import COMPOSE, CONVERT, ENHANCE, SPEAK, Shelf
    from audiogen.demo.page import build, launch

    if threads is not None:
        torch.set_num_threads(threads)
    given = {SPEAK: speak, ENHANCE: enhance, CONVERT: convert, COMPOSE: music}
    page = build(Shelf(device, {task: paths or [] for task, paths in given.items()}))
    address = launch(page, host, port, block=False)
    typer.echo(f"audiogen demo at {address} - Ctrl-C ends it", err=True)
    if open_browser:
        typer.launch(address)
    page.block_thread()
