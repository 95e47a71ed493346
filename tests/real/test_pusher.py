"""PusherSink with a real server of the protocol, soketi, read by pusher-js and by pysher."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import Any

import pytest

from hub.completion import fold
from hub.errors import SinkRejectedError
from hub.events import LLMEvent, Snapshot, encode_event
from hub.sink import FanOut, pump
from sinks.memory import MemorySink
from sinks.pusher import Assembler, PusherApp, PusherSink

from ..contracts.samples import STREAM, a_stream, done, meta, source, text
from .soketi import APP_KEY, Reader, Soketi, pusher_js, pysher

pytestmark = pytest.mark.timeout(400)  # the first test waits until everything is installed

ANY_TEXT: list[LLMEvent] = [
    meta(0),
    text(1, "x" * 1_000_000),
    text(2, "\x00😀 שלום\r\n\n" * 2_000),
    text(3, '"\\' * 20_000),
    done(4),
]
ANSWER = a_stream(*(f" {number}" for number in range(200)))


@pytest.fixture(scope="module")
def server() -> Iterator[Soketi]:
    with Soketi() as running:
        yield running


def sink_of(server: Soketi, channel: Any, **arguments: Any) -> PusherSink:
    return PusherSink(channel, app=server.app, **{"max_messages_per_second": math.inf, **arguments})


async def read_to_end(reader: Reader, so_far: list[LLMEvent] | None = None) -> list[LLMEvent]:
    """The events of the stream; what is missing is made up for by a snapshot of what there is `so_far`."""
    assembler, events = Assembler(), []
    while not events or events[-1].type != "done":
        _, _, data = await reader.next()
        events += assembler.add(json.dumps(data))
        if so_far and assembler.missing(STREAM):
            result = fold(so_far)
            snapshot = Snapshot(stream_id=STREAM, seq=result.last_seq, result=result, reason="requested")
            events += assembler.add_event(snapshot)
    return events


@pytest.mark.parametrize("events", [ANSWER, ANY_TEXT], ids=["many", "large"])
@pytest.mark.parametrize("client", [pusher_js, pysher], ids=lambda client: client.__name__)
async def test_a_reader_has_what_was_sent(
    server: Soketi, client: Callable[..., Reader], events: list[LLMEvent]
) -> None:
    async with client(server, "chat") as reader, asyncio.TaskGroup() as tasks:
        reading = tasks.create_task(read_to_end(reader))
        async with sink_of(server, "chat") as sink:
            await pump(source(events), sink)
        got = await reading
    assert fold(got) == fold(events)


async def test_readers_of_several_channels_get_the_same(server: Soketi) -> None:
    async with pusher_js(server, "left", "right") as reader:
        async with sink_of(server, ["left", "right"]) as sink:
            await pump(source(ANSWER), sink)
        received: dict[str, list[Any]] = {"left": [], "right": []}
        while not all(got and got[-1]["type"] == "done" for got in received.values()):
            channel, _, data = await reader.next()
            received[channel].append(data)
    assert received["left"] == received["right"]


async def test_a_message_is_the_event_s_json_under_its_type(server: Soketi) -> None:
    async with pusher_js(server, "plain") as reader:
        async with sink_of(server, "plain") as sink:
            await sink.send(meta(0))
        assert await reader.next() == ("plain", "meta", json.loads(encode_event(meta(0))))


async def test_a_message_that_this_server_does_not_take_is_a_typed_error(server: Soketi) -> None:
    async with sink_of(server, "chat", max_event_bytes=20_000) as sink:
        await sink.send(text(0, "x" * 15_000))
        with pytest.raises(SinkRejectedError, match="max_event_bytes") as caught:
            await sink.aclose()
    assert caught.value.status == 413


@pytest.mark.parametrize(
    ("app_id", "secret", "status", "words"),
    [("1", "wrong", 401, "PUSHER_AUTH_SECRET"), ("2", "app-secret", 404, "PUSHER_APP_ID")],
)
async def test_an_app_that_is_not_this_server_s_is_a_typed_error(
    server: Soketi, app_id: str, secret: str, status: int, words: str
) -> None:
    app = PusherApp(app_id=app_id, key=APP_KEY, secret=secret, host="127.0.0.1", port=server.port, ssl=False)
    async with PusherSink("chat", app=app) as sink:
        await sink.send(meta(0))
        with pytest.raises(SinkRejectedError, match=words) as caught:
            await sink.aclose()
    assert caught.value.status == status


async def test_the_server_may_crash_and_come_back_and_a_late_reader_completes_from_a_snapshot() -> None:
    so_far: list[LLMEvent] = []
    is_crashed, has_reader = asyncio.Event(), asyncio.Event()

    async def answer(server: Soketi) -> AsyncGenerator[LLMEvent, None]:
        for event in ANSWER:
            so_far.append(event)
            yield event
            if event.seq == 50:
                await asyncio.to_thread(server.crash)
                is_crashed.set()
            if event.seq == 100:
                await has_reader.wait()
            await asyncio.sleep(0.01)

    with Soketi() as server:
        kept = MemorySink()
        sink = sink_of(server, "chat", max_outage=60)
        async with sink, FanOut(sink, kept, drain_timeout=30) as both, asyncio.TaskGroup() as tasks:
            sending = tasks.create_task(pump(answer(server), both))
            await is_crashed.wait()
            await asyncio.to_thread(server.start)
            async with pusher_js(server, "chat") as reader:
                has_reader.set()
                got = await read_to_end(reader, so_far)
            assert await sending == fold(ANSWER)
        assert both.failures == []
    assert got[0].type == "snapshot"
    assert fold(got) == fold(ANSWER)
    assert kept.result() == fold(ANSWER)
