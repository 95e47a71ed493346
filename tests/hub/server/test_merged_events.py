"""Several streams on one connection: each exactly once from its position. By the edge and by the ordinary way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest

from hub.events import LLMEvent, Meta, Snapshot, TextDelta
from hub.server.positions import MAX_STREAMS
from hub.streams.memory import MemoryStreamStore
from hub.testing import Gate, chat_reply, check_grammar

from .conftest import RunningHub, StartHub, events_of
from .test_edge import read_nothing, until
from .test_streams import assert_problem


def address(*streams: str, query: str = "") -> str:
    return "/v1/events?" + "&".join(f"stream={stream_id}" for stream_id in streams) + query


@asynccontextmanager
async def reading(
    running: RunningHub, *streams: str, query: str = "", last_id: str = ""
) -> AsyncIterator[AsyncIterator[LLMEvent]]:
    headers = {"Last-Event-ID": last_id} if last_id else {}
    async with running.http.stream("GET", address(*streams, query=query), headers=headers) as response:
        assert response.status_code == 200, await response.aread()
        yield events_of(response)


async def read(running: RunningHub, *streams: str, **where: Any) -> dict[str, list[LLMEvent]]:
    """Each stream's events, through the end of the response."""
    seen: dict[str, list[LLMEvent]] = {stream_id: [] for stream_id in streams}
    async with asyncio.timeout(20), reading(running, *streams, **where) as events:
        async for event in events:
            seen[event.stream_id].append(event)
    return seen


async def ended(running: RunningHub, *texts: str) -> list[str]:
    """Streams that have said these texts."""
    streams = []
    for text in texts:
        running.endpoint.enqueue(chat_reply(text, usage=True))
        streams.append(await running.start())
        await running.read(streams[-1])
    return streams


async def test_each_stream_comes_whole_and_the_response_ends_with_the_last(any_hub: RunningHub) -> None:
    gates = [Gate(), Gate(), Gate()]
    streams = []
    for number, gate in enumerate(gates):
        any_hub.endpoint.enqueue(chat_reply([f"a{number} ", gate, f"b{number}"], usage=True))
        streams.append(await any_hub.start())
        await gate.reached()
    seen: dict[str, list[LLMEvent]] = {stream_id: [] for stream_id in streams}
    async with asyncio.timeout(20), reading(any_hub, *streams) as events:
        async for event in events:
            seen[event.stream_id].append(event)
            if all(any(isinstance(event, TextDelta) for event in each) for each in seen.values()) and gates:
                gates.pop().open()
    for number, stream_id in enumerate(streams):
        check_grammar(seen[stream_id])
        assert (
            "".join(event.text for event in seen[stream_id] if isinstance(event, TextDelta)) == f"a{number} b{number}"
        )
        assert seen[stream_id] == await any_hub.read(stream_id)


@pytest.mark.parametrize("by_header", [True, False])
async def test_it_resumes_where_the_id_says_in_each_stream(any_hub: RunningHub, by_header: bool) -> None:
    streams = await ended(any_hub, "one two three", "four")
    whole = {stream_id: await any_hub.read(stream_id) for stream_id in streams}
    for joined, (first, second) in {"~.0": (-1, 0), "2.~": (2, -1), "0.1": (0, 1), "-1.-1": (-1, -1)}.items():
        where = {"last_id": joined} if by_header else {"query": f"&after={joined}"}
        rest = await read(any_hub, *streams, **where)
        assert rest[streams[0]] == whole[streams[0]][first + 1 :]
        assert rest[streams[1]] == whole[streams[1]][second + 1 :]


async def test_the_header_wins_over_the_address_it_began_with(any_hub: RunningHub) -> None:
    a, b = await ended(any_hub, "one", "two")
    seen = await read(any_hub, a, b, query="&after=~.~", last_id="1.1")
    assert [events[0].seq for events in seen.values()] == [2, 2]


async def test_a_stream_the_reader_has_whole_is_passed_over(any_hub: RunningHub) -> None:
    a, b = await ended(any_hub, "one", "two")
    last = (await any_hub.read(a))[-1].seq
    seen = await read(any_hub, a, b, last_id=f"{last}.~")
    assert seen == {a: [], b: await any_hub.read(b)}


async def test_a_reader_who_has_every_stream_whole_gets_204(any_hub: RunningHub) -> None:
    streams = await ended(any_hub, "one", "two")
    ends = [(await any_hub.read(stream_id))[-1].seq for stream_id in streams]
    response = await any_hub.http.get(address(*streams), headers={"Last-Event-ID": f"{ends[0]}.{ends[1]}"})
    assert response.status_code == 204
    assert response.content == b""


async def test_snapshot_gives_one_event_for_each_stream_then_live(any_hub: RunningHub) -> None:
    gate = Gate()
    (a,) = await ended(any_hub, "over")
    any_hub.endpoint.enqueue(chat_reply(["Hello", gate, " world"], usage=True))
    b = await any_hub.start()
    await gate.reached()
    async with any_hub.subscription(b) as events:
        async for event in events:
            if event.type == "text_delta":
                break
    seen: dict[str, list[LLMEvent]] = {a: [], b: []}
    async with asyncio.timeout(20), reading(any_hub, a, b, query="&snapshot=1") as events:
        async for event in events:
            seen[event.stream_id].append(event)
            gate.open()
    for stream_id, text in ((a, "over"), (b, "Hello")):
        first = seen[stream_id][0]
        assert isinstance(first, Snapshot)
        assert first.result.text == text
        check_grammar(seen[stream_id])
    assert [event.type for event in seen[a]] == ["snapshot", "done"]


async def test_one_stream_alone_may_be_read_this_way_too(any_hub: RunningHub) -> None:
    (a,) = await ended(any_hub, "one")
    assert (await read(any_hub, a, last_id="0"))[a] == (await any_hub.read(a))[1:]


async def test_a_stream_that_is_not_there_is_404_by_name(any_hub: RunningHub) -> None:
    (a,) = await ended(any_hub, "one")
    assert_problem(await any_hub.http.get(address(a, "str_none")), 404, "str_none")


@pytest.mark.parametrize(
    ("query", "word"),
    [
        ("", "stream=A"),
        ("?stream=", "stream=A"),
        ("?stream=A&stream=B&stream=A", "'A'"),
        ("?" + "&".join(f"stream={n}" for n in range(MAX_STREAMS + 1)), "128 bytes"),
        ("?stream=A&stream=B&after=1", "1 positions for 2 streams"),
        ("?stream=A&stream=B&after=1.2.3", "3 positions for 2 streams"),
        ("?stream=A&stream=B&after=1.x", "'1.x'"),
        ("?stream=A&stream=B&after=1.", "'1.'"),
    ],
)
async def test_what_names_no_streams_or_positions_is_400(running_hub: RunningHub, query: str, word: str) -> None:
    assert_problem(await running_hub.http.get(f"/v1/events{query}"), 400, word)


async def test_a_position_beyond_its_streams_end_is_400_by_name(any_hub: RunningHub) -> None:
    a, b = await ended(any_hub, "one", "two")
    response: httpx2.Response = await any_hub.http.get(address(a, b), headers={"Last-Event-ID": "0.999"})
    assert_problem(response, 400, "999", b)


async def test_as_many_streams_as_fit_are_read_at_once(any_hub: RunningHub) -> None:
    streams = await ended(any_hub, *["word"] * MAX_STREAMS)
    seen = await read(any_hub, *streams)
    for stream_id in streams:
        check_grammar(seen[stream_id])


async def test_streams_that_are_too_far_for_an_id_are_refused(start_hub: StartHub) -> None:
    store = MemoryStreamStore()
    async with start_hub(store=store) as running:
        streams = [f"str_{number}" for number in range(7)]
        for stream_id in streams:
            epoch = await store.create(stream_id)
            far = TextDelta(stream_id=stream_id, seq=10**17, span=10**17, text="x")
            await store.append(stream_id, [Meta(stream_id=stream_id, seq=0), far], epoch=epoch)
        assert_problem(await running.http.get(address(*streams)), 400, "128 bytes")
        async with reading(running, *streams[:6]) as events:
            await anext(events)


async def test_a_slow_reader_of_several_streams_goes_on_from_its_cursor(running_hub: RunningHub) -> None:
    streams = []
    for _ in range(3):
        running_hub.endpoint.enqueue(chat_reply(["x" * 1000] * 1_000, usage=True).joined())
        streams.append(await running_hub.start())
        await running_hub.read(streams[-1])
    connection = read_nothing(running_hub.port, f"GET {address(*streams)} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
    connection.setblocking(False)
    loop = asyncio.get_running_loop()
    received = b""
    async with asyncio.timeout(20):
        while not received.endswith(b"0\r\n\r\n"):
            piece = await loop.sock_recv(connection, 16_384)
            assert piece
            received += piece
    connection.close()
    assert received.count(b"event: text_delta\n") == 3_000


async def test_a_stuck_reader_of_several_streams_holds_up_nobody_and_is_cut_off(start_hub: StartHub) -> None:
    async with start_hub(stuck_timeout=0.3) as running:
        streams = []
        for _ in range(2):
            running.endpoint.enqueue(chat_reply(["x" * 1000] * 3_000, usage=True).joined())
            streams.append(await running.start())
            await running.read(streams[-1])
        stuck = read_nothing(running.port, f"GET {address(*streams)} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        await until(lambda: len(running.edge) == 1)
        for events in (await read(running, *streams)).values():
            check_grammar(events)
        await until(lambda: len(running.edge) == 0)
        stuck.close()


@pytest.mark.parametrize("protocol", ["edge", "httptools"])
async def test_silence_on_all_streams_is_broken_by_heartbeats(start_hub: StartHub, protocol: str) -> None:
    async with start_hub(protocol=protocol, heartbeat_interval=0.05) as running:
        gates = [Gate(), Gate()]
        streams = []
        for gate in gates:
            running.endpoint.enqueue(chat_reply(["Hello", gate]))
            streams.append(await running.start())
        async with asyncio.timeout(10), running.http.stream("GET", address(*streams)) as response:
            seen = b""
            async for data in response.aiter_bytes():
                seen += data
                if seen.count(b": keep-alive\n\n") >= 2:
                    break
        for gate in gates:
            gate.open()


@pytest.mark.parametrize("protocol", ["edge", "httptools"])
async def test_a_stopping_server_ends_the_response_in_order(start_hub: StartHub, protocol: str) -> None:
    async with start_hub(protocol=protocol, drain_timeout=0.0) as running:
        gates = [Gate(), Gate()]
        streams = []
        for gate in gates:
            running.endpoint.enqueue(chat_reply(["Hello", gate]))
            streams.append(await running.start())
            await gate.reached()
        async with asyncio.timeout(10), reading(running, *streams) as events:
            await anext(events)
            running.server.should_exit = True
            rest = [event async for event in events]  # raises where the body is cut
        assert {event.stream_id for event in rest if event.type == "done"} == set(streams)


async def test_a_reader_that_leaves_is_forgotten_by_all_its_streams(running_hub: RunningHub) -> None:
    gates = [Gate(), Gate()]
    streams = []
    for gate in gates:
        running_hub.endpoint.enqueue(chat_reply(["Hello", gate]))
        streams.append(await running_hub.start())
    async with reading(running_hub, *streams) as events:
        await anext(events)
    await until(lambda: len(running_hub.edge) == 0)
    for stream_id in streams:
        assert not (await running_hub.hub.log(stream_id))._watchers
    for gate in gates:
        gate.open()


async def test_a_connection_of_several_streams_takes_one_place(start_hub: StartHub) -> None:
    async with start_hub(max_subscribers=1) as running:
        gate = Gate()
        (a,) = await ended(running, "one")
        running.endpoint.enqueue(chat_reply(["Hello", gate]))
        b = await running.start()
        async with reading(running, a, b) as events:
            await anext(events)
            assert_problem(await running.http.get(address(a, b)), 503, "full")
        gate.open()
