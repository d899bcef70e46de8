"""What the routes share: made once, never changed."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.requests import Request

from audiogen.server.limits import Limits
from audiogen.server.metrics import Metrics
from audiogen.server.models import Models


@dataclass(frozen=True)
class State:
    """The models, what a request may ask for, and the numbers."""

    models: Models
    limits: Limits
    metrics: Metrics


def state_of(request: Request) -> State:
    """The state of the app that the request came to."""
    state: State = request.app.state.served
    return state
