"""A store, a queue of jobs and what they hold, for the tests of workers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hub.events import LLMEvent
from hub.jobs.base import Job
from hub.jobs.memory import MemoryJobQueue
from hub.streams.memory import MemoryStreamStore
from hub.testing import collect
from hub.worker import Worker

from ..contracts.generations import HELLO, Scripts, Store
from ..contracts.samples import now

__all__ = ("Office",)


class Office:
    """A store, a queue and what they hold."""

    def __init__(self, *scripts: Sequence[Any], store: MemoryStreamStore | None = None, **options: Any) -> None:
        self.generator = Scripts(*scripts)
        self.store = store if store is not None else Store()
        self.queue = MemoryJobQueue(clock=now, **options)

    def worker(self, **options: Any) -> Worker:
        return Worker(self.generator, self.store, self.queue, **options)

    async def submit(self, *stream_ids: str, **arguments: Any) -> None:
        for stream_id in stream_ids:
            await self.store.create(stream_id, model="asked")
            await self.queue.submit(stream_id, {"messages": HELLO, **arguments})

    async def events(self, stream_id: str = "str_1") -> list[LLMEvent]:
        return await collect((await self.store.open(stream_id)).read())

    async def waiting(self) -> int:
        return sum(depth.waiting for depth in (await self.queue.survey()).depths.values())

    async def lost(self, stream_id: str = "str_1", *, times: int) -> None:
        """So many workers have been lost with the job."""
        member = await self.queue.join("lost", concurrency=1)
        (job,) = await member.claim(1)
        assert job.stream_id == stream_id
        await member.leave()
        self.queue._waiting["again"].clear()
        self.queue.add("again", Job(stream_id, job.arguments, lost=times))
