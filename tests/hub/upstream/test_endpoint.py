"""Endpoints that misbehave on the wire: each gives a typed error and an end, never silence or a foreign exception."""

from __future__ import annotations

import asyncio
import gzip
from dataclasses import replace
from typing import Any

import httpx2
import pytest
from openai import DefaultAioHttpClient

from hub.client import OpenAIClient
from hub.errors import EndpointError
from hub.result import LLMResult
from hub.testing import (
    Close,
    Gate,
    Hang,
    RecordedRequest,
    Reply,
    Reset,
    ScriptedEndpoint,
    chat_chunk,
    chat_reply,
    completion_reply,
    json_reply,
    raw_reply,
    refuse,
    sse,
    status_reply,
)
from hub.upstream.retry import RetryPolicy

from .support import AT_ONCE, HELLO, NO_RETRY, client_of, collected, outcome, within

HI = chat_chunk(content="Hi")
WHOLE = chat_reply("Hi there")
CHUNKED = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
GZIP = {"Content-Encoding": "gzip"}


async def ask(*replies: Reply, **options: Any) -> LLMResult:
    """The outcome of one question to an endpoint that answers so; tried once unless told otherwise."""
    async with ScriptedEndpoint(*replies) as endpoint, client_of(endpoint, retry=NO_RETRY) as client:
        return await outcome(client.stream(messages=HELLO, **options))


def raw(data: bytes) -> Reply:
    """Bytes instead of an HTTP answer."""
    return Reply(before=(data, Close()))


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (refuse(), "connection_failed"),
        (Reply(before=(Reset(),)), "connection_failed"),
        (raw(b"SSH-2.0-OpenSSH_9.2\r\n"), "connection_failed"),
        (raw(b"HTTP/1.1 999999999 X\r\n\r\n"), "connection_failed"),
        (raw(b"HTTP/1.1 200 OK\r\nX: " + b"y" * 200_000 + b"\r\n\r\n"), "connection_failed"),
        (raw(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"), "endpoint_error"),
        (raw(CHUNKED + b"5\r\nabc"), "connection_failed"),
        (raw(CHUNKED + b"zz\r\nabc\r\n0\r\n\r\n"), "connection_failed"),
        (raw(CHUNKED), "connection_failed"),
        (replace(WHOLE, steps=(*WHOLE.steps[:2], Reset())), "connection_failed"),
        (replace(WHOLE, steps=(*WHOLE.steps[:2], Close())), "connection_failed"),
        (replace(WHOLE, steps=WHOLE.steps[:2]), "truncated"),
        (replace(WHOLE, steps=(*WHOLE.steps[:2], Close()), framing="close"), "truncated"),
        (raw_reply(b"data: ", Close(), headers={"Content-Length": "500"}, framing="length"), "connection_failed"),
        (raw_reply(b"\x1f\x8b garbage", headers=GZIP), "malformed"),
        (raw_reply(b"not compressed", headers={"Content-Encoding": "deflate"}), "malformed"),
        (raw_reply(sse(HI), headers={"Content-Encoding": "surprise"}), "completed"),
        (raw_reply(gzip.compress(sse(HI), mtime=0), headers=GZIP), "completed"),
        (raw_reply(gzip.compress(sse(HI), mtime=0)[:20], headers=GZIP), "truncated"),
        (raw_reply(b"\x00\x01\x02\xff" * 1_000), "not_a_stream"),
        (raw_reply(), "truncated"),
        (raw_reply(b"<html>Sign in</html>", content_type="text/html"), "not_a_stream"),
        (json_reply({"error": {"message": "no"}}), "endpoint_error"),
        (completion_reply("Hi"), "completed"),
        (Reply(status=204, framing="length"), "truncated"),
        (Reply(status=304, framing="length"), "endpoint_error"),
        (Reply(status=300), "endpoint_error"),
        (Reply(status=302, headers={"Location": "ftp://elsewhere"}), "endpoint_error"),
        (Reply(status=307, headers={"Location": "http://["}), "endpoint_error"),
        (status_reply(400), "invalid_request"),
        (status_reply(404), "not_found"),
        (status_reply(500), "endpoint_error"),
        (raw_reply(b"<h1>Bad gateway</h1>", status=502, content_type="text/html"), "endpoint_error"),
        (raw_reply(b"{broken", status=503, content_type="application/json"), "endpoint_error"),
        (raw_reply(b'{"error":' + b"[" * 100_000, status=400), "invalid_request"),
        (raw_reply(b"\xff\xfe", status=429, content_type="application/json; charset=nonsense"), "rate_limited"),
        (raw_reply(b"\x1f\x8b garbage", status=401, headers=GZIP), "unauthorized"),
        (raw_reply(b"a", Close(), status=402, headers={"Content-Length": "5"}, framing="length"), "budget_exceeded"),
    ],
    ids=lambda value: value if isinstance(value, str) else repr(value)[:90],
)
async def test_nonsense_on_the_wire_ends_in_order(reply: Reply, code: str) -> None:
    result = await ask(reply)
    assert (result.error.code if result.error else result.status) == code
    assert result.error is None or result.error.message


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_redirects_without_end_are_an_error_that_says_so(status: int) -> None:
    def redirect(request: RecordedRequest) -> Reply:
        return Reply(status=status, headers={"Location": request.path}, framing="length")

    async with ScriptedEndpoint(handler=redirect) as endpoint, client_of(endpoint) as client:
        error = (await outcome(client.stream(messages=HELLO))).error
    assert error is not None
    assert (error.code, error.retryable) == ("endpoint_error", False)
    assert "redirects" in error.message


async def test_a_redirect_that_keeps_the_method_is_followed() -> None:
    there = Reply(status=307, headers={"Location": "/elsewhere"}, framing="length")
    assert (await ask(there, WHOLE)).text == "Hi there"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_a_redirect_to_another_host_is_not_followed(status: int, host: str) -> None:
    async with ScriptedEndpoint(WHOLE) as other:
        location = other.base_url.replace("127.0.0.1", f"me:password@{host}") + "/chat/completions?key=secret"
        there = Reply(status=status, headers={"Location": location}, framing="length")
        async with (
            ScriptedEndpoint(there) as endpoint,
            client_of(endpoint, retry=AT_ONCE, default_headers={"api-key": "a-long-key"}) as client,
        ):
            error = (await outcome(client.stream(messages=HELLO))).error
            assert len(endpoint.requests) == 1
        assert other.requests == []
    assert error is not None
    assert (error.code, error.retryable) == ("endpoint_error", False)
    assert "redirects to another host" in error.message
    assert host in error.message
    assert "password" not in error.message
    assert "secret" not in error.message


async def test_listing_models_follows_no_redirect_to_another_host() -> None:
    async with ScriptedEndpoint(WHOLE) as other:
        there = Reply(status=307, headers={"Location": other.base_url}, framing="length")
        async with ScriptedEndpoint(there) as endpoint, client_of(endpoint) as client:
            with pytest.raises(EndpointError, match="another host"):
                await client.list_models()
        assert other.requests == []


async def test_a_compressed_error_body_is_not_unfolded() -> None:
    bomb = gzip.compress(gzip.compress(b'{"error": "' + b"x" * 50_000_000 + b'"}'))
    for encoding in ("gzip, gzip", "GZIP", "deflate"):
        result = await ask(raw_reply(bomb, status=400, headers={"Content-Encoding": encoding}))
        assert result.error is not None
        assert result.error.code == "invalid_request"
        assert result.error.message == "The endpoint answered with status 400."


async def test_an_error_body_that_is_not_compressed_is_read() -> None:
    result = await ask(raw_reply(b'{"error": "so"}', status=400, headers={"Content-Encoding": "Identity"}))
    assert result.error is not None
    assert "so" in result.error.message


@pytest.mark.parametrize("status", [401, 500])
async def test_an_error_body_without_end_is_cut(status: int) -> None:
    endless = raw_reply(*[b"x" * 65_536] * 200, Hang(), status=status, content_type="text/plain")
    result = await within(ask(endless), 5.0)
    assert result.error is not None
    assert result.error.status == status
    assert len(result.error.message) <= 500


async def test_a_line_without_end_is_given_up_and_its_connection_closed() -> None:
    endless = raw_reply(sse(HI, done=False), b"data: ", *[b"x" * 1_000_000] * 100)
    async with ScriptedEndpoint(endless) as endpoint, client_of(endpoint) as client:
        result = await outcome(client.stream(messages=HELLO))
        await within(endpoint.all_closed())
    assert (result.error and result.error.code, result.text) == ("malformed", "Hi")


async def test_a_host_that_does_not_exist_is_a_failed_connection() -> None:
    async with client_of_url("http://nowhere.invalid/v1") as client:
        error = (await outcome(client.stream(messages=HELLO))).error
    assert error is not None
    assert error.code == "connection_failed"


async def test_a_refused_connection_says_so() -> None:
    async with ScriptedEndpoint() as endpoint:
        url = endpoint.base_url
    async with client_of_url(url) as client:
        error = (await outcome(client.stream(messages=HELLO))).error
    assert error is not None
    assert (error.code, error.retryable) == ("connection_failed", True)
    assert "refused" in error.message


def client_of_url(url: str) -> OpenAIClient:
    return OpenAIClient("m-1", base_url=url, api_key="EMPTY", retry=NO_RETRY)


# Retries


@pytest.mark.parametrize(
    "reply",
    [
        *(status_reply(status) for status in (408, 409, 425, 429, 500, 502, 503, 529)),
        refuse(),
        Reply(before=(Reset(),)),
        raw_reply(sse(chat_chunk(role="assistant"), done=False), Close()),
        raw_reply(),
        raw_reply(sse({"error": {"code": 503, "message": "overloaded"}})),
    ],
    ids=lambda reply: repr(reply)[:60],
)
async def test_what_may_pass_is_tried_three_times_in_all(reply: Reply) -> None:
    async with ScriptedEndpoint(handler=lambda _: reply) as endpoint, client_of(endpoint, retry=AT_ONCE) as client:
        result = await outcome(client.stream(messages=HELLO))
        assert len(endpoint.requests) == 3
    assert (result.status, result.attempt) == ("failed", 3)
    assert result.error is not None
    assert result.error.retryable


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422])
async def test_what_would_fail_again_is_tried_once(status: int) -> None:
    async with ScriptedEndpoint(handler=lambda _: status_reply(status)) as endpoint, client_of(endpoint) as client:
        await outcome(client.stream(messages=HELLO))
        assert len(endpoint.requests) == 1


async def test_a_later_try_that_works_hides_those_before_but_for_its_number() -> None:
    async with (
        ScriptedEndpoint(status_reply(503), refuse(), WHOLE) as endpoint,
        client_of(endpoint, retry=AT_ONCE) as client,
    ):
        result = await outcome(client.stream(messages=HELLO))
    assert (result.status, result.text, result.attempt) == ("completed", "Hi there", 3)


async def test_nothing_is_tried_again_once_content_has_come() -> None:
    cut = replace(WHOLE, steps=(*WHOLE.steps[:2], Reset()))
    async with ScriptedEndpoint(cut, WHOLE) as endpoint, client_of(endpoint, retry=AT_ONCE) as client:
        result = await outcome(client.stream(messages=HELLO))
        assert len(endpoint.requests) == 1
    assert (result.status, result.text, result.error and result.error.retryable) == ("failed", "Hi", True)


@pytest.mark.parametrize("header", [{"Retry-After": "0"}, {"retry-after-ms": "1"}], ids=str)
async def test_the_endpoints_wish_goes_before_the_backoff(header: dict[str, str]) -> None:
    slow = RetryPolicy(backoff=1_000.0, max_backoff=1_000.0)
    async with (
        ScriptedEndpoint(status_reply(429, headers=header), WHOLE) as endpoint,
        client_of(endpoint, retry=slow) as client,
    ):
        assert (await outcome(client.stream(messages=HELLO))).text == "Hi there"


async def test_a_wish_too_long_ends_the_call_at_once_and_says_to_try_later() -> None:
    busy = status_reply(429, headers={"Retry-After": "3600"})
    async with ScriptedEndpoint(busy, WHOLE) as endpoint, client_of(endpoint) as client:
        result = await outcome(client.stream(messages=HELLO))
        assert len(endpoint.requests) == 1
    assert result.error is not None
    assert (result.error.code, result.error.retryable) == ("rate_limited", True)


async def test_a_kept_connection_that_the_server_closed_costs_no_try() -> None:
    async with ScriptedEndpoint(WHOLE, refuse(), WHOLE) as endpoint, client_of(endpoint, retry=NO_RETRY) as client:
        assert (await outcome(client.stream(messages=HELLO))).status == "completed"
        result = await outcome(client.stream(messages=HELLO))
    assert (result.status, result.attempt) == ("completed", 1)


async def test_an_endpoint_that_keeps_dropping_connections_is_not_asked_twice_a_try() -> None:
    async with ScriptedEndpoint(WHOLE, *[refuse()] * 9) as endpoint, client_of(endpoint, retry=AT_ONCE) as client:
        await outcome(client.stream(messages=HELLO))
        assert (await outcome(client.stream(messages=HELLO))).status == "failed"
        assert len(endpoint.requests) == 1 + 1 + 3


# Other transports beneath


@pytest.mark.parametrize("transport", [DefaultAioHttpClient, httpx2.AsyncClient], ids=["SDK's aiohttp", "httpx2"])
async def test_another_http_client_of_the_callers_serves_as_well(transport: Any) -> None:
    cut = replace(WHOLE, steps=(*WHOLE.steps[:2], Reset()))
    async with (
        ScriptedEndpoint(WHOLE, cut, raw_reply(gzip.compress(sse(HI)), headers=GZIP), refuse()) as endpoint,
        transport() as http,
        client_of(endpoint, http_client=http, retry=NO_RETRY) as client,
    ):
        whole, broken, zipped = [await outcome(client.stream(messages=HELLO)) for _ in range(3)]
        await client.aclose()
        assert not http.is_closed
    assert (whole.text, zipped.text) == ("Hi there", "Hi")
    assert (broken.text, broken.error and broken.error.code) == ("Hi", "connection_failed")


async def test_a_mock_transport_serves_as_well() -> None:
    def respond(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, content=sse(HI))

    http = httpx2.AsyncClient(transport=httpx2.MockTransport(respond))
    async with ScriptedEndpoint() as endpoint, client_of(endpoint, http_client=http) as client, http:
        assert (await outcome(client.stream(messages=HELLO))).text == "Hi"


async def test_twenty_thousand_chunks_in_one_burst_all_arrive() -> None:
    burst = raw_reply(sse(*[chat_chunk(content="word ")] * 20_000, chat_chunk(finish_reason="stop")))
    async with ScriptedEndpoint(burst) as endpoint, client_of(endpoint) as client:
        events = await collected(client.stream(messages=HELLO))
    assert sum(event.type == "text_delta" for event in events) == 20_000


async def test_a_megabyte_in_one_delta_arrives() -> None:
    big = raw_reply(sse(chat_chunk(content="x" * 1_000_000), chat_chunk(finish_reason="stop")), slice_bytes=30_000)
    assert len((await ask(big)).text) == 1_000_000


async def test_a_stream_of_a_closed_client_fails_at_once() -> None:
    async with ScriptedEndpoint(WHOLE) as endpoint:
        client = client_of(endpoint)
        stream = client.stream(messages=HELLO)
        await client.aclose()
        result = await outcome(stream)
        assert endpoint.requests == []
    assert result.error is not None
    assert (result.error.code, result.error.retryable) == ("connection_failed", False)


async def test_closing_the_client_ends_a_stream_under_way() -> None:
    gate = Gate()
    async with ScriptedEndpoint(chat_reply(["Hi", gate, "!"])) as endpoint, asyncio.TaskGroup() as tasks:
        client = client_of(endpoint)
        running = tasks.create_task(outcome(client.stream(messages=HELLO)))
        await within(gate.reached())
        await client.aclose()
        result = await running
        await within(endpoint.all_closed())
    assert (result.error and result.error.code) == "connection_failed"
