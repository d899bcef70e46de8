"""What stands before the routes: the key, the size of what is sent, and the count of requests."""

from __future__ import annotations

import hmac
from typing import Any

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from audiogen.server.about import HEALTH
from audiogen.server.errors import ApiError
from audiogen.server.limits import Limits
from audiogen.server.metrics import Metrics
from audiogen.server.replies import CLIENT_GONE


class Guard:
    """An ASGI app before the app. api_key: what `Authorization: Bearer` must say; None: nobody is asked."""

    def __init__(self, app: ASGIApp, *, api_key: str | None, limits: Limits, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics
        self._key = None if api_key is None else api_key.encode()
        self._most = round(limits.upload_mb * 10**6)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it with an error."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = CLIENT_GONE

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            try:
                self._check(scope)
            except ApiError as error:
                await error.response()(scope, receive, noted)
            else:
                await self._app(scope, self._measured(receive), noted)
        finally:
            self._metrics.answered(_route(scope), status)

    def _check(self, scope: Scope) -> None:
        """Raises ApiError 401 without the key, 413 for a body that says it is too large."""
        headers = Headers(scope=scope)
        if self._key is not None and scope["path"] != HEALTH:
            scheme, _, given = headers.get("authorization", "").partition(" ")
            # of constant time: how long it takes does not tell how much of a guess is right
            if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode("latin-1"), self._key):
                message = "wrong or missing API key; send the header Authorization: Bearer KEY"
                raise ApiError(401, message, code="invalid_api_key", headers={"WWW-Authenticate": "Bearer"})
        length = headers.get("content-length", "0")
        if length.isdecimal() and int(length) > self._most:
            raise self._too_large()

    def _measured(self, receive: Receive) -> Receive:
        """The same, up to the limit. Raises ApiError 413 beyond it."""
        received = 0

        async def limited() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._most:
                raise self._too_large()
            return message

        return limited

    def _too_large(self) -> ApiError:
        message = f"the request is larger than {self._most} bytes; send less, or in parts"
        return ApiError(413, message, code="request_too_large")


def _route(scope: Scope) -> str:
    """The path that a route was made for; one word for all others, of which there is no end."""
    route: Any = scope.get("route")
    return getattr(route, "path", None) or "other"
