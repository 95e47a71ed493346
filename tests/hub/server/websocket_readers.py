"""Readers of a stream's WebSocket: a real client, and bare connections that behave badly."""

from __future__ import annotations

import base64
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from hub.events import LLMEvent, decode_event

from .conftest import RunningHub


@dataclass
class Heard:
    """What a reader got, and how it ended."""

    events: list[LLMEvent] = field(default_factory=list)
    code: int | None = None
    reason: str = ""


@asynccontextmanager
async def opened(
    running: RunningHub, stream_id: str, query: str = "", *, host: str = "127.0.0.1", **options: Any
) -> AsyncIterator[ClientConnection]:
    """A connection under this name of the hub's host; what the client holds is not bounded."""
    url = f"ws://{host}/v1/streams/{stream_id}/ws{query}"
    defaults = {"max_size": None, "max_queue": None}
    async with connect(url, host="127.0.0.1", port=running.port, **{**defaults, **options}) as websocket:
        yield websocket


async def listen(websocket: ClientConnection, heard: Heard | None = None, *, at_most: int | None = None) -> Heard:
    """Read to the end, or so many events."""
    heard = heard if heard is not None else Heard()
    try:
        while at_most is None or len(heard.events) < at_most:
            message = await websocket.recv()
            assert isinstance(message, str)
            heard.events.append(decode_event(message))
    except ConnectionClosed:
        assert websocket.close_code is not None
        heard.code, heard.reason = websocket.close_code, websocket.close_reason or ""
    return heard


async def hear(running: RunningHub, stream_id: str, query: str = "", **options: Any) -> Heard:
    """Everything that a reader gets."""
    async with opened(running, stream_id, query, **options) as websocket:
        return await listen(websocket)


async def refusal(running: RunningHub, stream_id: str, query: str = "", **options: Any) -> Any:
    """The HTTP response in the place of the handshake's end."""
    try:
        async with opened(running, stream_id, query, **options):
            raise AssertionError("it was not refused")
    except InvalidStatus as exc:
        return exc.response


def handshake(stream_id: str, *lines: str, query: str = "") -> bytes:
    """The head of a request that opens a WebSocket."""
    key = base64.b64encode(os.urandom(16)).decode()
    head = [
        f"GET /v1/streams/{stream_id}/ws{query} HTTP/1.1",
        "Host: 127.0.0.1",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {key}",
        *lines,
    ]
    return "\r\n".join([*head, "", ""]).encode()


def client_frame(opcode: int, payload: bytes = b"") -> bytes:
    """A frame of a client's, masked with zeros."""
    assert len(payload) < 126
    return bytes([0x80 | opcode, 0x80 | len(payload)]) + bytes(4) + payload
