"""Writes one stream's log into Redis, and writes it anew where Redis has lost it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import NoReturn

from hub.errors import StaleWriterError, StoreError
from hub.events import LLMEvent
from hub.redis_io.calls import Calls
from hub.redis_io.script import pack_arguments
from hub.streams.log import StreamLog
from hub.streams.redis.batch import Batch, batches_from, next_batch
from hub.streams.redis.index import Index
from hub.streams.redis.page import apply, read_page
from hub.streams.redis.scripts import APPEND, CREATE, Keys, Outcome

__all__ = ("Lifetimes", "Writer", "create_call")

MAX_MESSAGE_BYTES = 64_000
"""Above it a batch is only announced to other processes, which then read it."""

MAX_LOSSES = 5


class Lifetimes:
    """How long a stream is kept, as Redis's commands want it.

    Args:
        running_ttl: Seconds that a stream is kept in which nothing happens.
        retention_ttl: Seconds that an ended one is kept.
    """

    def __init__(self, running_ttl: float, retention_ttl: float) -> None:
        self.running = b"%d" % max(1, round(running_ttl * 1000))
        self.ended = b"%d" % max(1, round(retention_ttl * 1000))


class Writer:
    """The one writer of a stream, whose log in this process is what Redis is to have.

    Args:
        log: All that is in the stream so far.
        epoch: The writer's.
        token: Tells it from another one that got the same epoch from a server which had lost the first.
        calls: To the servers.
        index: The list of streams, for one that is made anew.
        lifetimes: How long the stream is kept.
        publish: The server's command for it.

    Attributes:
        is_stale: Another writer has taken over.
        cancel: The stream is to stop, as Redis said last.
        has_written: Something was appended since this was last set to False.
        has_appended: Something was ever appended by this writer.
        gone_since: The loop's time at which Redis was first seen to have lost a stream in which nothing was appended.
        has_ended: Redis has the stream's end, or had it.
        retired_at: When that was seen; None before.
    """

    def __init__(
        self,
        log: StreamLog,
        epoch: int,
        token: bytes,
        *,
        calls: Calls,
        index: Index,
        lifetimes: Lifetimes,
        publish: bytes,
    ) -> None:
        self.log = log
        self.epoch = epoch
        self.token = token
        self.keys = Keys(log.stream_id)
        self.is_stale = False
        self.cancel = False
        self.has_written = False
        self.has_appended = False
        self.gone_since: float | None = None
        self.has_ended = False
        self.retired_at: float | None = None
        self._calls = calls
        self._index = index
        self._lifetimes = lifetimes
        self._lock = asyncio.Lock()
        keys = self.keys
        self._head = APPEND.head(keys.log, keys.state, keys.events, keys.batches)
        self._head += pack_arguments(publish, b"%d" % epoch, token)

    @property
    def is_busy(self) -> bool:
        """Something is being written."""
        return self._lock.locked()

    def is_replaced(self, epoch: int, token: bytes) -> bool:
        """Whether another writer has taken over, going by what Redis says; a lower epoch is one that it has lost."""
        return epoch > self.epoch or (epoch == self.epoch and token != self.token)

    async def append(self, events: Sequence[LLMEvent]) -> None:
        """Add events to Redis, then to the log here.

        Raises:
            SequenceGapError: Events are missing before these or among them.
            MalformedEventError: One of them has no JSON.
            StaleWriterError: Another writer has taken over.
            Exception: One of `hub.redis_io.faults.FAULTS`.
        """
        async with self._lock:
            if self.is_stale:
                self._lose()
            batch = next_batch(self.log, events)
            if batch is not None:
                self.has_appended = True
                await self._put(batch)
                self.log.append(batch.events)
            elif events and self.log.events and not self.log.is_closed:
                await self._put(None)  # known events: nothing to add, but whether they may be sent

    async def repair(self, next_seq: int) -> None:
        """Write again what Redis has lost of the log.

        Args:
            next_seq: The position at which Redis stood when it was looked at.

        Raises:
            Exception: As `append`.
        """
        async with self._lock:
            if self.is_stale:
                return
            if self.log.events:
                await self._put(None)
            else:
                await self._create_anew(next_seq)

    async def absorb(self) -> None:
        """Take what Redis has and the log here lacks: what a cancelled `append` has added.

        Raises:
            Exception: As `append`.
        """
        async with self._lock:
            while (page := await read_page(self._calls, self.keys, self.log.last_seq + 1)) is not None:
                # What a writer of a lower epoch has added, where a take-over was lost, doesn't stand.
                if page.epoch < self.epoch or apply(self.log, page):
                    return

    async def _put(self, batch: Batch | None) -> None:
        """Bring a batch, and before it whatever else Redis lacks, into the log there."""
        waiting = list(self._own(len(self.log.events) - 1)) if batch is None else [batch]
        losses = 0
        while waiting:
            outcome, next_seq = await self._call(waiting[0])
            match outcome:
                case Outcome.KEPT:
                    self.has_ended = waiting.pop(0).is_last or self.has_ended
                    continue
                case Outcome.STALE:
                    self._lose()
                case Outcome.LOST:
                    await self._create_anew(next_seq)
                    next_seq = 0
                case Outcome.BEHIND:
                    pass
            losses += 1
            if losses > MAX_LOSSES:
                raise StoreError(f"Redis loses the log of stream {self.log.stream_id!r} again and again.")
            index = self.log.locate(next_seq - 1) if next_seq <= self.log.last_seq + 1 else None
            if index is None:  # what is there was not written by us in this form
                await self._create_anew(next_seq)
                index = 0
            waiting = [*self._own(index), *([] if batch is None else [batch])]

    def _own(self, index: int) -> Sequence[Batch]:
        return tuple(batches_from(self.log, max(0, index)))

    async def _call(self, batch: Batch) -> tuple[Outcome, int]:
        command = self._head + pack_arguments(
            b"%d" % batch.first_seq,
            b"%d" % batch.last_seq,
            batch.seqs,
            batch.status.encode(),
            b"" if batch.model is None else batch.model.encode(),
            b"1" if batch.is_last else b"",
            self._lifetimes.ended if batch.is_last else self._lifetimes.running,
            b"%d" % MAX_MESSAGE_BYTES,
            batch.body,
        )
        reply: int = await self._calls.run(self.keys.state, command, script=APPEND)
        self.has_written = True
        self.cancel = self.cancel or bool(reply & 4)
        return Outcome(reply & 3), reply >> 3

    async def _create_anew(self, next_seq: int) -> None:
        command = create_call(self.log, self.epoch, self.token, self._lifetimes, next_seq=next_seq, cancel=self.cancel)
        if not await self._calls.run(self.keys.state, command, script=CREATE):
            self._lose()
        await self._index.restore(self.log.stream_id, self.log.created_at)

    def _lose(self) -> NoReturn:
        self.is_stale = True
        raise StaleWriterError(self.log.stream_id, self.epoch)


def create_call(
    log: StreamLog,
    epoch: int,
    token: bytes,
    lifetimes: Lifetimes,
    *,
    next_seq: int | None = None,
    cancel: bool = False,
) -> bytes:
    """The packed command that makes a stream, or makes it anew where Redis has lost it.

    Args:
        log: Its log.
        epoch: The writer's.
        token: The writer's.
        lifetimes: How long it is kept.
        next_seq: The position at which Redis stood when it was seen to have lost something; None for a new stream.
        cancel: It is to stop.
    """
    keys = Keys(log.stream_id)
    return CREATE.call(
        (keys.log, keys.state),
        b"%d" % epoch,
        token,
        repr(log.created_at).encode(),
        b"" if log.model is None else log.model.encode(),
        b"" if log.fingerprint is None else log.fingerprint.encode(),
        lifetimes.running,
        b"1" if cancel else b"",
        b"" if next_seq is None else b"%d" % next_seq,
        b"%d" % log.input_tokens if log.input_tokens else b"",
    )
