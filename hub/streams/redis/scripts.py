"""The keys of a stream in Redis, and the scripts that work on them."""

from __future__ import annotations

from enum import IntEnum
from pathlib import Path

from hub.redis_io.script import Script

__all__ = (
    "APPEND",
    "CANCEL",
    "CREATE",
    "HAND_OVER",
    "INDEX",
    "LIST",
    "READ",
    "TAKE_OVER",
    "Keys",
    "Outcome",
    "stream_of",
)

_FOLDER = Path(__file__).parent

APPEND = Script(_FOLDER / "append.lua", keys=4, arguments=12)
CREATE = Script(_FOLDER / "create.lua", keys=2, arguments=9)
TAKE_OVER = Script(_FOLDER / "take_over.lua", keys=1, arguments=2)
HAND_OVER = Script(_FOLDER / "hand_over.lua", keys=1, arguments=2)
CANCEL = Script(_FOLDER / "cancel.lua", keys=2, arguments=1)
LIST = Script(_FOLDER / "list.lua", keys=1, arguments=2)
READ = Script(_FOLDER / "read.lua", keys=2, arguments=3)

INDEX = b"hub:streams"
"""A sorted set of all streams by the time they were made, for `list` alone."""


class Outcome(IntEnum):
    """What became of an append."""

    KEPT = 0
    """It is in the log, or was, or the stream has ended."""
    STALE = 1
    """The stream has another writer."""
    BEHIND = 2
    """Events before it are missing."""
    LOST = 3
    """The stream's data is gone."""


class Keys:
    """The keys and channels of one stream; the braces put all of them on one node of a cluster."""

    __slots__ = ("batches", "control", "events", "log", "state")

    def __init__(self, stream_id: str) -> None:
        prefix = b"hub:{%b}:" % stream_id.encode()
        self.log = prefix + b"log"
        self.state = prefix + b"state"
        self.events = prefix + b"events"
        self.batches = prefix + b"batches"
        self.control = prefix + b"control"


def stream_of(channel: bytes) -> tuple[str, str]:
    """The stream that a channel belongs to, and the channel's kind: `events`, `batches` or `control`."""
    before, _, kind = channel.rpartition(b":")
    return before[5:-1].decode(), kind.decode()
