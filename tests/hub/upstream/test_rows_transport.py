"""The SDK as a transport, by both APIs: one request a try, connections given back, options and headers."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import replace
from email.utils import formatdate
from typing import Any

import httpx2
import pytest
from openai import DefaultAioHttpClient, DefaultAsyncHttpxClient

from hub.client import OpenAIClient
from hub.observe import Call, Observer, Outcome
from hub.testing import (
    Close,
    Gate,
    RecordedRequest,
    Reply,
    Reset,
    ScriptedEndpoint,
    chat_reply,
    refuse,
    responses_reply,
    status_reply,
)
from hub.upstream.retry import RetryPolicy
from hub.upstream.transport import AiohttpTransport

from .support import AT_ONCE, HELLO, NO_RETRY, client_of, held, outcome, within

APIS = pytest.mark.parametrize("api", ["chat", "responses"])
PATHS = {"chat": "/v1/chat/completions", "responses": "/v1/responses"}
WHOLE = {"chat": chat_reply("Hi there", usage=True), "responses": responses_reply("Hi there")}
ASK_AGAIN = {"x-should-retry": "true", "retry-after-ms": "1"}


def cut(api: str, last: Any) -> Reply:
    """An answer that ends so after its first piece of text."""
    reply = WHOLE[api]
    first = next(number for number, step in enumerate(reply.steps) if isinstance(step, bytes) and b'"Hi"' in step)
    return replace(reply, steps=(*reply.steps[: first + 1], last))


# Retries are ours alone


@APIS
@pytest.mark.parametrize(
    "reply",
    [*(status_reply(status, headers=ASK_AGAIN) for status in (400, 408, 409, 429, 500, 503)), refuse()],
    ids=lambda reply: str(reply.status if not reply.before else "refused"),
)
async def test_one_try_is_one_request_whatever_the_sdk_would_try_again(api: Any, reply: Reply) -> None:
    async with (
        ScriptedEndpoint(handler=lambda _: reply) as endpoint,
        client_of(endpoint, retry=NO_RETRY, api=api) as client,
    ):
        assert (await outcome(client.stream(messages=HELLO))).status == "failed"
        assert [request.path for request in endpoint.requests] == [PATHS[api]]


@pytest.mark.parametrize("reply", [status_reply(429), status_reply(500), refuse()], ids=["429", "500", "refused"])
async def test_what_may_pass_is_tried_three_times_by_the_responses_api_too(reply: Reply) -> None:
    async with (
        ScriptedEndpoint(handler=lambda _: reply) as endpoint,
        client_of(endpoint, retry=AT_ONCE, api="responses") as client,
    ):
        result = await outcome(client.stream(messages=HELLO))
        assert len(endpoint.requests) == 3
    assert (result.status, result.attempt) == ("failed", 3)


@APIS
@pytest.mark.parametrize(
    "wish",
    [{"Retry-After": "61"}, {"Retry-After": "121"}, {"retry-after-ms": "61000"}, {"Retry-After": "date"}],
    ids=str,
)
async def test_a_wish_above_the_limit_ends_the_call_without_a_second_request(api: Any, wish: dict[str, str]) -> None:
    wish = {name: formatdate(2**32, usegmt=True) if value == "date" else value for name, value in wish.items()}
    async with (
        ScriptedEndpoint(status_reply(429, headers=wish), WHOLE[api]) as endpoint,
        client_of(endpoint, api=api) as client,
    ):
        result = await outcome(client.stream(messages=HELLO))
        assert len(endpoint.requests) == 1
    assert result.error is not None
    assert (result.error.code, result.error.status, result.error.retryable) == ("rate_limited", 429, True)


@APIS
async def test_a_wish_within_the_limit_is_waited_for(api: Any) -> None:
    patient = RetryPolicy(backoff=1_000.0, max_backoff=1_000.0, max_retry_after=0.5)
    busy = status_reply(429, headers={"retry-after-ms": "50"})
    async with ScriptedEndpoint(busy, WHOLE[api]) as endpoint, client_of(endpoint, retry=patient, api=api) as client:
        began_at = asyncio.get_running_loop().time()
        result = await outcome(client.stream(messages=HELLO))
        assert asyncio.get_running_loop().time() - began_at >= 0.05
    assert (result.text, result.attempt) == ("Hi there", 2)


@APIS
async def test_nothing_is_tried_again_once_content_has_come(api: Any) -> None:
    async with (
        ScriptedEndpoint(cut(api, Reset()), WHOLE[api]) as endpoint,
        client_of(endpoint, retry=AT_ONCE, api=api) as client,
    ):
        result = await outcome(client.stream(messages=HELLO))
        assert len(endpoint.requests) == 1
    assert (result.text, result.error and result.error.code) == ("Hi", "connection_failed")


# Connections


@pytest.mark.parametrize(
    "transport",
    [lambda: httpx2.AsyncClient(transport=AiohttpTransport()), DefaultAioHttpClient, DefaultAsyncHttpxClient],
    ids=["ours", "SDK's aiohttp", "SDK's httpx2"],
)
@APIS
async def test_two_hundred_cancelled_streams_release_their_connections(api: Any, transport: Any, clean: None) -> None:
    gate = Gate()
    first = b"".join(step for step in cut(api, b"").steps if isinstance(step, bytes))
    async with (
        ScriptedEndpoint(handler=lambda _: held(first, gate=gate)) as endpoint,
        transport() as http,
        client_of(endpoint, http_client=http, api=api) as client,
    ):
        reading = [asyncio.create_task(outcome(client.stream(messages=HELLO))) for _ in range(200)]
        await within(gate.reached(200))
        assert endpoint.connections == 200
        for task in reading:
            task.cancel()
        ended = await asyncio.gather(*reading, return_exceptions=True)
        await within(endpoint.all_closed())
    assert [type(each) for each in ended] == [asyncio.CancelledError] * 200


@APIS
async def test_three_hundred_streams_run_at_once_and_none_waits_in_a_pool(api: Any) -> None:
    gate = Gate()
    reply = WHOLE[api]
    waiting = replace(reply, steps=(reply.steps[0], gate, *reply.steps[1:]))
    async with ScriptedEndpoint(handler=lambda _: waiting) as endpoint, client_of(endpoint, api=api) as client:
        reading = [asyncio.create_task(outcome(client.stream(messages=HELLO))) for _ in range(300)]
        await within(gate.reached(300))
        gate.open()
        assert {(await each).text for each in reading} == {"Hi there"}


@APIS
async def test_a_kept_connection_that_went_stale_costs_no_try(api: Any) -> None:
    async with (
        ScriptedEndpoint(WHOLE[api], refuse(), WHOLE[api]) as endpoint,
        client_of(endpoint, retry=NO_RETRY, api=api) as client,
    ):
        assert (await outcome(client.stream(messages=HELLO))).status == "completed"
        result = await outcome(client.stream(messages=HELLO))
        assert len(endpoint.requests) == 3
    assert (result.status, result.attempt) == ("completed", 1)


@APIS
async def test_a_stale_connection_is_passed_over_once_a_try(api: Any) -> None:
    async with (
        ScriptedEndpoint(WHOLE[api], refuse(), refuse(), WHOLE[api]) as endpoint,
        client_of(endpoint, retry=NO_RETRY, api=api) as client,
    ):
        await outcome(client.stream(messages=HELLO))
        result = await outcome(client.stream(messages=HELLO))
        assert len(endpoint.requests) == 3
    assert (result.error and result.error.code) == "connection_failed"


@APIS
async def test_whole_answers_share_one_connection_of_http_1(api: Any) -> None:
    async with ScriptedEndpoint(handler=lambda _: WHOLE[api]) as endpoint, client_of(endpoint, api=api) as client:
        for _ in range(5):
            assert (await outcome(client.stream(messages=HELLO))).text == "Hi there"
            assert endpoint.connections == 1
        assert {request.version for request in endpoint.requests} == {"HTTP/1.1"}


@APIS
async def test_a_stream_left_by_break_closes_its_connection_at_once(api: Any, clean: None) -> None:
    gate = Gate()
    first = b"".join(step for step in cut(api, b"").steps if isinstance(step, bytes))
    async with ScriptedEndpoint(held(first, gate=gate)) as endpoint, client_of(endpoint, api=api) as client:
        async with aclosing(aiter(client.stream(messages=HELLO))) as events:
            async for event in events:
                if event.type == "text_delta":
                    break
        await within(endpoint.requests[0].left.wait(), 1.0)


@APIS
@pytest.mark.parametrize("last", [Reset(), Close()], ids=["reset", "closed"])
@pytest.mark.parametrize("transport", [DefaultAioHttpClient, httpx2.AsyncClient], ids=["SDK's aiohttp", "httpx2"])
async def test_a_connection_lost_after_the_headers_has_our_error_whatever_the_transport(
    api: Any, last: Any, transport: Any
) -> None:
    async with (
        ScriptedEndpoint(cut(api, last)) as endpoint,
        transport() as http,
        client_of(endpoint, http_client=http, retry=NO_RETRY, api=api) as client,
    ):
        result = await outcome(client.stream(messages=HELLO))
    assert result.error is not None
    assert (result.text, result.error.code, result.error.retryable) == ("Hi", "connection_failed", True)


# Headers and options


class _Outcomes(Observer):
    def __init__(self) -> None:
        self.request_ids: list[str | None] = []

    def on_end(self, call: Call, outcome: Outcome) -> None:
        self.request_ids.append(outcome.request_id)


@APIS
async def test_the_endpoints_own_name_of_the_request_is_at_hand(api: Any) -> None:
    named = replace(WHOLE[api], headers={**WHOLE[api].headers, "X-Request-Id": "req_9"})
    seen = _Outcomes()
    async with ScriptedEndpoint(named) as endpoint, client_of(endpoint, api=api, observers=[seen]) as client:
        await outcome(client.stream(messages=HELLO))
    assert seen.request_ids == ["req_9"]


@pytest.mark.parametrize(
    ("api", "base_url", "options"),
    [
        ("chat", "https://api.openai.com/v1", {"include_usage": True, "include_obfuscation": False}),
        ("chat", "https://eu.api.openai.com/v1", {"include_usage": True, "include_obfuscation": False}),
        ("chat", "https://openai.com.example.org/v1", {"include_usage": True}),
        ("responses", "https://api.openai.com/v1", {"include_obfuscation": False}),
        ("responses", "http://localhost:8000/v1", None),
    ],
)
async def test_padding_is_declined_where_it_is_known_to_be_added(api: Any, base_url: str, options: Any) -> None:
    sent: list[httpx2.Request] = []

    def respond(request: httpx2.Request) -> httpx2.Response:
        sent.append(request)
        content = b"".join(step for step in WHOLE[api].steps if isinstance(step, bytes))
        return httpx2.Response(200, content=content, headers={"Content-Type": "text/event-stream"})

    async with (
        httpx2.AsyncClient(transport=httpx2.MockTransport(respond)) as http,
        OpenAIClient("m-1", base_url=base_url, api_key="EMPTY", http_client=http) as client,
    ):
        assert (await client.invoke(messages=HELLO, api=api)).text == "Hi there"
    body = RecordedRequest("POST", "", "", {}, sent[0].content, asyncio.Event()).json()
    assert (body["stream"], body.get("stream_options")) == (True, options)


@APIS
async def test_options_that_are_rejected_are_left_out_and_the_answer_comes(api: Any) -> None:
    bodies: list[Any] = []

    def respond(request: httpx2.Request) -> httpx2.Response:
        body = RecordedRequest("POST", "", "", {}, request.content, asyncio.Event()).json()
        bodies.append(body.get("stream_options"))
        if "include_obfuscation" in (body.get("stream_options") or {}):
            error = {"error": {"message": "Unknown parameter: 'stream_options.include_obfuscation'."}}
            return httpx2.Response(400, json=error)
        content = b"".join(step for step in WHOLE[api].steps if isinstance(step, bytes))
        return httpx2.Response(200, content=content, headers={"Content-Type": "text/event-stream"})

    async with (
        httpx2.AsyncClient(transport=httpx2.MockTransport(respond)) as http,
        OpenAIClient(
            "m-1", base_url="https://api.openai.com/v1", api_key="EMPTY", http_client=http, retry=NO_RETRY
        ) as client,
    ):
        results = [await client.invoke(messages=HELLO, api=api) for _ in range(2)]
    assert [(result.text, result.attempt) for result in results] == [("Hi there", 1)] * 2
    kept = {"include_usage": True} if api == "chat" else None
    assert [(body or {}).get("include_obfuscation") for body in bodies] == [False, None, None]
    assert bodies[1:] == [kept, kept]


async def test_an_endpoint_that_says_not_to_try_again_is_heeded() -> None:
    async with ScriptedEndpoint(status_reply(503, headers={"X-Should-Retry": "false"})) as endpoint:
        async with client_of(endpoint, retry=RetryPolicy(attempts=3, backoff=0.0)) as client:
            result = await outcome(client.stream(messages=HELLO))
        assert result.error is not None
        assert not result.error.retryable
        assert len(endpoint.requests) == 1
