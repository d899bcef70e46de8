"""GET routes: which models and voices there are, how the server is, and its numbers."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from audiogen.server.models import SPEECH, Served
from audiogen.server.state import state_of

router = APIRouter()
HEALTH = "/health"
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@router.get("/v1/models")
async def models(request: Request) -> dict[str, Any]:
    """The loaded models, as OpenAI lists its own; task says what each is for."""
    return {"object": "list", "data": [_entry(model) for model in state_of(request).models]}


@router.get("/v1/models/{name:path}")
async def model(request: Request, name: str) -> dict[str, Any]:
    """One of them."""
    return _entry(state_of(request).models.get(name))


def _entry(model: Served) -> dict[str, Any]:
    return {"id": model.name, "object": "model", "created": 0, "owned_by": "audiogen", "task": model.kind}


@router.get("/v1/audio/voices")
async def voices(request: Request) -> dict[str, Any]:
    """Voices of the speaking models; the first of a model is its default."""
    found = []
    for model in state_of(request).models:
        if model.kind == SPEECH:
            names = model.system.speakers or ("0",)
            found += [{"id": name, "model": model.name, "default": k == 0} for k, name in enumerate(names)]
    return {"voices": found}


@router.get(HEALTH)
async def health(request: Request) -> dict[str, Any]:
    """That the server is up, and how many requests wait or are at work."""
    waiting = {model.name: model.worker.length for model in state_of(request).models}
    return {"status": "ok", "queue": waiting}


@router.get("/metrics")
async def metrics(request: Request) -> Response:
    """The numbers for Prometheus."""
    return Response(state_of(request).metrics.text(), headers={"Content-Type": METRICS_TYPE})
