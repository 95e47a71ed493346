"""Carries streams to the sinks that their requests name, from the log, so that a sink's trouble is its own."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, Self

from hub.errors import ClosedError, InvalidRequestError, SinkUnavailableError
from hub.events import merge_neighbours
from hub.sink import OpenableSink
from hub.sink.base import trouble_of, with_trouble
from hub.streams.log import StreamLog

__all__ = ("Relay", "Relays", "SinkOpener", "SinkRequest", "checked_sinks", "read_sinks")

log = logging.getLogger(__name__)

MAX_SINKS = 16
"""Sinks that one request may name."""

MAX_BATCH = 256
"""Events that are taken from a log at a time."""

BEHIND = 32
"""A sink for which so many events wait gets neighbours as one."""

SETTLING_TIMEOUT = 1.0
"""Seconds that a job stays its worker's while sinks take the end; a worker that dies meanwhile is followed by one
that tells them again."""

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 10.0
"""Seconds before a sink that was away is opened anew; doubled each time."""

BREAK_OFF_TIMEOUT = 1.0
"""Seconds that a sink has to close once it is broken off; then it is broken off again."""


@dataclass(frozen=True, slots=True)
class SinkRequest:
    """A sink as a request names it, and the channel that it may add."""

    name: str
    channel: str | None = None


class SinkOpener(Protocol):
    """Knows the sinks that requests may name. Neither method waits or connects."""

    def check(self, request: SinkRequest, stream_id: str) -> None:
        """Return where `open` would find the sink.

        Raises:
            InvalidRequestError: There is no such sink, or it can't be had for this stream or channel.
        """
        ...

    def open(self, request: SinkRequest, stream_id: str) -> OpenableSink:
        """The sink for a stream, not entered yet; raises as `check` does, and `ConfigurationError`."""
        ...


def read_sinks(value: Any) -> tuple[SinkRequest, ...]:
    """The sinks that a request, or a job, names: each a name, or an object of `name` and `channel`.

    Raises:
        InvalidRequestError: They are named in another way, twice, or too many.
    """
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise InvalidRequestError("sinks is a list.")
    requests = tuple(map(_read_sink, value))
    if len(requests) > MAX_SINKS:
        raise InvalidRequestError(f"A stream can have {MAX_SINKS} sinks at most.")
    if len(set(requests)) < len(requests):
        raise InvalidRequestError("sinks names the same twice.")
    return requests


def _read_sink(value: Any) -> SinkRequest:
    match value:
        case SinkRequest():
            return value
        case str():
            return SinkRequest(value)
        case Mapping():
            name, channel = value.get("name"), value.get("channel")
            if isinstance(name, str) and isinstance(channel, str | None) and not value.keys() - {"name", "channel"}:
                return SinkRequest(name, channel)
    raise InvalidRequestError('sinks has names, such as "live", or objects, such as {"name": "chat", "channel": "42"}.')


class Relays:
    """Everything that one process carries to sinks.

    Each sink has a place in the log of its stream and goes on at its own pace, so one that is slow, hangs or fails
    holds up neither the stream nor another sink, and what waits for it waits in the log. One that is far behind gets
    neighbouring deltas as one. Where a sink raises `SinkUnavailableError`, it is opened anew after a pause and told
    everything so far by a `snapshot`; after any other error it gets nothing more. Both are logged.

    Use it as an async context manager, round the life of the hub and the worker that use it.

    Args:
        opener: Knows the sinks.
        drain_timeout: Seconds that a sink has, from the end of its stream, to take what it lacks.
        close_timeout: Seconds that all have when this is closed.
    """

    def __init__(self, opener: SinkOpener, *, drain_timeout: float = 10.0, close_timeout: float = 2.0) -> None:
        self._opener = opener
        self._drain_timeout = drain_timeout
        self._close_timeout = close_timeout
        self._carriers: dict[_Carrier, asyncio.Task[None]] = {}
        self._tasks: asyncio.TaskGroup | None = None
        self._closed = False

    async def __aenter__(self) -> Self:
        if self._tasks is not None or self._closed:
            raise ClosedError("Relays are entered once.")
        # As in Hub: no child raises, so whoever entered is never cancelled for it.
        self._tasks = await asyncio.TaskGroup().__aenter__()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Let the sinks take what the logs have now, for a bounded time, and close them; again, it does nothing."""
        if self._closed:
            return
        self._closed = True
        for carrier in self._carriers:
            carrier.finish()
        try:
            await self._wait(self._close_timeout)
        finally:
            for _ in range(2):  # broken off in a send, a sink may hang once more in closing
                if late := list(self._carriers.values()):
                    for task in late:
                        task.cancel()
                    await asyncio.wait(late, timeout=BREAK_OFF_TIMEOUT)
            if self._tasks is not None:
                await self._tasks.__aexit__(None, None, None)

    @property
    def running(self) -> int:
        """How many sinks are being filled."""
        return len(self._carriers)

    def check(self, requests: Sequence[SinkRequest], stream_id: str) -> None:
        """Return where each of the sinks can be had for this stream.

        Raises:
            InvalidRequestError: One can't.
            ClosedError: Not entered, or closed.
        """
        if requests and (self._tasks is None or self._closed):
            raise ClosedError("Relays work inside their `async with` block only.")
        for request in requests:
            self._opener.check(request, stream_id)

    def begin(self, stream: StreamLog, requests: Sequence[SinkRequest]) -> Relay:
        """Carry a stream to sinks, from the end of its log as it is now; an ended one as a snapshot and `done`."""
        if self._tasks is None or self._closed:
            # No error: whoever writes the log would not write it.
            log.warning("stream %s goes to no sink: what carries it is not open", stream.stream_id)
            return Relay(())
        tasks = []
        for request in requests:
            carrier = _Carrier(self._opener, request, stream, self._drain_timeout)
            task = self._tasks.create_task(carrier.run(), name=f"sink {request.name} of {stream.stream_id}")
            self._carriers[carrier] = task
            task.add_done_callback(partial(self._forget, carrier))
            tasks.append((carrier, task))
        return Relay(tasks)

    @asynccontextmanager
    async def relaying(self, stream: StreamLog, requests: Sequence[SinkRequest]) -> AsyncGenerator[None, None]:
        """Carry what is written into a log inside the block to sinks; on leaving it in order, wait for them a while.

        What they have not taken by then they get later, but nothing that comes into the log after the block: that is
        another writer's to carry.
        """
        relay = self.begin(stream, requests)
        try:
            yield
        finally:
            relay.finish()
        await relay.wait(SETTLING_TIMEOUT)

    async def _wait(self, timeout: float) -> None:
        if tasks := list(self._carriers.values()):
            await asyncio.wait(tasks, timeout=timeout)

    def _forget(self, carrier: _Carrier, task: asyncio.Task[None]) -> None:
        del self._carriers[carrier]


def checked_sinks(relays: Relays | None, value: Any, stream_id: str) -> tuple[SinkRequest, ...]:
    """The sinks that a request names, each of which can be had.

    Args:
        relays: What would carry the stream; without it there are none.
        value: As for `read_sinks`.
        stream_id: The stream.

    Raises:
        InvalidRequestError: One can't be had, or they are named in a way that makes no sense.
        ClosedError: The relays are not open.
    """
    requests = read_sinks(value)
    if requests and relays is None:
        raise InvalidRequestError("There are no sinks here to name.")
    if relays is not None:
        relays.check(requests, stream_id)
    return requests


class Relay:
    """One stream on its way to its sinks."""

    def __init__(self, carriers: Sequence[tuple[_Carrier, asyncio.Task[None]]]) -> None:
        self._carriers = carriers

    def finish(self) -> None:
        """What the log has now is all there is to carry."""
        for carrier, _ in self._carriers:
            carrier.finish()

    async def wait(self, timeout: float) -> None:
        """Return once the sinks have everything, or have failed, or that many seconds are over."""
        if tasks := [task for _, task in self._carriers]:
            await asyncio.wait(tasks, timeout=timeout)


class _Carrier:
    """One sink of one stream: a place in the log, and the way from there."""

    def __init__(self, opener: SinkOpener, request: SinkRequest, stream: StreamLog, drain_timeout: float) -> None:
        self._opener = opener
        self._request = request
        self._stream = stream
        self._drain_timeout = drain_timeout
        self._index = len(stream.events)
        self._end: int | None = None
        self._catches_up = stream.is_closed
        self._more = asyncio.Event()
        self._limit: asyncio.Timeout | None = None
        self._sink: OpenableSink | None = None

    async def run(self) -> None:
        """Carry everything, or log why not. Nothing is raised but a cancellation."""
        unwatch = self._stream.watch(self._look)
        try:
            async with asyncio.timeout(None) as self._limit:
                self._look()
                await self._carry()
        except asyncio.CancelledError:
            self._failed(with_trouble("the process stopped before it took all", trouble_of(self._sink)))
            raise
        except Exception as exc:
            is_late = self._limit is not None and self._limit.expired()
            words = f"it did not take the end within {self._drain_timeout:g} s"
            self._failed(with_trouble(words, trouble_of(self._sink)) if is_late else exc)
        finally:
            self._limit = None
            unwatch()

    def finish(self) -> None:
        """Carry what the log has now, and no more."""
        if self._end is None:
            self._end = len(self._stream.events)
        self._look()

    def _look(self) -> None:
        """Go on; where there is nothing more to come, for a bounded time."""
        self._more.set()
        if self._limit is not None and self._limit.when() is None and self._has_end:
            self._limit.reschedule(asyncio.get_running_loop().time() + self._drain_timeout)

    @property
    def _has_end(self) -> bool:
        return self._stream.is_closed or self._end is not None

    async def _carry(self) -> None:
        """Open the sink and fill it, anew where it was away."""
        pause = FIRST_PAUSE
        while True:
            try:
                self._sink = self._opener.open(self._request, self._stream.stream_id)
                async with self._sink as sink:
                    await self._fill(sink)
                return
            except SinkUnavailableError as exc:
                wait = max(pause, exc.retry_after or 0.0)
                log.warning("%s is away and opened again in %g s: %s", self, wait, exc)
            # What it had taken and not carried yet is lost.
            self._catches_up = True
            await asyncio.sleep(wait)
            pause = min(pause * 2, LONGEST_PAUSE)

    async def _fill(self, sink: OpenableSink) -> None:
        if self._catches_up and self._stream.events:
            position = self._stream.begin(-1, snapshot=True)
            if position.snapshot is not None:
                await sink.send(position.snapshot)
            self._index, self._catches_up = position.index, False
        while True:
            self._more.clear()
            events = self._stream.events
            batch = events[self._index : min(self._index + MAX_BATCH, len(events) if self._end is None else self._end)]
            if batch:
                for event in batch if len(batch) < BEHIND else merge_neighbours(batch):
                    await sink.send(event)
                self._index += len(batch)
            elif self._has_end:
                return
            else:
                await self._more.wait()

    def _failed(self, reason: object) -> None:
        log.warning("%s failed and gets nothing more of it: %s", self, reason)

    def __str__(self) -> str:
        channel = "" if self._request.channel is None else f" ({self._request.channel})"
        return f"sink {self._request.name}{channel} of stream {self._stream.stream_id}"
