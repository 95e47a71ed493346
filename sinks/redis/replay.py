"""The log beside a channel, from which readers get what they have missed."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from redis.exceptions import AuthenticationError

from hub.errors import ConfigurationError, MalformedEventError
from hub.events import LLMEvent, decode_event
from hub.redis_io.calls import Calls
from hub.redis_io.faults import FAULTS, is_passing, printable
from hub.redis_io.script import Script
from sinks.redis.faults import sink_error

__all__ = ("APPEND", "BEGINNING", "PUBLISH", "Page", "Replay", "ReplayLog", "behind", "decoded", "log_key", "mark")

log = logging.getLogger(__name__)

_FOLDER = Path(__file__).parent

PUBLISH = Script(_FOLDER / "publish.lua", keys=1, arguments=2)
APPEND = Script(_FOLDER / "append.lua", keys=2, arguments=5)
SEEK = Script(_FOLDER / "seek.lua", keys=1, arguments=5)
READ = Script(_FOLDER / "read.lua", keys=1, arguments=3)

BEGINNING = b"-"
"""The id at which a log begins, whatever is in it."""

MAX_EVENTS = 1_000_000_000
MAX_TTL = 315_360_000
"""Ten years: Redis refuses a time that overflows its clock only once the script has written."""

MAX_PAGE_EVENTS = 500
MAX_PAGE_BYTES = 500_000
MAX_LOOK = 1_000
"""Entries that one call looks at, so that a server is never held up for long."""


@dataclass(frozen=True, slots=True)
class Replay:
    """How much of a channel is kept for readers that come late or lose their connection.

    Args:
        max_events: Entries that are kept, of all the channel's streams together, up to a thousand million; Redis may
            keep some 100 more.
        ttl: Seconds after the last event at which the log is dropped, up to ten years.

    Raises:
        ConfigurationError: A number makes no sense.
    """

    max_events: int = 10_000
    ttl: float = 3600.0

    def __post_init__(self) -> None:
        # So that NaN is refused too.
        if not 1 <= self.max_events <= MAX_EVENTS or not 0.001 <= self.ttl <= MAX_TTL:
            raise ConfigurationError(
                f"A replay log keeps at least one event and at most {MAX_EVENTS:,} (max_events), for 0.001 to "
                f"{MAX_TTL:,} seconds (ttl)."
            )


@dataclass(frozen=True, slots=True)
class Page:
    """Some entries of a log.

    Attributes:
        events: What is in them.
        last_id: The last entry's; empty where there is none.
        has_more: Whether entries follow.
    """

    events: list[LLMEvent]
    last_id: bytes
    has_more: bool


class ReplayLog:
    """Reads the log of one channel.

    Args:
        channel: The channel.
        calls: To the servers.
        address: The servers', for messages.
    """

    def __init__(self, channel: str, calls: Calls, address: str) -> None:
        self._key = log_key(channel)
        self._calls = calls
        self._address = address

    async def newest(self) -> tuple[bytes, LLMEvent | None]:
        """The last entry's id and event; `BEGINNING` and None where there is none.

        Raises:
            SinkError: Redis was away for too long, or refuses.
        """
        found: tuple[bytes, LLMEvent | None] = (BEGINNING, None)
        last = await self._seek(b"", -1, before=b"+", down_to=b"-", count=1)
        if last[1]:
            page = await self.page(last[1])
            if page.last_id:
                found = page.last_id, page.events[-1] if page.events else None
        return found

    async def find(self, stream_id: str, position: int, *, down_to: bytes = BEGINNING) -> bytes | None:
        """The id of an entry behind which nothing of a stream from a position on is missing; None where there is none.

        Where the position is in the log it is its entry's, else that of the last entry before.

        Args:
            stream_id: The stream.
            position: A position in it.
            down_to: The id of the oldest entry to look at.

        Raises:
            SinkError: Redis was away for too long, or refuses.
        """
        outcome, before = 2, b"+"
        while outcome == 2:
            outcome, id_ = await self._seek(msgspec.json.encode(stream_id), position, before=before, down_to=down_to)
            before = b"(" + id_
        return id_ if outcome == 1 else None

    async def page(self, first_id: bytes) -> Page:
        """Entries from one on, `first_id` included.

        Raises:
            SinkError: Redis was away for too long, or refuses.
        """
        last_id, more, lines = await self._run(READ, first_id, b"%d" % MAX_PAGE_EVENTS, b"%d" % MAX_PAGE_BYTES)
        events = [event for line in lines.split(b"\n") if line and (event := decoded(line)) is not None]
        return Page(events, last_id, bool(more))

    async def _seek(
        self, stream: bytes, position: int, *, before: bytes, down_to: bytes, count: int = MAX_LOOK
    ) -> tuple[int, bytes]:
        outcome, id_ = await self._run(SEEK, before, down_to, stream, b"%d" % position, b"%d" % count)
        return outcome, id_

    async def _run(self, script: Script, *arguments: bytes) -> Any:
        try:
            return await self._calls.run(self._key, script.call((self._key,), *arguments), script=script)
        except FAULTS as exc:
            # Who is away, or refuses the user, refuses the channel too; else a user may hear it and not read the log.
            is_of_log = not isinstance(exc, AuthenticationError) and not is_passing(exc)
            advice = "; pass replay=False where there is none" if is_of_log else ""
            raise sink_error(exc, self._address, f"The replay log can't be read{advice}.") from exc


def behind(id_: bytes) -> bytes:
    """The id at which a reading goes on that ended with this one."""
    return id_ if id_ == BEGINNING else b"(" + id_


def log_key(channel: str) -> bytes:
    """The key of a channel's log: in the same slot of a cluster as the channel itself.

    Raises:
        ConfigurationError: There is no such key.
    """
    _, opened, rest = channel.partition("{")
    tag, closed, _ = rest.partition("}")
    if opened and closed and tag:
        return f"{channel}:replay".encode()
    if "}" in channel:
        raise ConfigurationError(
            f"Channel {channel!r} can't have a replay log: leave the '}}' out, or put a part of the name in braces."
        )
    return f"{{{channel}}}:replay".encode()


def mark(event: LLMEvent) -> bytes:
    """What is kept beside an event in the log: its first and last position, and its stream."""
    return b"%d %d %b" % (event.seq - event.span + 1, event.seq, msgspec.json.encode(event.stream_id))


def decoded(data: bytes) -> LLMEvent | None:
    """The event; None, and a word in the log, where it is none."""
    try:
        return decode_event(data)
    except MalformedEventError as exc:
        log.warning("a message that is no event is passed over: %s", printable(str(exc)))  # which may quote it
        return None
