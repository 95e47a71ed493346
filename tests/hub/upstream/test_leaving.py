"""Leaving a stream early: by stop, break, aclose, a block's end or cancellation, at every point of its life."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from hub.client import OpenAIClient
from hub.completion import fold
from hub.events import LLMEvent
from hub.testing import (
    Gate,
    Hang,
    Reply,
    ScriptedEndpoint,
    chat_chunk,
    chat_reply,
    check_grammar,
    never_answer,
    raw_reply,
    sse,
    status_reply,
)
from hub.upstream.clocks import Timeouts
from hub.upstream.retry import RetryPolicy

from .support import HELLO, client_of, collected, held, outcome, within
from .test_clocks import full_backlog

HI = sse(chat_chunk(content="Hi"), done=False)
BACK_OFF = RetryPolicy(backoff=1_000.0, max_backoff=1_000.0)


POINTS: dict[str, tuple[Callable[[Gate], list[Reply]], str]] = {
    "before the headers": (lambda gate: [held(gate=gate, head=False)], ""),
    "before the first content": (lambda gate: [held(b": wait\n\n", gate=gate)], ""),
    "in mid-stream": (lambda gate: [held(HI, gate=gate)], "Hi"),
    "in mid-chunk": (lambda gate: [held(HI + b"data: {", gate=gate)], "Hi"),
    "in the body of an error": (lambda gate: [raw_reply(b"no", gate, Hang(), status=500)], ""),
}


@pytest.mark.parametrize(("replies", "text"), POINTS.values(), ids=POINTS)
async def test_stop_from_elsewhere_ends_the_stream_in_order(replies: Any, text: str, clean: None) -> None:
    gate = Gate()
    async with ScriptedEndpoint(*replies(gate)) as endpoint, client_of(endpoint) as client:
        stream = client.stream(messages=HELLO)
        task = asyncio.create_task(outcome(stream))
        await within(gate.reached())
        await asyncio.sleep(0.01)  # what was sent is read
        stream.stop()
        result = await within(task)
        await within(endpoint.all_closed())
    assert (result.status, result.text, result.error) == ("cancelled", text, None)


@pytest.mark.parametrize(("replies", "text"), POINTS.values(), ids=POINTS)
async def test_cancellation_goes_on_and_closes_the_connection(replies: Any, text: str, clean: None) -> None:
    gate = Gate()
    async with ScriptedEndpoint(*replies(gate)) as endpoint, client_of(endpoint) as client:
        task = asyncio.create_task(outcome(client.stream(messages=HELLO)))
        await within(gate.reached())
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await within(endpoint.all_closed())


async def test_a_cancelled_reader_can_tell_how_the_stream_ended(clean: None) -> None:
    gate = Gate()
    async with ScriptedEndpoint(held(HI, gate=gate)) as endpoint, client_of(endpoint) as client:
        stream = client.stream(messages=HELLO)
        seen: list[LLMEvent] = []
        first = asyncio.Event()

        async def read() -> None:
            async for event in stream:
                seen.append(event)
                first.set()

        task = asyncio.create_task(read())
        await within(first.wait())
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        events = seen + stream.ending("cancelled")
    check_grammar(events)
    assert (fold(events).status, fold(events).text) == ("cancelled", "Hi")


async def stopped_while_connecting(leave: Callable[[Any, asyncio.Task[Any]], object]) -> Any:
    with full_backlog() as port:
        async with OpenAIClient("m", base_url=f"http://127.0.0.1:{port}/v1", api_key="EMPTY") as client:
            stream = client.stream(messages=HELLO)
            task = asyncio.create_task(outcome(stream))
            await asyncio.sleep(0.05)
            leave(stream, task)
            return await within(task, 1.0)


async def test_stop_while_connecting(clean: None) -> None:
    assert (await stopped_while_connecting(lambda stream, task: stream.stop())).status == "cancelled"


async def test_cancellation_while_connecting(clean: None) -> None:
    with pytest.raises(asyncio.CancelledError):
        await stopped_while_connecting(lambda stream, task: task.cancel())


@pytest.mark.parametrize("cancel", [False, True], ids=["stop", "cancel"])
async def test_leaving_during_the_backoff(cancel: bool, clean: None) -> None:
    async with ScriptedEndpoint(status_reply(503)) as endpoint, client_of(endpoint, retry=BACK_OFF) as client:
        stream = client.stream(messages=HELLO)
        task = asyncio.create_task(outcome(stream))
        await within(endpoint.received())
        await asyncio.sleep(0.05)  # the answer is read
        if cancel:
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        else:
            stream.stop()
            assert (await within(task, 1.0)).status == "cancelled"
        assert len(endpoint.requests) == 1


async def test_stop_before_the_start_asks_nothing(clean: None) -> None:
    async with ScriptedEndpoint() as endpoint, client_of(endpoint) as client:
        stream = client.stream(messages=HELLO)
        stream.stop()
        result = await outcome(stream)
        assert endpoint.requests == []
    assert result.status == "cancelled"
    assert result.usage is not None
    assert result.usage.total_tokens == 0


async def test_stop_after_the_end_changes_nothing(clean: None) -> None:
    async with ScriptedEndpoint(chat_reply("Hi")) as endpoint, client_of(endpoint) as client:
        stream = client.stream(messages=HELLO)
        events = await collected(stream)
        stream.stop()
        assert [event async for event in stream] == []
        assert stream.ending("cancelled") == []
    assert fold(events).status == "completed"


async def test_stop_after_the_last_finish_reason_leaves_the_answer_whole(clean: None) -> None:
    gate = Gate()
    reply = held(HI + sse(chat_chunk(finish_reason="stop"), done=False), gate=gate)
    async with ScriptedEndpoint(reply) as endpoint, client_of(endpoint) as client:
        stream = client.stream(messages=HELLO)
        task = asyncio.create_task(outcome(stream))
        await within(gate.reached())
        await asyncio.sleep(0.01)  # what was sent is read
        stream.stop()
        assert (await within(task)).status == "completed"


async def test_stop_by_the_reader_itself_ends_a_burst_that_has_arrived_already(clean: None) -> None:
    burst = raw_reply(sse(*[chat_chunk(content="x")] * 20_000, chat_chunk(finish_reason="stop")))
    async with ScriptedEndpoint(burst) as endpoint, client_of(endpoint) as client:
        stream = client.stream(messages=HELLO)
        events = []
        async for event in stream:
            events.append(event)
            if event.type == "text_delta":
                stream.stop()
        await within(endpoint.all_closed())
    check_grammar(events)
    assert (fold(events).status, len(events) < 15_000) == ("cancelled", True)


@pytest.mark.parametrize("stop_first", [True, False])
async def test_of_a_stop_and_a_cancellation_at_once_the_cancellation_wins(stop_first: bool, clean: None) -> None:
    gate = Gate()
    async with ScriptedEndpoint(held(HI, gate=gate)) as endpoint, client_of(endpoint) as client:
        stream = client.stream(messages=HELLO)
        task = asyncio.create_task(outcome(stream))
        await within(gate.reached())
        for act in (stream.stop, task.cancel)[:: 1 if stop_first else -1]:
            act()
        with pytest.raises(asyncio.CancelledError):
            await task
        await within(endpoint.all_closed())


async def test_a_time_out_round_a_stream_works_as_anywhere(clean: None) -> None:
    async with ScriptedEndpoint(never_answer()) as endpoint, client_of(endpoint) as client:
        with pytest.raises(TimeoutError):
            await within(collected(client.stream(messages=HELLO)), 0.05)
        await within(endpoint.all_closed())


TURNS = range(0, 60, 1)


async def after_turns(task: asyncio.Task[Any], turns: int) -> None:
    for _ in range(turns):
        if task.done():
            return
        await asyncio.sleep(0)


async def test_cancellation_at_every_turn_of_the_loop_goes_on_and_releases(clean: None) -> None:
    script = [status_reply(503), chat_reply("One two three", usage=True, slice_bytes=50)]
    fast = RetryPolicy(backoff=0.0)
    completed = cancelled = 0
    for turns in TURNS:
        async with ScriptedEndpoint(*script) as endpoint, client_of(endpoint, retry=fast) as client:
            task = asyncio.create_task(outcome(client.stream(messages=HELLO)))
            await after_turns(task, turns * 4)
            was_done = not task.cancel()
            try:
                assert (await within(task)).status == "completed"
                completed += 1
                assert was_done
            except asyncio.CancelledError:
                cancelled += 1
    assert completed > 0
    assert cancelled > 10


async def test_stop_at_every_turn_of_the_loop_gives_a_whole_stream(clean: None) -> None:
    script = [status_reply(503), chat_reply("One two three", usage=True, slice_bytes=50)]
    statuses = set()
    for turns in TURNS:
        async with (
            ScriptedEndpoint(*script) as endpoint,
            client_of(endpoint, retry=RetryPolicy(backoff=0.0)) as client,
        ):
            stream = client.stream(messages=HELLO)
            task = asyncio.create_task(outcome(stream))
            await after_turns(task, turns * 4)
            stream.stop()
            statuses.add((await within(task)).status)
    assert statuses == {"completed", "cancelled"}


async def test_clocks_that_run_out_at_any_time_leave_whole_streams_and_no_cancellation(clean: None) -> None:
    reply = chat_reply("One two three four five", delay=0.002)
    async with ScriptedEndpoint(handler=lambda _: reply) as endpoint, client_of(endpoint) as client:
        task = asyncio.current_task()
        assert task is not None
        for number in range(1, 30):
            timeouts = Timeouts(total_timeout=number * 0.001)
            result = await outcome(client.stream(messages=HELLO, timeouts=timeouts))
            assert result.status == "completed" or (result.error and result.error.code == "total_timeout")
            assert task.cancelling() == 0
