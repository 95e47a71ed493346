"""Streams in Redis or Valkey: any process reads and stops them, one at a time writes each."""

from __future__ import annotations

import asyncio
import builtins
import logging
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Self

from hub.errors import ClosedError, StaleWriterError, StoreError, StreamExistsError, StreamNotFoundError
from hub.events import LLMEvent
from hub.redis_io.background import Background
from hub.redis_io.calls import Calls
from hub.redis_io.channels import Channels
from hub.redis_io.faults import FAULTS, reason
from hub.redis_io.outages import Outages
from hub.redis_io.servers import Servers, open_servers
from hub.streams.base import FIRST_EPOCH, StreamInfo
from hub.streams.cancels import Cancels
from hub.streams.log import StreamLog
from hub.streams.redis.copies import Copies
from hub.streams.redis.index import Index
from hub.streams.redis.look import Look, State, state_call
from hub.streams.redis.page import read_page
from hub.streams.redis.scripts import CANCEL, CREATE, HAND_OVER, TAKE_OVER, Keys, stream_of
from hub.streams.redis.writer import Lifetimes, Writer, create_call

__all__ = ("RedisStreamStore",)

log = logging.getLogger(__name__)


class RedisStreamStore:
    """Keeps streams in one server, a cluster, or whichever server Sentinel names.

    A process has three connections to each server: for appends, for everything else, and for pub/sub.

    Args:
        servers: Where the keys lie; closed with the store.
        retention_ttl: Seconds that an ended stream is kept.
        running_ttl: Seconds that a stream is kept to which nothing happens, so that none stays for ever.
        outage_timeout: Seconds for which a call is tried while Redis is away; then it raises `StoreError`.
        answer_timeout: The same for what readers ask, who wait for an answer: `open`, `list` and `cancel`. It is
            `outage_timeout` where that is less.
        timeout: Seconds that Redis has for an answer, before it is asked again.
        linger: Seconds that a log of another process is followed though nobody reads it here.
        is_listed: Whether streams that are made here are in the `list` of all.
        clock: Unix seconds.
    """

    def __init__(
        self,
        servers: Servers,
        *,
        retention_ttl: float = 3600.0,
        running_ttl: float = 86_400.0,
        outage_timeout: float = 30.0,
        answer_timeout: float = 3.0,
        timeout: float = 2.0,
        linger: float = 5.0,
        is_listed: bool = True,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._servers = servers
        self._lifetimes = Lifetimes(running_ttl, retention_ttl)
        # So that no stream is written anew which has only expired.
        self._afterlife = linger if retention_ttl >= 4 * linger else 0.0
        self._clock = clock
        self._publish = b"SPUBLISH" if servers.is_cluster else b"PUBLISH"
        self._cancels = Cancels()
        self._writers: dict[str, Writer] = {}
        self._background = Background()
        answer_timeout = min(answer_timeout, outage_timeout)
        outages = Outages()
        # Connections of their own, so that a large page doesn't hold up what is appended.
        self._appends = Calls(servers, timeout=timeout, outage_timeout=outage_timeout, outages=outages)
        self._calls = Calls(servers, timeout=timeout, outage_timeout=outage_timeout, outages=outages)
        self._questions = self._calls.within(answer_timeout)
        self._channels = Channels(
            servers,
            on_message=self._hear,
            on_confirmed=self._confirm,
            timeout=timeout,
            outage_timeout=answer_timeout,
        )
        self._index = Index(self._calls, clock, is_listed=is_listed)
        self._copies = Copies(
            self._questions, self._channels, self._background, linger=linger, outage_timeout=outage_timeout
        )
        parts = (self._calls, self._channels, self._copies, self._writers, self._cancels, self._background)
        self._look = Look(*parts, demote=self._demote, retire=self._retire)
        self._looking: asyncio.Task[None] | None = None
        self._closed = False

    @classmethod
    def from_url(
        cls,
        url: str,
        *,
        retention_ttl: float = 3600.0,
        running_ttl: float = 86_400.0,
        outage_timeout: float = 30.0,
        answer_timeout: float = 3.0,
        timeout: float = 2.0,
        linger: float = 5.0,
        is_listed: bool = True,
        clock: Callable[[], float] = time.time,
    ) -> Self:
        """The store behind a URL: `redis`, `rediss`, `unix`, `redis+cluster`, `redis+sentinel`; see `open_servers`.

        Raises:
            ConfigurationError: The URL makes no sense.
        """
        return cls(
            open_servers(url, timeout=timeout),
            retention_ttl=retention_ttl,
            running_ttl=running_ttl,
            outage_timeout=outage_timeout,
            answer_timeout=answer_timeout,
            timeout=timeout,
            linger=linger,
            is_listed=is_listed,
            clock=clock,
        )

    async def start(self) -> None:
        """See whether Redis is there and runs our scripts."""
        with self._working():
            await read_page(self._calls, Keys("start"), 0)

    async def create(
        self, stream_id: str, *, model: str | None = None, fingerprint: str | None = None, input_tokens: int = 0
    ) -> int:
        """Make an empty log."""
        stream = StreamLog(
            stream_id, created_at=self._clock(), model=model, fingerprint=fingerprint, input_tokens=input_tokens
        )
        with self._working():
            writer = self._writer(stream, FIRST_EPOCH, _token())
            command = create_call(stream, writer.epoch, writer.token, self._lifetimes)
            if not await self._calls.run(writer.keys.state, command, script=CREATE):
                raise StreamExistsError(stream_id)
            self._begin(writer)
            await self._index.add(stream_id, stream.created_at)
        return writer.epoch

    async def take_over(self, stream_id: str) -> int:
        """Make the caller the stream's writer."""
        with self._working():
            token = _token()
            epoch = await self._fence(stream_id, token)
            # Nobody else adds anything any more: what is there now is all.
            stream = await self._everything(stream_id)
            stream.is_queued = False
            self._begin(self._writer(stream, epoch, token))
        return epoch

    async def hand_over(self, stream_id: str) -> None:
        """Have the stream wait for a worker; the log here follows whoever writes it."""
        with self._working():
            writer = self._writers.get(stream_id)
            if writer is not None and writer.epoch == FIRST_EPOCH:
                command = HAND_OVER.call((writer.keys.state,), b"%d" % writer.epoch, writer.token)
                is_queued = await self._calls.run(writer.keys.state, command, script=HAND_OVER)
                writer.log.is_queued = bool(is_queued) and self._writers.get(stream_id) is writer
            if writer is not None:
                self._demote(writer)

    async def append(self, stream_id: str, events: Sequence[LLMEvent], *, epoch: int) -> None:
        """Add events in order, all or none."""
        with self._working():
            writer = self._writers.get(stream_id)
            if writer is None or writer.epoch != epoch:
                writer = await self._adopt(stream_id, epoch)
            try:
                await writer.append(events)
            except StaleWriterError:
                self._demote(writer)
                raise
        if writer.has_ended:
            self._retire(writer)
        elif writer.cancel and not writer.log.is_closed:
            self._cancels.cancel(stream_id)

    async def open(self, stream_id: str, *, at_least: int = -1) -> StreamLog:
        """The stream's log."""
        with self._working():
            if stream_id not in self._writers:
                copy = await self._copies.open(stream_id, at_least=at_least)
                # Where it is written here since, that log is the one that goes on for sure.
                if stream_id not in self._writers:
                    return copy
            writer = self._writers[stream_id]
            if at_least > writer.log.last_seq:
                await writer.absorb()
            return writer.log

    async def list(self, *, limit: int = 1_000) -> builtins.list[StreamInfo]:
        """The streams that are kept, newest first."""
        with self._working():
            return await Index(self._questions, self._clock).list(limit)

    async def cancel(self, stream_id: str) -> None:
        """Tell whoever writes the stream to stop."""
        with self._working():
            keys = Keys(stream_id)
            command = CANCEL.call((keys.state, keys.control), self._publish)
            told = await self._questions.run(keys.state, command, script=CANCEL)
            if not told:
                raise StreamNotFoundError(stream_id)
        if told == 1:
            self._tell(stream_id)

    async def watch_cancel(self, stream_id: str, stop: Callable[[], None]) -> Callable[[], None]:
        """Have `stop` called when the stream is to stop."""
        keys = Keys(stream_id)
        with self._working():
            self._channels.begin(keys.control)
            unwatch = self._cancels.watch(stream_id, stop)

            def end() -> None:
                unwatch()
                if stream_id not in self._cancels.watched:
                    self._channels.remove(keys.control)
                    if stream_id not in self._writers:
                        self._cancels.forget(stream_id)

            try:
                state = await self._state(stream_id)
                if state is None and stream_id not in self._writers:
                    raise StreamNotFoundError(stream_id)
            except BaseException:
                end()
                raise
        if state is not None and state.cancel and not state.is_closed:
            self._cancels.cancel(stream_id)
        return end

    async def aclose(self) -> None:
        """Hang up; what is written in Redis stays."""
        if self._closed:
            return
        self._closed = True
        await self._background.aclose()
        await self._channels.aclose()
        await self._appends.aclose()
        await self._calls.aclose()
        await self._servers.aclose()
        self._writers.clear()

    @contextmanager
    def _working(self) -> Iterator[None]:
        """A call: the store is open, and what Redis raises becomes a `StoreError`."""
        if self._closed:
            raise ClosedError("the store is closed")
        if self._looking is None:
            self._looking = self._background.start(self._look.run(), name="looking after streams in Redis")
        try:
            yield
        except FAULTS as exc:
            raise StoreError(f"Redis at {self._servers.address} can't serve the streams: {reason(exc)}.") from exc

    def _writer(self, stream: StreamLog, epoch: int, token: bytes) -> Writer:
        return Writer(
            stream,
            epoch,
            token,
            calls=self._appends,
            index=self._index,
            lifetimes=self._lifetimes,
            publish=self._publish,
        )

    def _begin(self, writer: Writer) -> None:
        """A stream is written here from now on."""
        stream_id = writer.log.stream_id
        earlier = self._writers.get(stream_id)
        if earlier is not None:
            earlier.is_stale = True
        self._writers[stream_id] = writer
        self._copies.release(stream_id)

    async def _fence(self, stream_id: str, token: bytes) -> int:
        """Make the next epoch the token's."""
        key = Keys(stream_id).state
        while (state := await self._state(stream_id)) is not None:
            command = TAKE_OVER.call((key,), b"%d" % state.epoch, token)
            epoch: int | None = await self._calls.run(key, command, script=TAKE_OVER)
            if epoch:
                return epoch
        raise StreamNotFoundError(stream_id)

    async def _everything(self, stream_id: str) -> StreamLog:
        """The log, with all that is in Redis now."""
        writer = self._writers.get(stream_id)
        if writer is None:
            return await self._copies.complete(stream_id)
        await writer.absorb()
        return writer.log

    async def _adopt(self, stream_id: str, epoch: int) -> Writer:
        """The writer of an epoch that was given by another store, in another process or before a restart."""
        state = await self._state(stream_id)
        if state is None:
            raise StreamNotFoundError(stream_id)
        if state.epoch != epoch:
            raise StaleWriterError(stream_id, epoch)
        writer = self._writer(await self._everything(stream_id), epoch, state.token)
        self._begin(writer)
        return writer

    async def _state(self, stream_id: str) -> State | None:
        keys = Keys(stream_id)
        return State.of(await self._calls.run(keys.state, state_call(keys)))

    def _demote(self, writer: Writer) -> None:
        """Another process writes the stream: who reads its log here goes on with what that one writes."""
        writer.is_stale = True
        if self._writers.get(writer.log.stream_id) is writer:
            del self._writers[writer.log.stream_id]
            self._copies.follow(writer.log)

    def _retire(self, writer: Writer) -> None:
        """The stream has ended. Its writer stays a little, in case a fail-over takes its end back."""
        stream_id = writer.log.stream_id
        now = asyncio.get_running_loop().time()
        if writer.retired_at is None:
            writer.retired_at = now
            self._cancels.forget(stream_id)
        if now - writer.retired_at >= self._afterlife and self._writers.get(stream_id) is writer:
            del self._writers[stream_id]

    def _tell(self, stream_id: str) -> None:
        """A stream is to stop; it matters only where someone here writes it or may."""
        writer = self._writers.get(stream_id)
        if writer is not None and not writer.log.is_closed:
            writer.cancel = True
        if stream_id in self._cancels.watched or (writer is not None and not writer.log.is_closed):
            self._cancels.cancel(stream_id)

    def _hear(self, channel: bytes, message: bytes) -> None:
        stream_id, kind = stream_of(channel)
        if kind == "control":
            self._tell(stream_id)
        else:
            self._copies.hear(stream_id, message)

    def _confirm(self, channel: bytes) -> None:
        stream_id, kind = stream_of(channel)
        if kind == "control":
            self._background.start(self._look_for_cancel(stream_id), name=f"asking whether {stream_id} is to stop")
        else:
            self._copies.confirmed(stream_id)

    async def _look_for_cancel(self, stream_id: str) -> None:
        state = await self._state(stream_id)
        if state is not None and state.cancel and not state.is_closed:
            self._tell(stream_id)


def _token() -> bytes:
    return secrets.token_hex(8).encode()
