"""The list of all streams in Redis."""

from __future__ import annotations

import asyncio
import builtins
import logging
from collections.abc import Callable, Sequence
from typing import Any, cast

from hub.redis_io.calls import Calls
from hub.redis_io.script import pack
from hub.result import StreamStatus
from hub.streams.base import StreamInfo
from hub.streams.redis.scripts import INDEX, LIST, Keys

__all__ = ("Index",)

log = logging.getLogger(__name__)

PAGE_STREAMS = 1_000
SWEEP_STREAMS = 100
SETTLING = 60.0
"""Seconds for which a stream that was just made may be in the list and have no state yet, on another node."""


class Index:
    """The list; streams that have expired leave it when they are met, oldest first with each new stream.

    Args:
        calls: To the servers.
        clock: Unix seconds.
        is_listed: Whether streams of this process come into it.
    """

    def __init__(self, calls: Calls, clock: Callable[[], float], *, is_listed: bool = True) -> None:
        self._calls = calls
        self._clock = clock
        self._is_listed = is_listed
        self._added = 0

    async def add(self, stream_id: str, created_at: float) -> None:
        """Put a stream into the list, as the newest."""
        if not self._is_listed:
            return
        command = LIST.call((INDEX,), stream_id.encode(), repr(created_at).encode())
        await self._calls.run(INDEX, command, script=LIST)
        self._added += 1
        if self._added % SWEEP_STREAMS == 1:
            await self._sweep()

    async def restore(self, stream_id: str, created_at: float) -> None:
        """Put a stream into the list again, where it was."""
        if not self._is_listed:
            return
        await self._calls.run(INDEX, pack(b"ZADD", INDEX, b"NX", repr(created_at).encode(), stream_id.encode()))

    async def list(self, limit: int) -> builtins.list[StreamInfo]:
        """The streams that are kept, newest first, and at most so many."""
        found: builtins.list[StreamInfo] = []
        begin = 0
        while len(found) < limit:
            count = min(PAGE_STREAMS, limit)
            page = await self._page(b"ZREVRANGE", begin, count)
            found += await self._known(page)
            if len(page) < count:
                break
            begin += count
        return found[:limit]

    async def _sweep(self) -> None:
        """Let go of the oldest streams that have expired."""
        await self._known(await self._page(b"ZRANGE", 0, SWEEP_STREAMS * 2))

    async def _page(self, verb: bytes, begin: int, count: int) -> Sequence[tuple[bytes, float]]:
        command = pack(verb, INDEX, b"%d" % begin, b"%d" % (begin + count - 1), b"WITHSCORES")
        reply = await self._calls.run(INDEX, command)
        return [(stream_id, float(score)) for stream_id, score in zip(reply[::2], reply[1::2], strict=True)]

    async def _known(self, page: Sequence[tuple[bytes, float]]) -> builtins.list[StreamInfo]:
        """Those of the streams that are kept; the others leave the list."""
        states = await asyncio.gather(*(self._ask(stream_id) for stream_id, _ in page))
        settled = self._clock() - SETTLING
        gone = [
            stream_id for (stream_id, score), info in zip(page, states, strict=True) if info is None and score < settled
        ]
        if gone:
            await self._calls.run(INDEX, pack(b"ZREM", INDEX, *gone))
        return [info for info in states if info is not None]

    async def _ask(self, stream_id: bytes) -> StreamInfo | None:
        keys = Keys(stream_id.decode())
        command = pack(b"HMGET", keys.state, b"status", b"model", b"created_at", b"next")
        status, model, created_at, next_seq = cast("list[Any]", await self._calls.run(keys.state, command))
        if status is None or created_at is None or next_seq is None:
            return None
        return StreamInfo(
            stream_id.decode(),
            cast("StreamStatus", status.decode()),
            None if model is None else model.decode(),
            float(created_at),
            int(next_seq) - 1,
        )
