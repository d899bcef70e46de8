"""The app that answers: models in, FastAPI out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool

from audiogen import __version__
from audiogen.server import about, conversions, enhancements, errors, music, speech
from audiogen.server.guard import Guard
from audiogen.server.limits import Limits
from audiogen.server.metrics import Metrics
from audiogen.server.models import Models
from audiogen.server.state import State

ROUTERS = (speech.router, enhancements.router, conversions.router, music.router, about.router)


def create_app(
    systems: Mapping[str, Any], *, limits: Limits | None = None, api_key: str | None = None
) -> FastAPI:
    """The server of loaded systems, by the names that clients call them.

    api_key: what clients must send; None: nobody is asked. Raises ValueError for a system that does none of
    the server's tasks, and for an empty key.
    """
    if api_key is not None and not api_key.strip():
        raise ValueError("the API key is empty; give one of some length, or none")
    limits, metrics = limits or Limits(), Metrics()
    models = Models(systems, limits, metrics)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        for model in models:
            model.worker.start()
        yield
        for model in models:
            await run_in_threadpool(model.worker.stop)

    # its pages of documentation would be fetched from elsewhere
    app = FastAPI(title="audiogen", version=__version__, docs_url=None, redoc_url=None, lifespan=lifespan)
    app.state.served = State(models, limits, metrics)
    errors.install(app)
    for router in ROUTERS:
        app.include_router(router)
    app.add_middleware(Guard, api_key=api_key, limits=limits, metrics=metrics)
    return app
