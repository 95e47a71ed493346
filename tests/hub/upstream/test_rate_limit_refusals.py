"""When a rate limit or the endpoint says no: pauses, requests too large, full lines, hedges, limiters that fail."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from typing import Any

import pytest

from hub.client import Fallback, OpenAIClient
from hub.errors import EndpointError, EndpointStatusError
from hub.events import Meta
from hub.limits import Limiter, Permit
from hub.result import LLMResult
from hub.testing import Gate, Reply, ScriptedTransport, chat_chunk, chat_reply, collect, raw_reply, sse, status_reply
from hub.upstream.retry import RetryPolicy
from tests.hub.limits.support import ManualClock

from .limits_support import INPUT, answered, ask, client_at, has, limiter_of, scripted, waiting
from .support import AT_ONCE, FOREVER, HELLO, NO_RETRY, MovedClock, held, within

BUDGET = 1_000
STOP = chat_chunk(finish_reason="stop")


def busy(retry_after: str) -> Reply:
    return status_reply(429, headers={"Retry-After": retry_after})


def models(transport: ScriptedTransport) -> list[str]:
    return [request.json()["model"] for request in transport.requests]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


# Retry-After


async def test_a_429_with_retry_after_holds_back_every_other_call(clock: ManualClock) -> None:
    limiter, transport = limiter_of(clock), scripted(busy("30"))
    client = client_at(transport, limiter)
    await answered(client, retry=NO_RETRY)
    others = [ask(client), ask(client, model="m-2"), asyncio.create_task(client.embedding("Hello"))]
    await waiting(limiter, 3)
    await clock.advance(29.9)
    assert len(transport.requests) == 1
    await clock.advance(4.0)
    await within(asyncio.gather(*others))
    assert len(transport.requests) == 4


async def test_pauses_that_overlap_do_not_add_up(clock: ManualClock) -> None:
    limiter, gate = limiter_of(clock), Gate()
    slow = Reply(before=(gate,), status=429, headers={"Retry-After": "30"})
    transport = scripted(slow, slow)
    client = client_at(transport, limiter, retry=NO_RETRY)
    calls = [ask(client), ask(client)]
    await within(gate.reached(2))
    gate.open()
    await within(asyncio.gather(*calls))
    other = ask(client)
    await waiting(limiter)
    await clock.advance(33.1)
    assert (await within(other)).status == "completed"


async def test_a_retry_goes_before_those_that_came_later_and_waits_once(clock: ManualClock) -> None:
    loop_clock, limiter = MovedClock(), limiter_of(clock, requests=2)
    transport = scripted(busy("30"), chat_reply("again"), chat_reply("later"))
    client = client_at(transport, limiter)
    sent_back = ask(client)
    await within(transport.received())
    await clock.settle()
    later = ask(client)
    await waiting(limiter)
    await clock.advance(30.0)  # as much as was asked for: the one that was sent back is not in line again yet
    assert len(transport.requests) == 1
    await loop_clock.pass_by(33.1)
    await waiting(limiter, 2)
    await clock.advance(1.1)
    assert (await within(sent_back)).text == "again"
    assert len(transport.requests) == 2
    await clock.advance(30.0)
    assert (await within(later)).text == "later"


async def test_embeddings_that_were_sent_back_go_before_those_that_came_later(clock: ManualClock) -> None:
    loop_clock, limiter = MovedClock(), limiter_of(clock, requests=2)
    transport = scripted(busy("30"))
    client = client_at(transport, limiter)
    sent_back = asyncio.create_task(client.embedding("sent back"))
    await within(transport.received())
    await clock.settle()
    later = asyncio.create_task(client.embedding("later"))
    await waiting(limiter)
    await loop_clock.pass_by(33.1)
    await waiting(limiter, 2)
    await clock.advance(31.1)
    await within(sent_back)
    assert [request.json()["input"] for request in transport.requests] == ["sent back"] * 2
    later.cancel()


@pytest.mark.parametrize("retry_after", ["61", "86400", "1e308", "9" * 400, "-5", "nan", "inf", "", "soon"])
async def test_a_wish_that_is_too_long_or_nonsense_pauses_nobody(retry_after: str, clock: ManualClock) -> None:
    limiter, transport = limiter_of(clock, BUDGET, 10), scripted(busy(retry_after))
    client = client_at(transport, limiter, retry=NO_RETRY)
    assert (await answered(client)).error is not None
    assert (await answered(client)).status == "completed"


async def test_a_pause_holds_where_no_limit_is_known() -> None:
    transport = scripted(busy("30"))
    client = client_at(transport, retry=NO_RETRY)  # the client's own limiter
    await answered(client)
    other = ask(client)
    await ManualClock().settle()
    assert len(transport.requests) == 1
    other.cancel()


# Too large


async def test_a_request_larger_than_a_minute_s_budget_fails_at_once_and_says_why(clock: ManualClock) -> None:
    transport = scripted()
    result = await answered(client_at(transport, limiter_of(clock, INPUT - 1)))
    assert result.error is not None
    assert (result.error.code, result.error.retryable) == ("invalid_request", False)
    assert f"wants {INPUT} tokens" in result.error.message
    assert transport.requests == []


async def test_where_a_request_is_too_large_a_fallback_is_asked(clock: ManualClock) -> None:
    transport = scripted()
    fallback = Fallback(base_url="http://second/v1", api_key="EMPTY")
    client = client_at(transport, limiter_of(clock, INPUT - 1), fallbacks=[fallback], retry=NO_RETRY)
    assert (await answered(client)).text == "Hi"
    assert [request.headers["host"] for request in transport.requests] == ["second"]


async def test_embeddings_larger_than_a_minute_s_budget_fail_at_once(clock: ManualClock) -> None:
    client = client_at(scripted(), limiter_of(clock, 10))
    with pytest.raises(EndpointStatusError, match="wants 25 tokens") as caught:
        await client.embedding("x" * 100)
    assert caught.value.code == "invalid_request"


# A full line, or too long a wait


async def full(clock: ManualClock) -> tuple[Limiter, asyncio.Task[Any]]:
    """A limiter whose budget is used up, and at whose line no further one may stand."""
    limiter = limiter_of(clock, requests=1, max_waiting=1)
    client = client_at(scripted(), limiter)
    await answered(client)
    first = ask(client)
    await waiting(limiter)
    return limiter, first


def is_told(error: Any) -> bool:
    return error.code == "rate_limited" and error.status is None and error.retryable and 0 < error.retry_after <= 61


async def test_a_full_line_is_told_with_the_seconds_to_wait_and_is_not_tried_again(clock: ManualClock) -> None:
    limiter, first = await full(clock)
    transport = scripted()
    result = await answered(client_at(transport, limiter))
    assert is_told(result.error)
    assert transport.requests == []
    with pytest.raises(EndpointError) as caught:
        await client_at(transport, limiter).embedding("Hello")
    assert is_told(caught.value)
    assert transport.requests == []
    first.cancel()


async def test_a_wait_that_was_too_long_is_told_and_is_not_tried_again(clock: ManualClock) -> None:
    limiter, transport = limiter_of(clock, requests=1, max_wait=20.0), scripted()
    client = client_at(transport, limiter)
    await answered(client)
    second = ask(client)
    await waiting(limiter)
    await clock.advance(20.0)
    assert is_told((await within(second)).error)
    assert len(transport.requests) == 1


async def test_a_retry_that_finds_a_full_line_is_the_last(clock: ManualClock) -> None:
    limiter = limiter_of(clock, requests=1, max_waiting=1)
    gate = Gate()
    transport = scripted(Reply(before=(gate,), status=500))
    client = client_at(transport, limiter, retry=RetryPolicy(attempts=9, backoff=0.0))
    call = ask(client)
    await within(gate.reached())
    first = ask(client)
    await waiting(limiter)
    gate.open()
    result = await within(call)
    assert is_told(result.error)
    assert result.attempt == 2
    first.cancel()


async def test_a_full_line_leads_to_a_fallback_and_cools_nothing_down(clock: ManualClock) -> None:
    limiter, first = await full(clock)
    transport = scripted()
    fallback = Fallback(base_url="http://second/v1", api_key="EMPTY")
    client = client_at(transport, limiter, fallbacks=[fallback], cool_down=FOREVER)
    assert (await answered(client)).text == "Hi"
    first.cancel()
    await clock.advance(61.0)
    await answered(client)
    assert [request.headers["host"] for request in transport.requests] == ["second", "scripted"]


# Hedges


def hedging(transport: ScriptedTransport, limiter: Limiter, **options: Any) -> OpenAIClient:
    return client_at(transport, limiter, **{"hedge_delay": 2.0, "retry": AT_ONCE, **options})


async def test_a_hedge_that_would_have_to_wait_is_not_begun(clock: ManualClock) -> None:
    loop_clock, limiter, gate = MovedClock(), limiter_of(clock, requests=1), Gate()
    transport = scripted(raw_reply(gate, sse(chat_chunk(content="slow"), STOP)))
    call = asyncio.create_task(collect(hedging(transport, limiter).stream(messages=HELLO)))
    await within(gate.reached())
    await loop_clock.pass_by(3.0)
    gate.open()
    events = await within(call)
    assert len(transport.requests) == 1
    assert isinstance(events[0], Meta)
    assert events[0].attempt == 1


async def test_a_hedge_does_not_go_before_those_who_wait(clock: ManualClock) -> None:
    loop_clock, limiter, gate = MovedClock(), limiter_of(clock, INPUT * 3), Gate()
    transport = scripted(raw_reply(gate, sse(chat_chunk(content="slow"), STOP)))
    client = hedging(transport, limiter)
    call = ask(client)
    await within(gate.reached())
    larger = ask(client, messages=HELLO * 3)
    await waiting(limiter)
    await loop_clock.pass_by(3.0)  # there is room for the hedge, and none for the one that waits
    assert len(transport.requests) == 1
    gate.open()
    assert (await within(call)).text == "slow"
    larger.cancel()


async def test_a_hedge_that_was_not_begun_leaves_its_try_and_its_fallback(clock: ManualClock) -> None:
    loop_clock, limiter, gate = MovedClock(), limiter_of(clock, requests=1), Gate()
    transport = scripted(held(gate=gate, head=False))
    client = hedging(transport, limiter, fallbacks=["m-2"], retry=NO_RETRY, timeouts=None)
    call = ask(client)
    await within(gate.reached())
    await loop_clock.pass_by(3.0)
    await loop_clock.pass_by(118.0)  # the first one's clock runs out
    await waiting(limiter)
    await clock.advance(61.0)
    result = await within(call)
    assert (result.text, result.attempt) == ("Hi", 2)
    assert models(transport) == ["m-1", "m-2"]


async def test_of_two_tries_each_takes_its_own(clock: ManualClock) -> None:
    loop_clock, limiter, gate = MovedClock(), limiter_of(clock, BUDGET, 2), Gate()
    call = ask(hedging(scripted(held(gate=gate, head=False)), limiter))
    await within(gate.reached())
    await loop_clock.pass_by(3.0)
    assert (await within(call)).text == "Hi"
    assert not await has(limiter, requests=1)
    assert not await has(limiter, tokens=BUDGET - 2 * INPUT)  # what the loser read, and what the winner said


# Limiters that fail


class Broken:
    """A limiter of which one method fails."""

    def __init__(self, broken: str) -> None:
        self._broken = broken
        self.left = 0

    def _try(self, name: str) -> None:
        if name == self._broken:
            raise RuntimeError(f"{name} is broken")

    @asynccontextmanager
    async def _block(self) -> Any:
        self._try("enter")
        yield None if self._broken == "permit" else Permit(0, 1)
        self.left += 1
        self._try("exit")

    def limit(self, tokens: float, requests: float = 1, **_: Any) -> Any:
        self._try("limit")
        return self._block()

    async def pause(self, seconds: float) -> None:
        self._try("pause")

    async def correct(self, headers: Any) -> None:
        self._try("correct")

    async def aclose(self) -> None:
        self._try("aclose")


@pytest.mark.parametrize("broken", ["limit", "enter", "permit", "exit", "pause", "correct", "aclose"])
async def test_a_limiter_that_fails_breaks_no_call_and_is_told_once(
    broken: str, caplog: pytest.LogCaptureFixture
) -> None:
    client = client_at(scripted(busy("0")), Broken(broken), retry=AT_ONCE)
    with caplog.at_level(logging.WARNING, "hub.upstream.quota"):
        results: list[LLMResult] = [await answered(client), await answered(client)]
        await client.embedding("Hello")
        await client.aclose()
    assert {result.status for result in results} == {"completed"}
    assert len(caplog.records) == (broken != "aclose")


async def test_a_pause_that_fails_leaves_the_block_all_the_same() -> None:
    limiter = Broken("pause")
    await answered(client_at(scripted(busy("1")), limiter, retry=NO_RETRY))
    assert limiter.left == 1
