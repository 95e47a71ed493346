"""A queue of jobs in this process's memory: nothing survives it."""

from __future__ import annotations

import asyncio
import builtins
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from time import time
from typing import Any, assert_never

from hub.errors import HubBusyError
from hub.jobs.base import (
    PRIORITIES,
    AsideJob,
    Depth,
    Finished,
    Job,
    Outcome,
    Overdue,
    Priority,
    Pulse,
    Released,
    SetAside,
    Survey,
    WorkerInfo,
)
from hub.jobs.payload import encode_job

__all__ = ("MemoryJobQueue",)

_QUEUES = ("again", *PRIORITIES)


class MemoryJobQueue:
    """Jobs for workers in this process, which don't die alone; a `JobQueue`.

    Args:
        max_queued: Jobs that may wait.
        claim_wait: Seconds for which a worker waits before it asks anew.
        announced_for: Seconds after which somebody looks after a stream that was announced and not submitted.
        clock: Unix seconds.
    """

    def __init__(
        self,
        *,
        max_queued: int = 10_000,
        claim_wait: float = 5.0,
        announced_for: float = 10.0,
        clock: Callable[[], float] = time,
    ) -> None:
        self.clock = clock
        self.claim_wait = claim_wait
        self.announced_for = announced_for
        self.announced: dict[str, tuple[Job, float]] = {}
        self.aside: dict[str, tuple[Job, AsideJob]] = {}
        self.workers: dict[str, MemoryMembership] = {}
        self._waiting: dict[str, deque[tuple[Job, float]]] = {name: deque() for name in _QUEUES}
        self._known: set[str] = set()
        self._max_queued = max_queued
        self._more = asyncio.Event()

    async def announce(self, stream_id: str, arguments: Mapping[str, Any], *, priority: Priority = "normal") -> None:
        """Say that a stream is about to be made."""
        job = _job(stream_id, arguments, priority)
        if stream_id not in self._known:
            self._check(len(self.announced))
            self._known.add(stream_id)
            self.announced[stream_id] = (job, self.clock())

    async def submit(self, stream_id: str, arguments: Mapping[str, Any], *, priority: Priority = "normal") -> None:
        """Have a worker carry out a generation."""
        job = _job(stream_id, arguments, priority)
        if self.announced.pop(stream_id, None) is None:
            if stream_id in self._known:
                return
            self._check(0)
        self._known.add(stream_id)
        self.add(job.priority, job)

    async def withdraw(self, stream_id: str) -> None:
        """Forget an announcement."""
        if self.announced.pop(stream_id, None) is not None:
            self._known.discard(stream_id)

    async def promote(self, stream_id: str) -> None:
        """Submit what was announced and is still announced."""
        if (announced := self.announced.pop(stream_id, None)) is not None:
            self.add(announced[0].priority, announced[0])

    async def join(self, worker: str, *, concurrency: int) -> MemoryMembership:
        """Become a worker."""
        self.workers[worker] = MemoryMembership(self, worker, concurrency)
        return self.workers[worker]

    async def survey(self) -> Survey:
        """What the queue holds."""
        now = self.clock()
        return Survey(
            {name: Depth(len(jobs), now - jobs[0][1] if jobs else None) for name, jobs in self._waiting.items()},
            len(self.announced),
            tuple(each.info for each in self.workers.values()),
            tuple(info for _, info in reversed(self.aside.values())),
        )

    async def drop(self, stream_id: str) -> bool:
        """Forget a job that was set aside; whether there was one."""
        self._known.discard(stream_id)
        return self.aside.pop(stream_id, None) is not None

    async def aclose(self) -> None:
        """Nothing: it goes with the process."""

    def add(self, name: str, job: Job) -> None:
        """Have a job wait."""
        self._waiting[name].append((job, self.clock()))
        self._more.set()

    def forget(self, stream_id: str) -> None:
        """A job is done with."""
        self._known.discard(stream_id)

    async def take(self, limit: int) -> builtins.list[Job]:
        """The most urgent jobs, as many as there are and at most so many, waiting for the first."""
        try:
            async with asyncio.timeout(self.claim_wait):
                while not any(self._waiting.values()):
                    self._more.clear()
                    await self._more.wait()
        except TimeoutError:
            return []
        jobs: list[Job] = []
        for waiting in self._waiting.values():
            while waiting and len(jobs) < limit:
                jobs.append(waiting.popleft()[0])
        return jobs

    def _check(self, more: int) -> None:
        if sum(map(len, self._waiting.values())) + more >= self._max_queued:
            raise HubBusyError(f"Too many streams wait for a worker: {self._max_queued}.", retry_after=2.0)


class MemoryMembership:
    """What one worker of this process has of the queue; a `Membership`."""

    def __init__(self, queue: MemoryJobQueue, worker: str, concurrency: int) -> None:
        self._queue = queue
        self._worker = worker
        self._concurrency = concurrency
        self._since = queue.clock()
        self._held: dict[str, Job] = {}

    @property
    def info(self) -> WorkerInfo:
        """Who this is, and how many jobs it has."""
        return WorkerInfo(self._worker, self._since, self._concurrency, len(self._held))

    async def claim(self, limit: int) -> Sequence[Job]:
        """At most `limit` jobs."""
        jobs = await self._queue.take(limit)
        self._held |= {job.stream_id: job for job in jobs}
        return jobs

    async def beat(self) -> Pulse:
        """Give a sign of life."""
        ages = {stream_id: self._queue.clock() - at for stream_id, (_, at) in self._queue.announced.items()}
        late = [Overdue(stream_id, age) for stream_id, age in ages.items() if age >= self._queue.announced_for]
        return Pulse((), late)

    async def settle(self, stream_id: str, outcome: Outcome) -> None:
        """Say what became of a job."""
        job = self._held.pop(stream_id, None)
        if job is None:
            return
        match outcome:
            case Finished():
                self._queue.forget(stream_id)
            case Released(is_lost=is_lost):
                self._queue.add("again", replace(job, lost=job.lost + is_lost))
            case SetAside(reason=reason):
                info = AsideJob(stream_id, self._queue.clock(), reason, job.lost, job.priority)
                self._queue.aside[stream_id] = (job, info)
            case _:
                assert_never(outcome)

    async def leave(self, *, is_gone: bool = True) -> None:
        """Let others have what the worker has."""
        if is_gone:
            for job in self._held.values():
                self._queue.add("again", job)
            self._held.clear()
            self._queue.workers.pop(self._worker, None)


def _job(stream_id: str, arguments: Mapping[str, Any], priority: Priority) -> Job:
    encode_job(arguments, priority)  # refuses what another process couldn't be given
    return Job(stream_id, dict(arguments), priority)
