"""Other endpoints and models: who is asked when one fails, when a stream begins anew, and what that costs."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import pytest

from hub.client import Fallback, OpenAIClient
from hub.completion import fold
from hub.errors import ClosedError, ConfigurationError, EndpointError, MissingKeyError
from hub.events import LLMEvent, Meta, Usage
from hub.result import LLMResult
from hub.testing import (
    Close,
    Gate,
    Reply,
    ScriptedEndpoint,
    chat_chunk,
    chat_reply,
    check_grammar,
    json_reply,
    raw_reply,
    refuse,
    sse,
    status_reply,
)
from hub.upstream.clocks import Timeouts
from hub.upstream.retry import RetryPolicy
from hub.upstream.route import CoolDown

from .support import FOREVER, HELLO, MovedClock, client_of, collected, held, outcome, within

ONCE = RetryPolicy(attempts=1)
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


@pytest.mark.parametrize(
    "failure",
    [status_reply(500), status_reply(401), status_reply(404), status_reply(400), status_reply(429), refuse(), sse],
    ids=["500", "401", "404", "400", "429", "refused", "error in the body"],
)
async def test_an_endpoint_that_fails_before_any_content_is_replaced_by_the_next(failure: Any) -> None:
    reply = json_reply({"error": {"message": "no", "code": 503}}) if failure is sse else failure
    async with AsyncExitStack() as stack:
        first, second = await two(stack, reply)
        client = await stack.enter_async_context(falling_back(first, second))
        events = await collected(client.stream(messages=HELLO))
        assert fold(events).text == "from the second"
        assert isinstance(events[0], Meta)
        assert events[0].attempt == 2
        assert len(first.requests) == len(second.requests) == 1


async def test_a_model_to_fall_back_to_is_asked_at_the_same_endpoint() -> None:
    async with ScriptedEndpoint(status_reply(404), chat_reply("Hi")) as endpoint:
        async with client_of(endpoint, fallbacks=["m-2"], retry=ONCE) as client:
            assert (await outcome(client.stream(messages=HELLO))).text == "Hi"
        assert [request.json()["model"] for request in endpoint.requests] == ["m-1", "m-2"]


async def test_messages_that_can_be_read_once_reach_every_endpoint() -> None:
    async with ScriptedEndpoint(status_reply(500), chat_reply("Hi")) as endpoint:
        async with client_of(endpoint, fallbacks=["m-2"], retry=ONCE) as client:
            await outcome(client.stream(messages=iter(HELLO)))
        assert endpoint.requests[1].json()["messages"] == HELLO


async def test_keys_stay_with_their_endpoints() -> None:
    async with AsyncExitStack() as stack:
        first, second = await two(stack, status_reply(500))
        client = await stack.enter_async_context(
            client_of(
                first,
                api_key="first-key",
                default_headers={"X-Team": "a"},
                fallbacks=[Fallback(base_url=second.base_url, api_key="second-key")],
                retry=ONCE,
            )
        )
        await outcome(client.stream(messages=HELLO))
        assert first.requests[0].headers["authorization"] == "Bearer first-key"
        assert second.requests[0].headers["authorization"] == "Bearer second-key"
        assert "x-team" not in second.requests[0].headers


async def test_where_all_fail_the_last_failure_is_told() -> None:
    async with AsyncExitStack() as stack:
        first, second = await two(stack, status_reply(500, "first"), second=(status_reply(401, "second"),))
        client = await stack.enter_async_context(falling_back(first, second))
        result = await outcome(client.stream(messages=HELLO))
        assert result.error is not None
        assert "second" in result.error.message


async def test_all_tries_together_keep_to_one_budget() -> None:
    async with ScriptedEndpoint(handler=lambda _: status_reply(500)) as endpoint:
        policy = RetryPolicy(attempts=4, backoff=0.0)
        async with client_of(endpoint, fallbacks=["m-2", "m-3"], retry=policy) as client:
            await outcome(client.stream(messages=HELLO))
        asked = [request.json()["model"] for request in endpoint.requests]
        assert asked[:3] == ["m-1", "m-2", "m-3"]
        assert len(asked) == 4


async def test_each_endpoint_gets_a_try_whatever_the_budget() -> None:
    async with ScriptedEndpoint(handler=lambda _: status_reply(500)) as endpoint:
        async with client_of(endpoint, fallbacks=["m-2", "m-3"], retry=ONCE) as client:
            await outcome(client.stream(messages=HELLO))
        assert len(endpoint.requests) == 3


async def test_an_endpoint_that_failed_is_asked_last_for_a_while() -> None:
    async with AsyncExitStack() as stack:
        first, second = await two(stack, status_reply(500), second=(chat_reply("1"), chat_reply("2")))
        client = await stack.enter_async_context(falling_back(first, second))
        await outcome(client.stream(messages=HELLO))
        await outcome(client.stream(messages=HELLO))
        assert (len(first.requests), len(second.requests)) == (1, 2)


async def test_without_a_cool_down_the_first_is_asked_first_again() -> None:
    async with AsyncExitStack() as stack:
        first, second = await two(stack, status_reply(500), chat_reply("back"))
        client = await stack.enter_async_context(falling_back(first, second, cool_down=0))
        await outcome(client.stream(messages=HELLO))
        assert (await outcome(client.stream(messages=HELLO))).text == "back"


async def test_a_fault_of_the_request_leaves_the_endpoint_in_its_place() -> None:
    async with AsyncExitStack() as stack:
        first, second = await two(stack, status_reply(400), chat_reply("back"))
        client = await stack.enter_async_context(falling_back(first, second))
        await outcome(client.stream(messages=HELLO))
        assert (await outcome(client.stream(messages=HELLO))).text == "back"


def test_a_cool_down_ends_with_time_or_with_success_and_heeds_retry_after() -> None:
    now = 100.0
    cool_down = CoolDown(30.0, clock=lambda: now)
    assert cool_down.is_over
    cool_down.failed(EndpointError("busy", code="rate_limited", retry_after=50.0))
    now = 149.0
    assert not cool_down.is_over
    now = 150.0
    assert cool_down.is_over
    cool_down.failed(EndpointError("down", code="endpoint_error"))
    assert not cool_down.is_over
    cool_down.succeeded()
    assert cool_down.is_over


async def test_silence_of_one_endpoint_leads_to_the_next() -> None:
    clock = MovedClock()
    async with AsyncExitStack() as stack:
        gate = Gate()
        first, second = await two(stack, held(gate=gate))
        timeouts = Timeouts(first_token_timeout=5.0, total_timeout=None, stall_timeout=None, connect_timeout=FOREVER)
        client = await stack.enter_async_context(falling_back(first, second, timeouts=timeouts))
        asking = asyncio.create_task(outcome(client.stream(messages=HELLO)))
        await within(gate.reached())
        await clock.pass_by(5.5)
        assert (await within(asking)).text == "from the second"
        await within(first.requests[0].left.wait())


async def test_content_that_has_gone_out_stands_and_the_failure_is_told() -> None:
    async with AsyncExitStack() as stack:
        first, second = await two(stack, BROKEN_IN_MID_STREAM)
        client = await stack.enter_async_context(falling_back(first, second))
        result = await outcome(client.stream(messages=HELLO))
        assert (result.text, result.status) == ("Half an", "failed")
        assert second.requests == []


async def restarted(stack: AsyncExitStack, **options: Any) -> tuple[list[LLMEvent], LLMResult]:
    first, second = await two(stack, BROKEN_IN_MID_STREAM, second=(chat_reply("The whole answer", usage=True),))
    client = await stack.enter_async_context(falling_back(first, second, **options))
    events = await collected(client.stream(messages=HELLO))
    return events, fold(events)


async def test_with_restart_a_new_attempt_voids_what_was_said() -> None:
    async with AsyncExitStack() as stack:
        events, result = await restarted(stack, restart=True)
        assert [event.attempt for event in events if isinstance(event, Meta)] == [1, 2]
        assert (result.text, result.status, result.attempt) == ("The whole answer", "completed", 2)


async def test_what_a_voided_attempt_used_is_estimated_and_summed() -> None:
    async with AsyncExitStack() as stack:
        events, result = await restarted(stack, restart=True)
        first, second = (event for event in events if isinstance(event, Usage))
        assert first.estimated
        assert (first.attempt, second.attempt) == (1, 2)
        assert not second.estimated
        assert result.usage is not None
        assert result.usage.total_tokens == first.total_tokens + second.total_tokens


async def test_restart_may_be_chosen_for_one_call() -> None:
    async with AsyncExitStack() as stack:
        first, second = await two(stack, BROKEN_IN_MID_STREAM)
        client = await stack.enter_async_context(falling_back(first, second))
        assert (await outcome(client.stream(messages=HELLO, restart=True))).text == "from the second"


async def test_without_fallbacks_restart_tries_the_same_endpoint_again() -> None:
    policy = RetryPolicy(backoff=0.0)
    async with ScriptedEndpoint(BROKEN_IN_MID_STREAM, chat_reply("Again")) as endpoint:
        client = client_of(endpoint, restart=True, retry=policy)
        assert (await outcome(client.stream(messages=HELLO))).text == "Again"
        await client.aclose()


async def test_a_stream_stopped_between_two_attempts_ends_in_order() -> None:
    async with ScriptedEndpoint(BROKEN_IN_MID_STREAM) as endpoint:
        policy = RetryPolicy(backoff=1e5, max_backoff=1e5)
        async with client_of(endpoint, restart=True, retry=policy, timeouts=Timeouts(total_timeout=None)) as client:
            events = []
            stream = client.stream(messages=HELLO)
            async with asyncio.timeout(10):
                async for event in stream:
                    events.append(event)
                    if event.type == "text_delta":
                        asyncio.get_running_loop().call_later(0.05, stream.stop)
        check_grammar(events)
        assert fold(events).status == "cancelled"
        assert fold(events).text == "Half an"


async def test_every_try_of_a_call_bears_its_id() -> None:
    async with ScriptedEndpoint(status_reply(500), chat_reply("Hi")) as endpoint:
        async with client_of(endpoint, retry=RetryPolicy(backoff=0.0)) as client:
            await outcome(client.stream(messages=HELLO, stream_id="str_mine"))
        for request in endpoint.requests:
            assert request.headers["idempotency-key"] == request.headers["x-client-request-id"] == "str_mine"


async def test_an_id_that_no_header_may_hold_is_not_sent() -> None:
    async with ScriptedEndpoint(chat_reply("Hi")) as endpoint, client_of(endpoint) as client:
        await outcome(client.stream(messages=HELLO, stream_id="a\r\nX-Evil: 1"))
        assert "idempotency-key" not in endpoint.requests[0].headers
        assert "x-evil" not in endpoint.requests[0].headers


@pytest.mark.parametrize("fallbacks", ["gpt-5.1", Fallback(model="m"), 7, [7], [Fallback()]])
def test_fallbacks_that_make_no_sense_are_refused(fallbacks: Any) -> None:
    with pytest.raises((ConfigurationError, ValueError)):
        OpenAIClient("m", base_url="http://localhost:1/v1", fallbacks=fallbacks)


class TestKeysAndHeaders:
    """What one endpoint must not get that is another's."""

    def test_a_fallbacks_address_does_not_get_the_key_of_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("OPENAI_API_KEY", "of-openai")
        with pytest.raises(MissingKeyError, match="gateway"):
            OpenAIClient("m", fallbacks=[Fallback(base_url="https://gateway.example/v1")])
        OpenAIClient("m", fallbacks=[Fallback(base_url="https://api.openai.com/v1", model="m-2")])

    async def test_a_fallback_with_headers_of_its_own_keeps_the_clients_key(self) -> None:
        async with ScriptedEndpoint(status_reply(500), chat_reply("Hi")) as endpoint:
            fallback = Fallback(default_headers={"X-Tier": "slow"})
            async with client_of(endpoint, api_key="the-key", fallbacks=[fallback], retry=ONCE) as client:
                await outcome(client.stream(messages=HELLO))
            assert endpoint.requests[1].headers["authorization"] == "Bearer the-key"
            assert endpoint.requests[1].headers["x-tier"] == "slow"

    async def test_a_calls_own_headers_and_query_go_to_the_first_endpoint_only(self) -> None:
        async with AsyncExitStack() as stack:
            first, second = await two(stack, status_reply(500))
            client = await stack.enter_async_context(falling_back(first, second))
            own = {"extra_headers": {"Authorization": "Bearer of-the-call"}, "extra_query": {"key": "of-the-call"}}
            await outcome(client.stream(messages=HELLO, **own))
            assert first.requests[0].headers["authorization"] == "Bearer of-the-call"
            assert "of-the-call" not in f"{second.requests[0].headers}{second.requests[0].path}"


class TestWhatComesToNothing:
    """Tries that said nothing: what they cost, and what follows."""

    async def test_a_try_that_was_waited_for_in_vain_is_told_as_an_estimate(self) -> None:
        clock = MovedClock()
        async with AsyncExitStack() as stack:
            gate = Gate()
            first, second = await two(stack, held(b": queued\n\n", gate=gate))
            timeouts = Timeouts(first_token_timeout=5.0, total_timeout=None, connect_timeout=FOREVER)
            client = await stack.enter_async_context(falling_back(first, second, timeouts=timeouts))
            asking = asyncio.create_task(collected(client.stream(messages=HELLO)))
            await within(gate.reached())
            await clock.pass_by(5.5)
            usages = [event for event in await within(asking) if isinstance(event, Usage)]
            assert [(usage.attempt, usage.estimated) for usage in usages] == [(1, True), (2, True)]
            assert usages[0].input_tokens > 0

    async def test_a_try_that_was_refused_is_not_told(self) -> None:
        policy = RetryPolicy(backoff=0.0)
        async with ScriptedEndpoint(status_reply(503), chat_reply("Hi")) as endpoint:
            client = client_of(endpoint, retry=policy)
            events = await collected(client.stream(messages=HELLO))
            await client.aclose()
        assert len([event for event in events if isinstance(event, Usage)]) == 1

    async def test_where_one_endpoint_gives_hope_it_is_tried_again_whatever_the_other_said(self) -> None:
        async with AsyncExitStack() as stack:
            first, second = await two(stack, status_reply(503), chat_reply("back"), second=(status_reply(401),))
            client = await stack.enter_async_context(falling_back(first, second, retry=RetryPolicy(backoff=0.0)))
            assert (await outcome(client.stream(messages=HELLO))).text == "back"

    async def test_a_new_beginning_bears_another_id_for_the_endpoint(self) -> None:
        async with ScriptedEndpoint(BROKEN_IN_MID_STREAM, chat_reply("Again")) as endpoint:
            async with client_of(endpoint, restart=True, retry=RetryPolicy(backoff=0.0)) as client:
                await outcome(client.stream(messages=HELLO))
            first, second = (request.headers["idempotency-key"] for request in endpoint.requests)
            assert first != second

    async def test_how_long_the_endpoint_asks_to_wait_is_told_and_raised(self) -> None:
        busy = status_reply(429, headers={"Retry-After": "90"})
        async with ScriptedEndpoint(busy, busy) as endpoint, client_of(endpoint, retry=ONCE) as client:
            result = await outcome(client.stream(messages=HELLO))
            assert result.error is not None
            assert result.error.retry_after == 90.0
            with pytest.raises(EndpointError) as caught:
                await client.generate(HELLO)
            assert caught.value.retry_after == 90.0


async def test_the_result_of_a_stream_that_was_read_is_refused() -> None:
    async with ScriptedEndpoint() as endpoint, client_of(endpoint) as client:
        read = client.stream(messages=HELLO)
        await collected(read)
        begun = client.stream(messages=HELLO)
        await anext(aiter(begun))
        for stream in (read, begun):
            with pytest.raises(ClosedError, match="Completion"):
                await stream.result()
        await begun.aclose()
