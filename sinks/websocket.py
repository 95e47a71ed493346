"""A sink whose other side reads a WebSocket of Starlette, or of what is built on it, such as FastAPI."""

from __future__ import annotations

import asyncio
import logging
from typing import Self

from hub.errors import ClosedError, ConfigurationError, MissingExtraError, SinkError, SinkUnavailableError
from hub.events import LLMEvent, encode_event

try:
    from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState
except ImportError as exc:
    raise MissingExtraError("A WebSocketSink", "server") from exc

__all__ = ("WebSocketSink",)

log = logging.getLogger(__name__)

CLOSE_TIMEOUT = 1.0
"""Seconds that a sink which failed gets to close the WebSocket."""

NORMAL, BROKEN_OFF = 1000, 1011


class WebSocketSink:
    """Sends each event as one text message: its JSON, as on every transport.

    There is no queue: a `send` returns once the server has taken the message, which it does while few enough bytes
    wait for the reader. So a slow reader holds the producer back. `send` raises `SinkUnavailableError` once the reader
    takes nothing for `stuck_timeout` seconds, and `SinkError` once it has left; the sink has failed then.

    Use it as an async context manager. Entering accepts the WebSocket where that hasn't been done. `aclose`, which
    leaving calls, closes it: with code 1000 where `done` was sent, else with 1011, so that a reader knows whether the
    answer is whole. The sink never receives: messages of the reader are the application's. Where nobody receives,
    some servers notice a reader that left only when something is sent.

    Args:
        websocket: Where the events go.
        stuck_timeout: Seconds that a `send` waits for the reader.
        keep_open: Leave the WebSocket open, for what comes behind this stream; a sink that failed closes it anyway.

    Raises:
        ConfigurationError: `stuck_timeout` is not above 0.
    """

    def __init__(self, websocket: WebSocket, *, stuck_timeout: float = 30.0, keep_open: bool = False) -> None:
        if not stuck_timeout > 0:
            raise ConfigurationError(f"stuck_timeout must be above 0 seconds; it is {stuck_timeout!r}.")
        self._websocket = websocket
        self._stuck_timeout = stuck_timeout
        self._keep_open = keep_open
        self._failure: SinkError | None = None
        self._is_entered = False
        self._is_whole = False
        self._closed = False

    async def __aenter__(self) -> Self:
        if self._is_entered or self._closed:
            raise ClosedError("a WebSocketSink is entered once")
        if self._websocket.application_state is WebSocketState.CONNECTING:
            try:
                await self._websocket.accept()
            except (OSError, RuntimeError, WebSocketDisconnect) as exc:
                raise SinkError("the reader of the WebSocket has left before it was accepted") from exc
        self._is_entered = True
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    async def send(self, event: LLMEvent) -> None:
        """Send the event.

        Raises:
            SinkUnavailableError: The reader takes nothing.
            SinkError: The reader has left.
            MalformedEventError: The event has no JSON; the sink takes others.
            ClosedError: The sink was not entered, or is closed.
        """
        if self._closed or not self._is_entered:
            raise ClosedError("a WebSocketSink takes events inside its `async with` block only")
        if self._failure is not None:
            raise self._failure
        message = encode_event(event).decode()
        try:
            async with asyncio.timeout(self._stuck_timeout):
                await self._websocket.send_text(message)
        except TimeoutError as exc:
            self._failure = SinkUnavailableError(
                f"the reader of the WebSocket took nothing for {self._stuck_timeout:g} s"
            )
            raise self._failure from exc
        except (OSError, RuntimeError, WebSocketDisconnect) as exc:
            # Starlette raises a RuntimeError where the WebSocket was closed by somebody else.
            self._failure = SinkError("the reader of the WebSocket has left")
            raise self._failure from exc
        self._is_whole = self._is_whole or event.type == "done"

    async def aclose(self) -> None:
        """Close the WebSocket, unless it stays open; a second call does nothing."""
        if self._closed:
            return
        self._closed = True
        is_open = self._websocket.application_state is WebSocketState.CONNECTED
        if not self._is_entered or not is_open or (self._keep_open and self._failure is None):
            return
        try:
            async with asyncio.timeout(self._stuck_timeout if self._failure is None else CLOSE_TIMEOUT):
                await self._websocket.close(NORMAL if self._is_whole else BROKEN_OFF)
        except (OSError, RuntimeError, WebSocketDisconnect) as exc:
            # Every event was taken; who left, or takes no more, gets no close either.
            log.debug("a WebSocket could not be closed in order: %s", exc)
