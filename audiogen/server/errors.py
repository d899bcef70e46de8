"""Errors as OpenAI's API tells them: JSON with message, type, param and code."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse

LOG = logging.getLogger("audiogen.server")
INVALID, SERVER = "invalid_request_error", "server_error"


class ApiError(HTTPException):
    """What a client is told. param: the field that is at fault; code: what a program can tell apart."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(status, message, dict(headers) if headers else None)
        self.code, self.param = code, param

    @property
    def content(self) -> dict[str, dict[str, str | None]]:
        """The body of the answer."""
        return error_content(self.status_code, str(self.detail), self.code, self.param)

    def response(self) -> JSONResponse:
        """The answer."""
        return JSONResponse(self.content, self.status_code, self.headers)


def error_content(
    status: int, message: str, code: str | None = None, param: str | None = None
) -> dict[str, dict[str, str | None]]:
    """The body of an answer with that status."""
    kind = SERVER if status >= 500 else INVALID
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


@contextmanager
def blaming(param: str) -> Iterator[None]:
    """Turn a ValueError of the block into an ApiError that names a field of the request."""
    try:
        yield
    except ValueError as error:
        raise ApiError(400, str(error), param=param) from error


def told(error: Exception) -> ApiError:
    """What a client is told of an error in the work: the cause if it can mend it.

    Else only that there is one; the log has its traceback.
    """
    if isinstance(error, ApiError):
        return error
    if isinstance(error, ValueError):
        return ApiError(400, str(error))
    LOG.error("a request failed", exc_info=error)
    return internal_error()


def internal_error() -> ApiError:
    """What a client is told of a fault that is none of its own."""
    return ApiError(500, "the server failed at this request; its log says why", code="internal_error")


def install(app: FastAPI) -> None:
    """Answer every error in this way."""

    async def http_error(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        if isinstance(error, ApiError):
            return error.response()
        message = str(error.detail)
        if error.status_code == 404:
            message = f"there is no {request.method} {request.url.path}; docs/server.md lists what there is"
        return JSONResponse(error_content(error.status_code, message), error.status_code, error.headers)

    async def invalid(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"][1:]) or "body"
        if first["type"] == "extra_forbidden":
            message = f"unknown field {where!r}; leave it out"
        else:
            message = f"{where}: {first['msg']}"
        return ApiError(400, message, param=where).response()

    async def failed(request: Request, error: Exception) -> JSONResponse:
        return internal_error().response()  # whoever runs the app logs it

    app.add_exception_handler(HTTPException, http_error)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(Exception, failed)
