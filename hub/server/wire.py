"""How the events of a log stand on a connection: as SSE in a chunked HTTP body, or as WebSocket messages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hub.formats import sse

__all__ = ("DRAIN_RETRY_DELAY", "JSON_LINES", "SSE", "WEBSOCKET", "Wire", "chunked", "event_json", "text_message")

DRAIN_RETRY_DELAY = 2.0
"""Seconds after which those who are sent away by a stopping server may come again."""


@dataclass(frozen=True, slots=True, eq=False)
class Wire:
    """How events stand on a connection. The same for all who read, so that they can share the bytes.

    Attributes:
        event: Makes an event's SSE frame, as logs keep it, what goes out; None where that is the frame itself.
        piece: Wraps what goes out in one write.
        heartbeat: What a silent connection gets; nothing where that is somebody else's business.
        farewell: What comes before the end where the server stops and the stream goes on.
    """

    event: Callable[[bytes], bytes] | None
    piece: Callable[[bytes], bytes]
    heartbeat: bytes = b""
    farewell: bytes = b""


def chunked(data: bytes) -> bytes:
    """As one chunk of a chunked HTTP body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def event_json(frame: bytes) -> bytes:
    """An event's JSON, out of its SSE frame."""
    # The lines before it have a number and a type, so the first "data: " is the line's.
    return frame[frame.index(b"data: ") + 6 : -2]


def text_message(text: bytes) -> bytes:
    """As one unmasked WebSocket text message in one frame (RFC 6455, section 5.2, read 2026-11-21)."""
    size = len(text)
    if size < 126:
        return b"\x81%c%b" % (size, text)
    if size < 65_536:
        return b"\x81\x7e%b%b" % (size.to_bytes(2), text)
    return b"\x81\x7f%b%b" % (size.to_bytes(8), text)


def _message(frame: bytes) -> bytes:
    return text_message(event_json(frame))


def _line(frame: bytes) -> bytes:
    return event_json(frame) + b"\n"


SSE = Wire(None, chunked, heartbeat=sse.HEARTBEAT, farewell=sse.retry_frame(DRAIN_RETRY_DELAY))
"""SSE frames in chunks of an HTTP/1.1 body."""

WEBSOCKET = Wire(_message, bytes, heartbeat=b"\x89\x00")
"""A text message an event; a ping without payload where all is silent. How it ends is said by the close code."""

JSON_LINES = Wire(_line, bytes)
"""A line of JSON an event, for readers whose messages somebody else frames. No JSON of ours has a line break in it."""
