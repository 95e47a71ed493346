"""The queue of jobs and a real server that is killed, held still, forgets, or loses a reply."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from hub.errors import StoreError
from hub.events import Done, Meta, TextDelta, Usage
from hub.jobs.base import Finished, Job, Membership, Released, SetAside
from hub.jobs.queue import RedisJobQueue
from hub.jobs.server import QUEUES
from hub.streams.redis import RedisStreamStore
from hub.testing import check_grammar, collect
from hub.worker import Worker
from tests.contracts.generations import HELLO, Scripted, Scripts
from tests.real.redis_server import RedisServer, redis_binaries

JOBS = "{hub:jobs}"


@pytest.fixture(params=redis_binaries())
def binary(request: pytest.FixtureRequest) -> str:
    return redis_binaries()[request.param]


@pytest.fixture
def server(binary: str, tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(binary, "--dir", str(tmp_path)) as running:
        yield running


@pytest.fixture
async def queue(server: RedisServer) -> AsyncIterator[RedisJobQueue]:
    async with RedisJobQueue.from_url(server.url, claim_wait=0.2, lease=0.3) as queue, asyncio.timeout(60):
        yield queue


@pytest.fixture
async def client(server: RedisServer) -> AsyncIterator[Redis]:
    async with Redis.from_url(server.url) as client:
        yield client


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Outages are logged; here they are what is tested."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


async def restarted(server: RedisServer) -> None:
    await asyncio.to_thread(server.crash)
    await asyncio.to_thread(server.start)


async def consumer(client: Redis, worker: str) -> str:
    """What the server calls a worker."""
    (name,) = [name.decode() for name in await client.hkeys(f"{JOBS}:workers") if name.startswith(worker.encode())]
    return str(name)


async def claimed(member: Membership, limit: int = 10) -> list[str]:
    return [job.stream_id for job in await member.claim(limit)]


async def claimed_at_last(member: Membership, limit: int = 10) -> list[str]:
    """What a worker gets that goes on asking."""
    while True:
        with suppress(StoreError):
            if jobs := await claimed(member, limit):
                return jobs


# Workers that say nothing


async def test_the_jobs_of_a_silent_worker_go_to_another_and_it_counts_as_lost(queue: RedisJobQueue) -> None:
    await queue.submit("a", {"n": 1}, priority="low")
    silent, other = [await queue.join(name, concurrency=5) for name in ("silent", "other")]
    await claimed(silent)
    taken: list[Job] = []
    while not taken:
        await other.beat()
        taken = list(await other.claim(5))
    assert taken == [Job("a", {"n": 1}, "low", lost=1)]
    assert [worker.name for worker in (await queue.survey()).workers] == ["other"]
    assert (await silent.beat()).lost == ["a"]
    await silent.settle("a", Finished())
    assert not (await other.beat()).lost
    assert [(worker.name, worker.running) for worker in (await queue.survey()).workers] == [("other", 1), ("silent", 0)]


async def test_a_worker_that_can_be_heard_loses_nothing(queue: RedisJobQueue) -> None:
    await queue.submit("a", {})
    one, other = [await queue.join(name, concurrency=5) for name in ("one", "other")]
    await claimed(one)
    until = time.monotonic() + 1.0
    while time.monotonic() < until:
        assert not (await one.beat()).lost
        assert not (await other.beat()).lost
        assert await claimed(other) == []


async def test_a_worker_that_was_never_heard_and_has_jobs_loses_them_too(queue: RedisJobQueue, client: Redis) -> None:
    await queue.submit("a", {})
    silent, other = [await queue.join(name, concurrency=5) for name in ("silent", "other")]
    await claimed(silent)
    await client.hdel(f"{JOBS}:workers", await consumer(client, "silent"))
    taken: list[str] = []
    while not taken:
        await other.beat()
        taken = await claimed(other)
    assert taken == ["a"]


async def test_a_worker_that_comes_back_under_its_name_is_another_one_and_the_earlier_counts_as_lost(
    queue: RedisJobQueue,
) -> None:
    """As where a supervisor starts `hub work --name w` again, each time at once."""
    await queue.submit("a", {})
    lost = []
    for _ in range(3):
        member = await queue.join("w", concurrency=5)
        jobs: list[Job] = []
        while not jobs:
            await member.beat()
            jobs = list(await member.claim(5))
        lost += [job.lost for job in jobs]
    assert lost == [0, 1, 2]
    assert [worker.name for worker in (await queue.survey()).workers] == ["w"]


async def test_a_job_that_comes_back_to_the_worker_that_lost_it_is_its_own_again(queue: RedisJobQueue) -> None:
    await queue.submit("a", {})
    slow, other = [await queue.join(name, concurrency=5) for name in ("slow", "other")]
    await claimed(slow)
    while (await queue.survey()).depths["again"].waiting == 0:
        await other.beat()
    assert await claimed(slow) == []  # it runs there: nothing to begin
    assert not (await slow.beat()).lost
    await slow.settle("a", Finished())
    await queue.submit("a", {})
    assert (await queue.survey()).depths["normal"].waiting == 1


# A server that forgets


async def test_a_server_that_lost_its_memory_learns_who_has_what(server: RedisServer, queue: RedisJobQueue) -> None:
    for name in ("a", "b"):
        await queue.submit(name, {"n": name})
    one, other = [await queue.join(name, concurrency=5) for name in ("one", "other")]
    assert await claimed(one) == ["a", "b"]
    await restarted(server)
    assert not (await one.beat()).lost
    assert not (await other.beat()).lost
    assert await claimed(other) == []
    assert not (await one.beat()).lost
    await one.settle("a", Finished())
    await one.leave()
    jobs = await other.claim(5)
    assert [(job.stream_id, job.arguments) for job in jobs] == [("b", {"n": "b"})]


async def test_a_worker_that_waits_is_served_after_the_server_was_emptied(queue: RedisJobQueue, client: Redis) -> None:
    member = await queue.join("w", concurrency=5)
    claiming = asyncio.create_task(claimed_at_last(member))
    await member.beat()
    await client.flushall()
    await queue.submit("a", {})
    assert await claiming == ["a"]


async def test_a_claim_that_the_server_forgot_is_made_again(queue: RedisJobQueue, client: Redis) -> None:
    """As after a crash with `appendfsync everysec`: the job waits again, and the worker runs it."""
    await queue.submit("a", {})
    one, other = [await queue.join(name, concurrency=5) for name in ("one", "other")]
    await claimed(one)
    await client.xack(f"{JOBS}:normal", "workers", *[entry for entry, _ in await client.xrange(f"{JOBS}:normal")])
    await client.execute_command("XGROUP", "SETID", f"{JOBS}:normal", "workers", "0")
    assert not (await one.beat()).lost
    assert await claimed(other) == []
    await one.settle("a", Finished())
    assert await client.hlen(f"{JOBS}:jobs") == 0


async def test_an_end_that_the_server_forgot_does_not_keep_a_job_for_ever(queue: RedisJobQueue, client: Redis) -> None:
    await queue.submit("a", {"n": 1})
    member = await queue.join("w", concurrency=5)
    await claimed(member)
    dump = {name: await client.dump(f"{JOBS}:{name}") for name in ("normal", "jobs")}
    await member.settle("a", Finished())
    for name, value in dump.items():
        await client.restore(f"{JOBS}:{name}", 0, value, replace=True)
    await member.beat()
    assert await claimed(member) == ["a"]


async def test_what_is_on_disk_outlives_the_server(binary: str, tmp_path: Path) -> None:
    options = ("--appendonly", "yes", "--appendfsync", "always", "--dir", str(tmp_path))
    with RedisServer(binary, *options) as server:
        async with RedisJobQueue.from_url(server.url, claim_wait=0.2) as queue:
            for name in ("a", "b"):
                await queue.submit(name, {})
            one, other = [await queue.join(name, concurrency=5) for name in ("one", "other")]
            assert await claimed(one, 1) == ["a"]
            await restarted(server)
            assert not (await one.beat()).lost
            assert await claimed_at_last(other) == ["b"]
            await one.settle("a", Finished())
            await other.settle("b", Finished())
            assert [worker.running for worker in (await queue.survey()).workers] == [0, 0]


async def test_jobs_whose_reply_was_lost_are_found_again(queue: RedisJobQueue, client: Redis) -> None:
    """Connections are cut while jobs come: each job is had by one worker, and none by nobody."""
    rand = random.Random(7)
    names = [f"str_{number}" for number in range(150)]
    members = [await queue.join(f"w{number}", concurrency=1_000) for number in range(3)]
    had: list[str] = []

    async def take(member: Membership) -> None:
        while len(had) < len(names):
            with suppress(StoreError):
                had.extend(await claimed(member, 5))
                await member.beat()  # which notices jobs of a reply that was lost and asked for again

    async with asyncio.TaskGroup() as tasks:
        for member in members:
            tasks.create_task(take(member))
        for name in names:
            await queue.submit(name, {})
            if rand.random() < 0.2:
                await client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    assert sorted(had) == sorted(names)
    assert sum(worker.running for worker in (await queue.survey()).workers) == len(names)


async def test_what_is_more_than_there_is_room_for_goes_back(queue: RedisJobQueue, client: Redis) -> None:
    for name in ("a", "b", "c"):
        await queue.submit(name, {})
    member, other = [await queue.join(name, concurrency=5) for name in ("w", "other")]
    await client.xreadgroup(
        "workers", await consumer(client, "w"), {f"{JOBS}:normal": ">"}, count=3
    )  # and the reply is lost
    await member.beat()
    assert await claimed(member, 1) == ["a"]
    assert [(job.stream_id, job.lost) for job in await other.claim(5)] == [("b", 0), ("c", 0)]


async def test_a_job_that_can_not_be_read_is_set_aside(queue: RedisJobQueue, client: Redis) -> None:
    for name in ("a", "b"):
        await queue.submit(name, {})
    await client.hset(f"{JOBS}:jobs", "a", "normal {")
    member = await queue.join("w", concurrency=5)
    assert await claimed(member) == ["b"]
    assert [job.stream_id for job in (await queue.survey()).aside] == ["a"]


async def test_nothing_is_left_of_jobs_that_are_done_with(queue: RedisJobQueue, client: Redis) -> None:
    for number, name in enumerate(("finished", "forgotten", "aside", "lost", "withdrawn")):
        await queue.announce(name, {"n": 1})
        if name != "withdrawn":
            await queue.submit(name, {"n": 1}, created_at=float(number))
    await queue.withdraw("withdrawn")
    await queue.forget("forgotten", created_at=1.0)
    member = await queue.join("w", concurrency=5)
    jobs = {job.stream_id: job for job in await member.claim(5)}
    await member.settle(jobs["finished"].key, Finished())
    await member.settle(jobs["aside"].key, SetAside("It was no good."))
    await member.settle(jobs["lost"].key, Released(is_lost=True))
    await queue.forget("lost", created_at=3.0)
    assert (aside := await queue.aside("aside")) is not None
    assert (aside.stream_id, aside.arguments) == ("aside", {"n": 1})
    await queue.drop("aside")
    await member.leave()
    left = {key.decode() for key in await client.keys(f"{JOBS}:*")}
    streams = {f"{JOBS}:{name}" for name in (*QUEUES, "restored")}
    assert left == {f"{JOBS}:birth", *streams}
    assert [await client.xlen(key) for key in streams] == [0] * 7


# Workers over all of it


class Slow(Scripts):
    """Says two words with a wait between them."""

    def stream(self, *, stream_id: str, messages: Any, **params: Any) -> Scripted:
        events: list[Any] = [
            [Meta(stream_id=stream_id, seq=0, model="m")],
            [TextDelta(stream_id=stream_id, seq=1, text="Hello")],
            6.0,
            [
                Usage(stream_id=stream_id, seq=2, input_tokens=1, output_tokens=1, total_tokens=2),
                Done(stream_id=stream_id, seq=3, status="completed", finish_reason="stop"),
            ],
        ]
        self._scripts.append(events)
        return super().stream(stream_id=stream_id, messages=messages, **params)


@pytest.mark.parametrize("outage", ["held still", "restarted"])
async def test_an_outage_takes_no_job_from_a_worker_that_is_fine(outage: str, server: RedisServer) -> None:
    generator = Slow()
    async with (
        asyncio.timeout(60),
        RedisJobQueue.from_url(server.url) as queue,
        RedisJobQueue.from_url(server.url) as other_queue,
    ):
        store, other_store = RedisStreamStore.from_url(server.url), RedisStreamStore.from_url(server.url)
        async with Worker(generator, store, queue), Worker(generator, other_store, other_queue):
            for number in range(6):
                await store.create(f"str_{number}")
                await queue.submit(f"str_{number}", {"messages": HELLO})
            streams = [await store.open(f"str_{number}") for number in range(6)]
            for stream in streams:
                await stream.wait(1)
            if outage == "held still":
                await asyncio.to_thread(hold_still, server)
            else:
                await restarted(server)
            for stream in streams:
                events = await collect(stream.read())
                check_grammar(events)
                assert [event.seq for event in events] == [0, 1, 2, 3]
        assert len(generator.asked) == 6
        for each in (store, other_store):
            await each.aclose()


def hold_still(server: RedisServer) -> None:
    with server.held_still():
        time.sleep(4.5)  # beyond the lease


async def test_workers_that_have_nothing_to_do_ask_about_once_a_second(server: RedisServer, client: Redis) -> None:
    async with RedisJobQueue.from_url(server.url) as queue:
        store = RedisStreamStore.from_url(server.url)
        async with Worker(Scripts(), store, queue), Worker(Scripts(), store, queue):
            await client.config_resetstat()
            await asyncio.sleep(6.0)
            stats: dict[str, Any] = await client.info("commandstats")
        await store.aclose()
    calls = {name.removeprefix("cmdstat_"): value["calls"] for name, value in stats.items()}
    asked = sum(calls.get(name, 0) for name in ("evalsha", "eval"))
    # Two workers: a sign of life a second, and a claim every five.
    assert 8 <= asked <= 2 * (6 + 1) + 2 * 2
