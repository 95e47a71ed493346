"""The shared limiter and real servers: several processes, and a server that is killed, hangs and forgets."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from redis.asyncio import Redis
from redis.cluster import key_slot  # type: ignore[attr-defined]

from hub.errors import ConfigurationError, InvalidRequestError
from hub.limits import LimitTimeoutError
from hub.limits.redis import RedisLimiter
from hub.models.profile import RateLimits
from tests.hub.limits.support import CountingRedis, ManualClock, Requests, within
from tests.real.redis_server import RedisServer, redis_binaries

ROOT = Path(__file__).parents[2]
PROCESSES = 8


@pytest.fixture(params=redis_binaries())
def server(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    with RedisServer(redis_binaries()[request.param]) as running:
        yield running


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


Open = Callable[..., RedisLimiter]


@pytest.fixture
async def open_limiter(server: RedisServer, clock: ManualClock) -> AsyncIterator[Open]:
    """Limiters of several processes, as far as Redis can tell, that share a clock."""
    clients: list[CountingRedis] = []
    clock.is_busy = lambda: any(client.under_way for client in clients)

    def open_it(tokens: int = 1_000, **options: Any) -> RedisLimiter:
        client = CountingRedis.from_url(server.url)
        clients.append(client)
        limits = RateLimits(tkn_per_min=tokens)
        options = {"clock": clock, "server_clock": clock.unix_time, "redis_timeout": 0.5, **options}
        return RedisLimiter(client, "key", limits, **options)

    yield open_it
    for client in clients:
        await client.aclose()


async def taken_at_once(limiter: RedisLimiter, amount: int) -> int:
    """How many requests of so many tokens get through without waiting."""
    count = 0
    with suppress(LimitTimeoutError):
        while True:
            async with limiter.limit(amount, timeout=0):
                count += 1
    return count


@pytest.mark.timeout(60)
async def test_eight_processes_keep_to_one_budget_use_it_up_and_share_it_fairly() -> None:
    interval, budget, intervals = 1.5, 3_000, 3
    with RedisServer(next(iter(redis_binaries().values()))) as server:
        arguments = [server.url, uuid4().hex, budget * 60 / interval, interval, PROCESSES, interval * intervals]
        children = [
            await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "tests.hub.limits.worker", *map(str, arguments)),
                stdout=asyncio.subprocess.PIPE,
                cwd=ROOT,
            )
            for _ in range(PROCESSES)
        ]
        outputs = [output for output, _ in await asyncio.gather(*(child.communicate() for child in children))]
    got = [json.loads(output) for output in outputs]
    through = sorted(at for times in got for at in times)
    used = 10 * sum(at < through[0] + interval * intervals - 0.1 for at in through)
    assert 0.95 * budget * intervals <= used <= 1.01 * budget * intervals
    # The moments are those of the processes, which hear a little later than Redis has decided.
    window = interval - 0.1
    for begin in through:
        assert 10 * sum(begin <= at < begin + window for at in through) <= 1.01 * budget
    assert min(map(len, got)) > 0.5 * len(through) / PROCESSES


async def test_all_processes_together_have_one_budget(open_limiter: Open) -> None:
    one, other = open_limiter(), open_limiter()
    assert await taken_at_once(one, 100) == 10
    assert await taken_at_once(other, 100) == 0


async def test_processes_are_served_in_the_order_in_which_they_asked(open_limiter: Open, clock: ManualClock) -> None:
    one, other = open_limiter(), open_limiter()
    requests = Requests(clock)
    await requests.add("now", one, 1_000)
    await requests.add("one", one, 700)
    await requests.add("other", other, 700)
    await requests.add("one again", one, 400)
    await clock.advance(185)
    assert requests.names == ["now", "one", "other", "one again"]
    assert requests.through[2][1] - requests.through[1][1] == pytest.approx(60, abs=1)


async def test_priorities_hold_among_processes(open_limiter: Open, clock: ManualClock) -> None:
    one, other = open_limiter(), open_limiter()
    requests = Requests(clock)
    await requests.add("now", one, 1_000)
    await requests.add("usual", one, 1_000)
    await requests.add("urgent", other, 1_000, priority=3)
    await clock.advance(125)
    assert requests.names == ["now", "urgent", "usual"]


async def test_a_pause_holds_for_all_processes(open_limiter: Open, clock: ManualClock) -> None:
    one, other = open_limiter(), open_limiter()
    await one.pause(5)
    await other.pause(5)
    assert await taken_at_once(other, 1) == 0
    clock.now += 5.1
    assert await taken_at_once(other, 500) == 2


async def test_a_process_that_dies_while_it_waits_holds_the_others_up_for_its_lease(
    open_limiter: Open, clock: ManualClock
) -> None:
    dying, other = open_limiter(), open_limiter()
    requests = Requests(clock)
    await requests.add("now", other, 600)
    await requests.add("dying", dying, 1_000)
    await dying._line.budgets._script._client.connection_pool.disconnect()  # type: ignore[attr-defined]
    dying._line.budgets._script._client = Redis(port=1)  # type: ignore[attr-defined]
    await requests.add("other", other, 400)
    assert requests.names == ["now"]
    await clock.advance(3)
    assert "other" in requests.names
    await requests.end()


async def test_a_request_cancelled_while_redis_is_asked_takes_nothing(open_limiter: Open, server: RedisServer) -> None:
    limiter = open_limiter()
    async with limiter.limit(0):
        pass  # the script is loaded

    async def use() -> None:
        async with limiter.limit(100):
            pass

    async with Redis.from_url(server.url) as redis:
        await redis.execute_command("CLIENT", "PAUSE", "100", "ALL")
    task = asyncio.create_task(use())
    await asyncio.sleep(0)  # its command is on the way
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await limiter.aclose()  # which waits until it is out of the queue
    assert await taken_at_once(limiter, 100) == 10


async def test_a_server_that_has_forgotten_the_script_learns_it_again(open_limiter: Open, server: RedisServer) -> None:
    limiter = open_limiter()
    assert await taken_at_once(limiter, 600) == 1
    async with Redis.from_url(server.url) as redis:
        await redis.script_flush()
    assert await taken_at_once(limiter, 200) == 2


async def test_while_redis_is_away_a_process_keeps_to_its_share(
    open_limiter: Open, server: RedisServer, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    one, other = open_limiter(), open_limiter()
    assert await taken_at_once(one, 1_000) == 1
    await taken_at_once(other, 1)
    clock.now += 61
    assert await taken_at_once(one, 1_000) == 1  # and knows now that there are two
    await clock.settle()  # who did not get through is out of the queue
    clock.now += 61
    with caplog.at_level(logging.INFO, "hub.limits"):
        server.crash()
        assert await taken_at_once(one, 100) == 5
        assert await taken_at_once(one, 100) == 0
        clock.now += 61
        assert await taken_at_once(one, 100) == 5
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    server.start()
    clock.now += 6
    with caplog.at_level(logging.INFO, "hub.limits"):
        assert await taken_at_once(other, 100) == 0  # it has forgotten all, and begins with nothing
        clock.now += 30
        # What one took alone, the other doesn't take again.
        assert await taken_at_once(one, 100) + await taken_at_once(other, 100) == 5
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


async def test_redis_away_from_the_start_leaves_the_share_that_was_agreed(
    open_limiter: Open, server: RedisServer
) -> None:
    server.crash()
    assert await taken_at_once(open_limiter(share=0.2), 100) == 2


async def test_without_redis_a_request_larger_than_the_share_goes_and_is_paid_off(
    open_limiter: Open, server: RedisServer, clock: ManualClock
) -> None:
    server.crash()
    limiter = open_limiter(share=0.25, retry_interval=1_000)
    requests = Requests(clock)
    await requests.add("large", limiter, 1_000)
    await requests.add("next", limiter, 250)
    await clock.advance(235)
    assert requests.names == ["large"]
    await clock.advance(10)
    assert requests.through == [("large", 0.0), ("next", pytest.approx(240, abs=1))]


async def test_a_server_that_has_lost_its_memory_is_told_what_was_taken(
    open_limiter: Open, server: RedisServer, clock: ManualClock
) -> None:
    one, other = open_limiter(), open_limiter()
    assert await taken_at_once(one, 300) == 3
    clock.now += 20
    server.crash()
    server.start()
    await within(taken_at_once(one, 1))
    # 900 of 1,000 are known, and the level began at nothing: a third of a minute has not passed since.
    assert await taken_at_once(other, 200) == 0
    clock.now += 41
    assert await taken_at_once(other, 600) == 1


async def test_waiting_goes_on_through_a_restart(open_limiter: Open, server: RedisServer, clock: ManualClock) -> None:
    one = open_limiter()
    requests = Requests(clock)
    await requests.add("now", one, 1_000)
    await requests.add("waits", one, 500)
    server.crash()
    await clock.advance(2)
    server.start()
    await clock.advance(62)
    assert requests.names == ["now", "waits"]


async def test_a_server_that_hangs_costs_its_timeout_and_no_more(
    open_limiter: Open, server: RedisServer, clock: ManualClock
) -> None:
    limiter = open_limiter(redis_timeout=0.1)
    await taken_at_once(limiter, 501)
    with server.held_still():
        began_at = time.perf_counter()
        assert await within(taken_at_once(limiter, 50)) > 0
        assert time.perf_counter() - began_at < 2
    clock.now += 61
    async with limiter.limit(1):
        pass
    assert not limiter._line.budgets._outage.is_on  # type: ignore[attr-defined]


async def test_a_connection_that_was_closed_meanwhile_is_no_outage(
    open_limiter: Open, server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    limiter = open_limiter()
    await taken_at_once(limiter, 600)
    async with Redis.from_url(server.url) as redis:
        await redis.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    assert await taken_at_once(limiter, 200) == 2
    assert caplog.records == []


async def test_all_keys_of_a_limiter_lie_in_one_slot_and_end_by_themselves(
    open_limiter: Open, server: RedisServer, clock: ManualClock
) -> None:
    limiter = open_limiter()
    requests = Requests(clock)
    await requests.add("now", limiter, 1_000)
    await requests.add("waits", limiter, 1)
    async with Redis.from_url(server.url) as redis:
        keys = await redis.keys("*")
        assert len(keys) == 6
        assert len({key_slot(key) for key in keys}) == 1
        assert all([0 < await redis.pttl(key) <= 3_600_000 for key in keys])
    await requests.end()


async def test_nothing_but_the_state_stays_of_a_request_that_is_over(open_limiter: Open, server: RedisServer) -> None:
    limiter = open_limiter()
    await taken_at_once(limiter, 400)
    async with Redis.from_url(server.url) as redis:
        assert await redis.keys("*:queue") == await redis.keys("*:needs") == []


async def test_the_servers_clock_decides(server: RedisServer) -> None:
    one = RedisLimiter(server.url, "real", RateLimits(tkn_per_min=150_000), interval=0.4)
    times = []
    for _ in range(3):
        async with one.limit(1_000):
            times.append(time.monotonic())
    await one.aclose()
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert all(0.39 <= gap < 0.9 for gap in gaps)


def test_a_url_that_makes_no_sense_is_not_repeated() -> None:
    with pytest.raises(ConfigurationError) as raised:
        RedisLimiter("http://user:secret@host", "key", RateLimits())
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("options", [{"share": 0}, {"share": 2}, {"redis_timeout": 0}, {"retry_interval": 0}])
def test_options_that_make_no_sense_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(InvalidRequestError):
        RedisLimiter("redis://127.0.0.1", "key", RateLimits(), **options)  # type: ignore[arg-type]
