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
    job_key,
)
from hub.jobs.payload import encode_job
from hub.jobs.suspects import Begun, Room, begun_queue, room_for

__all__ = ("MemoryJobQueue",)

_BEGUN: tuple[Begun, ...] = ("again", "suspect", "last")


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
        self.workers: list[MemoryMembership] = []
        self._waiting: dict[str, deque[tuple[Job, float]]] = {name: deque() for name in (*_BEGUN, *PRIORITIES)}
        self._known: set[str] = set()
        self._max_queued = max_queued
        self._more = asyncio.Event()

    async def announce(self, stream_id: str, arguments: Mapping[str, Any], *, priority: Priority = "normal") -> None:
        """Say that a stream is about to be made."""
        job = _job(stream_id, arguments, priority)
        if stream_id not in self.announced:
            self._check(len(self.announced))
        self.announced[stream_id] = (job, self.clock())

    async def submit(
        self,
        stream_id: str,
        arguments: Mapping[str, Any],
        *,
        priority: Priority = "normal",
        created_at: float | None = None,
    ) -> None:
        """Have a worker carry out a generation."""
        job = replace(_job(stream_id, arguments, priority), created_at=created_at)
        was_announced = self.announced.pop(stream_id, None) is not None
        if job.key not in self._known:
            if not was_announced:
                self._check(0)
            self._known.add(job.key)
            self.add(job.priority, job)

    async def withdraw(self, stream_id: str) -> None:
        """Forget an announcement."""
        self.announced.pop(stream_id, None)

    async def promote(self, stream_id: str, *, created_at: float | None = None) -> None:
        """Submit what was announced and is still announced, unless a job of the stream is known."""
        if (announced := self.announced.pop(stream_id, None)) is not None:
            job = replace(announced[0], created_at=created_at)
            if self._known.isdisjoint((job.key, job_key(stream_id, None))):
                self._known.add(job.key)
                self.add(job.priority, job)

    async def forget(self, stream_id: str, *, created_at: float | None = None) -> None:
        """Forget a job that no worker has."""
        key = job_key(stream_id, created_at)
        for waiting in self._waiting.values():
            for each in [each for each in waiting if each[0].key == key]:
                waiting.remove(each)
                self._known.discard(key)

    async def join(self, worker: str, *, concurrency: int, max_attempts: int = 3) -> MemoryMembership:
        """Become a worker."""
        member = MemoryMembership(self, worker, concurrency, max_attempts)
        self.workers.append(member)
        return member

    async def survey(self) -> Survey:
        """What the queue holds."""
        now = self.clock()
        since: dict[str, builtins.list[float]] = {"again": []}
        for name, jobs in self._waiting.items():
            since.setdefault("again" if name in _BEGUN else name, []).extend(at for _, at in jobs)
        return Survey(
            {name: Depth(len(ats), now - min(ats) if ats else None) for name, ats in since.items()},
            len(self.announced),
            tuple(each.info for each in self.workers),
            tuple(info for _, info in reversed(self.aside.values())),
        )

    async def drop(self, stream_id: str) -> bool:
        """Forget a job that was set aside; whether there was one."""
        return self.aside.pop(stream_id, None) is not None

    async def aclose(self) -> None:
        """Nothing: it goes with the process."""

    def add(self, name: str, job: Job) -> None:
        """Have a job wait."""
        self._waiting[name].append((job, self.clock()))
        self._more.set()

    def finish(self, job: Job) -> None:
        """A job is done with, and its worker may have room for others."""
        self._known.discard(job.key)
        self._more.set()

    async def take(self, limit: int, room: Room) -> builtins.list[Job]:
        """The most urgent jobs, as many as there are and at most so many, waiting for the first."""
        try:
            async with asyncio.timeout(self.claim_wait):
                while not any(jobs and room.has(name) for name, jobs in self._waiting.items()):
                    self._more.clear()
                    await self._more.wait()
        except TimeoutError:
            return []
        jobs: list[Job] = []
        rooms = {"suspect": room.suspect, "last": room.last}
        for name, waiting in self._waiting.items():
            count = min(len(waiting), limit - len(jobs), rooms.get(name, limit))
            jobs += [waiting.popleft()[0] for _ in range(count)]
        return jobs

    def _check(self, more: int) -> None:
        if sum(map(len, self._waiting.values())) + more >= self._max_queued:
            raise HubBusyError(f"Too many streams wait for a worker: {self._max_queued}.", retry_after=2.0)


class MemoryMembership:
    """What one worker of this process has of the queue; a `Membership`."""

    def __init__(self, queue: MemoryJobQueue, worker: str, concurrency: int, max_attempts: int) -> None:
        self._queue = queue
        self._worker = worker
        self._concurrency = concurrency
        self._max_attempts = max_attempts
        self._since = queue.clock()
        self._held: dict[str, Job] = {}

    @property
    def info(self) -> WorkerInfo:
        """Who this is, and how many jobs it has."""
        return WorkerInfo(self._worker, self._since, self._concurrency, len(self._held))

    async def claim(self, limit: int) -> Sequence[Job]:
        """At most `limit` jobs."""
        lost = [job.lost for job in self._held.values()]
        room = room_for(lost, concurrency=self._concurrency, max_attempts=self._max_attempts)
        jobs = await self._queue.take(limit, room)
        self._held |= {job.key: job for job in jobs}
        return jobs

    async def beat(self) -> Pulse:
        """Give a sign of life."""
        ages = {stream_id: self._queue.clock() - at for stream_id, (_, at) in self._queue.announced.items()}
        late = [Overdue(stream_id, age) for stream_id, age in ages.items() if age >= self._queue.announced_for]
        return Pulse((), late)

    async def settle(self, key: str, outcome: Outcome) -> None:
        """Say what became of a job."""
        job = self._held.pop(key, None)
        if job is None:
            return
        match outcome:
            case Finished():
                self._queue.finish(job)
            case Released(is_lost=is_lost):
                self._give_back(replace(job, lost=job.lost + is_lost))
            case SetAside(reason=reason):
                info = AsideJob(job.stream_id, self._queue.clock(), reason, job.lost, job.priority)
                self._queue.aside[job.stream_id] = (job, info)
                self._queue.finish(job)
            case _:
                assert_never(outcome)

    async def leave(self, *, is_gone: bool = True) -> None:
        """Let others have what the worker has."""
        if is_gone:
            for job in self._held.values():
                self._give_back(job)
            self._held.clear()
            if self in self._queue.workers:
                self._queue.workers.remove(self)

    def _give_back(self, job: Job) -> None:
        self._queue.add(begun_queue(job.lost, self._max_attempts), job)


def _job(stream_id: str, arguments: Mapping[str, Any], priority: Priority) -> Job:
    encode_job(arguments, priority)  # refuses what another process couldn't be given
    return Job(stream_id, dict(arguments), priority)
