"""One run of `audiogen serve`: load, listen, answer until a signal ends it."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from rich.console import Console

from audiogen import hub
from audiogen.cli import batch
from audiogen.cli.jobs import UsageError
from audiogen.server.limits import Limits
from audiogen.speech import SpeechOptions
from audiogen.speech_stream import stream

WORD = "1"  # of any language
FINISH_S = 30  # that requests at work have after a signal to end
MISSING = 'the server needs what `pip install "audiogen[serve]"` brings'


@dataclass(frozen=True)
class ServeRequest:
    """The options of `audiogen serve`, as its help describes them."""

    models: Sequence[str]
    host: str
    port: int
    api_key: str | None
    limits: Limits
    device: str
    threads: int | None
    quiet: bool


def run(request: ServeRequest) -> None:
    """Load the models and serve them until a signal comes. Raises ValueError for what cannot be done."""
    try:
        import uvicorn

        from audiogen.server.app import create_app
    except ImportError as error:
        raise UsageError(f"{MISSING} ({error})") from error
    console = batch.stderr_console()
    if request.api_key is None and not is_loopback(request.host):
        console.print(
            f"warning: anybody who reaches {request.host} may use this server; give --api-key, or set "
            "AUDIOGEN_API_KEY"
        )
    if request.threads is not None:
        torch.set_num_threads(request.threads)
    app = create_app(load_all(request, console), limits=request.limits, api_key=request.api_key)
    level = "warning" if request.quiet else "info"
    uvicorn.run(
        app,
        host=request.host,
        port=request.port,
        log_level=level,
        access_log=False,
        timeout_graceful_shutdown=FINISH_S,
    )


def load_all(request: ServeRequest, console: Console) -> dict[str, Any]:
    """The systems by the names they were asked for. Raises ValueError for one that cannot be loaded.

    One that speaks says a word, so that the first request does not pay for what is done once.
    """
    systems = {}
    for name in request.models:
        begun = time.perf_counter()
        systems[name] = system = hub.load(name, request.device)
        if hasattr(system, "synthesize_sentences"):
            for _ in stream(system, WORD, SpeechOptions()):
                pass
        if not request.quiet:
            console.print(f"loaded {name} in {time.perf_counter() - begun:.1f} s", highlight=False)
    return systems


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
