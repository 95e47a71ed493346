"""A whole installation on loopback: servers, web processes, workers and an endpoint, with a fault proxy in between."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import aiohttp

from hub.errors import StoreError
from hub.jobs.base import Survey
from hub.jobs.opening import open_job_queue
from hub.jobs.server import QUEUES
from hub.testing import ScriptedEndpoint
from tests.faults.endpoint import MODEL, Answering
from tests.faults.processes import HubProcess, Vitals
from tests.faults.proxy import FaultProxy
from tests.faults.servers import Servers, steady_port

__all__ = ("Station", "World", "environment")

SETTLE_TIMEOUT = 25.0
MORE_FILES, MORE_THREADS, MORE_TASKS = 10, 8, 6
"""What a process may hold more than after its first round: connections that wait to be used again, threads of the
loop's own pool, reading that goes on."""

POLL_INTERVAL = 0.1


@dataclass(slots=True)
class Station:
    """One process of the hub and the ways to and from it.

    Attributes:
        process: The process.
        url: Where it serves; empty for a worker.
        store: Between it and the server of streams and jobs; None where it finds its servers by itself.
        door: Between its readers and it, or between it and the endpoint.
    """

    process: HubProcess
    url: str
    store: FaultProxy | None
    door: FaultProxy

    @property
    def door_url(self) -> str:
        """Where it serves through the proxy."""
        return f"http://127.0.0.1:{self.door.port}"

    def heal(self) -> None:
        """Both ways are open."""
        self.door.heal()
        if self.store is not None:
            self.store.heal()


class World:
    """What a fault happens to; runs inside `async with`, and is used for many rounds.

    Args:
        servers: Running already.
        folder: Where processes tell what they have to tell.
        webs: Web processes.
        workers: Workers.

    Attributes:
        answering: What the endpoint was asked, and answers.
        http: As many connections as it takes, each used once.
    """

    def __init__(self, servers: Servers, folder: Path, *, webs: int = 2, workers: int = 2) -> None:
        self.servers = servers
        self.answering = Answering()
        self.webs: list[Station] = []
        self.workers: list[Station] = []
        self._endpoint = ScriptedEndpoint(handler=self.answering, max_requests=100)
        self._folder = folder
        self._counts = (webs, workers)
        self._stack = AsyncExitStack()
        self._usual: dict[int, Vitals] = {}

    async def __aenter__(self) -> Self:
        try:
            connector = aiohttp.TCPConnector(limit=0, force_close=True)
            self.http = await self._stack.enter_async_context(aiohttp.ClientSession(connector=connector))
            await self._stack.enter_async_context(self._endpoint)
            self.webs = [await self._web(number) for number in range(self._counts[0])]
            self.workers = [await self._worker(number) for number in range(self._counts[1])]
            await self.mend()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._stack.aclose()

    @property
    def stations(self) -> list[Station]:
        """All of the hub's processes."""
        return [*self.webs, *self.workers]

    def worker_of(self, label: str) -> Station:
        """The worker that asked for an answer last."""
        port = self.answering.asked_for(label)[-1].port
        return next(worker for worker in self.workers if worker.door.port == port)

    async def mend(self) -> None:
        """Every process runs and every way is open."""
        for station in self.stations:
            station.heal()
            if station.process.is_alive:
                station.process.go_on()
        async with asyncio.TaskGroup() as tasks:
            for station in self.stations:
                if not station.process.is_alive:
                    tasks.create_task(station.process.start())

    async def drop_aside(self) -> int:
        """Forget the jobs that were set aside; returns how many there were."""
        async with open_job_queue(self.servers.url) as queue:
            aside = (await queue.survey()).aside
            for job in aside:
                await queue.drop(job.stream_id)
        return len(aside)

    async def leftovers(self) -> list[str]:
        """What is left behind once everything has calmed down: jobs, announcements, workers' ghosts."""
        until = asyncio.get_running_loop().time() + SETTLE_TIMEOUT
        async with open_job_queue(self.servers.url) as queue:
            while True:
                try:
                    left = self._left(await queue.survey())
                except StoreError as exc:
                    left = [str(exc)]
                if not left:
                    return []
                if asyncio.get_running_loop().time() > until:
                    left += await asyncio.to_thread(self._held_jobs)
                    await self._renew_workers()  # so that the next round begins afresh
                    return left
                await asyncio.sleep(POLL_INTERVAL)

    async def _renew_workers(self) -> None:
        for worker in self.workers:
            await worker.process.terminate()
            await worker.process.start()
        await self.drop_aside()

    async def leaks(self) -> list[str]:
        """What the processes hold more than they held after their first round, once everything has calmed down."""
        until = asyncio.get_running_loop().time() + SETTLE_TIMEOUT
        while True:
            found = [leak for station in self.stations for leak in await self._leaks_of(station.process)]
            if not found or asyncio.get_running_loop().time() > until:
                return found
            await asyncio.sleep(POLL_INTERVAL)

    async def _leaks_of(self, process: HubProcess) -> list[str]:
        now = await process.vitals()
        tasks = [name for name in now.tasks if not name.startswith("redis ")]  # as many as there are servers
        running = [name for name in tasks if name.startswith("generation")]
        if running:
            return [f"{process.name} still runs {len(running)} generations"]
        usual = self._usual.setdefault(process.pid, now)
        found = []
        if now.files > usual.files + (MORE_FILES if self.servers.port else 3 * MORE_FILES):  # some for each server
            found.append(f"{process.name} has {now.files} files open, and had {usual.files}")
        if now.threads > usual.threads + MORE_THREADS:
            found.append(f"{process.name} has {now.threads} threads, and had {usual.threads}")
        more = Counter(tasks) - Counter(usual.tasks)
        if sum(more.values()) > MORE_TASKS:
            found.append(f"{process.name} has {len(tasks)} tasks, more than before: {dict(more)}")
        return found

    def _left(self, survey: Survey) -> list[str]:
        left = [f"{depth.waiting} jobs wait ({name})" for name, depth in survey.depths.items() if depth.waiting]
        if survey.announced:
            left.append(f"{survey.announced} streams are announced")
        left += [f"{worker.name} has {worker.running} jobs" for worker in survey.workers if worker.running]
        if len(survey.workers) != len(self.workers):
            left.append(f"{len(self.workers)} workers are there, and these are known: {survey.workers}")
        left += [f"{job.stream_id} was set aside: {job.reason}" for job in survey.aside]
        return left

    def _held_jobs(self) -> list[str]:
        """The jobs that workers have, by what the servers themselves say."""
        with self.servers.client() as client:
            return [
                f"{key}: {held['message_id']} of {held['consumer']} for {held['time_since_delivered']} ms: "
                f"{client.xrange(key, held['message_id'], held['message_id'])}"
                for key in (f"{{hub:jobs}}:{name}" for name in (*QUEUES, "restored"))
                for held in client.xpending_range(key, "workers", "-", "+", 20)
            ]

    async def _web(self, number: int) -> Station:
        port = steady_port()
        store = await self._to_servers()
        url = f"http://127.0.0.1:{port}"
        arguments = ["serve", "--port", str(port), "--generations", "workers"]
        door = await self._stack.enter_async_context(FaultProxy(port))
        return Station(self._process(f"web {number}", arguments, store), url, store, door)

    async def _worker(self, number: int) -> Station:
        store = await self._to_servers()
        door = await self._stack.enter_async_context(FaultProxy(int(self._endpoint.base_url.split(":")[2][:-3])))
        arguments = ["work", "--base-url", f"http://127.0.0.1:{door.port}/v1", "--model", MODEL]
        return Station(self._process(f"worker {number}", arguments, store), "", store, door)

    async def _to_servers(self) -> FaultProxy | None:
        port = self.servers.port
        return None if port is None else await self._stack.enter_async_context(FaultProxy(port))

    def _process(self, name: str, arguments: list[str], store: FaultProxy | None) -> HubProcess:
        url = self.servers.url if store is None else f"redis://127.0.0.1:{store.port}/0"
        process = HubProcess(name, arguments, environment(url), self._folder / name.replace(" ", "-"))
        self._stack.push_async_callback(process.kill)
        return process


def environment(store: str) -> dict[str, str]:
    """All variables of a process of the hub, with this store."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("LLM_", "OPENAI_", "HUB_"))}
    ours = {
        "HUB_NO_DOTENV": "1",
        "HUB_STORE": store,
        "HUB_CONCURRENCY": "8",
        "HUB_DRAIN_TIMEOUT": "0.5",
        "HUB_HEARTBEAT_INTERVAL": "2",
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    return kept | ours
