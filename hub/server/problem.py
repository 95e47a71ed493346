"""Errors as `application/problem+json` (RFC 9457, read 2026-11-21): a status, a title, and a sentence that helps."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hub.errors import (
    HubBusyError,
    HubError,
    InvalidRequestError,
    PositionError,
    StoreError,
    StreamExistsError,
    StreamNotFoundError,
)

__all__ = ("HANDLERS", "LastResort", "ProblemError", "problem")

log = logging.getLogger(__name__)

_STATUS_BY_ERROR: dict[type[HubError], int] = {
    InvalidRequestError: 422,
    PositionError: 400,
    StreamExistsError: 409,
    StreamNotFoundError: 404,
    HubBusyError: 503,
    StoreError: 503,
}

_FAILED = "The hub failed to serve this request."

STORE_RETRY_DELAY = 5
"""Seconds after which a store that failed may be asked again."""


class ProblemError(HTTPException):
    """Ends a request with a problem document; `detail` is the sentence in it."""


def problem(status: int, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    """A problem document as a response."""
    return JSONResponse(
        {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail},
        status_code=status,
        headers=dict(headers or {}),
        media_type="application/problem+json",
    )


async def _on_http_exception(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, HTTPException)
    detail = exc.detail
    if not isinstance(exc, ProblemError):
        detail = {
            404: f"There is nothing at {request.url.path}.",
            405: f"{request.method} is not allowed at {request.url.path}.",
        }.get(exc.status_code, detail)
    return problem(exc.status_code, detail, exc.headers)


async def _on_hub_error(request: Request, exc: Exception) -> Response:
    status = next((status for kind, status in _STATUS_BY_ERROR.items() if isinstance(exc, kind)), 500)
    if status == 500 or isinstance(exc, StoreError):
        # What went wrong inside is the operator's business.
        log.error("a request could not be served: %s", exc)
    if isinstance(exc, StoreError):
        detail = "The hub's store can't serve now. Try again in some seconds."
        return problem(status, detail, {"Retry-After": str(STORE_RETRY_DELAY)})
    headers = {"Retry-After": f"{exc.retry_after:.0f}"} if isinstance(exc, HubBusyError) else None
    return problem(status, str(exc) if status != 500 else _FAILED, headers)


async def _on_unexpected(request: Request, exc: Exception) -> Response:
    return problem(500, _FAILED)


class LastResort:
    """Answers 500 where the application fails before it has answered.

    Starlette would answer too, and raise the exception again: then uvicorn closes the connection, without a word about
    it in the response, and the peer's next request fails.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; log what comes of it that nobody expected."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        has_begun = False

        async def watched(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except Exception:
            if has_begun:
                raise  # a response that breaks off must look like one
            log.exception("a request could not be served")
            await problem(500, _FAILED)(scope, receive, send)


HANDLERS = {HTTPException: _on_http_exception, HubError: _on_hub_error, Exception: _on_unexpected}
"""For Starlette's `exception_handlers`."""
