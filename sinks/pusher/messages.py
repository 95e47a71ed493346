r"""Events as Pusher's messages: one each, and several for one that is too large for a message.

A part of an event is a JSON object of type `chunk`; the `data` of all of them, in order of `index`, joined, are the
event's JSON:

    {"type":"chunk","id":"5f0c-1","index":0,"count":2,"data":"{\"type\":\"text_delta\",…"}
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

__all__ = ("CHUNK", "MIN_EVENT_BYTES", "Message", "messages_of")

CHUNK = "chunk"
"""Name, and `type`, of a message that has a part of an event."""

MIN_EVENT_BYTES = 1_000
"""A message must have room for more of an event than for what says which part it is."""


@dataclass(frozen=True, slots=True)
class Message:
    """One of Pusher's messages.

    Attributes:
        name: What Pusher calls the event's name.
        data: JSON, as text in UTF-8.
    """

    name: str
    data: bytes


def messages_of(event: bytes, name: str, *, max_bytes: int, chunk_id: str, chunk_name: str = CHUNK) -> list[Message]:
    """One event as messages, of which none has more than `max_bytes` of data.

    Args:
        event: The event's JSON.
        name: The message's name, where one is enough.
        max_bytes: UTF-8 bytes, at least `MIN_EVENT_BYTES`.
        chunk_id: What the parts of this event have in common, and no others: up to 40 ASCII characters.
        chunk_name: The name of messages with parts.
    """
    if len(event) <= max_bytes:
        return [Message(name, event)]
    # JSON within JSON: cut after the escaping, since that is what counts.
    escaped = msgspec.json.encode(event.decode())[1:-1]
    head = b'{"type":"chunk","id":"%b","index":%%d,"count":%%d,"data":"' % chunk_id.encode()
    room = max_bytes - len(head) - 20 - len(b'"}')  # 20 for the two numbers
    pieces = []
    start = 0
    while start < len(escaped):
        end = _boundary(escaped, start, start + room)
        pieces.append(escaped[start:end])
        start = end
    return [Message(chunk_name, head % (index, len(pieces)) + piece + b'"}') for index, piece in enumerate(pieces)]


def _boundary(escaped: bytes, start: int, end: int) -> int:
    """The last place up to `end` that is inside no character and no escape sequence.

    Event JSON has no control characters, so the only escape sequences around it are those of quote and backslash.
    """
    if end >= len(escaped):
        return len(escaped)
    while escaped[end] & 0xC0 == 0x80:  # a byte that continues a character
        end -= 1
    before = escaped[start:end]
    if (len(before) - len(before.rstrip(b"\\"))) % 2:
        end -= 1
    return end
