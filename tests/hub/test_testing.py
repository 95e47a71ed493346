"""The testing kit: the scripted endpoint as clients see it, and the checks on streams of events."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import openai
import pytest
from openai import AsyncOpenAI

from hub.errors import ClosedError
from hub.events import ApprovalRequest, Done, Error, LLMEvent, Meta, Snapshot, TextDelta, ToolResult, Usage
from hub.result import Failure, LLMResult, TokenUsage, ToolCall
from hub.testing import (
    Close,
    EchoHandler,
    Gate,
    Hang,
    Pause,
    RecordedRequest,
    Reply,
    Reset,
    ScriptedEndpoint,
    chat_chunk,
    chat_reply,
    check_grammar,
    collect,
    completion_reply,
    never_answer,
    raw_reply,
    recorded_reply,
    refuse,
    sse,
    status_reply,
)

ROOT = Path(__file__).parents[2]
RECORDINGS = sorted((ROOT / "tests/fixtures/upstream").glob("*.sse"))
TIMEOUT = 10.0
HELLO: Any = [{"role": "user", "content": "Hello"}]
CHAT = b'{"model":"any","stream":true,"messages":[{"role":"user","content":"Hello"}]}'

T = TypeVar("T")


async def within(awaitable: Awaitable[T]) -> T:
    """The result, in time."""
    async with asyncio.timeout(TIMEOUT):
        return await awaitable


class Wire:
    """A raw connection: what an HTTP library would hide can be seen."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    def send(self, data: bytes) -> None:
        self._writer.write(data)

    def ask(self, body: bytes = CHAT) -> None:
        self.send(b"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

    async def read_until(self, end: bytes) -> bytes:
        return await within(self._reader.readuntil(end))

    async def read_to_end(self) -> bytes:
        return await within(self._reader.read())

    async def read_body_to_end(self) -> bytes:
        await self.read_until(b"\r\n\r\n")
        return await self.read_to_end()


@asynccontextmanager
async def connected(endpoint: ScriptedEndpoint) -> AsyncIterator[Wire]:
    port = int(endpoint.base_url.rpartition(":")[2].removesuffix("/v1"))
    reader, writer = await within(asyncio.open_connection("127.0.0.1", port))
    try:
        yield Wire(reader, writer)
    finally:
        writer.transport.abort()


@pytest.fixture
async def endpoint() -> AsyncIterator[ScriptedEndpoint]:
    async with ScriptedEndpoint(handler=EchoHandler(word_delay=0)) as running:
        yield running


@pytest.fixture
async def client(endpoint: ScriptedEndpoint) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=endpoint.base_url, api_key="EMPTY", max_retries=0, timeout=TIMEOUT) as sdk:
        yield sdk


async def chunks(client: AsyncOpenAI, messages: Any = HELLO, **options: Any) -> list[Any]:
    stream = await client.chat.completions.create(model="any", messages=messages, stream=True, **options)
    async with stream:
        return [chunk async for chunk in stream]


def content(received: list[Any]) -> str:
    return "".join(chunk.choices[0].delta.content or "" for chunk in received if chunk.choices)


# Scripts and what is recorded of requests


async def test_a_scripted_answer_reaches_the_sdk_word_by_word(endpoint: ScriptedEndpoint, client: AsyncOpenAI) -> None:
    endpoint.enqueue(chat_reply("Hello wide world", model="model-x"))
    received = await chunks(client)
    assert [chunk.choices[0].delta.content for chunk in received] == ["", "Hello", " wide", " world", None]
    assert received[0].choices[0].delta.role == "assistant"
    assert received[-1].choices[0].finish_reason == "stop"
    assert {chunk.model for chunk in received} == {"model-x"}


async def test_replies_are_taken_in_order_one_a_request(endpoint: ScriptedEndpoint, client: AsyncOpenAI) -> None:
    endpoint.enqueue(chat_reply("first"), chat_reply("second"))
    assert [content(await chunks(client)), content(await chunks(client))] == ["first", "second"]


async def test_a_request_is_recorded_as_it_arrived(endpoint: ScriptedEndpoint, client: AsyncOpenAI) -> None:
    await chunks(client, temperature=0)
    (request,) = endpoint.requests
    assert (request.method, request.path) == ("POST", "/v1/chat/completions")
    assert request.headers["authorization"] == "Bearer EMPTY"
    assert request.json() == {"model": "any", "messages": HELLO, "stream": True, "temperature": 0}


async def test_received_waits_for_the_request(endpoint: ScriptedEndpoint) -> None:
    async with asyncio.timeout(TIMEOUT), asyncio.TaskGroup() as tasks, connected(endpoint) as wire:
        waiting = tasks.create_task(endpoint.received(2))
        wire.ask(b"1")
        wire.ask(b"2")
        assert (await waiting).body == b"2"


async def test_only_the_latest_requests_are_kept() -> None:
    async with ScriptedEndpoint(max_requests=2) as endpoint, connected(endpoint) as wire:
        for body in (b"1", b"2", b"3"):
            wire.ask(body)
        await within(endpoint.received(3))
        assert [request.body for request in endpoint.requests] == [b"2", b"3"]


async def test_a_request_body_may_come_in_chunks(endpoint: ScriptedEndpoint) -> None:
    async with connected(endpoint) as wire:
        wire.send(
            b"POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nTrailer: z\r\n\r\n"
        )
        assert (await within(endpoint.received())).body == b"abcde"


async def test_an_endpoint_that_is_not_running_has_no_address() -> None:
    endpoint = ScriptedEndpoint()
    with pytest.raises(ClosedError, match="not running"):
        _ = endpoint.base_url
    async with endpoint:
        assert endpoint.base_url.startswith("http://127.0.0.1:")
    await endpoint.aclose()
    with pytest.raises(ClosedError, match="not running"):
        _ = endpoint.base_url


async def test_closing_breaks_off_what_is_under_way() -> None:
    endpoint = ScriptedEndpoint(raw_reply(b"begun", Hang()))
    async with endpoint, connected(endpoint) as wire:
        wire.ask()
        await wire.read_until(b"begun")
        await within(endpoint.aclose())
        assert endpoint.connections == 0
        assert not endpoint.requests[0].left.is_set()


# The format


async def test_usage_comes_in_a_last_chunk_without_choices(endpoint: ScriptedEndpoint, client: AsyncOpenAI) -> None:
    endpoint.enqueue(chat_reply("Hello world", usage=True))
    *before, last = await chunks(client)
    assert [chunk.usage for chunk in before] == [None] * len(before)
    assert last.choices == []
    assert (last.usage.prompt_tokens, last.usage.completion_tokens, last.usage.total_tokens) == (7, 2, 9)


@pytest.mark.parametrize(("usage", "nulls"), [(True, 3), (False, 0)])
def test_chunks_before_the_usage_say_null_only_where_usage_comes(usage: bool, nulls: int) -> None:
    frames = [step for step in chat_reply("Hello", usage=usage).steps if isinstance(step, bytes)]
    assert sum(b'"usage":null' in frame for frame in frames) == nulls


async def test_usage_may_be_given_as_it_is(endpoint: ScriptedEndpoint) -> None:
    endpoint.enqueue(replace(chat_reply("x", usage={}), framing="close"))
    async with connected(endpoint) as wire:
        wire.ask()
        assert b'"choices":[],"usage":{}}' in await wire.read_body_to_end()


async def test_tool_calls_come_in_fragments_the_sdk_can_join(endpoint: ScriptedEndpoint, client: AsyncOpenAI) -> None:
    arguments = '{"city":"Paris","unit":"celsius"}'
    calls = [
        ToolCall(id="call_a", name="weather", arguments=arguments),
        ToolCall(id="call_b", name="time", arguments=""),
    ]
    endpoint.enqueue(chat_reply("", tool_calls=calls))
    async with client.chat.completions.stream(model="any", messages=HELLO) as stream:
        completion = await stream.get_final_completion()
    (choice,) = completion.choices
    assert choice.finish_reason == "tool_calls"
    assert [(call.id, call.function.name, call.function.arguments) for call in choice.message.tool_calls or ()] == [
        ("call_a", "weather", arguments),
        ("call_b", "time", ""),
    ]


async def test_reasoning_comes_before_the_answer(endpoint: ScriptedEndpoint, client: AsyncOpenAI) -> None:
    endpoint.enqueue(chat_reply("Yes", reasoning="Let me think", usage=True))
    received = await chunks(client)
    thoughts = [getattr(chunk.choices[0].delta, "reasoning_content", None) for chunk in received if chunk.choices]
    assert thoughts == [None, "Let", " me", " think", None, None]
    assert received[-1].usage.completion_tokens_details.reasoning_tokens == 3


async def test_a_whole_completion_can_be_answered(endpoint: ScriptedEndpoint, client: AsyncOpenAI) -> None:
    endpoint.enqueue(completion_reply("All at once"))
    completion = await client.chat.completions.create(model="any", messages=HELLO)
    assert completion.choices[0].message.content == "All at once"


def test_sse_frames_objects_and_text() -> None:
    assert sse({"a": "é"}, "two\nlines", done=False) == 'data: {"a":"é"}\n\ndata: two\ndata: lines\n\n'.encode()
    assert sse() == b"data: [DONE]\n\n"


def test_a_chunk_takes_any_delta() -> None:
    chunk = chat_chunk(choice=1, finish_reason="eos", reasoning="hm")
    assert chunk["choices"] == [{"index": 1, "delta": {"reasoning": "hm"}, "logprobs": None, "finish_reason": "eos"}]


def test_a_delay_is_a_pause_before_each_piece() -> None:
    steps = chat_reply("Hello world", delay=0.5).steps
    assert [step for step in steps if not isinstance(step, bytes)] == [Pause(0.5), Pause(0.5)]


def test_joined_bytes_keep_the_other_steps_between_them() -> None:
    assert raw_reply(b"a", b"b", Pause(0), b"c", Close()).joined().steps == (b"ab", Pause(0), b"c", Close())


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.stem)
async def test_a_recording_is_sent_again_byte_by_byte(endpoint: ScriptedEndpoint, path: Path) -> None:
    reply = recorded_reply(path)
    endpoint.enqueue(replace(reply, framing="close"))
    async with connected(endpoint) as wire:
        wire.ask()
        head = await wire.read_until(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.0 %d " % reply.status)
        assert [await wire.read_to_end()] == list(reply.steps)


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.stem)
def test_a_recording_keeps_its_status_its_content_type_and_its_bytes(path: Path) -> None:
    reply = recorded_reply(path)
    status_line, *headers = path.with_suffix(".headers").read_text().lower().splitlines()
    assert str(reply.status) == status_line.split()[1]
    assert f"content-type: {reply.headers['Content-Type'].lower()}" in headers
    assert list(reply.steps) == [path.read_bytes()]


async def test_a_recorded_stream_can_be_read_by_the_sdk(endpoint: ScriptedEndpoint, client: AsyncOpenAI) -> None:
    endpoint.enqueue(recorded_reply(ROOT / "tests/fixtures/upstream/llamacpp-usage.sse", slice_bytes=7))
    received = await chunks(client)
    assert content(received).startswith("The rainbow is")
    assert received[-1].usage.total_tokens == 63


# Framing


async def test_each_piece_is_a_chunk_of_its_own(endpoint: ScriptedEndpoint) -> None:
    endpoint.enqueue(raw_reply(b"one", b"", b"three"))
    async with connected(endpoint) as wire:
        wire.ask()
        assert b"\r\nTransfer-Encoding: chunked\r\n" in await wire.read_until(b"\r\n\r\n")
        assert await wire.read_until(b"0\r\n\r\n") == b"3\r\none\r\n5\r\nthree\r\n0\r\n\r\n"


async def test_slices_are_chunks_of_their_own(endpoint: ScriptedEndpoint) -> None:
    endpoint.enqueue(raw_reply(b"abcde", slice_bytes=2))
    async with connected(endpoint) as wire:
        wire.ask()
        await wire.read_until(b"\r\n\r\n")
        assert await wire.read_until(b"0\r\n\r\n") == b"2\r\nab\r\n2\r\ncd\r\n1\r\ne\r\n0\r\n\r\n"


async def test_a_stream_in_slices_of_one_byte_is_the_same_stream(
    endpoint: ScriptedEndpoint, client: AsyncOpenAI
) -> None:
    endpoint.enqueue(chat_reply("naïve 漢字 👋", slice_bytes=1))
    assert content(await chunks(client)) == "naïve 漢字 👋"


async def test_a_body_may_be_told_by_its_length(endpoint: ScriptedEndpoint) -> None:
    endpoint.enqueue(raw_reply(b"one", b"two", framing="length"))
    async with connected(endpoint) as wire:
        wire.ask()
        assert b"\r\nContent-Length: 6\r\n" in await wire.read_until(b"\r\n\r\n")
        assert await wire.read_until(b"two") == b"onetwo"


async def test_a_body_may_be_told_by_the_end_of_the_connection(endpoint: ScriptedEndpoint) -> None:
    endpoint.enqueue(raw_reply(b"one", b"two", framing="close"))
    async with connected(endpoint) as wire:
        wire.ask()
        head = await wire.read_until(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.0 200 OK\r\n")
        assert b"Transfer-Encoding" not in head
        assert b"Content-Length" not in head
        assert await wire.read_to_end() == b"onetwo"


async def test_a_length_given_as_a_header_may_be_a_lie(endpoint: ScriptedEndpoint, client: AsyncOpenAI) -> None:
    endpoint.enqueue(raw_reply(b"{}", Close(), framing="length", headers={"content-length": "100"}))
    with pytest.raises(openai.APIConnectionError):
        await client.chat.completions.create(model="any", messages=HELLO)


async def test_a_connection_takes_one_request_after_another(endpoint: ScriptedEndpoint) -> None:
    endpoint.enqueue(raw_reply(b"one"), raw_reply(b"two", framing="length"))
    async with connected(endpoint) as wire:
        wire.ask()
        await wire.read_until(b"one\r\n0\r\n\r\n")
        wire.ask()
        await wire.read_until(b"two")
        assert endpoint.connections == 1


async def test_a_client_that_asks_for_it_gets_its_connection_closed(endpoint: ScriptedEndpoint) -> None:
    async with connected(endpoint) as wire:
        wire.send(b"GET /v1/models HTTP/1.1\r\nConnection: close\r\n\r\n")
        assert b'"id":"scripted"' in await wire.read_to_end()


async def test_a_client_that_waits_to_send_its_body_is_told_to_go_on(endpoint: ScriptedEndpoint) -> None:
    async with connected(endpoint) as wire:
        wire.send(b"POST /x HTTP/1.1\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
        assert await wire.read_until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        wire.send(b"body")
        assert (await within(endpoint.received())).body == b"body"


def test_slices_of_no_size_are_refused() -> None:
    with pytest.raises(ValueError, match="slice_bytes"):
        raw_reply(b"x", slice_bytes=0)


# Misbehaviour


async def test_a_gate_holds_the_stream_where_it_stands(endpoint: ScriptedEndpoint, client: AsyncOpenAI) -> None:
    gate = Gate()
    endpoint.enqueue(chat_reply(["Hello", gate, " world"]))
    stream = await client.chat.completions.create(model="any", messages=HELLO, stream=True)
    async with stream:
        received = [await within(anext(stream)), await within(anext(stream))]
        await within(gate.reached())
        assert content(received) == "Hello"
        rest = asyncio.ensure_future(anext(stream))
        await asyncio.wait([rest], timeout=0)
        assert not rest.done()
        gate.open()
        assert content([await within(rest)]) == " world"


async def test_one_gate_holds_hundreds_of_streams() -> None:
    gate = Gate()
    async with ScriptedEndpoint(handler=lambda _: chat_reply(["a", gate, "b"])) as endpoint:

        async def ask() -> bytes:
            async with connected(endpoint) as wire:
                wire.ask()
                return await wire.read_until(b"0\r\n\r\n")

        async with asyncio.timeout(TIMEOUT), asyncio.TaskGroup() as tasks:
            answers = [tasks.create_task(ask()) for _ in range(300)]
            await gate.reached(300)
            assert endpoint.connections == 300
            gate.open()
        assert len({answer.result() for answer in answers}) == 1


async def test_an_endpoint_that_hangs_notices_that_the_client_left(endpoint: ScriptedEndpoint) -> None:
    endpoint.enqueue(raw_reply(b"begun", Hang(), b"never"))
    async with connected(endpoint) as wire:
        wire.ask()
        await wire.read_until(b"begun\r\n")
        request = await within(endpoint.received())
        assert not request.left.is_set()
    await within(request.left.wait())
    await within(endpoint.all_closed())


async def test_an_sdk_stream_left_early_is_seen_to_be_left(endpoint: ScriptedEndpoint, client: AsyncOpenAI) -> None:
    endpoint.enqueue(chat_reply(["Hello", Hang()]))
    stream = await client.chat.completions.create(model="any", messages=HELLO, stream=True)
    await within(anext(stream))
    await stream.close()
    await within(endpoint.requests[0].left.wait())


async def test_a_client_that_leaves_while_much_is_being_written_is_noticed(endpoint: ScriptedEndpoint) -> None:
    endpoint.enqueue(raw_reply(bytes(32 * 1024 * 1024)))
    async with connected(endpoint) as wire:
        wire.ask()
        await wire.read_until(b"\r\n\r\n")
    await within(endpoint.all_closed())
    assert endpoint.requests[0].left.is_set()


async def test_a_request_may_never_be_answered(endpoint: ScriptedEndpoint) -> None:
    endpoint.enqueue(never_answer())
    async with AsyncOpenAI(base_url=endpoint.base_url, api_key="EMPTY", max_retries=0, timeout=0.05) as client:
        with pytest.raises(openai.APITimeoutError):
            await client.chat.completions.create(model="any", messages=HELLO)
    await within(endpoint.requests[0].left.wait())


async def test_a_request_may_be_refused_before_the_status_line(endpoint: ScriptedEndpoint, client: AsyncOpenAI) -> None:
    endpoint.enqueue(refuse())
    with pytest.raises(openai.APIConnectionError):
        await client.chat.completions.create(model="any", messages=HELLO)
    assert not endpoint.requests[0].left.is_set()


async def test_a_reset_reaches_the_client_after_what_was_sent(endpoint: ScriptedEndpoint) -> None:
    gate = Gate()
    endpoint.enqueue(raw_reply(b"begun", gate, Reset()))
    async with connected(endpoint) as wire:
        wire.ask()
        await wire.read_until(b"begun\r\n")
        gate.open()
        with pytest.raises(ConnectionResetError):
            await wire.read_to_end()


async def test_a_stream_may_be_cut_without_its_end(endpoint: ScriptedEndpoint) -> None:
    whole = chat_reply("Hello world")
    endpoint.enqueue(replace(whole, steps=(*whole.steps[:2], Close())))
    async with connected(endpoint) as wire:
        wire.ask()
        body = await wire.read_body_to_end()
    assert b'"Hello"' in body
    assert not body.endswith(b"0\r\n\r\n")


async def test_an_answer_may_be_no_http_at_all(endpoint: ScriptedEndpoint) -> None:
    endpoint.enqueue(Reply(before=(b"SSH-2.0-OpenSSH\r\n", Close())))
    async with connected(endpoint) as wire:
        wire.ask()
        assert await wire.read_to_end() == b"SSH-2.0-OpenSSH\r\n"


async def test_an_error_status_has_a_body_such_as_openai_sends(endpoint: ScriptedEndpoint, client: AsyncOpenAI) -> None:
    endpoint.enqueue(status_reply(429, "Slow down.", code="rate_limit_exceeded", headers={"Retry-After": "0"}))
    with pytest.raises(openai.RateLimitError, match=r"Slow down\.") as caught:
        await client.chat.completions.create(model="any", messages=HELLO)
    assert caught.value.code == "rate_limit_exceeded"
    assert caught.value.response.headers["retry-after"] == "0"


async def test_a_status_may_be_none_that_http_knows(endpoint: ScriptedEndpoint, client: AsyncOpenAI) -> None:
    endpoint.enqueue(status_reply(529))
    with pytest.raises(openai.InternalServerError) as caught:
        await client.chat.completions.create(model="any", messages=HELLO)
    assert caught.value.status_code == 529


async def test_a_handler_that_raises_is_answered_with_500() -> None:
    def broken(request: RecordedRequest) -> Reply:
        raise LookupError(request.path)

    async with ScriptedEndpoint(handler=broken) as endpoint, connected(endpoint) as wire:
        wire.ask()
        assert (await wire.read_until(b"\r\n\r\n")).startswith(b"HTTP/1.1 500 ")
        assert b"LookupError: /v1/chat/completions" in await wire.read_until(b"}}")


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/2.0\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n",
        b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"x" * 70_000 + b"\r\n\r\n",
    ],
    ids=["no request", "version", "header", "negative", "too large", "chunk", "negative chunk", "head"],
)
async def test_what_is_no_request_gets_a_400_and_the_connection_closed(
    endpoint: ScriptedEndpoint, request_bytes: bytes
) -> None:
    async with connected(endpoint) as wire:
        wire.send(request_bytes)
        head = await wire.read_until(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 400 Bad Request\r\n")
        assert b"Connection: close\r\n" in head
        error = msgspec.json.decode(await wire.read_until(b"}}"))["error"]
        assert error["type"] == "invalid_request_error"


# Without a script


async def test_without_a_script_it_says_that_it_is_no_model_and_echoes(client: AsyncOpenAI) -> None:
    received = await chunks(
        client, [*HELLO, {"role": "assistant", "content": "Hi"}, {"role": "user", "content": "A  b"}]
    )
    assert content(received) == "This is the scripted endpoint, not a language model. You said: A  b"
    assert {chunk.model for chunk in received} == {"scripted"}
    assert all(chunk.usage is None for chunk in received)


async def test_without_a_script_usage_comes_when_asked_for(client: AsyncOpenAI) -> None:
    received = await chunks(client, stream_options={"include_usage": True})
    assert received[-1].choices == []
    assert (received[-1].usage.prompt_tokens, received[-1].usage.completion_tokens) == (1, 12)


async def test_without_a_script_a_whole_answer_comes_when_no_stream_is_asked_for(client: AsyncOpenAI) -> None:
    completion = await client.chat.completions.create(model="any", messages=HELLO)
    assert (completion.choices[0].message.content or "").endswith("You said: Hello")
    assert completion.usage is not None
    assert completion.usage.total_tokens == 13


async def test_without_a_script_parts_of_text_are_read(client: AsyncOpenAI) -> None:
    parts = [
        {"type": "text", "text": "one"},
        {"type": "image_url", "image_url": {"url": "x"}},
        {"type": "text", "text": "two"},
    ]
    assert content(await chunks(client, [{"role": "user", "content": parts}])).endswith("You said: one two")


async def test_a_message_about_markdown_gets_a_sample(client: AsyncOpenAI) -> None:
    answer = content(await chunks(client, [{"role": "user", "content": "Show me Markdown"}]))
    assert "\n## " in answer
    assert "\n```python\n" in answer


async def test_words_are_paced() -> None:
    handler = EchoHandler(word_delay=0.5)
    request = RecordedRequest("POST", "/v1/chat/completions", "HTTP/1.1", {}, CHAT, asyncio.Event())
    assert handler(request).steps.count(Pause(0.5)) == 12


async def test_the_models_are_the_scripted_one(client: AsyncOpenAI) -> None:
    assert [model.id async for model in client.models.list()] == ["scripted"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'{"messages":[{"role":"user","content":"x"}]}',
        b'{"model":"m","messages":"x"}',
        b'{"model":"m","messages":[]}',
        b'{"model":"m","messages":[{"content":"x"}]}',
        b'{"model":"m","messages":[{"role":"user","content":"\xff"}]}',
    ],
)
async def test_a_body_that_is_no_chat_request_gets_a_400(endpoint: ScriptedEndpoint, body: bytes) -> None:
    async with connected(endpoint) as wire:
        wire.ask(body)
        assert (await wire.read_until(b"\r\n\r\n")).startswith(b"HTTP/1.1 400 ")
        assert msgspec.json.decode(await wire.read_until(b"}}"))["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("request_line", "status"),
    [(b"GET /v2/models", 404), (b"GET /v1/chat/completions", 405), (b"POST /v1/models", 405)],
)
async def test_other_paths_and_methods_get_an_error(
    endpoint: ScriptedEndpoint, request_line: bytes, status: int
) -> None:
    async with connected(endpoint) as wire:
        wire.send(request_line + b" HTTP/1.1\r\n\r\n")
        assert (await wire.read_until(b"\r\n")).startswith(b"HTTP/1.1 %d " % status)


async def test_a_process_serves_until_it_is_told_to_stop() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "hub.testing", "--port", "0", "--delay", "0"),
        cwd=ROOT,
        env={**os.environ, "HUB_NO_DOTENV": "1"},
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        ready, base_url = (await within(process.stdout.readline())).decode().split()
        assert ready == "ready"
        async with AsyncOpenAI(base_url=base_url, api_key="EMPTY", max_retries=0, timeout=TIMEOUT) as client:
            assert "not a language model" in content(await chunks(client))
        process.send_signal(signal.SIGTERM)
        assert await within(process.wait()) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


# Checks on streams of events


def meta(seq: int, **fields: Any) -> Meta:
    return Meta(stream_id="s", seq=seq, **fields)


def text(seq: int, **fields: Any) -> TextDelta:
    return TextDelta(stream_id="s", seq=seq, text="x", **fields)


def usage(seq: int, tokens: int = 1, **fields: Any) -> Usage:
    return Usage(stream_id="s", seq=seq, input_tokens=0, output_tokens=tokens, total_tokens=tokens, **fields)


def error(seq: int) -> Error:
    return Error(stream_id="s", seq=seq, code="truncated", message="cut")


def done(seq: int, **fields: Any) -> Done:
    return Done(stream_id="s", seq=seq, **{"status": "completed", **fields})


def snapshot(seq: int, **fields: Any) -> Snapshot:
    result = LLMResult(**{"stream_id": "s", "last_seq": seq, "status": "running", **fields})
    return Snapshot(stream_id="s", seq=seq, span=seq + 1, result=result, reason="requested")


FAILED = {"status": "failed"}
CUT = Failure(code="truncated", message="cut")
TWO = TokenUsage(output_tokens=2, total_tokens=2)

WHOLE: dict[str, list[LLMEvent]] = {
    "plain": [meta(0), text(1), usage(2), done(3)],
    "spans": [meta(0), text(4, span=4), usage(5), done(6)],
    "without content": [meta(0), usage(1), done(2)],
    "failed": [meta(0), text(1), error(2), usage(3), done(4, **FAILED)],
    "failed at the second try": [meta(0, attempt=2), error(1), usage(2, attempt=2), done(3, **FAILED)],
    "cancelled": [meta(0), text(1), usage(2), done(3, status="cancelled")],
    "restarted": [meta(0), text(1), usage(2), meta(3, attempt=2), text(4), usage(5, attempt=2), done(6, usage=TWO)],
    "steps": [
        *(meta(0), usage(1), ApprovalRequest(stream_id="s", seq=2, id="c", name="f", arguments="")),
        ToolResult(stream_id="s", seq=3, id="c", name="f", output=""),
        *(meta(4, step=1), text(5), usage(6, step=1), done(7, usage=TWO)),
    ],
    "failed between steps": [meta(0), usage(1), error(2), done(3, **FAILED)],
    "from a snapshot": [snapshot(7), text(8), usage(9), done(10)],
    "from a snapshot after usage": [snapshot(7, usage=TWO), done(8, usage=TWO)],
    "from a snapshot of a failure": [snapshot(7, usage=TWO, error=CUT), done(8, **FAILED)],
}

BROKEN: dict[str, tuple[list[LLMEvent], str]] = {
    "empty": ([], "is empty"),
    "hole": ([meta(0), text(2), usage(3), done(4)], r"begins at 2; 1 was due"),
    "repeat": ([meta(0), text(1), text(1), usage(2), done(3)], "came already"),
    "overlap": ([meta(0), text(1), text(3, span=3), usage(4), done(5)], "came already"),
    "no span": ([meta(0), text(1, span=0), usage(2), done(3)], "span of 0"),
    "late start": ([meta(1), usage(2), done(3)], "0 was due"),
    "foreign": ([meta(0), Done(stream_id="t", seq=1, status="completed")], "not of stream"),
    "no meta": ([text(0), usage(1), done(2)], "is the first"),
    "no done": ([meta(0), text(1), usage(2)], "no `done`"),
    "two dones": ([meta(0), usage(1), done(2), done(3)], "follows `done`"),
    "no usage": ([meta(0), text(1), done(2)], "before the `usage`"),
    "no usage after a snapshot": ([snapshot(7), done(8)], "no `usage` before it"),
    "two usages": ([meta(0), usage(1), usage(2), done(3)], "second `usage`"),
    "usage of no attempt": ([meta(0), usage(1, attempt=2), done(2)], "no `meta` began"),
    "text after usage": ([meta(0), usage(1), text(2), done(3)], "after its attempt's `usage`"),
    "restart without usage": ([meta(0), meta(1, attempt=2), usage(2, attempt=2), done(3)], "before the `usage`"),
    "same attempt": ([meta(0), usage(1), meta(2), usage(3), done(4)], "attempt 1 after attempt 1"),
    "step back": ([meta(0, step=1), usage(1, step=1), meta(2, attempt=2), done(3)], "goes back"),
    "attempt 0": ([meta(0, attempt=0), usage(1, attempt=0), done(2)], "has attempt 0"),
    "two errors": ([meta(0), error(1), error(2), usage(3), done(4, **FAILED)], "follows the `error`"),
    "text after error": ([meta(0), error(1), text(2), usage(3), done(4, **FAILED)], "follows the `error`"),
    "error without usage": ([meta(0), error(1), done(2, **FAILED)], "before the `usage`"),
    "usage before error": ([meta(0), usage(1), error(2), done(3)], "after an `error`"),
    "failed without error": ([meta(0), usage(1), done(2, **FAILED)], "without an `error`"),
    "wrong sum": ([meta(0), usage(1), done(2, usage=TWO)], "does not sum"),
}


@pytest.mark.parametrize("events", WHOLE.values(), ids=WHOLE.keys())
def test_a_stream_that_keeps_to_the_grammar_passes(events: list[LLMEvent]) -> None:
    check_grammar(events)


@pytest.mark.parametrize(("events", "message"), BROKEN.values(), ids=BROKEN.keys())
def test_a_stream_that_breaks_the_grammar_is_named(events: list[LLMEvent], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_grammar(events)


async def test_collect_gives_every_event_in_order() -> None:
    async def stream() -> AsyncIterator[LLMEvent]:
        for event in WHOLE["plain"]:
            yield event

    assert await collect(stream()) == WHOLE["plain"]
