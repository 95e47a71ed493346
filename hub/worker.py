"""A worker: takes jobs from a queue and writes each generation into its log."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import socket
from collections.abc import Awaitable, Mapping
from contextlib import AsyncExitStack
from typing import Any, Self

from hub.errors import ClosedError, InvalidRequestError, StoreError, StreamNotFoundError
from hub.generation import Generator
from hub.jobs.base import Job, JobQueue, Membership, Outcome, Overdue, Priority, Released, SetAside
from hub.jobs.carrying import GIVE_BACK_DELAY, carry_out
from hub.relaying import Relays
from hub.stopping import break_off, is_from_outside
from hub.streams.base import StreamStore

__all__ = ("Worker", "worker_name")

log = logging.getLogger(__name__)

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 5.0
"""Seconds between two tries while the queue can't be reached; doubled each time."""

GOODBYE_TIMEOUT = 2.0
"""Seconds that the queue has to hear that a worker leaves."""

BREAK_OFF_TIMEOUT = 1.0
"""Seconds that generations have to stop once they are broken off; what goes on all the same is left behind."""

NEVER_MADE = 60.0
"""Seconds after which a stream that was announced and isn't there never will be."""


def worker_name() -> str:
    """A name that no other worker has: the machine's, the process's number, and something at random."""
    return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(3)}"


class Worker:
    """Carries out generations, as many at once as it may. It is the `Workforce` of a hub in the same process, too.

    Use it as an async context manager, within the life of store and queue, which stay their owner's to close. Leaving
    it hands over at once what still runs: another worker goes on with the stream as a further attempt. `drain` first
    gives it time.

    Args:
        generator: Gives the answers.
        store: Keeps the logs.
        queue: Where the jobs come from.
        concurrency: Generations that run at once.
        max_attempts: Workers that may be lost with one job; then its stream ends as failed, with code `worker_lost`.
        name: What the worker is called; by default a name that no other has. Where several have one name, as after a
            restart, each is a worker of its own.
        beat_interval: Seconds between two signs of life.
        coalesce_delay: Seconds for which tokens may gather before they are stored, at most, where the worker or the
            store is behind; neighbours become one event. 0 keeps every event as it came.
        relays: Carries streams to the sinks that their requests name; its owner enters and closes it. Without one a
            stream goes to its log only, whatever its request names.

    Raises:
        InvalidRequestError: A number below 1.
    """

    def __init__(
        self,
        generator: Generator,
        store: StreamStore,
        queue: JobQueue,
        *,
        concurrency: int = 100,
        max_attempts: int = 3,
        name: str | None = None,
        beat_interval: float = 1.0,
        coalesce_delay: float = 0.0,
        relays: Relays | None = None,
    ) -> None:
        if concurrency < 1 or max_attempts < 1:
            raise InvalidRequestError("concurrency and max_attempts are 1 or more.")
        self.name = worker_name() if name is None else name
        self._generator = generator
        self._store = store
        self._queue = queue
        self._concurrency = concurrency
        self._max_attempts = max_attempts
        self._beat_interval = beat_interval
        self._coalesce_delay = coalesce_delay
        self._relays = relays
        self._membership: Membership | None = None
        self._running: dict[str, asyncio.Task[None]] = {}
        self._resisting: set[asyncio.Task[None]] = set()
        self._room = asyncio.Event()
        self._stack = AsyncExitStack()
        self._tasks: asyncio.TaskGroup | None = None
        # Apart from what is the worker's own: other people's code may never end.
        self._generations = asyncio.TaskGroup()
        self._claiming: asyncio.Task[None] | None = None
        self._draining = False

    async def __aenter__(self) -> Self:
        if self._tasks is not None:
            raise ClosedError("A Worker is entered once.")
        self._membership = await self._queue.join(
            self.name, concurrency=self._concurrency, max_attempts=self._max_attempts
        )
        await self._generations.__aenter__()
        self._tasks = await self._stack.enter_async_context(asyncio.TaskGroup())
        beating = self._tasks.create_task(self._beat(self._membership), name=f"beats of worker {self.name}")
        self._stack.callback(beating.cancel)
        self._claiming = self._tasks.create_task(self._claim(self._membership), name=f"claims of worker {self.name}")
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Hand over what still runs, and be a worker no longer. A second call does nothing."""
        membership, self._membership = self._membership, None
        if membership is None:
            return
        self._draining = True
        try:
            await self._stop(0.0)
        finally:
            try:
                await _soon(membership.leave())
            finally:
                await self._stack.aclose()
                if all(task.done() for task in self._running.values()):
                    await self._generations.__aexit__(None, None, None)

    @property
    def running(self) -> int:
        """How many generations run here."""
        return len(self._running)

    async def announce(self, stream_id: str, arguments: Mapping[str, Any], *, priority: Priority = "normal") -> None:
        """Say that a stream is about to be made; raises `HubBusyError` where too many wait."""
        await self._queue.announce(stream_id, arguments, priority=priority)

    async def submit(
        self,
        stream_id: str,
        arguments: Mapping[str, Any],
        *,
        priority: Priority = "normal",
        created_at: float | None = None,
    ) -> None:
        """Have a stream generated, by this worker or another; raises `HubBusyError` where too many wait."""
        await self._queue.submit(stream_id, arguments, priority=priority, created_at=created_at)

    async def forget(self, stream_id: str, *, created_at: float | None = None) -> None:
        """A stream has ended that no worker had: none is to have it."""
        await self._queue.forget(stream_id, created_at=created_at)

    async def drain(self, timeout: float) -> None:
        """Claim nothing more, give what runs `timeout` seconds to end, then let other workers go on with the rest."""
        self._draining = True
        if (membership := self._membership) is None:
            return
        await self._stop_claiming()
        await _soon(membership.leave(is_gone=False))
        await self._stop(timeout)
        await _soon(membership.leave())

    async def _stop(self, timeout: float) -> None:
        """Claim nothing more, and break off what still runs after `timeout` seconds."""
        await self._stop_claiming()
        tasks = {task: stream_id for stream_id, task in self._running.items() if task not in self._resisting}
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=timeout)
            if late:
                log.info("worker %s hands over %d streams", self.name, len(late))
            for task in await break_off(late, BREAK_OFF_TIMEOUT):
                # Its job is given back all the same: what it still says is refused, once another worker has it.
                log.error("the generation of stream %s doesn't stop; it is left behind", tasks[task])
                self._resisting.add(task)

    async def _stop_claiming(self) -> None:
        if (claiming := self._claiming) is not None:
            claiming.cancel()
            await asyncio.wait([claiming])

    async def _claim(self, membership: Membership) -> None:
        """Take jobs as long as there is room for them."""
        pause = FIRST_PAUSE
        while True:
            while len(self._running) >= self._concurrency:
                self._room.clear()
                await self._room.wait()
            try:
                jobs = await membership.claim(self._concurrency - len(self._running))
                pause = FIRST_PAUSE
            except StoreError as exc:
                log.warning("worker %s gets no jobs: %s", self.name, exc)
                await asyncio.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE)
                continue
            for job in jobs:
                # One that comes back while it still runs here goes on: nobody has taken it over meanwhile.
                if job.key not in self._running:
                    work = self._work(membership, job)
                    task = self._generations.create_task(work, name=f"generation {job.stream_id}")
                    self._running[job.key] = task

    async def _work(self, membership: Membership, job: Job) -> None:
        """Carry out one job, and say what became of it. Cancelled, it says nothing: the worker hands over."""
        try:
            try:
                outcome = await carry_out(
                    job,
                    self._generator,
                    self._store,
                    max_attempts=self._max_attempts,
                    coalesce_delay=self._coalesce_delay,
                    relays=self._relays,
                )
            except BaseException as exc:
                if is_from_outside(exc):
                    raise
                # One job's border: what escaped would end every other generation with the task group.
                log.exception("the job of stream %s failed", job.stream_id)
                outcome = await self._failed(job)
            await self._settle(membership, job.key, outcome)
        finally:
            del self._running[job.key]
            self._room.set()

    async def _failed(self, job: Job) -> Outcome:
        """What becomes of a job that a defect of ours has ended: another try, a little later, but not for ever."""
        await asyncio.sleep(GIVE_BACK_DELAY)
        if job.lost < self._max_attempts:
            return Released(is_lost=True)
        return SetAside("It failed by an internal error, and its stream can't be ended: the workers' logs say why.")

    async def _settle(self, membership: Membership, key: str, outcome: Outcome) -> None:
        """Say what became of a job, as often as it takes: one that was never settled would look as if it ran."""
        pause = FIRST_PAUSE
        while True:
            try:
                await membership.settle(key, outcome)
            except StoreError as exc:
                log.warning("worker %s can't settle the job of stream %s yet: %s", self.name, key, exc)
                await asyncio.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE)
            else:
                return

    async def _beat(self, membership: Membership) -> None:
        """Give signs of life, and see to what others left behind."""
        while True:
            await asyncio.sleep(self._beat_interval)
            try:
                pulse = await membership.beat()
                for key in pulse.lost:
                    log.warning("worker %s was taken for dead and lost stream %s", self.name, key)
                for overdue in pulse.overdue:
                    await self._see_to(overdue)
            except StoreError as exc:
                log.warning("worker %s can't be heard: %s", self.name, exc)

    async def _see_to(self, overdue: Overdue) -> None:
        """Submit what was announced, if its stream was made and nobody has written it."""
        try:
            stream = await self._store.open(overdue.stream_id)
        except StreamNotFoundError:
            if overdue.seconds >= NEVER_MADE:
                await self._queue.withdraw(overdue.stream_id)
            return
        if stream.is_closed or stream.last_seq >= 0:
            await self._queue.withdraw(overdue.stream_id)
        else:
            await self._queue.promote(overdue.stream_id, created_at=stream.created_at)


async def _soon(leaving: Awaitable[None]) -> None:
    """Say good-bye, where there is somebody to say it to; else the others notice by themselves."""
    try:
        async with asyncio.timeout(GOODBYE_TIMEOUT):
            await leaving
    except (StoreError, TimeoutError) as exc:
        log.warning("the queue of jobs was not told that a worker leaves: %r", exc)
