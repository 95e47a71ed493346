"""Sends one embeddings request over the SDK's client and reads its response under the clocks."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from typing import Any, TypeAlias

import httpx2
import openai
from openai import AsyncOpenAI

from hub.errors import EndpointError, endpoint_error
from hub.upstream import failures
from hub.upstream.clocks import InterruptedByWatchdog, Timeouts, Watchdog
from hub.upstream.transport import READ_EXTENSION, Read

__all__ = ("MAX_BODY_BYTES", "OnHeaders", "fetch_embeddings")

log = logging.getLogger(__name__)

OnHeaders: TypeAlias = Callable[[Mapping[str, str]], Awaitable[None]]

MAX_BODY_BYTES = 256 * 1024 * 1024
"""Of one response: 2,048 vectors of 4,096 dimensions, written out as numbers, have some 180 MB."""


async def fetch_embeddings(
    sdk: AsyncOpenAI,
    body: Mapping[str, Any],
    *,
    headers: Mapping[str, str],
    query: Mapping[str, object],
    timeouts: Timeouts,
    url: str,
    on_headers: OnHeaders | None = None,
    max_body_bytes: int = MAX_BODY_BYTES,
) -> bytearray:
    """The body of the response to one request, read to its end.

    Args:
        sdk: The SDK's client.
        body: The request's JSON, ready to be sent.
        headers: Sent beside the client's own.
        query: Added to the URL.
        timeouts: `first_token_timeout` runs from the start to the first bytes of the response's body,
            `stall_timeout` between two reads of it; the total one doesn't count here.
        url: The endpoint's address as messages may show it.
        on_headers: Is given the headers of the response.
        max_body_bytes: A response that is longer is given up.

    Raises:
        EndpointError: The endpoint can't be reached, answered with an error status, broke off, took too long or
            sent too much.
    """
    watchdog = Watchdog(replace(timeouts, total_timeout=None))
    try:
        response = await _translated(
            watchdog, partial(_open, sdk, body, headers, query, timeouts.connect_timeout), url=url
        )
        try:
            if on_headers is not None:
                await on_headers(response.headers)
            return await _read(response, watchdog, url, max_body_bytes)
        finally:
            await _close(response)
    except InterruptedByWatchdog:
        raise _timed_out(watchdog, timeouts) from None
    finally:
        watchdog.close()


async def _open(
    sdk: AsyncOpenAI,
    body: Mapping[str, Any],
    headers: Mapping[str, str],
    query: Mapping[str, object],
    connect_timeout: float | None,
) -> httpx2.Response:
    """The response, its body not read yet."""
    # Not `embeddings.create`: that walks through every input while the event loop waits, insists on an encoding
    # format, and makes a model object of each vector.
    return await sdk.post(
        "/embeddings",
        cast_to=httpx2.Response,
        body=body,
        options={
            # Numbers hardly compress: a quarter of the bytes for more time than all the rest takes.
            "headers": {"Accept-Encoding": "identity", **headers},
            "params": query,
            "timeout": openai.Timeout(None, connect=connect_timeout, pool=connect_timeout),
            "security": {"bearer_auth": True},
        },
        stream=_UNREAD,
    )


_UNREAD: bool = True
"""As a variable: for a literal the SDK's types ask for a class of stream too, which a plain response doesn't need."""


async def _read(response: httpx2.Response, watchdog: Watchdog, url: str, max_bytes: int) -> bytearray:
    body = bytearray()
    async with aclosing(_pieces(response)) as pieces:
        read: Read = partial(anext, pieces, b"")
        if response.headers.get("content-encoding", "identity") == "identity":
            read = response.extensions.get(READ_EXTENSION, read)
        while data := await _translated(watchdog, read, url=url):
            body += data
            if len(body) > max_bytes:
                raise failures.malformed(f"more than {max_bytes} bytes in one response")
            watchdog.expect_content()
    return body


async def _pieces(response: httpx2.Response) -> AsyncGenerator[bytes, None]:
    async for piece in response.aiter_bytes():
        if piece:
            yield piece


async def _translated(watchdog: Watchdog, call: Callable[[], Awaitable[Any]], *, url: str) -> Any:
    """What the call gives, under the clocks; what it raises, as our error."""
    try:
        return await watchdog.guard(call)
    except InterruptedByWatchdog:
        raise
    except Exception as exc:
        raise failures.from_exception(exc, url=url) from exc


async def _close(response: httpx2.Response) -> None:
    try:
        await response.aclose()
    except Exception as exc:
        log.debug("closing a response failed: %s", type(exc).__name__)


def _timed_out(watchdog: Watchdog, timeouts: Timeouts) -> EndpointError:
    if watchdog.interruption == "stall_timeout":
        message = f"The embeddings stalled: nothing further came for {timeouts.stall_timeout} s."
        return endpoint_error(message, code="stall_timeout", retryable=True)
    message = f"No embeddings came within {timeouts.first_token_timeout} s."
    return endpoint_error(message, code="first_token_timeout", retryable=True)
