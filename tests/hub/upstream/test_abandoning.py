"""Streams that are left where they are: the connection closes at once and nothing stays behind."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any

import pytest

from hub.client import OpenAIClient
from hub.completion import fold
from hub.testing import Gate, ScriptedEndpoint, chat_chunk, chat_reply, check_grammar, sse

from .support import HELLO, client_of, collected, held, outcome, within

HI = sse(chat_chunk(content="Hi"), done=False)


async def by_break(client: OpenAIClient) -> None:
    async for event in client.stream(messages=HELLO):
        if event.type == "text_delta":
            break


async def by_break_of_batches(client: OpenAIClient) -> None:
    async for batch in client.stream(messages=HELLO).batches():
        if batch:
            break


async def by_aclose(client: OpenAIClient) -> None:
    stream = client.stream(messages=HELLO)
    async for event in stream:
        if event.type == "text_delta":
            break
    await stream.aclose()
    await stream.aclose()
    assert [event async for event in stream] == []


async def by_aclose_after_batches(client: OpenAIClient) -> Any:
    stream = client.stream(messages=HELLO)
    async for batch in stream.batches():
        if batch:
            break
    await stream.aclose()
    return stream


async def by_closing_the_iterator(client: OpenAIClient) -> Any:
    stream = client.stream(messages=HELLO)
    async with aclosing(aiter(stream)) as events:
        async for _ in events:
            break
    return stream


async def by_the_end_of_a_block(client: OpenAIClient) -> None:
    async with client.stream(messages=HELLO) as stream:
        async for event in stream:
            if event.type == "text_delta":
                return


async def by_an_exception(client: OpenAIClient) -> None:
    async def fail() -> None:
        async with client.stream(messages=HELLO) as stream:
            async for _ in stream:
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()


async def by_leaving_the_text(client: OpenAIClient) -> None:
    async with aclosing(client.generate_streaming(HELLO)) as texts:  # type: ignore[type-var]
        async for _ in texts:
            break


async def by_leaving_the_frames(client: OpenAIClient) -> None:
    async for frame in client.stream_sse(messages=HELLO):
        if b"text_delta" in frame:
            break


LEAVE: list[Callable[[OpenAIClient], Awaitable[Any]]] = [
    by_aclose_after_batches,
    by_closing_the_iterator,
    by_break,
    by_break_of_batches,
    by_aclose,
    by_the_end_of_a_block,
    by_an_exception,
    by_leaving_the_text,
    by_leaving_the_frames,
]


@pytest.mark.parametrize("leave", LEAVE)
async def test_the_endpoint_sees_a_reader_go_at_once(leave: Any, clean: None) -> None:
    async with ScriptedEndpoint(held(HI, gate=Gate())) as endpoint, client_of(endpoint) as client:
        kept = await within(leave(client))  # a stream that is still referred to is closed as well
        request = await endpoint.received()
        await within(request.left.wait(), 1.0)
        del kept


async def test_a_stream_never_read_asks_nothing_and_needs_no_closing(clean: None) -> None:
    async with ScriptedEndpoint() as endpoint, client_of(endpoint) as client:
        client.stream(messages=HELLO)
        async with client.stream(messages=HELLO):
            pass
        assert endpoint.requests == []


async def test_a_stream_can_be_left_and_read_on(clean: None) -> None:
    async with ScriptedEndpoint(chat_reply("One two three")) as endpoint, client_of(endpoint) as client:
        stream = client.stream(messages=HELLO)
        events = []
        async for event in stream:
            events.append(event)
            if event.type == "text_delta":
                break
        events += [event async for event in stream]
    check_grammar(events)
    assert fold(events).text == "One two three"


async def test_three_hundred_cancelled_streams_leave_nothing_behind(clean: None) -> None:
    gate = Gate()
    gate.open()
    async with ScriptedEndpoint(handler=lambda _: held(HI, gate=gate)) as endpoint, client_of(endpoint) as client:
        for number in range(300):
            stream = client.stream(messages=HELLO)
            if number % 3 == 0:
                async with stream:
                    await within(anext(aiter(stream)))
            elif number % 3 == 1:
                task = asyncio.create_task(collected(stream))
                await within(gate.reached(number + 1))
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            else:
                async for _ in stream:
                    break
                del stream
        await within(endpoint.all_closed())
        assert endpoint.connections == 0


async def test_whole_answers_share_their_connection(clean: None) -> None:
    async with ScriptedEndpoint(handler=lambda _: chat_reply("Hi")) as endpoint, client_of(endpoint) as client:
        for _ in range(5):
            await outcome(client.stream(messages=HELLO))
            assert endpoint.connections == 1
