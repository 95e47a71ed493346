"""What every limiter promises: the same suite over one process's and over the one that Redis keeps."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from hub.errors import InvalidRequestError, LimitError
from hub.limits import LimiterBusyError, LimitTimeoutError, RequestTooLargeError
from hub.result import TokenUsage
from tests.hub.limits.support import ManualClock, OpenLimiter, Requests, in_memory, over_redis, within
from tests.real.redis_server import RedisServer, redis_binaries

LATE = 0.5
"""Seconds, of sixty, by which what was taken may come back late."""


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(scope="module", params=["memory", *redis_binaries()])
def url(request: pytest.FixtureRequest) -> Iterator[str | None]:
    """Where the limiters' server is; None for those that need none."""
    if request.param == "memory":
        yield None
    else:
        with RedisServer(redis_binaries()[request.param]) as server:
            yield server.url


@pytest.fixture
async def open_limiter(url: str | None, clock: ManualClock) -> AsyncIterator[OpenLimiter]:
    limiters = in_memory(clock) if url is None else over_redis(clock, url)
    async with limiters as open_it:
        yield open_it


@pytest.fixture
async def requests(clock: ManualClock) -> AsyncIterator[Requests]:
    running = Requests(clock)
    yield running
    await running.end()


async def test_a_whole_budget_may_be_used_at_once(open_limiter: OpenLimiter, requests: Requests) -> None:
    limiter = open_limiter(tokens=1_000)
    for name in "abcd":
        await requests.add(name, limiter, 250)
    assert requests.names == list("abcd")


async def test_no_minute_sees_more_than_its_budget(
    open_limiter: OpenLimiter, requests: Requests, clock: ManualClock
) -> None:
    limiter = open_limiter(tokens=1_000)
    for number in range(30):
        await requests.add(str(number), limiter, 100)
    await clock.advance(125)
    times = [at for _, at in requests.through]
    assert len(times) == 30
    for begin in times:
        assert sum(begin <= at < begin + 60 for at in times) <= 10


async def test_what_was_taken_comes_back_a_minute_later(
    open_limiter: OpenLimiter, requests: Requests, clock: ManualClock
) -> None:
    limiter = open_limiter(tokens=1_000)
    await requests.add("first", limiter, 600)
    await clock.advance(20)
    await requests.add("second", limiter, 400)
    await requests.add("third", limiter, 600)
    await requests.add("fourth", limiter, 400)
    await clock.advance(61)
    names, times = zip(*requests.through, strict=True)
    assert names == ("first", "second", "third", "fourth")
    assert times[2] == pytest.approx(60, abs=LATE)
    assert times[3] == pytest.approx(80, abs=LATE)


async def test_both_budgets_must_have_room(open_limiter: OpenLimiter, requests: Requests, clock: ManualClock) -> None:
    limiter = open_limiter(tokens=1_000, requests=2)
    await requests.add("a", limiter, 10)
    await requests.add("b", limiter, 10)
    await requests.add("c", limiter, 10)
    assert requests.names == ["a", "b"]
    await clock.advance(61)
    assert requests.names == ["a", "b", "c"]


async def test_one_that_waits_for_requests_holds_no_tokens(
    open_limiter: OpenLimiter, requests: Requests, clock: ManualClock
) -> None:
    limiter = open_limiter(tokens=1_000, requests=1)
    await requests.add("a", limiter, 0)
    await requests.add("b", limiter, 1_000, timeout=1)
    await clock.advance(2)
    await requests.add("c", limiter, 1_000, 0)
    assert requests.names == ["a", "c"]
    assert isinstance(requests.tasks["b"].exception(), LimitTimeoutError)


async def test_unknown_limits_limit_nothing(open_limiter: OpenLimiter, requests: Requests) -> None:
    limiter = open_limiter()
    for number in range(5):
        await requests.add(str(number), limiter, 10**9)
    assert len(requests.through) == 5


async def test_a_small_request_does_not_overtake_a_large_one(
    open_limiter: OpenLimiter, requests: Requests, clock: ManualClock
) -> None:
    limiter = open_limiter(tokens=1_000)
    await requests.add("first", limiter, 500)
    await requests.add("large", limiter, 900)
    await requests.add("small", limiter, 100)
    assert requests.names == ["first"]
    await clock.advance(61)
    assert requests.names == ["first", "large", "small"]


async def test_higher_priorities_go_first_and_equals_in_their_order(
    open_limiter: OpenLimiter, requests: Requests, clock: ManualClock
) -> None:
    limiter = open_limiter(tokens=100)
    await requests.add("now", limiter, 100)
    for name, priority in (("low", -1), ("a", 0), ("b", 0), ("urgent", 5)):
        await requests.add(name, limiter, 100, priority=priority)
    await clock.advance(245)
    assert requests.names == ["now", "urgent", "a", "b", "low"]


async def test_a_cancelled_waiter_takes_nothing_and_holds_up_no_one(
    open_limiter: OpenLimiter, requests: Requests, clock: ManualClock
) -> None:
    limiter = open_limiter(tokens=1_000)
    await requests.add("now", limiter, 600)
    await requests.add("cancelled", limiter, 1_000)
    await requests.add("behind", limiter, 400)
    assert requests.names == ["now"]
    requests.tasks["cancelled"].cancel()
    await clock.advance(1)
    assert requests.names == ["now", "behind"]


async def test_a_request_larger_than_the_budget_is_an_error_at_once(open_limiter: OpenLimiter) -> None:
    limiter = open_limiter(tokens=1_000, requests=5)
    with pytest.raises(RequestTooLargeError, match="wants 1,001 tokens; the budget has 1,000") as raised:
        async with limiter.limit(1_001):
            pass
    assert (raised.value.budget, raised.value.wanted, raised.value.capacity) == ("tokens", 1_001, 1_000)
    with pytest.raises(RequestTooLargeError, match="6 requests"):
        async with limiter.limit(1, 6):
            pass
    async with limiter.limit(1_000, 5) as permit:
        assert permit.waited == 0.0


@pytest.mark.parametrize(
    "arguments",
    [{"tokens": -1}, {"tokens": float("nan")}, {"tokens": 1, "priority": 1_001}, {"tokens": 1, "timeout": -1}],
)
async def test_arguments_that_make_no_sense_are_refused_at_the_call(
    open_limiter: OpenLimiter, arguments: dict[str, Any]
) -> None:
    with pytest.raises(InvalidRequestError):
        open_limiter(tokens=10).limit(**arguments)


async def test_a_full_line_refuses_with_a_time_to_come_back(open_limiter: OpenLimiter, requests: Requests) -> None:
    limiter = open_limiter(tokens=100, max_waiting=2)
    await requests.add("now", limiter, 100)
    await requests.add("a", limiter, 100)
    await requests.add("b", limiter, 100)
    with pytest.raises(LimiterBusyError, match="2 requests wait") as raised:
        async with limiter.limit(100):
            pass
    assert isinstance(raised.value, LimitError)
    assert raised.value.retry_after >= 1


async def test_a_wait_has_an_end(open_limiter: OpenLimiter, requests: Requests, clock: ManualClock) -> None:
    limiter = open_limiter(tokens=100, max_wait=10)
    await requests.add("now", limiter, 100)
    await requests.add("short", limiter, 100, timeout=2)
    await requests.add("long", limiter, 100)
    await clock.advance(9)
    short = requests.tasks["short"].exception()
    assert isinstance(short, LimitTimeoutError)
    assert short.waited == pytest.approx(2)
    assert not requests.tasks["long"].done()
    await clock.advance(1.1)
    assert isinstance(requests.tasks["long"].exception(), LimitTimeoutError)


async def test_a_timeout_of_zero_does_not_wait(open_limiter: OpenLimiter) -> None:
    limiter = open_limiter(tokens=100)
    async with limiter.limit(100, timeout=0):
        pass
    with pytest.raises(LimitTimeoutError) as raised:
        async with limiter.limit(100, timeout=0):
            pass
    assert raised.value.retry_after == pytest.approx(60, abs=LATE)


async def test_output_is_charged_on_the_way_out(
    open_limiter: OpenLimiter, requests: Requests, clock: ManualClock
) -> None:
    limiter = open_limiter(tokens=1_000)
    async with limiter.limit(100) as permit:
        permit.charge(400)
        permit.charge(300)
    await requests.add("fits", limiter, 200)
    await requests.add("waits", limiter, 1)
    assert requests.names == ["fits"]


async def test_more_may_be_charged_than_there_is_and_later_requests_wait_for_it(
    open_limiter: OpenLimiter, requests: Requests, clock: ManualClock
) -> None:
    limiter = open_limiter(tokens=1_000)
    async with limiter.limit(100) as permit:
        permit.charge(1_400)
    await requests.add("later", limiter, 1)
    await clock.advance(59)
    assert requests.names == []
    await clock.advance(2)
    assert requests.names == ["later"]


async def test_what_was_really_used_replaces_the_estimate(open_limiter: OpenLimiter, requests: Requests) -> None:
    limiter = open_limiter(tokens=1_000)
    async with limiter.limit(900) as permit:
        permit.settle(TokenUsage(input_tokens=60, output_tokens=40, total_tokens=100))
    await requests.add("fits", limiter, 900)
    await requests.add("waits", limiter, 1)
    assert requests.names == ["fits"]


async def test_what_is_given_back_lets_the_next_one_in(
    open_limiter: OpenLimiter, requests: Requests, clock: ManualClock
) -> None:
    limiter = open_limiter(tokens=1_000)
    async with limiter.limit(900) as permit:
        await requests.add("waits", limiter, 500)
        permit.settle(100)
    await clock.advance(1)
    assert requests.names == ["waits"]


async def test_a_cancelled_permit_gives_tokens_and_requests_back(open_limiter: OpenLimiter, requests: Requests) -> None:
    limiter = open_limiter(tokens=1_000, requests=1)
    async with limiter.limit(1_000) as permit:
        permit.cancel()
    await requests.add("next", limiter, 1_000)
    assert requests.names == ["next"]


async def test_without_a_word_the_estimate_stands_also_after_an_exception(
    open_limiter: OpenLimiter, requests: Requests
) -> None:
    limiter = open_limiter(tokens=1_000)
    with pytest.raises(ZeroDivisionError):
        async with limiter.limit(1_000):
            raise ZeroDivisionError
    await requests.add("waits", limiter, 1)
    assert requests.names == []


async def test_what_is_given_back_after_its_minute_is_not_given_twice(
    open_limiter: OpenLimiter, requests: Requests, clock: ManualClock
) -> None:
    limiter = open_limiter(tokens=1_000)
    async with limiter.limit(1_000) as permit:
        await clock.advance(61)
        await requests.add("next", limiter, 1_000)
        permit.settle(0)
    await requests.add("waits", limiter, 1)
    assert requests.names == ["next"]


async def test_a_pause_stops_everybody_once(open_limiter: OpenLimiter, requests: Requests, clock: ManualClock) -> None:
    limiter = open_limiter(tokens=1_000)
    for _ in range(5):
        await limiter.pause(20)
    await limiter.pause(3)
    await requests.add("a", limiter, 1)
    await requests.add("b", limiter, 1)
    await clock.advance(19.4)
    assert requests.names == []
    await clock.advance(1)
    assert requests.names == ["a", "b"]
    await requests.add("c", limiter, 1)
    assert requests.names == ["a", "b", "c"]


async def test_headers_lower_what_is_left(open_limiter: OpenLimiter, requests: Requests, clock: ManualClock) -> None:
    limiter = open_limiter(tokens=60_000)
    await limiter.correct({"X-RateLimit-Limit-Tokens": "60000", "x-ratelimit-remaining-tokens": "1000"})
    await requests.add("waits", limiter, 3_000)
    assert requests.names == []
    await clock.advance(2.6)
    assert requests.through == [("waits", pytest.approx(2, abs=LATE))]


async def test_headers_never_raise_what_is_left(open_limiter: OpenLimiter, requests: Requests) -> None:
    limiter = open_limiter(tokens=1_000)
    async with limiter.limit(1_000):
        await limiter.correct({"x-ratelimit-remaining-tokens": "900"})
    await requests.add("waits", limiter, 100)
    assert requests.names == []


async def test_headers_correct_the_limits(open_limiter: OpenLimiter, requests: Requests) -> None:
    limiter = open_limiter(tokens=1_000)
    with pytest.raises(RequestTooLargeError):
        async with limiter.limit(5_000):
            pass
    await limiter.correct({"x-ratelimit-limit-tokens": "10000", "x-ratelimit-limit-requests": "2"})
    await requests.add("large", limiter, 5_000)
    await requests.add("other", limiter, 0)
    await requests.add("one too many", limiter, 0)
    assert requests.names == ["large", "other"]


async def test_a_limit_that_falls_below_a_waiting_request_ends_its_wait(
    open_limiter: OpenLimiter, requests: Requests, clock: ManualClock
) -> None:
    limiter = open_limiter(tokens=1_000)
    await requests.add("now", limiter, 1_000)
    await requests.add("large", limiter, 900)
    await limiter.correct({"x-ratelimit-limit-tokens": "500"})
    await clock.advance(1)
    assert isinstance(requests.tasks["large"].exception(), RequestTooLargeError)


async def test_headers_that_say_nothing_of_use_change_nothing(open_limiter: OpenLimiter, requests: Requests) -> None:
    limiter = open_limiter(tokens=1_000)
    await limiter.correct({"x-ratelimit-limit-tokens": "-1", "x-ratelimit-remaining-tokens": "soon", "date": "today"})
    await requests.add("a", limiter, 1_000)
    assert requests.names == ["a"]


async def test_a_shorter_interval_has_its_share(
    open_limiter: OpenLimiter, requests: Requests, clock: ManualClock
) -> None:
    limiter = open_limiter(tokens=6_000, interval=10)
    with pytest.raises(RequestTooLargeError):
        async with limiter.limit(1_001):
            pass
    await requests.add("a", limiter, 1_000)
    await requests.add("b", limiter, 1_000)
    await clock.advance(10.1)
    assert requests.through == [("a", 0.0), ("b", pytest.approx(10, abs=0.1))]


async def test_a_block_is_entered_once(open_limiter: OpenLimiter) -> None:
    entry = open_limiter(tokens=10).limit(1)
    async with entry:
        pass
    with pytest.raises(RuntimeError, match="entered once"):
        async with entry:
            pass


async def test_closing_twice_is_closing_once(open_limiter: OpenLimiter) -> None:
    limiter = open_limiter(tokens=10)
    await limiter.aclose()
    await limiter.aclose()


async def test_a_thousand_at_once_all_get_through_in_their_order(
    open_limiter: OpenLimiter, requests: Requests, clock: ManualClock
) -> None:
    limiter = open_limiter(tokens=10**6)
    async with asyncio.TaskGroup() as group:
        order: list[int] = []

        async def one(number: int) -> None:
            async with limiter.limit(10):
                order.append(number)

        for number in range(1_000):
            group.create_task(within(one(number), 30))
    assert order == list(range(1_000))
