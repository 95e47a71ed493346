"""This process's copies of logs that other processes write into Redis."""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections.abc import Iterator

from hub.errors import SequenceGapError, StreamNotFoundError
from hub.redis_io.background import Background, outcome
from hub.redis_io.calls import Calls
from hub.redis_io.channels import Channels
from hub.result import Failure
from hub.streams.log import StreamLog
from hub.streams.redis.copy import decode_lines, extend, resync
from hub.streams.redis.page import Page, apply, read_page
from hub.streams.redis.scripts import Keys
from hub.streams.takeover import LOST_POSITIONS

__all__ = ("Copies", "Copy", "is_other")

log = logging.getLogger(__name__)

MAX_READS = 32
"""Copies that read pages at the same time, so that a lost connection doesn't fill the memory."""

RETURN_TIMEOUT = 3.0
"""Seconds that a reader waits for the writer to append again what a fail-over has lost."""

_GONE = Failure(code="store_unavailable", message="The stream is gone from the store.", retryable=True)


class Copy:
    """One copy, kept for a time, and as long as somebody reads it.

    Args:
        stream: The log.
        kept_until: The loop's time up to which it is kept in any case.
    """

    def __init__(self, stream: StreamLog, kept_until: float) -> None:
        self.keys = Keys(stream.stream_id)
        self.kept_until = kept_until
        self.heard_at = float("-inf")
        self.gone_since: float | None = None
        self.is_behind = False
        self.reading: asyncio.Task[None] | None = None
        self._kept: StreamLog | None = stream
        self._stream = weakref.ref(stream)

    @property
    def stream(self) -> StreamLog | None:
        """The log; None where nobody holds it any more."""
        return self._stream()

    def keep(self, until: float) -> None:
        """Keep it up to this time, whether somebody holds it or not."""
        self.kept_until = until
        self._kept = self._stream()

    def drop(self) -> None:
        """Keep it only as long as somebody else holds it."""
        self._kept = None


class Copies:
    """The copies, each shared by all of its readers here, and followed while its stream runs.

    What arrives over pub/sub is added where it adjoins; what doesn't is read from the log, as is everything after a
    lost connection. Nothing that arrives is held back meanwhile, since the log has it too.

    Args:
        calls: To the servers.
        channels: Where `hear` and `confirmed` are told from.
        background: Owns the reading.
        linger: Seconds that a copy is kept which nobody holds.
        outage_timeout: Seconds after which a stream that is gone is ended for those who read it here.
    """

    def __init__(
        self, calls: Calls, channels: Channels, background: Background, *, linger: float, outage_timeout: float
    ) -> None:
        self._calls = calls
        self._channels = channels
        self._background = background
        self._linger = linger
        self._outage_timeout = outage_timeout
        self._copies: dict[str, Copy] = {}
        self._loading: dict[str, asyncio.Task[StreamLog]] = {}
        self._reads = asyncio.Semaphore(MAX_READS)

    async def open(self, stream_id: str, *, at_least: int = -1) -> StreamLog:
        """The copy, with position `at_least` in it where there is one.

        Raises:
            StreamNotFoundError: There is no such stream.
            Exception: One of `hub.redis_io.faults.FAULTS`.
        """
        now = asyncio.get_running_loop().time()
        copy = self._copies.get(stream_id)
        stream = copy.stream if copy is not None and stream_id not in self._loading else None
        if copy is None or stream is None or (stream.is_closed and now >= copy.kept_until):
            stream = await self._load(stream_id)
        elif not stream.is_closed:
            copy.keep(now + self._linger)
        if at_least > stream.last_seq and not stream.is_closed:
            await self._reach(stream, at_least)
        return stream

    async def complete(self, stream_id: str) -> StreamLog:
        """The copy, with everything that is in the log now.

        Raises:
            Exception: As `open`.
        """
        stream = await self.open(stream_id)
        copy = self._copies.get(stream_id)
        if copy is not None and not stream.is_closed:
            await outcome(self.catch_up(copy))
        return stream

    def follow(self, stream: StreamLog) -> None:
        """Make a log a copy that was written here until now."""
        copy = self._copies[stream.stream_id] = Copy(stream, asyncio.get_running_loop().time() + self._linger)
        if not stream.is_closed:
            self._channels.begin(copy.keys.batches)
            self.catch_up(copy)

    def release(self, stream_id: str) -> None:
        """Follow a stream no longer: it is written here, or is another one now."""
        copy = self._copies.pop(stream_id, None)
        if copy is not None:
            self._channels.remove(copy.keys.batches)

    def confirmed(self, stream_id: str) -> None:
        """The subscription is there from now on: what was published before may have been missed."""
        if (copy := self._copies.get(stream_id)) is not None:
            self.catch_up(copy)

    def hear(self, stream_id: str, message: bytes) -> None:
        """Take what was published: the last position, when the stream was made, and the events if not too large."""
        copy = self._copies.get(stream_id)
        stream = None if copy is None else copy.stream
        if copy is None or stream is None or stream.is_closed:
            return
        copy.heard_at = asyncio.get_running_loop().time()
        head, _, lines = message.partition(b"\n")
        try:
            last_seq, _, created_at = head.partition(b" ")
            if int(last_seq) <= stream.last_seq or is_other(stream, float(created_at)):
                return
            if lines and extend(stream, decode_lines(lines)):
                self._end(copy, stream)
                return
        except (SequenceGapError, ValueError) as exc:
            log.warning("what was published of stream %s is of no use, its log is read: %s", stream_id, exc)
        self.catch_up(copy)

    def catch_up(self, copy: Copy) -> asyncio.Task[None]:
        """Read what the log has from now on; a reading that is under way begins once more."""
        copy.is_behind = True
        if copy.reading is None or copy.reading.done():
            copy.reading = self._background.start(self._read(copy), name="reading a stream's log")
        return copy.reading

    def quiet(self, now: float, since: float) -> Iterator[Copy]:
        """The copies to look after: those of running streams of which nothing was heard for a time.

        Those that nobody holds any more are let go.
        """
        for stream_id, copy in tuple(self._copies.items()):
            if now >= copy.kept_until:
                copy.drop()
            stream = copy.stream
            if stream is None:
                self.release(stream_id)
            elif not stream.is_closed and copy.heard_at < since:
                yield copy

    def look_after(self, copy: Copy, next_seq: int | None, now: float) -> None:
        """Catch up where the log has gone on, and end the copy where it has been gone for long.

        Args:
            copy: One of `quiet`.
            next_seq: The log's next position; None where there is no such stream.
            now: The loop's time.
        """
        stream = copy.stream
        if stream is None or stream.is_closed:
            return
        if next_seq is None:
            copy.gone_since = now if copy.gone_since is None else copy.gone_since
            if now - copy.gone_since >= self._outage_timeout:
                stream.append(stream.ending("failed", _GONE))
                self._end(copy, stream)
            return
        copy.gone_since = None
        if next_seq - 1 > stream.last_seq:
            self.catch_up(copy)

    async def _load(self, stream_id: str) -> StreamLog:
        loading = self._loading.get(stream_id)
        if loading is None:
            loading = self._background.start(self._load_and_follow(stream_id), name="loading a stream's log")
            self._loading[stream_id] = loading
            loading.add_done_callback(lambda _: self._loading.pop(stream_id, None))
        return await outcome(loading)

    async def _load_and_follow(self, stream_id: str) -> StreamLog:
        earlier = self._copies.get(stream_id)
        stream = None if earlier is None else earlier.stream
        page = await read_page(self._calls, Keys(stream_id), 0 if stream is None else stream.last_seq + 1)
        if (other := self._other_than(earlier, stream_id)) is not None:
            return other
        if page is None:
            self.release(stream_id)
            raise StreamNotFoundError(stream_id)
        if stream is None or is_other(stream, page.created_at):  # else one that somebody holds still
            stream = _empty(stream_id, page)
        copy = Copy(stream, 0.0)
        self._copies[stream_id] = copy
        try:
            while not apply(stream, page):
                page = await read_page(self._calls, copy.keys, stream.last_seq + 1)
                if page is None:
                    raise StreamNotFoundError(stream_id)
            if not stream.is_closed:
                await self._channels.add(copy.keys.batches)
                await outcome(self.catch_up(copy))
        except BaseException:
            if self._copies.get(stream_id) is copy:
                self.release(stream_id)
            raise
        ttl = min(self._linger, page.ttl) if stream.is_closed else self._linger
        copy.keep(asyncio.get_running_loop().time() + ttl)
        return self._other_than(copy, stream_id) or stream

    def _other_than(self, copy: Copy | None, stream_id: str) -> StreamLog | None:
        """The log that took the copy's place meanwhile: one that was written here until then, and has its readers."""
        current = self._copies.get(stream_id)
        return None if current is None or current is copy else current.stream

    async def _read(self, copy: Copy) -> None:
        async with self._reads:
            while copy.is_behind and (stream := copy.stream) is not None and not stream.is_closed:
                copy.is_behind = False
                page = await read_page(self._calls, copy.keys, stream.last_seq + 1)
                if page is None or is_other(stream, page.created_at):
                    return
                try:
                    is_whole = apply(stream, page)
                except SequenceGapError as exc:
                    log.warning("the log of stream %s is told anew: %s", stream.stream_id, exc)
                    is_whole = await self._resync(copy, stream)
                if not is_whole:
                    copy.is_behind = True
                self._end(copy, stream)

    async def _resync(self, copy: Copy, stream: StreamLog) -> bool:
        page = await read_page(self._calls, copy.keys, 0)
        if page is None:
            return True
        fresh = _empty(stream.stream_id, page)
        while not apply(fresh, page):
            page = await read_page(self._calls, copy.keys, fresh.last_seq + 1)
            if page is None:
                return True
        resync(stream, fresh)
        return True

    def _end(self, copy: Copy, stream: StreamLog) -> None:
        if stream.is_closed:
            self._channels.remove(copy.keys.batches)

    async def _reach(self, stream: StreamLog, position: int) -> None:
        """Return once the copy has a position, or the log has none such, as far as can be told."""
        copy = self._copies.get(stream.stream_id)
        if copy is not None:
            await outcome(self.catch_up(copy))
        if position - stream.last_seq > LOST_POSITIONS:
            return
        more = asyncio.Event()
        unwatch = stream.watch(more.set)
        try:
            async with asyncio.timeout(RETURN_TIMEOUT):
                while stream.last_seq < position and not stream.is_closed:
                    more.clear()
                    await more.wait()
        except TimeoutError:
            pass
        finally:
            unwatch()


def is_other(stream: StreamLog, created_at: float) -> bool:
    """Whether a stream of that time is another one of the same id. A copy without a word is whichever is there.

    A fail-over may lose a stream that has just been made, and its maker, who heard nothing, then makes it again.
    """
    if stream.last_seq < 0:
        stream.created_at = created_at
    return stream.created_at != created_at


def _empty(stream_id: str, page: Page) -> StreamLog:
    return StreamLog(
        stream_id,
        created_at=page.created_at,
        model=page.model,
        fingerprint=page.fingerprint,
        input_tokens=page.input_tokens,
    )
