"""The queue of jobs on Redis. It needs the extra `redis`."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from time import time
from typing import Any, Self

from hub.errors import HubBusyError
from hub.jobs.base import Job, Priority, Survey, job_key
from hub.jobs.membership import RedisMembership
from hub.jobs.payload import consumer_name, decode_job, encode_job, survey
from hub.jobs.server import JobServer
from hub.redis_io.servers import Servers, open_servers

__all__ = ("RedisJobQueue",)

PREFIX = "{hub:jobs}"

MAX_LISTED = 1_000


class RedisJobQueue:
    """Jobs in Redis Streams, from which workers take them as one consumer group.

    A worker's jobs are its own while it gives signs of life; one that gives none for `lease` seconds loses them to the
    others. What the queue can't know, whether the worker is only slow, the stream's epoch decides: whoever takes the
    job over writes, and nobody else. It is a `JobQueue`.

    Args:
        servers: Where keys lie; the queue closes them. `from_url` is the usual way.
        max_queued: Jobs that may wait.
        lease: Seconds of silence after which a worker counts as dead.
        claim_wait: Seconds for which a worker waits on the server before it asks anew.
        announced_for: Seconds after which somebody looks after a stream that was announced and not submitted.
        max_aside: Jobs that were set aside and are kept, the last so many.
        timeout: Seconds that the server has for an answer.
        outage_timeout: Seconds for which a call is tried while the server is away.
        prefix: Of all keys; its braces put them on one node of a cluster.
        clock: Unix seconds.
    """

    def __init__(
        self,
        servers: Servers,
        *,
        max_queued: int = 10_000,
        lease: float = 3.0,
        claim_wait: float = 5.0,
        announced_for: float = 10.0,
        max_aside: int = 1_000,
        timeout: float = 2.0,
        outage_timeout: float = 5.0,
        prefix: str = PREFIX,
        clock: Callable[[], float] = time,
    ) -> None:
        self._server = JobServer(servers, prefix, timeout=timeout, outage_timeout=outage_timeout)
        self._max_queued = max_queued
        self._lease = lease
        self._claim_wait = claim_wait
        self._announced_for = announced_for
        self._max_aside = max_aside
        self._clock = clock
        self._members: list[RedisMembership] = []
        self._closed = False

    @classmethod
    def from_url(cls, url: str, *, timeout: float = 2.0, **options: Any) -> Self:
        """A queue on the server of a URL, as `open_servers` takes them.

        Raises:
            ConfigurationError: The URL makes no sense.
        """
        return cls(open_servers(url, timeout=timeout), timeout=timeout, **options)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    async def announce(self, stream_id: str, arguments: Mapping[str, Any], *, priority: Priority = "normal") -> None:
        """Say that a stream is about to be made."""
        value = encode_job(arguments, priority)
        self._check(await self._server.run("announce", stream_id, self._max_queued, value=value))

    async def submit(
        self,
        stream_id: str,
        arguments: Mapping[str, Any],
        *,
        priority: Priority = "normal",
        created_at: float | None = None,
    ) -> None:
        """Have a worker carry out a generation."""
        value = encode_job(arguments, priority)
        key = job_key(stream_id, created_at)
        self._check(await self._server.run("submit", stream_id, key, self._max_queued, value=value))

    async def withdraw(self, stream_id: str) -> None:
        """Forget an announcement."""
        await self._server.run("withdraw", stream_id)

    async def promote(self, stream_id: str, *, created_at: float | None = None) -> None:
        """Submit what was announced and is still announced, unless a job of the stream is known."""
        await self._server.run("promote", stream_id, job_key(stream_id, created_at))

    async def forget(self, stream_id: str, *, created_at: float | None = None) -> None:
        """Forget a job that no worker has."""
        await self._server.run("forget", job_key(stream_id, created_at))

    async def join(self, worker: str, *, concurrency: int, max_attempts: int = 3) -> RedisMembership:
        """Become a worker."""
        membership = RedisMembership(
            self._server,
            consumer_name(worker, secrets.token_hex(4)),
            since=self._clock(),
            concurrency=concurrency,
            max_attempts=max_attempts,
            lease=self._lease,
            claim_wait=self._claim_wait,
            announced_for=self._announced_for,
            max_aside=self._max_aside,
        )
        self._members.append(membership)
        await membership.beat()
        return membership

    async def survey(self) -> Survey:
        """What the queue holds; of the jobs set aside the newest 1,000."""
        return survey(await self._server.run("survey", MAX_LISTED))

    async def aside(self, stream_id: str) -> Job | None:
        """A job that was set aside; None where none of that id was."""
        value = await self._server.run("aside", stream_id)
        return decode_job(job_key(stream_id, None), value, 0) if value else None

    async def drop(self, stream_id: str) -> bool:
        """Forget a job that was set aside; whether there was one."""
        return bool(await self._server.run("drop", stream_id))

    async def aclose(self) -> None:
        """Hang up."""
        if not self._closed:
            self._closed = True
            for membership in self._members:
                await membership.aclose()
            await self._server.aclose()

    def _check(self, is_taken: int) -> None:
        if not is_taken:
            raise HubBusyError(f"Too many streams wait for a worker: {self._max_queued}.", retry_after=2.0)
