"""Events as Server-Sent Events: `id` is the `seq`, `event` the type, `data` the event's JSON.

Frames end in LF, never CRLF: some readers split on a blank line of LF alone. An `error` event goes without an
`event` line, because a browser's EventSource would deliver it to its own connection-error handler.
Format: https://html.spec.whatwg.org/multipage/server-sent-events.html (read 2026-11-21).
"""

from __future__ import annotations

from collections.abc import Iterable

from hub.events import LLMEvent, encode_event

__all__ = ("HEADERS", "HEARTBEAT", "MEDIA_TYPE", "frame", "frames", "retry_frame")

MEDIA_TYPE = "text/event-stream"

HEADERS = {
    "Cache-Control": "no-cache, no-store, no-transform",
    "X-Accel-Buffering": "no",
    "X-Content-Type-Options": "nosniff",
}
"""What keeps caches and proxies from holding frames back."""

HEARTBEAT = b": keep-alive\n\n"


def frame(event: LLMEvent) -> bytes:
    """One event as one frame."""
    if event.type == "error":
        return b"id: %d\ndata: %b\n\n" % (event.seq, encode_event(event))
    return b"id: %d\nevent: %b\ndata: %b\n\n" % (event.seq, event.type.encode(), encode_event(event))


def frames(events: Iterable[LLMEvent]) -> bytes:
    """Neighbouring events as one piece of bytes."""
    return b"".join(map(frame, events))


def retry_frame(delay: float) -> bytes:
    """Tells a reader to wait `delay` seconds before it connects again."""
    return b"retry: %d\n\n" % round(delay * 1000)
