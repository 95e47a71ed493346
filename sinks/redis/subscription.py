"""Reads the events of a channel of Redis."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import AsyncGenerator
from typing import Literal, Self, TypeAlias, get_args

from hub.errors import ClosedError, InvalidRequestError, SequenceGapError, SinkError
from hub.events import LLMEvent
from hub.redis_io.faults import FAULTS
from sinks.redis.connections import RedisConnections, channel_name, chosen
from sinks.redis.faults import sink_error
from sinks.redis.hearing import Hearing
from sinks.redis.inbox import Inbox, Missed
from sinks.redis.positions import Place, Positions
from sinks.redis.replay import BEGINNING, ReplayLog, behind, decoded

__all__ = ("OnGap", "RedisSubscription", "subscribe")

log = logging.getLogger(__name__)

OnGap: TypeAlias = Literal["raise", "pass"]


class RedisSubscription:
    """The events of a channel, each once and those of each stream in order: `async for`, inside `async with` or not.

    Entering returns once the server has confirmed the subscription: what is published from then on is heard. Left
    early, `async with` hangs up at once. An iteration ends when the subscription is closed, or connections that it
    shares. Made by `subscribe`, where its arguments are.

    Attributes:
        stream_id: The one stream that is read; None where all are, or it isn't known yet.
    """

    def __init__(
        self,
        channel: str,
        *,
        connections: RedisConnections,
        owns_connections: bool,
        sharded: bool,
        stream_id: str | None,
        after: int,
        until_done: bool,
        history: bool,
        replay: bool,
        on_gap: OnGap,
        max_queue: int,
        max_queue_bytes: int,
    ) -> None:
        self.stream_id = stream_id
        self._channel = channel_name(channel)
        self._connections = connections
        self._owns_connections = owns_connections
        self._sharded = sharded
        self._is_one = until_done or stream_id is not None
        self._history = history
        self._on_gap = on_gap
        self._log = ReplayLog(channel, connections.reading, connections.address) if replay else None
        self._inbox = Inbox(
            max_messages=max_queue,
            max_bytes=max_queue_bytes,
            outage_timeout=connections.outage_timeout,
            address=connections.address,
        )
        self._positions = Positions()
        if stream_id is not None:
            self._positions.take(stream_id, after)
        self._ready: deque[LLMEvent] = deque()
        self._readings: list[_Reading] = []
        self._floor = BEGINNING
        self._anchor: tuple[str, int] | None = None
        self._sought: tuple[str, int] | None = None
        self._missed: Missed | None = None
        self._hearing: Hearing | None = None
        self._has_ended = False
        self._is_entered = False
        self._closed = False

    async def __aenter__(self) -> Self:
        if self._is_entered or self._closed:
            raise ClosedError("a subscription is entered once")
        self._is_entered = True
        try:
            hearing = self._connections.hearing(sharded=self._sharded)
            newest = None
            if self._log is not None:
                # Before anything is heard: what the log has behind it was either heard or missed.
                self._floor, newest = await self._log.newest()
            self._hearing = hearing
            await hearing.add(self._channel, self._inbox)
            if self._log is not None:
                await self._join(self._log, newest)
        except BaseException as exc:
            await self.aclose()
            if isinstance(exc, FAULTS):
                raise sink_error(exc, self._connections.address, "The channel can't be heard.") from exc
            raise
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Hear no more; whoever iterates comes to the end. A second call does nothing."""
        if self._closed:
            return
        self._closed = True
        self._inbox.close()
        if self._owns_connections:
            await self._connections.aclose()
        elif self._hearing is not None:
            self._hearing.remove(self._channel, self._inbox)

    def __aiter__(self) -> AsyncGenerator[LLMEvent, None]:
        """The events. Inside `async with` a further iteration goes on where the last one was left, or raised.

        Raises:
            SequenceGapError: Events are missing, and no log has them; the next iteration goes on behind the gap.
            SinkUnavailableError: Redis was away for longer than `outage_timeout`.
            SinkRejectedError: Redis refuses: the user, the channel, the script.
            ClosedError: The subscription was closed before its end.
        """
        if self._closed and not self._has_ended:
            raise ClosedError("the subscription is closed")
        return self._read() if self._is_entered else self._enter_and_read()

    async def _enter_and_read(self) -> AsyncGenerator[LLMEvent, None]:
        async with self:
            while (event := await self._next()) is not None:
                yield event

    async def _read(self) -> AsyncGenerator[LLMEvent, None]:
        while (event := await self._next()) is not None:
            yield event

    async def _next(self) -> LLMEvent | None:
        """The next event; None at the end."""
        while not self._ready:
            if self._has_ended or self._closed:
                return None
            if self._readings:
                await self._go_on(self._readings[-1])
            elif self._missed is not None:
                await self._recover(self._missed)
                self._missed = None
            else:
                await self._listen()
        return self._ready.popleft()

    async def _listen(self) -> None:
        """Take the next word of the channel."""
        word = await self._inbox.get()
        if isinstance(word, bytes):
            event = decoded(word)
            if event is not None:
                self._anchor = (event.stream_id, event.seq)
                self._readings.append(_Reading(None, events=[event]))
                self._admit(self._readings[-1])
        elif word is None:
            self._closed = True  # with the connections
        else:
            self._missed = word

    async def _join(self, log: ReplayLog, newest: LLMEvent | None) -> None:
        """Say what is to be read first, the channel being heard already.

        Args:
            log: The channel's.
            newest: The last event in it before the channel was heard.
        """
        if self._history:
            self._readings.append(_Reading(BEGINNING))
            return
        self._readings.append(_Reading(behind(self._floor)))
        running = None if newest is None or newest.type == "done" else newest.stream_id
        if self._is_one and self.stream_id is None:
            self.stream_id = running
        only = running if self.stream_id is None else self.stream_id
        if only is not None:
            self._readings.append(_Reading(await self._start_of(log, only), only=only))

    async def _start_of(self, log: ReplayLog, stream_id: str) -> bytes:
        """The id of the log's entry at which to read what is not there yet of a stream."""
        found = await log.find(stream_id, self._positions.last(stream_id) + 1)
        return BEGINNING if found is None else found

    async def _recover(self, missed: Missed) -> None:
        """Read from the log what was missed, or say that nobody has it."""
        if self._log is not None:
            anchor = None if self._anchor is None else await self._log.find(*self._anchor, down_to=behind(self._floor))
            self._readings.append(_Reading(behind(self._floor) if anchor is None else anchor))
        elif missed is Missed.ROOM:
            self._missed = None  # told once
            self._complain(SinkError("This reader was too slow: messages were dropped, and there is no log of them."))

    async def _go_on(self, reading: _Reading) -> None:
        """Take the next events of a reading, and what is missing before one of them first."""
        if not reading.events and reading.start is not None and self._log is not None:
            page = await self._log.page(reading.start)
            reading.events = page.events
            reading.start = behind(page.last_id) if page.has_more else None
            if page.last_id and reading.only is None:
                self._floor, self._anchor = page.last_id, None
        if self._admit(reading):
            return
        event = reading.events[0]
        last = self._positions.last(event.stream_id)
        if self._log is not None and self._sought != (event.stream_id, last):
            start = await self._start_of(self._log, event.stream_id)
            self._sought = (event.stream_id, last)
            self._readings.append(_Reading(start, only=event.stream_id))
            return
        first = max(event.seq - event.span + 1, 0)
        # Told once. One that merges what was read with what was not can't be taken in part, and is passed over.
        self._positions.take(event.stream_id, event.seq if first <= last + 1 else first - 1)
        self._complain(SequenceGapError(last + 1, first))

    def _admit(self, reading: _Reading) -> bool:
        """Take a reading's events up to one that does not adjoin; False where that one is due now."""
        done = 0
        for event in reading.events:
            if not self._is_wanted(event, reading.only):
                done += 1
                continue
            place = self._positions.place(event)
            if place is Place.BEYOND:
                break
            done += 1
            if place is Place.NEXT:
                self._positions.take(event.stream_id, event.seq)
                self._ready.append(event)
                if self._is_one and event.type == "done":
                    self._has_ended = True
                    break
        del reading.events[:done]
        if not reading.events and reading.start is None:
            self._readings.remove(reading)
        return not reading.events or self._has_ended or bool(self._ready)

    def _is_wanted(self, event: LLMEvent, only: str | None) -> bool:
        if self._is_one and self.stream_id is None:
            self.stream_id = event.stream_id
        wanted = self.stream_id if self._is_one else only
        return wanted is None or event.stream_id == wanted

    def _complain(self, error: SinkError | SequenceGapError) -> None:
        if self._on_gap == "raise":
            raise error
        log.warning("channel %s: %s", self._channel.decode(), error)


class _Reading:
    """Events on their way to the reader.

    Attributes:
        start: The id of the log's entry to read next; None where nothing more is read.
        only: The one stream that is wanted; None for all.
        events: What was read and not taken yet.
    """

    __slots__ = ("events", "only", "start")

    def __init__(self, start: bytes | None, *, only: str | None = None, events: list[LLMEvent] | None = None) -> None:
        self.start = start
        self.only = only
        self.events = [] if events is None else events


def subscribe(
    channel: str,
    *,
    url: str | None = None,
    connections: RedisConnections | None = None,
    sharded: bool = False,
    stream_id: str | None = None,
    after: int = -1,
    until_done: bool = False,
    history: bool = False,
    replay: bool = True,
    on_gap: OnGap = "raise",
    max_queue: int = 10_000,
    max_queue_bytes: int = 16_000_000,
    timeout: float = 2.0,
    outage_timeout: float = 30.0,
) -> RedisSubscription:
    """The events that are published on a channel, without any I/O yet.

    Where the channel has a replay log, a stream of which something is heard is read from its start, and what a lost
    connection or a slow reader has missed comes from there. A reader that joins gets at once what there is of the
    stream heard last, if that has not ended. Without a log, what can't be had is told as `on_gap` says; a stream that
    was going on when the reader joined is such a case, and a tail that was lost shows at the stream's next event only.

    Args:
        channel: The channel.
        url: As for `RedisConnections`; by default `REDIS_URL`.
        connections: Connections that are shared, in place of `url`; they stay their owner's to close, and have their
            own time-outs.
        sharded: It is the cluster's sharded channel of that name.
        stream_id: Read this stream alone, and end with its `done`. It may be over already where a log has it.
        after: The last position of that stream which the reader has; -1 for none.
        until_done: Read one stream, and end with its `done`: the one heard last if that has not ended, else the first
            that is heard.
        history: Begin with all that the log has, streams that are over included.
        replay: Look for a replay log. False saves a reader the calls where there is none.
        on_gap: `raise` raises `SequenceGapError` where events are missing; `pass` says so in the log and goes on. A
            message that merges what was read with what was not is passed over, and what was not read of it missing.
        max_queue: Messages that wait for the reader, at most. What comes beyond is dropped here and read from the log.
        max_queue_bytes: Bytes of them, at most.
        timeout: Seconds that Redis has for an answer, before it is asked again.
        outage_timeout: Seconds for which Redis may be away before the reader is told.

    Raises:
        ConfigurationError: There is no URL, or it makes no sense; or the channel can't have a log.
        InvalidRequestError: The other arguments make no sense together.
    """
    if after != -1 and (stream_id is None or after < -1):
        raise InvalidRequestError("after is a position, from -1, of the stream that stream_id names.")
    if history and (until_done or stream_id is not None):
        raise InvalidRequestError("history is for readers of all streams: leave it, or stream_id and until_done, out.")
    if on_gap not in get_args(OnGap):
        raise InvalidRequestError(f"on_gap is one of {', '.join(get_args(OnGap))}, not {on_gap!r}.")
    if max_queue < 1:
        raise InvalidRequestError("max_queue is at least 1 message.")
    return RedisSubscription(
        channel,
        connections=chosen(connections, url, timeout=timeout, outage_timeout=outage_timeout),
        owns_connections=connections is None,
        sharded=sharded,
        stream_id=stream_id,
        after=after,
        until_done=until_done,
        history=history,
        replay=replay,
        on_gap=on_gap,
        max_queue=max_queue,
        max_queue_bytes=max_queue_bytes,
    )
