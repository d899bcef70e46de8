"""What stands before the routes: the key, the limits of size and time, and the count of requests."""

from __future__ import annotations

import asyncio
import hmac
from typing import Any

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from audiogen.server.about import HEALTH
from audiogen.server.errors import ApiError
from audiogen.server.limits import Limits
from audiogen.server.metrics import Metrics
from audiogen.server.replies import CLIENT_GONE, StreamBroken


class Guard:
    """An ASGI app before the app. api_key: what `Authorization: Bearer` must say; None: nobody is asked."""

    def __init__(self, app: ASGIApp, *, api_key: str | None, limits: Limits, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics
        self._key = None if api_key is None else api_key.encode()
        self._limit_s = limits.request_s
        self._most = round(limits.upload_mb * 10**6)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it with an error."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = CLIENT_GONE
        begun = False

        async def noted(message: Message) -> None:
            nonlocal status, begun
            if message["type"] == "http.response.start":
                status, begun = message["status"], True
            await send(message)

        try:
            try:
                self._check(scope)
                await self._in_time(scope, self._measured(receive), noted)
            except ApiError as error:
                if begun:
                    raise StreamBroken(error.detail) from error
                await error.response()(scope, receive, noted)
        except Exception:
            status = status if begun else 500  # that is what will be answered
            raise
        finally:
            self._metrics.answered(_route(scope), status)

    async def _in_time(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the app answer. Raises ApiError 503 if it, or the client on its side, takes too long."""
        try:
            async with asyncio.timeout(self._limit_s) as limit:
                await self._app(scope, receive, send)
        except TimeoutError as error:
            if not limit.expired():
                raise
            message = f"this took longer than {self._limit_s:g} s; ask for less, or raise --max-time"
            raise ApiError(503, message, code="timeout") from error

    def _check(self, scope: Scope) -> None:
        """Raises ApiError 401 without the key, 413 for a body that says it is too large."""
        headers = Headers(scope=scope)
        if self._key is not None and scope["path"] != HEALTH:
            scheme, _, given = headers.get("authorization", "").partition(" ")
            # of constant time: how long it takes does not tell how much of a guess is right
            if scheme.lower() != "bearer" or not hmac.compare_digest(
                given.strip().encode("latin-1"), self._key
            ):
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
