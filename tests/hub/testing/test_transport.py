"""The scripted transport: as the scripted endpoint, without sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import httpx2
import openai
import pytest
from openai import AsyncOpenAI

from hub.client import OpenAIClient
from hub.completion import fold
from hub.testing import (
    Close,
    Gate,
    Hang,
    Pause,
    RecordedRequest,
    Reply,
    Reset,
    ScriptedEndpoint,
    ScriptedTransport,
    chat_reply,
    check_grammar,
    collect,
    completion_reply,
    json_reply,
    never_answer,
    raw_reply,
    refuse,
    status_reply,
)
from hub.upstream.retry import RetryPolicy

HELLO: Any = [{"role": "user", "content": "Hello"}]
WHOLE = chat_reply("Hello big world", usage=True)
URL = "http://scripted/v1"
TIMEOUT = 10.0


def client_of(transport: ScriptedTransport) -> OpenAIClient:
    return OpenAIClient(
        "any", base_url=URL, api_key="EMPTY", http_client=transport.client(), retry=RetryPolicy(attempts=1)
    )


def sdk_of(transport: ScriptedTransport, **options: Any) -> AsyncOpenAI:
    return AsyncOpenAI(base_url=URL, api_key="EMPTY", max_retries=0, http_client=transport.client(), **options)


async def test_the_client_reads_a_scripted_stream() -> None:
    async with client_of(ScriptedTransport(WHOLE)) as client:
        events = await collect(client.stream(messages=HELLO))
    check_grammar(events)
    assert fold(events).text == "Hello big world"
    assert [event.text for event in events if event.type == "text_delta"] == ["Hello", " big", " world"]


async def test_the_sdk_alone_reads_streams_and_whole_answers() -> None:
    transport = ScriptedTransport(WHOLE, completion_reply("Hi"))
    async with sdk_of(transport) as sdk:
        stream = await sdk.chat.completions.create(model="any", messages=HELLO, stream=True)
        pieces = [chunk.choices[0].delta.content async for chunk in stream if chunk.choices]
        whole = await sdk.chat.completions.create(model="any", messages=HELLO)
    assert "".join(filter(None, pieces)) == "Hello big world"
    assert whole.choices[0].message.content == "Hi"


async def test_a_request_is_recorded_as_the_endpoint_records_it() -> None:
    async def ask(http: httpx2.AsyncClient, url: str) -> None:
        await http.post(
            f"{url}/chat/completions?a=b%20c", json={"messages": HELLO}, headers=[("X-Two", "1"), ("X-Two", "2")]
        )

    async with ScriptedEndpoint(WHOLE) as endpoint, httpx2.AsyncClient() as http:
        await ask(http, endpoint.base_url)
    transport = ScriptedTransport(WHOLE)
    async with transport.client() as http:
        await ask(http, URL)
    ours, theirs = transport.requests[0], endpoint.requests[0]
    for name in ("method", "path", "version", "body"):
        assert getattr(ours, name) == getattr(theirs, name)
    assert ours.headers | {"host": ""} == theirs.headers | {"host": ""}


async def test_without_a_script_it_echoes_and_beyond_a_script_it_says_so() -> None:
    async with sdk_of(ScriptedTransport()) as sdk:
        assert [model.id async for model in sdk.models.list()] == ["scripted"]
    async with sdk_of(ScriptedTransport(completion_reply("Hi"))) as sdk:
        await sdk.chat.completions.create(model="any", messages=HELLO)
        with pytest.raises(openai.InternalServerError, match="no reply for request 2"):
            await sdk.chat.completions.create(model="any", messages=HELLO)


async def test_replies_can_be_added_and_a_handler_answers_the_rest() -> None:
    def handle(request: RecordedRequest) -> Reply:
        return json_reply({"path": request.path})

    transport = ScriptedTransport(handler=handle)
    transport.enqueue(json_reply({"first": True}))
    async with transport.client() as http:
        answers = [(await http.get("http://any/x")).json() for _ in range(2)]
    assert answers == [{"first": True}, {"path": "/x"}]
    assert (await transport.received(2)).path == "/x"


# The same reply over a socket and without one: what a client sees is the same.


@asynccontextmanager
async def opened(kind: str, reply: Reply, **options: Any) -> AsyncIterator[tuple[httpx2.AsyncClient, str, Any]]:
    if kind == "scripted":
        transport = ScriptedTransport(reply)
        async with transport.client(**options) as http:
            yield http, URL, transport
    else:
        async with ScriptedEndpoint(reply) as endpoint, httpx2.AsyncClient(**options) as http:
            yield http, endpoint.base_url, endpoint


async def seen(http: httpx2.AsyncClient, url: str) -> tuple[Any, ...]:
    """The status, the body, and the exception that ended it."""
    body = b""
    status = None
    try:
        async with asyncio.timeout(TIMEOUT), http.stream("POST", f"{url}/x", json={}) as response:
            status = response.status_code
            async for piece in response.aiter_bytes():
                body += piece
    except httpx2.HTTPError as exc:
        return status, body, type(exc).__name__
    return status, body, None


LIE = replace(json_reply({}), headers={"Content-Length": "1"})
TOO_LONG = replace(json_reply({}), headers={"Content-Length": "3"})


@pytest.mark.parametrize("kind", ["httpx2", "scripted"])
@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (raw_reply(b"one", b"two"), (200, b"onetwo", None)),
        (raw_reply(b"one", b"", b"two", slice_bytes=1), (200, b"onetwo", None)),
        (raw_reply(b"one", framing="length"), (200, b"one", None)),
        (raw_reply(b"one", framing="close"), (200, b"one", None)),
        (raw_reply(b"one", Close(), b"two", framing="close"), (200, b"one", None)),
        (raw_reply(b"one", Close()), (200, b"one", "RemoteProtocolError")),
        (raw_reply(b"one", Close(), b"two", framing="length"), (200, b"one", "RemoteProtocolError")),
        (raw_reply(b"one", Pause(0.05), Reset()), (200, b"one", "ReadError")),
        (raw_reply(b"one", Close(), framing="length"), (200, b"one", None)),
        (raw_reply(b"one", Hang()), (200, b"one", "ReadTimeout")),
        (LIE, (200, b"{", None)),
        (TOO_LONG, (200, b"{}", "ReadTimeout")),
        (refuse(), (None, b"", "RemoteProtocolError")),
        (Reply(before=(Reset(),)), (None, b"", "ReadError")),
        (never_answer(), (None, b"", "ReadTimeout")),
        (Reply(before=(b"no HTTP\r\n\r\n", Close())), (None, b"", "RemoteProtocolError")),
        (Reply(before=(b"no HTTP\r\n\r\n",)), (None, b"", "RemoteProtocolError")),
        (status_reply(429), (429, status_reply(429).steps[0], None)),
    ],
)
async def test_a_reply_is_seen_as_over_a_socket(kind: str, reply: Reply, expected: tuple[Any, ...]) -> None:
    async with opened(kind, reply, timeout=httpx2.Timeout(TIMEOUT, read=0.2)) as (http, url, _):
        assert await seen(http, url) == expected


@pytest.mark.parametrize("kind", ["httpx2", "scripted"])
async def test_a_reader_that_leaves_is_seen_to_have_left(kind: str) -> None:
    async with opened(kind, raw_reply(b"one", b"two", Hang())) as (http, url, asked):
        async with http.stream("POST", f"{url}/x") as response:
            assert await anext(response.aiter_bytes()) in (b"one", b"onetwo")
            assert not asked.requests[0].left.is_set()
        async with asyncio.timeout(TIMEOUT):
            await asked.requests[0].left.wait()


async def test_a_whole_answer_is_left_only_when_the_client_closes() -> None:
    transport = ScriptedTransport(WHOLE, raw_reply(Reset()))
    async with transport.client() as http:
        await http.post(URL)
        with pytest.raises(httpx2.ReadError):
            await http.post(URL)
        assert not any(request.left.is_set() for request in transport.requests)
    assert all(request.left.is_set() for request in transport.requests)


async def test_stopping_a_stream_at_a_gate_leaves_it() -> None:
    gate = Gate()
    transport = ScriptedTransport(chat_reply(["Hello", gate, " world"]))
    async with client_of(transport) as client, asyncio.timeout(TIMEOUT):
        stream = client.stream(messages=HELLO)
        async with asyncio.TaskGroup() as tasks:
            reading = tasks.create_task(collect(stream))
            await gate.reached()
            stream.stop()
        assert transport.requests[0].left.is_set()
    assert (fold(reading.result()).text, fold(reading.result()).status) == ("Hello", "cancelled")


async def test_a_caller_that_is_cancelled_before_the_head_has_left() -> None:
    transport = ScriptedTransport(never_answer())
    async with transport.client() as http, asyncio.TaskGroup() as tasks:
        asking = tasks.create_task(http.post(URL))
        request = await transport.received()
        asking.cancel()
        async with asyncio.timeout(TIMEOUT):
            await request.left.wait()
