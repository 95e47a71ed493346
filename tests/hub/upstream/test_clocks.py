"""The four clocks, each with its own code, over real sockets; and the watchdog that holds them."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from hub.client import OpenAIClient
from hub.result import LLMResult
from hub.testing import (
    Gate,
    Hang,
    Pause,
    Reply,
    ScriptedEndpoint,
    Step,
    chat_chunk,
    chat_reply,
    never_answer,
    raw_reply,
    sse,
)
from hub.upstream.clocks import Timeouts

from .support import FOREVER, HELLO, NO_RETRY, MovedClock, client_of, collected, outcome, within

HI = chat_chunk(content="Hi")
END = sse(chat_chunk(finish_reason="stop"), done=False)


def dripping(piece: bytes, *before: bytes) -> Reply:
    """A body that sends this piece again and again, every hundredth of a second."""
    drops: list[Step] = [Pause(0.01), piece]
    return raw_reply(*before, *drops * 500, Hang())


async def ask(reply: Reply, **timeouts: float) -> tuple[LLMResult, float]:
    """The outcome under these clocks, and what it took."""
    began_at = asyncio.get_running_loop().time()
    async with ScriptedEndpoint(reply) as endpoint, client_of(endpoint, retry=NO_RETRY) as client:
        result = await outcome(client.stream(messages=HELLO, timeouts=Timeouts(**timeouts)))
        took = asyncio.get_running_loop().time() - began_at
        if result.status == "failed":
            await within(endpoint.all_closed())
    return result, took


# Connect


@contextmanager
def full_backlog() -> Iterator[int]:
    """The port of a listening socket that takes no further connection: its backlog is full."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        waiting = []
        for _ in range(8):
            client = socket.socket()
            client.setblocking(False)
            client.connect_ex(listener.getsockname())
            waiting.append(client)
        try:
            yield listener.getsockname()[1]
        finally:
            for client in waiting:
                client.close()


@contextmanager
def silent_listener() -> Iterator[int]:
    """The port of a socket to which one can connect, and no one answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(16)
        yield listener.getsockname()[1]


@pytest.mark.parametrize(
    ("scheme", "listener"), [("http", full_backlog), ("https", silent_listener)], ids=["TCP", "TLS"]
)
async def test_the_connect_clock_covers_tcp_and_tls(scheme: str, listener: Callable[[], Any]) -> None:
    with listener() as port:
        async with OpenAIClient("m", base_url=f"{scheme}://127.0.0.1:{port}/v1", api_key="EMPTY") as client:
            stream = client.stream(messages=HELLO, timeouts=Timeouts(connect_timeout=0.2), retry=NO_RETRY)
            error = (await within(outcome(stream), 3.0)).error
    assert error is not None
    assert (error.code, error.retryable) == ("connect_timeout", True)


async def test_connecting_that_takes_too_long_is_tried_again() -> None:
    with full_backlog() as port:
        async with OpenAIClient("m", base_url=f"http://127.0.0.1:{port}/v1", api_key="EMPTY") as client:
            result = await within(outcome(client.stream(messages=HELLO, timeouts=Timeouts(connect_timeout=0.05))), 5.0)
    assert (result.error and result.error.code, result.attempt) == ("connect_timeout", 3)


# First content


@pytest.mark.parametrize(
    "reply",
    [
        never_answer(),
        raw_reply(Hang()),
        dripping(b": keep-alive\n\n"),
        dripping(b": no line end "),
        dripping(b"\n"),
        dripping(sse(chat_chunk(role="assistant", content=""), done=False)),
        dripping(
            sse(chat_chunk() | {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 0}}, done=False)
        ),
        dripping(sse(chat_chunk(tool_calls=[{"index": 0, "function": {"arguments": "x"}}]), done=False)),
        dripping(b" ", b'{"error":'),
    ],
    ids=["no headers", "headers alone", "comments", "one long comment", "blanks", "roles", "usage", "nameless", "JSON"],
)
async def test_without_content_the_first_token_clock_runs_out(reply: Reply) -> None:
    result, took = await ask(reply, first_token_timeout=0.2)
    assert (result.error and result.error.code, result.text) == ("first_token_timeout", "")
    assert 0.15 < took < 2.0


async def test_an_error_body_that_drips_is_under_the_first_token_clock() -> None:
    reply = replace(dripping(b" "), status=500)
    result, _ = await ask(reply, first_token_timeout=0.2)
    assert (result.error and result.error.code) == "first_token_timeout"


# The gap between two pieces of content


@pytest.mark.parametrize(
    "piece",
    [
        b"",
        b": OPENROUTER PROCESSING\n\n",
        sse(chat_chunk(role="assistant", content=""), done=False),
        sse(chat_chunk() | {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 1}}, done=False),
        b"data: never ending ",
    ],
    ids=["silence", "comments", "roles", "usage", "half a chunk"],
)
async def test_a_stalled_answer_runs_into_the_gap_clock(piece: bytes) -> None:
    reply = dripping(piece, sse(HI, done=False)) if piece else raw_reply(sse(HI, done=False), Hang())
    result, took = await ask(reply, stall_timeout=0.2)
    assert (result.error and result.error.code, result.text) == ("stall_timeout", "Hi")
    assert 0.15 < took < 2.0


@pytest.mark.parametrize(
    "delta",
    [
        {"content": "x"},
        {"reasoning_content": "x"},
        {"refusal": "x"},
        {"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f", "arguments": "x"}}]},
    ],
    ids=["text", "reasoning", "refusal", "tool call"],
)
async def test_any_content_resets_the_gap_clock(delta: dict[str, Any]) -> None:
    piece: list[Step] = [Pause(0.08), sse(chat_chunk(**delta), done=False)]
    result, took = await ask(raw_reply(sse(HI, done=False), *piece * 8, END), stall_timeout=0.5)
    assert (result.status, took > 0.55) == ("completed", True)


# Total


async def test_an_answer_that_goes_on_and_on_runs_into_the_total_clock() -> None:
    result, took = await ask(dripping(sse(HI, done=False)), total_timeout=0.3)
    assert (result.error and result.error.code) == "total_timeout"
    assert 0.25 < took < 2.0


async def test_the_total_clock_covers_the_waits_between_tries() -> None:
    slow = {"retry-after-ms": "30000"}
    async with (
        ScriptedEndpoint(raw_reply(status=503, headers=slow)) as endpoint,
        client_of(endpoint, timeouts=Timeouts(total_timeout=0.2)) as client,
    ):
        result = await within(outcome(client.stream(messages=HELLO)), 3.0)
    assert (result.error and result.error.code) == "total_timeout"


# After the end


async def test_usage_after_the_finish_reason_is_waited_for_a_while_only() -> None:
    gate = Gate()
    drops: list[Step] = [Pause(0.01), b": bye\n\n"]
    reply = raw_reply(sse(HI, done=False) + END, gate, *drops * 500)
    async with ScriptedEndpoint(reply) as endpoint, client_of(endpoint) as client:
        clock = MovedClock()
        task = asyncio.create_task(outcome(client.stream(messages=HELLO), seconds=FOREVER))
        await gate.reached()
        await asyncio.sleep(0.05)  # what was sent is read
        gate.open()
        await clock.pass_by(4.0)
        assert not task.done()
        await clock.pass_by(1.5)
        assert (await within(task, 2.0)).status == "completed"


async def test_done_is_told_before_the_body_ends() -> None:
    reply = raw_reply(sse(HI, chat_chunk(finish_reason="stop")), Hang())
    async with ScriptedEndpoint(reply) as endpoint, client_of(endpoint) as client:
        result = await within(outcome(client.stream(messages=HELLO)), 2.0)
    assert result.status == "completed"


# The four at their defaults


@pytest.mark.parametrize(
    ("before", "code", "seconds"),
    [(b"", "first_token_timeout", 120.0), (sse(HI, done=False), "stall_timeout", 60.0)],
    ids=["first content", "gap"],
)
async def test_the_clocks_stand_at_their_defaults(before: bytes, code: str, seconds: float) -> None:
    gate = Gate()
    async with ScriptedEndpoint(raw_reply(before, gate)) as endpoint, client_of(endpoint) as client:
        clock = MovedClock()
        task = asyncio.create_task(outcome(client.stream(messages=HELLO), seconds=FOREVER))
        await gate.reached()
        await asyncio.sleep(0.05)  # what was sent is read
        await clock.pass_by(seconds - 1.5)
        assert not task.done()
        await clock.pass_by(2.0)
        result = await task
    assert (result.error and result.error.code) == code


async def test_the_total_clock_stands_at_ten_minutes() -> None:
    gates = [Gate() for _ in range(14)]
    pieces = [part for gate in gates for part in ("x", gate)]
    async with ScriptedEndpoint(chat_reply(pieces)) as endpoint, client_of(endpoint) as client:
        clock = MovedClock()
        task = asyncio.create_task(outcome(client.stream(messages=HELLO), seconds=FOREVER))
        for gate in gates:
            await gate.reached()
            await clock.pass_by(50.0)
            gate.open()
            if task.done():
                break
        result = await task
    assert (result.error and result.error.code, result.text) == ("total_timeout", "x" * 12)


# A slow reader


async def test_a_slow_reader_trips_no_clock() -> None:
    gates = [Gate() for _ in range(5)]
    pieces = [part for gate in gates for part in ("x", gate)]
    tight = Timeouts(first_token_timeout=1.0, stall_timeout=1.0, total_timeout=1.0)
    async with ScriptedEndpoint(chat_reply(pieces)) as endpoint, client_of(endpoint, timeouts=tight) as client:
        clock = MovedClock()
        types = []
        async for event in client.stream(messages=HELLO):
            types.append(event.type)
            await clock.pass_by(100.0)
            for gate in gates:
                gate.open()
    assert types == ["meta", *["text_delta"] * 5, "usage", "done"]


async def test_a_reader_that_holds_the_loop_up_trips_no_clock_of_other_streams() -> None:
    gate = Gate()
    async with ScriptedEndpoint(chat_reply(["x", gate, "y"])) as endpoint, client_of(endpoint) as client:
        clock = MovedClock()
        task = asyncio.create_task(outcome(client.stream(messages=HELLO), seconds=FOREVER))
        await gate.reached()
        await asyncio.sleep(0.05)  # what was sent is read
        gate.open()
        clock.jump(61.0)
        assert (await task).status == "completed"


async def test_events_of_a_whole_stream_are_in_good_order_under_tight_clocks() -> None:
    async with ScriptedEndpoint() as endpoint, client_of(endpoint, timeouts=Timeouts(total_timeout=0.05)) as client:
        for _ in range(5):
            await collected(client.stream(messages=HELLO, retry=NO_RETRY))
