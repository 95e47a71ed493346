"""A second try beside one that says nothing: who goes on, who is closed, and what both cost."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import pytest

from hub.client import Fallback, OpenAIClient
from hub.completion import fold
from hub.events import Meta, Usage
from hub.testing import (
    Close,
    Gate,
    Hang,
    Reply,
    ScriptedEndpoint,
    ScriptedTransport,
    chat_chunk,
    chat_reply,
    check_grammar,
    collect,
    raw_reply,
    sse,
    status_reply,
)
from hub.upstream.clocks import Timeouts
from hub.upstream.retry import RetryPolicy

from .support import FOREVER, HELLO, MovedClock, client_of, collected, held, outcome, within

ONCE = RetryPolicy(attempts=1)
STOP = chat_chunk(finish_reason="stop")
BROKEN_IN_MID_STREAM = raw_reply(sse(chat_chunk(content="Half an"), done=False), Close())


async def two(stack: AsyncExitStack, *first: Reply, second: tuple[Reply, ...] = ()) -> tuple[ScriptedEndpoint, ...]:
    """A first endpoint with these replies, and one to fall back to."""
    return (
        await stack.enter_async_context(ScriptedEndpoint(*first)),
        await stack.enter_async_context(ScriptedEndpoint(*(second or (chat_reply("from the second"),)))),
    )


def falling_back(first: ScriptedEndpoint, second: ScriptedEndpoint, **options: Any) -> OpenAIClient:
    fallback = Fallback(base_url=second.base_url, api_key="EMPTY")
    return client_of(first, **{"fallbacks": [fallback], "retry": ONCE, **options})


async def test_the_first_to_say_something_goes_on_and_the_other_is_closed() -> None:
    clock = MovedClock()
    async with AsyncExitStack() as stack:
        gate = Gate()
        first, second = await two(stack, held(gate=gate))
        client = await stack.enter_async_context(falling_back(first, second, hedge_delay=2.0))
        asking = asyncio.create_task(collected(client.stream(messages=HELLO)))
        await within(gate.reached())
        assert second.requests == []
        await clock.pass_by(2.5)
        events = await within(asking)
        await within(first.requests[0].left.wait())
        assert fold(events).text == "from the second"
        assert first.requests[0].headers["idempotency-key"] != second.requests[0].headers["idempotency-key"]


async def test_a_slow_first_may_still_win_and_bears_the_highest_number() -> None:
    clock = MovedClock()
    async with AsyncExitStack() as stack:
        slow, never = Gate(), Gate()
        answering = raw_reply(b": still here\n\n", slow, sse(chat_chunk(content="slow"), STOP))
        first, second = await two(stack, answering, second=(held(gate=never),))
        client = await stack.enter_async_context(falling_back(first, second, hedge_delay=2.0))
        asking = asyncio.create_task(collected(client.stream(messages=HELLO)))
        await within(slow.reached())
        await clock.pass_by(2.5)
        await within(never.reached())
        slow.open()
        events = await within(asking)
        await within(second.requests[0].left.wait())
        assert isinstance(events[0], Meta)
        assert events[0].attempt == 2
        assert fold(events).text == "slow"


async def test_what_the_other_used_is_told_as_an_estimate() -> None:
    clock = MovedClock()
    async with AsyncExitStack() as stack:
        gate = Gate()
        first, second = await two(stack, held(b": queued\n\n", gate=gate))
        client = await stack.enter_async_context(falling_back(first, second, hedge_delay=2.0))
        asking = asyncio.create_task(collected(client.stream(messages=HELLO)))
        await within(gate.reached())
        await clock.pass_by(2.5)
        usages = [event for event in await within(asking) if isinstance(event, Usage)]
        assert [(each.attempt, each.estimated) for each in usages] == [(1, True), (2, True)]


async def test_a_quick_answer_is_asked_for_once() -> None:
    async with (
        ScriptedEndpoint(chat_reply("quick")) as endpoint,
        client_of(endpoint, hedge_delay=FOREVER) as client,
    ):
        assert (await outcome(client.stream(messages=HELLO))).text == "quick"
        assert len(endpoint.requests) == 1


async def test_a_failure_before_the_delay_is_tried_again_as_ever() -> None:
    async with ScriptedEndpoint(status_reply(500), chat_reply("Hi")) as endpoint:
        policy = RetryPolicy(backoff=0.0)
        async with client_of(endpoint, hedge_delay=FOREVER, retry=policy) as client:
            assert (await outcome(client.stream(messages=HELLO))).text == "Hi"


async def test_one_that_fails_leaves_the_field_to_the_other() -> None:
    clock = MovedClock()
    async with AsyncExitStack() as stack:
        gate = Gate()
        slow = raw_reply(gate, sse(chat_chunk(content="slow"), STOP))
        first, second = await two(stack, slow, second=(status_reply(500),))
        client = await stack.enter_async_context(falling_back(first, second, hedge_delay=2.0))
        asking = asyncio.create_task(outcome(client.stream(messages=HELLO)))
        await within(gate.reached())
        await clock.pass_by(2.5)
        await within(second.received())
        gate.open()
        assert (await within(asking)).text == "slow"


async def test_leaving_closes_both() -> None:
    clock = MovedClock()
    async with AsyncExitStack() as stack:
        gates = Gate(), Gate()
        first, second = await two(stack, held(gate=gates[0]), second=(held(gate=gates[1]),))
        client = await stack.enter_async_context(falling_back(first, second, hedge_delay=2.0))
        asking = asyncio.create_task(outcome(client.stream(messages=HELLO)))
        await within(gates[0].reached())
        await clock.pass_by(2.5)
        await within(gates[1].reached())
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await within(asking)
        await within(first.requests[0].left.wait())
        await within(second.requests[0].left.wait())


async def test_the_clocks_run_for_both() -> None:
    clock = MovedClock()
    async with AsyncExitStack() as stack:
        gates = Gate(), Gate()
        first, second = await two(stack, held(gate=gates[0]), second=(held(gate=gates[1]),))
        timeouts = Timeouts(first_token_timeout=5.0, total_timeout=None, connect_timeout=FOREVER)
        client = await stack.enter_async_context(falling_back(first, second, hedge_delay=2.0, timeouts=timeouts))
        asking = asyncio.create_task(outcome(client.stream(messages=HELLO)))
        await within(gates[0].reached())
        await clock.pass_by(2.5)
        await within(gates[1].reached())
        await clock.pass_by(3.0)
        result = await within(asking)
        assert result.error is not None
        assert result.error.code == "first_token_timeout"


async def test_of_two_tries_at_once_the_one_that_failed_is_asked_last() -> None:
    clock = MovedClock()
    async with AsyncExitStack() as stack:
        gate = Gate()
        slow = raw_reply(gate, sse(chat_chunk(content="slow"), STOP))
        first, second = await two(stack, slow, status_reply(500), second=(status_reply(500), chat_reply("never")))
        third = await stack.enter_async_context(ScriptedEndpoint(chat_reply("third")))
        fallbacks = [Fallback(base_url=each.base_url, api_key="EMPTY") for each in (second, third)]
        client = await stack.enter_async_context(
            client_of(first, fallbacks=fallbacks, hedge_delay=2.0, retry=ONCE, cool_down=FOREVER)
        )
        asking = asyncio.create_task(outcome(client.stream(messages=HELLO)))
        await within(gate.reached())
        await clock.pass_by(2.5)
        await within(second.received())
        gate.open()
        await within(asking)
        assert (await outcome(client.stream(messages=HELLO, hedge_delay=FOREVER))).text == "third"


async def test_two_that_both_say_nothing_are_both_told() -> None:
    clock = MovedClock()
    async with AsyncExitStack() as stack:
        gates = Gate(), Gate()
        first, second = await two(stack, held(b": a\n\n", gate=gates[0]), second=(held(b": b\n\n", gate=gates[1]),))
        timeouts = Timeouts(first_token_timeout=5.0, total_timeout=None, connect_timeout=FOREVER)
        client = await stack.enter_async_context(falling_back(first, second, hedge_delay=2.0, timeouts=timeouts))
        asking = asyncio.create_task(collected(client.stream(messages=HELLO)))
        await within(gates[0].reached())
        await clock.pass_by(2.5)
        await within(gates[1].reached())
        await clock.pass_by(3.0)
        events = await within(asking)
        assert isinstance(events[0], Meta)
        assert events[0].attempt == 2
        assert [event.attempt for event in events if isinstance(event, Usage)] == [1, 2]


@pytest.mark.parametrize("turns", range(0, 40, 3))
@pytest.mark.parametrize("slow_first", [True, False])
async def test_a_race_that_is_stopped_at_any_moment_loses_no_event(turns: int, slow_first: bool) -> None:
    gate = Gate()
    replies = [chat_reply([gate, "Hello", " world"], usage=True), chat_reply([Hang()])]
    transport = ScriptedTransport(*(replies if slow_first else reversed(replies)))
    policy = RetryPolicy(attempts=2)
    async with OpenAIClient(
        "m", base_url="http://localhost/v1", http_client=transport.client(), hedge_delay=0, retry=policy
    ) as client:
        stream = client.stream(messages=HELLO)
        reading = asyncio.create_task(collect(stream))
        await within(gate.reached())
        gate.open()
        for _ in range(turns):
            await asyncio.sleep(0)
        stream.stop()
        check_grammar(await within(reading))
