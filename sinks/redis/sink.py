"""Publishes events on a channel of Redis."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Self

from hub.errors import ClosedError, ConfigurationError, SinkError, SinkRejectedError
from hub.events import LLMEvent, encode_event, merge_neighbours
from hub.redis_io.background import Background
from hub.redis_io.calls import Calls
from hub.redis_io.faults import FAULTS
from hub.redis_io.script import Script, pack
from hub.sink.base import CLOSE_TIMEOUT, with_trouble
from sinks.redis.connections import RedisConnections, channel_name, chosen
from sinks.redis.faults import sink_error
from sinks.redis.positions import Place, Positions
from sinks.redis.replay import APPEND, PUBLISH, Replay, log_key, mark

__all__ = ("RedisSink", "Undelivered")

log = logging.getLogger(__name__)

MAX_GROUP_EVENTS = 500
MAX_GROUP_BYTES = 500_000
"""What leaves in one call at most, unless a single event is larger."""


@dataclass(frozen=True, slots=True)
class Undelivered:
    """Events that a sink was given and may not have delivered.

    Attributes:
        stream_id: Their stream.
        first_seq: The first position they stand for.
        last_seq: The last one.
    """

    stream_id: str
    first_seq: int
    last_seq: int


class RedisSink:
    """Each event becomes one message on a channel: its plain JSON, which any pub/sub client can read.

    `send` puts the event into a buffer and returns; what gathers while one call to Redis is under way leaves with the
    next, so there is never a round trip a token. While the buffer is full, `send` waits. `send` of a `done` returns
    once Redis has it and all before it, as does `aclose`.

    While Redis is away the buffer is kept, and the call is tried again for `outage_timeout` seconds. Then the sink has
    failed for good: whoever waits in `send` gets `SinkUnavailableError`, as does each further `send`, or `aclose`
    where nobody was told yet. `lost` then says which events may be missing. What Redis refuses raises
    `SinkRejectedError` in the same way. A message whose reply was lost is sent again: readers know it by its `seq`.

    Use it as an async context manager. It may carry several streams, one after another or mixed, and may be closed by
    another task than entered it. What repeats a position of its stream is published once.

    Args:
        channel: The channel.
        url: As for `RedisConnections`; by default `REDIS_URL`.
        connections: Connections that are shared, in place of `url`; they stay their owner's to close, and have their
            own time-outs.
        sharded: Publish on the sharded channel of that name (`SPUBLISH`), which one node of a cluster carries alone.
        replay: Keep a log beside the channel, for readers that come late or lose their connection. None: no log.
        merge: Neighbouring deltas of one call become one message, where readers are to get fewer.
        max_buffer: Events that wait for Redis, at most.
        max_buffer_bytes: Bytes of their JSON, at most, but for one event that is larger by itself.
        timeout: Seconds that Redis has for an answer, before it is asked again.
        outage_timeout: Seconds for which a call is tried.

    Attributes:
        lost: What may not have been delivered, once the sink has failed or its closing was cut short; empty before.

    Raises:
        ConfigurationError: An argument makes no sense, or there is no URL.
    """

    def __init__(
        self,
        channel: str,
        *,
        url: str | None = None,
        connections: RedisConnections | None = None,
        sharded: bool = False,
        replay: Replay | None = None,
        merge: bool = False,
        max_buffer: int = 1000,
        max_buffer_bytes: int = 16_000_000,
        timeout: float = 2.0,
        outage_timeout: float = 30.0,
    ) -> None:
        if replay is not None and not isinstance(replay, Replay):
            raise ConfigurationError("A RedisSink's replay is a Replay, such as replay=Replay(), or None for no log.")
        if max_buffer < 1:
            raise ConfigurationError("A RedisSink's max_buffer is at least 1 event.")
        self.lost: tuple[Undelivered, ...] = ()
        self._name = channel
        self._message = _Message(channel, sharded=sharded, replay=replay)
        self._connections = chosen(connections, url, timeout=timeout, outage_timeout=outage_timeout)
        self._owns_connections = connections is None
        self._merge = merge
        self._max_buffer = max_buffer
        self._max_buffer_bytes = max_buffer_bytes
        self._waiting: deque[_Item] = deque()
        self._under_way: list[_Item] = []
        self._bytes = 0
        self._taken = self._done = 0
        self._positions = Positions()
        self._wake = asyncio.Event()
        self._progress = asyncio.Event()
        self._failure: Exception | None = None
        self._told = False
        self._background: Background | None = None
        self._closed = False

    async def __aenter__(self) -> Self:
        if self._background is not None or self._closed:
            raise ClosedError("a RedisSink is entered once")
        self._background = Background()
        self._background.start(self._flush_all(), name=f"publishing on {self._name}")
        return self

    async def __aexit__(self, exc_type: type[BaseException] | None, *exc_info: object) -> None:
        if exc_type is None:
            await self.aclose()
            return
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await self.aclose()
        except TimeoutError:
            words = f"{_listed(self.lost)} may not have reached channel {self._name!r}: there was no more time"
            log.warning("%s.", with_trouble(words, self.trouble))
        except Exception as exc:
            # Its own error would hide the one that ends the block, which may be a cancellation.
            log.warning("%s", exc)

    async def send(self, event: LLMEvent) -> None:
        """Have the event published; a `done` has been once this returns.

        Raises:
            SinkUnavailableError: Redis was away for longer than `outage_timeout`.
            SinkRejectedError: Redis refuses: the user, the channel, the script.
            MalformedEventError: The event's text has half a character.
            ClosedError: The sink is closed, or was not entered.
        """
        self._check()
        data = encode_event(event)
        if self._positions.place(event) is not Place.REPEAT:
            while self._is_full(len(data)):
                await self._wait()
            self._positions.take(event.stream_id, event.seq)
            self._waiting.append(_Item(event, data))
            self._taken += 1
            self._bytes += len(data)
            self._wake.set()
        if event.type == "done":
            await self._published()

    @property
    def trouble(self) -> str | None:
        """Which server failed last, and how, while it is asked again; None where none did."""
        return self._connections.trouble

    async def aclose(self) -> None:
        """Have everything published, and hang up; a second call does nothing.

        Raises:
            SinkError: As `send`, where no `send` has said so.
        """
        if self._closed:
            return
        self._closed = True
        try:
            if self._background is not None and not self._told:
                await self._published()
        finally:
            try:
                if self._background is not None:
                    await self._background.aclose()
            finally:
                self._give_up()
                if self._owns_connections:
                    await self._connections.aclose()

    def _check(self) -> None:
        if self._failure is not None:
            self._told = True
            raise self._failure
        if self._background is None or self._closed:
            raise ClosedError("a RedisSink takes events inside its `async with` block only")

    def _is_full(self, size: int) -> bool:
        count = len(self._waiting) + len(self._under_way)
        return count >= self._max_buffer or (count > 0 and self._bytes + size > self._max_buffer_bytes)

    async def _wait(self) -> None:
        """Return when something was published; raise when the sink has failed or was closed."""
        self._progress.clear()
        await self._progress.wait()
        self._check()

    async def _published(self) -> None:
        """Return once everything is published that the sink has taken until now; raise when it has failed."""
        taken = self._taken
        while self._failure is None and self._done < taken:
            self._progress.clear()
            await self._progress.wait()
        if self._failure is not None:
            self._told = True
            raise self._failure

    async def _flush_all(self) -> None:
        """Publish what waits, group by group, until Redis fails for good."""
        calls = self._connections.publishing
        try:
            while True:
                while not self._waiting:
                    self._wake.clear()
                    await self._wake.wait()
                self._take()
                await self._message.publish(calls, self._under_way, merge=self._merge)
                self._bytes -= sum(len(item.data) for item in self._under_way)
                self._done += len(self._under_way)
                self._under_way = []
                self._progress.set()
        except Exception as exc:
            # Whatever it is, who waits must learn it.
            self._fail(exc)

    def _take(self) -> None:
        size = 0
        while self._waiting and len(self._under_way) < MAX_GROUP_EVENTS and size < MAX_GROUP_BYTES:
            item = self._waiting.popleft()
            self._under_way.append(item)
            size += len(item.data)

    def _fail(self, exc: Exception) -> None:
        self._note_lost()
        consequence = f"{_listed(self.lost)} may not have reached channel {self._name!r}; nothing more is sent there."
        if isinstance(exc, FAULTS):
            self._failure = sink_error(exc, self._connections.address, consequence)
        elif isinstance(exc, SinkRejectedError):
            self._failure = SinkRejectedError(f"{exc} {consequence}")
        else:
            self._failure = SinkError(f"Publishing failed ({exc}). {consequence}")
        self._failure.__cause__ = exc
        self._progress.set()

    def _give_up(self) -> None:
        """Tell whoever waits in `send` that nothing more is sent, where something was left."""
        self._note_lost()
        if self.lost and self._failure is None:
            self._failure = SinkError(
                f"The sink was closed in haste: {_listed(self.lost)} may not have reached channel {self._name!r}."
            )
        self._progress.set()

    def _note_lost(self) -> None:
        """Say what is in the buffer, and empty it."""
        items = [*self._under_way, *self._waiting]
        if items:
            self.lost = tuple(_ranges(item.event for item in items))
            self._under_way, self._bytes = [], 0
            self._waiting.clear()


@dataclass(frozen=True, slots=True)
class _Item:
    event: LLMEvent
    data: bytes


class _Message:
    """The commands by which events are published."""

    def __init__(self, channel: str, *, sharded: bool, replay: Replay | None) -> None:
        self._channel = channel_name(channel)
        self._verb = b"SPUBLISH" if sharded else b"PUBLISH"
        self._keys: tuple[bytes, ...] = (self._channel,)
        self._bounds: tuple[bytes, ...] = ()
        if replay is not None:
            self._keys = (self._channel, log_key(channel))
            self._bounds = (b"%d" % replay.max_events, b"%d" % round(replay.ttl * 1000))

    async def publish(self, calls: Calls, items: Sequence[_Item], *, merge: bool) -> None:
        """Publish them in order, maybe more than once each.

        Raises:
            Exception: One of `FAULTS`.
            SinkRejectedError: What answers isn't Redis.
        """
        events = [item.event for item in items]
        lines = [item.data for item in items]
        if merge and len(items) > 1:
            events = merge_neighbours(events)
            lines = [encode_event(event) for event in events]
        command, script = self._command(events, lines)
        reply: Any = await calls.run(self._channel, command, script=script)
        if not isinstance(reply, int):
            raise SinkRejectedError("What answers at the URL of Redis is none: it gave no number for a publication.")

    def _command(self, events: Sequence[LLMEvent], lines: Sequence[bytes]) -> tuple[bytes, Script | None]:
        if self._bounds:
            marks = b"\n".join([mark(event) for event in events])
            return APPEND.call(self._keys, self._verb, b"\n".join(lines), marks, *self._bounds), APPEND
        if len(lines) == 1:
            return pack(self._verb, self._channel, lines[0]), None
        return PUBLISH.call(self._keys, self._verb, b"\n".join(lines)), PUBLISH


def _ranges(events: Iterable[LLMEvent]) -> list[Undelivered]:
    found: dict[str, Undelivered] = {}
    for event in events:
        known = found.get(event.stream_id)
        first = event.seq - event.span + 1 if known is None else known.first_seq
        found[event.stream_id] = Undelivered(event.stream_id, first, event.seq)
    return list(found.values())


def _listed(lost: Sequence[Undelivered]) -> str:
    said = [f"events {each.first_seq} to {each.last_seq} of stream {each.stream_id!r}" for each in lost]
    text = ", ".join(said) or "the last events"
    return text[0].upper() + text[1:]
