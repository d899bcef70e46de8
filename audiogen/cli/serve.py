"""`audiogen serve`: models behind HTTP."""

from __future__ import annotations

from typing import Annotated

import typer

from audiogen.cli import options
from audiogen.cli.options import MACHINE

NETWORK, LIMITS = "Who may ask", "What may be asked"


def serve(
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="Name of a model, or path of its weights; again for more. Default: prodiff and storm."
        ),
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen at; 0.0.0.0 is all there are.", rich_help_panel=NETWORK)
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="0 takes a free one.", rich_help_panel=NETWORK)
    ] = 8000,
    api_key: Annotated[
        str | None,
        typer.Option(
            help="What clients must send; better in the environment, where nobody sees it.",
            envvar="AUDIOGEN_API_KEY",
            rich_help_panel=NETWORK,
        ),
    ] = None,
    queue: Annotated[
        int,
        typer.Option(
            min=1,
            help="Requests of a model that wait or are at work; others get 429.",
            rich_help_panel=LIMITS,
        ),
    ] = 64,
    max_text: Annotated[int, typer.Option(min=1, help="Characters.", rich_help_panel=LIMITS)] = 4096,
    max_upload: Annotated[
        float, typer.Option(help="Size of a request in MB (10^6 bytes).", rich_help_panel=LIMITS)
    ] = 50.0,
    max_seconds: Annotated[
        float, typer.Option(help="Length of a recording, or of music.", rich_help_panel=LIMITS)
    ] = 600.0,
    max_time: Annotated[
        float, typer.Option(help="Seconds until a request is given up.", rich_help_panel=LIMITS)
    ] = 300.0,
    batch_size: Annotated[
        int,
        typer.Option(
            min=1,
            help="Texts, and their sentences, spoken together; requests that take turns.",
            rich_help_panel=MACHINE,
        ),
    ] = 8,
    device: options.Device = "auto",
    threads: options.Threads = None,
    quiet: options.Quiet = False,
) -> None:
    """Answer HTTP requests with loaded models, until it is interrupted.

    `audiogen serve`

    POST /v1/audio/speech is OpenAI's; /v1/audio/enhancements, conversions and music are like it. GET
    /v1/models, /v1/audio/voices, /health and /metrics. docs/server.md describes them.

    What is at work is finished after an interrupt, for half a minute at most.

    Exit codes: 0 interrupted, 1 the address is taken, 2 wrong use.
    """
    from audiogen.cli.serve_run import ServeRequest, run
    from audiogen.server.limits import Limits

    limits = Limits(max_text, max_upload, max_seconds, max_time, queue, batch_size)
    run(
        ServeRequest(
            models=model or ["prodiff", "storm"],
            host=host,
            port=port,
            api_key=api_key,
            limits=limits,
            device=device,
            threads=threads,
            quiet=quiet,
        )
    )
