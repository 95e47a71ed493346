"""Equal calls of real processes over a real server, which are killed, held still, and cut off."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from redis.asyncio import Redis

from hub.cache.core import CacheCore
from hub.cache.faults import CacheFault
from hub.cache.memory import MemoryCache
from hub.completion import fold
from hub.events import decode_event
from hub.flights.redis import RedisRegister, redis_flights
from hub.flights.register import MemoryRegister, Register
from hub.flights.timing import Timing
from hub.redis_io.servers import open_servers
from hub.testing import Gate, Pause, ScriptedEndpoint, chat_reply, status_reply
from tests.hub.cache.support import Asked, call, events_of
from tests.real.redis_cluster import ClusterServer
from tests.real.redis_server import RedisServer, redis_binaries
from tests.real.worker_processes import ROOT, environment, open_site

BINARIES = redis_binaries()
HELLO = [{"role": "user", "content": "Hello"}]

pytestmark = [
    pytest.mark.skipif(not BINARIES, reason="no server of the Redis protocol is at hand"),
    pytest.mark.timeout(90),
]


@pytest.fixture(params=sorted(BINARIES))
def server(request: pytest.FixtureRequest) -> Any:
    with RedisServer(BINARIES[request.param]) as running:
        yield running


class Caller:
    """One process that makes calls."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    def go(self, count: int = 1, identifier: str = "mine") -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{count} {identifier}\n".encode())

    async def said(self, what: str) -> Any:
        """What it says next of that kind."""
        assert self._process.stdout is not None
        async with asyncio.timeout(40):
            while line := await self._process.stdout.readline():
                said = json.loads(line)
                if what in said:
                    return said[what]
        raise AssertionError("it has ended")

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    async def aclose(self) -> None:
        if self._process.returncode is None:
            self._process.kill()
        await self._process.communicate()


@asynccontextmanager
async def callers(url: str, endpoint: ScriptedEndpoint, count: int = 2) -> AsyncIterator[list[Caller]]:
    started: list[Caller] = []
    try:
        for _ in range(count):
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "tests.real.flights_process", url, endpoint.base_url),
                env=environment(),
                cwd=ROOT,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                limit=2**20,
            )
            started.append(Caller(process))
        for caller in started:
            await caller.said("ready")
        yield started
    finally:
        for caller in started:
            await caller.aclose()


async def test_a_hundred_calls_in_each_of_two_processes_are_one_request(server: RedisServer) -> None:
    async with ScriptedEndpoint() as endpoint:
        endpoint.enqueue(chat_reply([Pause(0.3), *(f" {n}" for n in range(50)), Pause(0.5), " done"]))
        async with callers(server.url, endpoint) as (first, second):
            first.go(100)
            second.go(100)
            answers = [*await first.said("answers"), *await second.said("answers")]
            assert len(endpoint.requests) == 1
            assert {answer["text"] for answer in answers} == {"".join(f" {n}" for n in range(50)) + " done"}
            assert [answer["cached"] for answer in answers].count(False) == 1
            first.go()
            second.go()
            later = [*await first.said("answers"), *await second.said("answers")]
            assert [answer["cached"] for answer in later] == [True, True]
            assert len(endpoint.requests) == 1


async def test_the_process_that_asks_is_killed_and_another_goes_on_within_five_seconds(server: RedisServer) -> None:
    gate = Gate()
    async with ScriptedEndpoint() as endpoint:
        endpoint.enqueue(chat_reply(["Hel", gate, "lo"]), chat_reply(["Good", " morning"]))
        async with callers(server.url, endpoint, 3) as (first, second, third):
            first.go()
            await first.said("text")
            second.go()
            third.go(50)
            assert await second.said("text") == await third.said("text") == "Hel"
            killed_at = asyncio.get_running_loop().time()
            first.send(signal.SIGKILL)
            await endpoint.received(2)
            assert asyncio.get_running_loop().time() - killed_at < 5.0
            answers = [*await second.said("answers"), *await third.said("answers")]
            assert {answer["text"] for answer in answers} == {"Good morning"}
            assert {tuple(answer["attempts"]) for answer in answers} == {(1, 2)}
            assert {answer["status"] for answer in answers} == {"completed"}
            assert len(endpoint.requests) == 2
        gate.open()


async def test_a_process_that_was_held_still_writes_no_more_into_the_log_it_has_lost(server: RedisServer) -> None:
    gate = Gate()
    redis: Any
    async with ScriptedEndpoint() as endpoint, Redis.from_url(server.url) as redis:
        endpoint.enqueue(chat_reply(["Hel", gate, "lo", Pause(1.0), "!"]), chat_reply(["Good", " morning"]))
        async with callers(server.url, endpoint) as (first, second):
            first.go()
            await first.said("text")
            second.go()
            assert await second.said("text") == "Hel"
            (log,) = [key async for key in redis.scan_iter("hub:{flt_*}:log")]
            first.send(signal.SIGSTOP)
            gate.open()
            (answer,) = await second.said("answers")
            assert (answer["text"], answer["attempts"]) == ("Good morning", [1, 2])
            before = await redis.xrange(log)
            first.send(signal.SIGCONT)
            (own,) = await first.said("answers")
            assert (own["text"], own["attempts"], own["status"]) == ("Hello!", [1], "completed")
            after = await redis.xrange(log)
            assert after == before
            events = [decode_event(fields[b"event"]) for _, fields in after or ()]
            assert [event.type for event in events] == ["meta", "text_delta", "usage", "done"]


async def test_a_process_that_is_told_to_end_hands_over(server: RedisServer) -> None:
    gate = Gate()
    async with ScriptedEndpoint() as endpoint:
        endpoint.enqueue(chat_reply(["Hel", gate, "lo"]), chat_reply(["Good", " morning"]))
        async with callers(server.url, endpoint) as (first, second):
            first.go()
            await first.said("text")
            second.go()
            await second.said("text")
            first.send(signal.SIGINT)  # asyncio cancels the main task, and the client closes
            (answer,) = await second.said("answers")
            assert (answer["text"], answer["attempts"]) == ("Good morning", [1, 2])


async def test_a_failure_before_content_hands_over_at_once(server: RedisServer) -> None:
    gate = Gate()
    refused = status_reply(400)
    async with ScriptedEndpoint() as endpoint:
        endpoint.enqueue(replace(refused, steps=(gate, *refused.steps)), chat_reply(["Hello"]))
        async with callers(server.url, endpoint) as (first, second):
            first.go()
            await gate.reached()
            second.go()
            await asyncio.sleep(0.5)
            gate.open()
            (failed,) = await first.said("answers")
            began_at = asyncio.get_running_loop().time()
            (answer,) = await second.said("answers")
            assert asyncio.get_running_loop().time() - began_at < 0.5
            assert (failed["status"], answer["status"], answer["text"]) == ("failed", "completed", "Hello")
            assert len(endpoint.requests) == 2


async def test_two_workers_that_are_asked_the_same_at_once_make_one_request(server: RedisServer) -> None:
    gate = Gate()
    arguments: dict[str, Any] = {"messages": HELLO, "cache_response": True, "hash_as_identifier": True}
    async with ScriptedEndpoint() as endpoint, open_site(server.url) as site:
        endpoint.enqueue(chat_reply(["Hello", gate, " world"]))
        for _ in range(2):
            options = ("--base-url", endpoint.base_url, "--model", "m", "--concurrency", "1")
            await site.work(*options, CACHE_BACKEND="memory", REDIS_URL="")
        for stream_id in ("str_1", "str_2"):
            await site.hub.start(stream_id=stream_id, **arguments)
        for stream_id in ("str_1", "str_2"):
            await site.until(stream_id, type="text_delta")
        gate.open()
        results = [fold(await site.until(stream_id, type="done")) for stream_id in ("str_1", "str_2")]
        assert [result.text for result in results] == ["Hello world"] * 2
        assert sorted(bool(result.cached) for result in results) == [False, True]
        assert len(endpoint.requests) == 1


# In this process, over the server


@asynccontextmanager
async def cores(
    url: str, count: int = 2, timing: Timing | None = None
) -> AsyncIterator[tuple[list[CacheCore], list[CacheFault]]]:
    faults: list[CacheFault] = []
    flights = [redis_flights(url, timing=timing) for _ in range(count)]
    made = [CacheCore(MemoryCache(), flights=each, report=faults.append) for each in flights]
    try:
        yield made, faults
    finally:
        for core in made:
            await core.aclose()


async def test_where_the_server_is_away_a_call_goes_on_within_two_seconds() -> None:
    server = RedisServer(next(iter(BINARIES.values())))
    asked = Asked()
    async with cores(server.url, 1) as ((core,), faults):
        began_at = asyncio.get_running_loop().time()
        assert fold(await events_of(call(core, asked))).text == "Hello world"
        assert asyncio.get_running_loop().time() - began_at < 2.0
        assert [fault.operation for fault in faults] == ["share"]


async def test_where_the_server_hangs_in_mid_answer_everyone_gets_a_whole_one(server: RedisServer) -> None:
    gate = Gate()
    asked = Asked(["Hel", gate, "lo"], ["Good", " morning"])
    async with cores(server.url) as ((first, second), faults):
        leading = asyncio.create_task(events_of(call(first, asked)))
        await gate.reached()
        following = asyncio.create_task(events_of(call(second, asked)))
        await asyncio.sleep(1.0)
        with server.held_still():
            gate.open()
            assert fold(await asyncio.wait_for(leading, 5)).text == "Hello"
            assert fold(await asyncio.wait_for(following, 10)).text == "Good morning"
        assert {fault.operation for fault in faults} == {"share"}


async def test_where_the_server_comes_back_empty_everyone_gets_a_whole_answer(server: RedisServer) -> None:
    gate = Gate()
    asked = Asked(["Hel", gate, "lo"])
    async with cores(server.url) as ((first, second), _), Redis.from_url(server.url) as redis:
        leading = asyncio.create_task(events_of(call(first, asked)))
        await gate.reached()
        following = asyncio.create_task(events_of(call(second, asked)))
        await asyncio.sleep(0.5)
        await redis.flushall()
        gate.open()
        assert fold(await asyncio.wait_for(leading, 5)).text == "Hello"
        assert fold(await asyncio.wait_for(following, 15)).text == "Hello"


async def test_what_flights_leave_in_the_server_is_gone_after_a_minute_and_in_no_list(server: RedisServer) -> None:
    asked = Asked()
    async with cores(server.url) as ((first, second), _), Redis.from_url(server.url) as redis:
        await asyncio.gather(events_of(call(first, asked)), events_of(call(second, asked)))
        await first.aclose()
        await second.aclose()
        left = [key async for key in redis.scan_iter("*")]
        assert left
        assert all([0 < await redis.pttl(key) <= 60_000 for key in left]), left
        assert not await redis.exists("hub:streams")


async def test_flights_work_over_a_cluster() -> None:
    with ClusterServer(next(iter(BINARIES.values()))) as cluster:
        gate = Gate()
        asked = Asked([gate, "Hello"])
        patient = Timing(step_timeout=10.0)  # a cluster's nodes share the machine with all the other tests
        async with cores(cluster.url, timing=patient) as ((first, second), faults):
            readers = [
                asyncio.create_task(events_of(call(core, asked, str(n)))) for core in (first, second) for n in range(5)
            ]
            await gate.reached(5)
            gate.open()
            assert {fold(await reader).text for reader in readers} == {"Hello"}
            assert (asked.calls, faults) == (5, [])


# The register's contract

LEASE = 0.8


@pytest.fixture(params=["memory", *sorted(BINARIES)])
async def register(request: pytest.FixtureRequest) -> AsyncIterator[Register]:
    if request.param == "memory":
        yield MemoryRegister(LEASE)
        return
    with RedisServer(BINARIES[request.param]) as running:
        made = RedisRegister(open_servers(running.url, timeout=1.0), LEASE, timeout=1.0)
        yield made
        await made.aclose()


async def test_the_first_claim_leads_and_the_others_follow(register: Register) -> None:
    first = await register.claim("k", "flt_a")
    assert (first.flight_id, first.is_own) == ("flt_a", True)
    assert (await register.claim("k", "flt_a")).is_own  # a repeat after a lost reply
    second = await register.claim("k", "flt_b")
    assert (second.flight_id, second.is_own) == ("flt_a", False)
    assert (await register.claim("other", "flt_b")).is_own


async def test_a_leader_hears_that_somebody_follows_until_nobody_does(register: Register) -> None:
    claim = await register.claim("k", "flt_a")
    assert not (await register.beat("k", claim)).is_followed
    await register.claim("k", "flt_b")
    assert (await register.beat("k", claim)).is_followed
    await asyncio.sleep(0.65 * LEASE)
    assert await register.look("k", "flt_a")
    await register.beat("k", claim)
    await asyncio.sleep(0.65 * LEASE)
    assert (await register.beat("k", claim)).is_followed
    await asyncio.sleep(0.65 * LEASE)
    assert not (await register.beat("k", claim)).is_followed


async def test_a_lease_ends_by_itself_and_its_leader_has_it_again_unless_another_has_it(register: Register) -> None:
    claim = await register.claim("k", "flt_a")
    await asyncio.sleep(1.1 * LEASE)
    assert not await register.look("k", "flt_a")
    assert (await register.beat("k", claim)).is_own
    assert await register.look("k", "flt_a")
    await asyncio.sleep(1.1 * LEASE)
    assert (await register.claim("k", "flt_b")).is_own
    assert not (await register.beat("k", claim)).is_own
    await register.release("k", "flt_a")
    assert await register.look("k", "flt_b")


async def test_whoever_claims_what_was_handed_over_learns_how_often_it_was(register: Register) -> None:
    await register.claim("k", "flt_a")
    await register.release("k", "flt_a", handovers=2)
    assert not await register.look("k", "flt_a")
    claim = await register.claim("k", "flt_b")
    assert (claim.is_own, claim.handovers) == (True, 2)
    await register.beat("k", claim)
    assert (await register.claim("k", "flt_c")).handovers == 2
    await register.release("k", "flt_b")
    assert (await register.claim("k", "flt_c")).handovers == 0


async def test_a_flight_that_came_to_nothing_is_replaced_once(register: Register) -> None:
    await register.claim("k", "flt_a")
    assert (await register.claim("k", "flt_b", instead_of="flt_a")).is_own
    claim = await register.claim("k", "flt_c", instead_of="flt_a")
    assert (claim.flight_id, claim.is_own) == ("flt_b", False)
