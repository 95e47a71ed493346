"""A look at Redis once a second: makes up for whatever pub/sub has lost, and for what Redis has."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from hub.redis_io.background import Background
from hub.redis_io.calls import Calls
from hub.redis_io.channels import Channels
from hub.redis_io.faults import FAULTS
from hub.redis_io.script import pack
from hub.streams.cancels import Cancels
from hub.streams.redis.copies import Copies, is_other
from hub.streams.redis.scripts import Keys
from hub.streams.redis.writer import Writer

__all__ = ("Look", "State", "state_call")

log = logging.getLogger(__name__)

LOOK_INTERVAL = 0.8
"""Seconds, so that what has to be known within a second is."""

HANDED_OVER_AFTER = 10.0
"""Seconds after which a stream that was made here, lost, and never written to is nobody's to write here."""

_FIELDS = (b"next", b"epoch", b"token", b"cancel", b"closed", b"created_at", b"status")


@dataclass(frozen=True, slots=True)
class State:
    """How a stream stands in Redis.

    Attributes:
        next_seq: The position of the next event.
        epoch: The writer's.
        token: The writer's.
        cancel: The stream is to stop.
        is_closed: It has ended.
        is_queued: It waits for a worker.
        created_at: When it was made, in Unix seconds.
    """

    next_seq: int
    epoch: int
    token: bytes
    cancel: bool
    is_closed: bool
    is_queued: bool
    created_at: float

    @classmethod
    def of(cls, reply: list[bytes | None]) -> State | None:
        """What `state_call` was answered; None where there is no such stream."""
        next_seq, epoch, token, cancel, closed, created_at, status = reply
        if next_seq is None or epoch is None or token is None or created_at is None:
            return None
        return cls(
            next_seq=int(next_seq),
            epoch=int(epoch),
            token=token,
            cancel=cancel is not None,
            is_closed=closed is not None,
            is_queued=status == b"queued",
            created_at=float(created_at),
        )


def state_call(keys: Keys) -> bytes:
    """The packed command that asks how a stream stands."""
    return pack(b"HMGET", keys.state, *_FIELDS)


class Look:
    """Compares, now and then, what is known here with how the streams stand in Redis.

    Copies that lag read on; logs written here that Redis has lost are written again; writers that were replaced
    unnoticed become readers; streams that are to stop are told so.

    Args:
        calls: To the servers.
        channels: Looked after too.
        copies: What other processes write.
        writers: What this one writes.
        cancels: Who is to be told.
        background: Owns what takes longer than a look.
        demote: Makes a reader of a writer that was replaced.
        retire: Lets go of a writer whose stream has ended in Redis too.
    """

    def __init__(
        self,
        calls: Calls,
        channels: Channels,
        copies: Copies,
        writers: Mapping[str, Writer],
        cancels: Cancels,
        background: Background,
        *,
        demote: Callable[[Writer], None],
        retire: Callable[[Writer], None],
    ) -> None:
        self._calls = calls
        self._channels = channels
        self._copies = copies
        self._writers = writers
        self._cancels = cancels
        self._background = background
        self._demote = demote
        self._retire = retire

    async def run(self) -> None:
        """Look for ever."""
        while True:
            await asyncio.sleep(LOOK_INTERVAL)
            try:
                await self.once()
            except Exception:
                log.exception("a look at the streams in Redis failed; the next one follows")

    async def once(self) -> None:
        """Look once."""
        now = asyncio.get_running_loop().time()
        await self._channels.look()
        copies = list(self._copies.quiet(now, now - LOOK_INTERVAL))
        writers = list(self._quiet_writers())
        watched = [stream_id for stream_id in self._cancels.watched if stream_id not in self._writers]
        keys = [*(each.keys for each in copies), *(each.keys for each in writers), *map(Keys, watched)]
        answers = iter(await self._states(keys))
        for copy, (is_known, state) in zip(copies, answers, strict=False):
            if is_known:
                stream = copy.stream
                is_gone = state is None or (stream is not None and is_other(stream, state.created_at))
                if state is not None and stream is not None and stream.last_seq < 0:
                    stream.is_queued = state.is_queued  # what takes it over says so by nothing else at first
                self._copies.look_after(copy, None if state is None or is_gone else state.next_seq, now)
        for writer, (is_known, state) in zip(writers, answers, strict=False):
            if is_known:
                self._look_after(writer, state, now)
        for stream_id, (_, state) in zip(watched, answers, strict=False):
            if state is not None and state.cancel and not state.is_closed:
                self._cancels.cancel(stream_id)

    def _quiet_writers(self) -> Iterator[Writer]:
        for writer in tuple(self._writers.values()):
            if not writer.has_written or writer.log.is_closed:
                yield writer
            writer.has_written = False

    async def _states(self, keys: Iterable[Keys]) -> list[tuple[bool, State | None]]:
        """How the streams stand; for each also whether that is known at all."""
        sent = [self._calls.send(each.state, state_call(each)) for each in keys]
        waiting = [each for each in sent if each is not None]
        try:
            if waiting:
                await asyncio.wait(waiting)
        finally:
            for each in waiting:
                each.cancel()
        return [(False, None) if each is None else _answer(each) for each in sent]

    def _look_after(self, writer: Writer, state: State | None, now: float) -> None:
        stream_id = writer.log.stream_id
        if self._writers.get(stream_id) is not writer or writer.is_busy:
            return
        if state is not None and writer.is_replaced(state.epoch, state.token):
            self._demote(writer)
            return
        if state is not None and state.cancel and not state.is_closed:
            writer.cancel = True
            self._cancels.cancel(stream_id)
        last_seq = writer.log.last_seq
        if state is None and writer.epoch == 1 and not writer.has_appended:
            # Handed over, maybe: made anew here, it could run for ever with no writer. Who appends makes it anew.
            writer.gone_since = now if writer.gone_since is None else writer.gone_since
            if now - writer.gone_since >= HANDED_OVER_AFTER:
                self._demote(writer)
        elif state is None or state.next_seq <= last_seq or state.epoch < writer.epoch:
            next_seq = 0 if state is None else state.next_seq
            self._background.start(writer.repair(next_seq), name=f"writing the log of stream {stream_id} again")
        elif state.next_seq > last_seq + 1:
            self._background.start(writer.absorb(), name=f"reading the log of stream {stream_id}")
        elif state.is_closed:
            self._retire(writer)


def _answer(reply: asyncio.Future[Any]) -> tuple[bool, State | None]:
    exc = reply.exception()
    if exc is None:
        return True, State.of(reply.result())
    if not isinstance(exc, FAULTS):
        log.info("a look at a stream in Redis failed: %s", exc)
    return False, None
