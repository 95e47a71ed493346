"""Streams over a WebSocket: read, resume, end. Each promise by the edge and by the ordinary way."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator

import pytest

from hub.events import Snapshot, TextDelta
from hub.testing import Gate, chat_reply, check_grammar

from .conftest import RunningHub, StartHub, run_hub
from .test_edge import until
from .test_streams import assert_problem
from .websocket_readers import Heard, hear, listen, opened, refusal


@pytest.fixture(params=[("edge", "edge"), ("h11", "edge"), ("edge", "asgi")], ids=["edge", "h11", "asgi"])
async def any_hub(request: pytest.FixtureRequest) -> AsyncIterator[RunningHub]:
    """The same promises by the edge, behind another HTTP protocol, and by the ordinary way."""
    http, websockets = request.param
    async with run_hub(protocol=http, websockets=websockets) as running:
        yield running


async def test_each_event_is_a_message_as_over_sse_and_the_end_is_1000(any_hub: RunningHub) -> None:
    any_hub.endpoint.enqueue(chat_reply("Hello wide world", usage=True))
    stream_id = await any_hub.start()
    heard = await hear(any_hub, stream_id)
    check_grammar(heard.events)
    assert heard.events == await any_hub.read(stream_id)
    assert heard.code == 1000


@pytest.mark.parametrize("way", ["after", "Last-Event-ID"])
async def test_resuming_at_any_position_gives_the_rest_exactly_once(any_hub: RunningHub, way: str) -> None:
    any_hub.endpoint.enqueue(chat_reply([f"w{n} " for n in range(20)], usage=True))
    stream_id = await any_hub.start()
    whole = await any_hub.read(stream_id)
    for after in range(len(whole)):
        if way == "after":
            heard = await hear(any_hub, stream_id, f"?after={after}")
        else:
            heard = await hear(any_hub, stream_id, additional_headers={"Last-Event-ID": str(after)})
        assert (heard.events, heard.code) == (whole[after + 1 :], 1000)


async def test_readers_that_come_and_go_at_random_see_every_event_once(any_hub: RunningHub) -> None:
    gates = [Gate() for _ in range(10)]
    pieces: list[object] = []
    for number, gate in enumerate(gates):
        pieces += [f"a{number} ", f"b{number} ", gate]
    any_hub.endpoint.enqueue(chat_reply(pieces, usage=True))  # type: ignore[arg-type]
    stream_id = await any_hub.start()
    dice = random.Random(7)

    async def reader() -> list[int]:
        heard = Heard()
        while heard.code != 1000:
            query = f"?after={heard.events[-1].seq}" if heard.events else ""
            async with opened(any_hub, stream_id, query) as websocket:
                await listen(websocket, heard, at_most=len(heard.events) + dice.randint(1, 6))
                if heard.code is None and dice.random() < 0.5:
                    websocket.transport.abort()
        return [event.seq for event in heard.events]

    async with asyncio.TaskGroup() as tasks, asyncio.timeout(20):
        readers = [tasks.create_task(reader()) for _ in range(5)]
        for gate in gates:
            await gate.reached()
            gate.open()
    results = [task.result() for task in readers]
    assert all(seen == list(range(len(results[0]))) for seen in results)


async def test_snapshot_gives_one_event_then_live(any_hub: RunningHub) -> None:
    gate = Gate()
    any_hub.endpoint.enqueue(chat_reply(["Hello", gate, " world"], usage=True))
    stream_id = await any_hub.start()
    await gate.reached()
    async with opened(any_hub, stream_id) as websocket:
        await listen(websocket, at_most=2)
    async with opened(any_hub, stream_id, "?snapshot=1") as websocket:
        heard = await listen(websocket, at_most=1)
        gate.open()
        await listen(websocket, heard)
    first = heard.events[0]
    assert isinstance(first, Snapshot)
    assert first.result.text == "Hello"
    check_grammar(heard.events)


async def test_any_text_of_any_size_arrives_whole(any_hub: RunningHub) -> None:
    # Sizes on either side of those at which a frame's length takes more bytes.
    texts = ["é🌈\0\u202e\r\n\u2028 " * 100_000, *("x" * n for n in (*range(30, 60), *range(65_400, 65_520)))]
    any_hub.endpoint.enqueue(chat_reply(texts))
    heard = await hear(any_hub, await any_hub.start())
    assert [event.text for event in heard.events if isinstance(event, TextDelta)] == texts


async def test_a_crowd_gets_every_event_in_order(any_hub: RunningHub) -> None:
    gate = Gate()
    any_hub.endpoint.enqueue(chat_reply([gate, *[f"{n} " for n in range(50)]], usage=True))
    stream_id = await any_hub.start()
    await gate.reached()
    async with asyncio.TaskGroup() as tasks, asyncio.timeout(30):
        readers = [tasks.create_task(hear(any_hub, stream_id)) for _ in range(200)]
        await until(lambda: len(any_hub.edge) == 200)
        gate.open()
    check_grammar(readers[0].result().events)
    assert all(reader.result() == readers[0].result() for reader in readers)
    await until(lambda: len(any_hub.edge) == 0)


async def test_sse_and_websocket_readers_of_one_stream_get_the_same(any_hub: RunningHub) -> None:
    gate = Gate()
    any_hub.endpoint.enqueue(chat_reply(["Hello", gate, " world"], usage=True))
    stream_id = await any_hub.start()
    async with asyncio.TaskGroup() as tasks, asyncio.timeout(20):
        hearing = [tasks.create_task(hear(any_hub, stream_id)) for _ in range(2)]
        reading = [tasks.create_task(any_hub.read(stream_id)) for _ in range(2)]
        await until(lambda: len(any_hub.edge) == 4)
        gate.open()
    assert hearing[0].result().events == hearing[1].result().events == reading[0].result() == reading[1].result()


async def test_a_generation_lives_on_when_its_readers_leave(any_hub: RunningHub) -> None:
    gate = Gate()
    any_hub.endpoint.enqueue(chat_reply(["Hello", gate, " world"]))
    stream_id = await any_hub.start()
    for is_polite in (True, False):
        async with opened(any_hub, stream_id) as websocket:
            await listen(websocket, at_most=1)
            assert len(any_hub.edge) == 1
            if not is_polite:
                websocket.transport.abort()
        await until(lambda: len(any_hub.edge) == 0)
    await gate.reached()
    gate.open()
    heard = await hear(any_hub, stream_id)
    assert "".join(event.text for event in heard.events if isinstance(event, TextDelta)) == "Hello world"


@pytest.mark.parametrize("message", ["cancel", '{"type": "cancel"}', b"\0", ["in ", "parts"]])
async def test_a_reader_that_says_something_is_closed_with_1003_and_stops_nothing(
    any_hub: RunningHub, message: str | bytes | list[str]
) -> None:
    gate = Gate()
    any_hub.endpoint.enqueue(chat_reply(["Hello", gate, " world"]))
    stream_id = await any_hub.start()
    await gate.reached()
    async with opened(any_hub, stream_id) as websocket:
        await listen(websocket, at_most=2)
        await websocket.send(message)
        heard = await listen(websocket)
    assert heard.code == 1003
    assert "DELETE" in heard.reason
    gate.open()
    assert (await hear(any_hub, stream_id)).code == 1000


async def test_a_stream_that_is_stopped_ends_with_1000(any_hub: RunningHub) -> None:
    gate = Gate()
    any_hub.endpoint.enqueue(chat_reply(["Hello", gate]))
    stream_id = await any_hub.start()
    async with opened(any_hub, stream_id) as websocket:
        await any_hub.http.delete(f"/v1/streams/{stream_id}")
        heard = await listen(websocket)
    assert heard.code == 1000
    assert heard.events[-1].type == "done"
    check_grammar(heard.events)


@pytest.mark.parametrize(
    ("stream_id", "query", "status", "word"),
    [
        ("str_none", "", 404, "str_none"),
        ("", "?after=99", 400, "99"),
        ("", "?after=x", 400, "after"),
        ("", "/more", 404, "There is no WebSocket"),
    ],
)
async def test_what_is_wrong_is_refused_before_the_handshake_ends(
    any_hub: RunningHub, stream_id: str, query: str, status: int, word: str
) -> None:
    known = await any_hub.start()
    await any_hub.read(known)
    response = await refusal(any_hub, stream_id or known, query)
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    assert word in json.loads(response.body)["detail"]
    assert len(any_hub.edge) == 0


async def test_a_refusal_is_no_error_in_the_log(start_hub: StartHub, capsys: pytest.CaptureFixture[str]) -> None:
    async with start_hub() as running:
        assert (await refusal(running, "str_none")).status_code == 404
    assert capsys.readouterr().err == ""


async def test_a_get_without_an_upgrade_is_426(any_hub: RunningHub) -> None:
    stream_id = await any_hub.start()
    response = await any_hub.http.get(f"/v1/streams/{stream_id}/ws")
    assert_problem(response, 426, "WebSocket", "proxy")
    assert response.headers["upgrade"] == "websocket"


@pytest.mark.parametrize("websockets", ["edge", "asgi"])
async def test_readers_beyond_the_limit_are_told_to_come_later(start_hub: StartHub, websockets: str) -> None:
    async with start_hub(websockets=websockets, max_subscribers=2) as running:
        gate = Gate()
        running.endpoint.enqueue(chat_reply(["Hello", gate]))
        stream_id = await running.start()
        async with opened(running, stream_id) as one, running.subscription(stream_id) as two:
            await listen(one, at_most=1)
            await anext(two)
            response = await refusal(running, stream_id)
            assert response.status_code == 503
            assert response.headers["retry-after"] == "5"
        gate.open()


@pytest.mark.parametrize("websockets", ["edge", "asgi"])
async def test_a_hub_that_stops_says_1012_and_its_reader_goes_on_elsewhere(
    start_hub: StartHub, websockets: str
) -> None:
    gate = Gate()
    async with start_hub(websockets=websockets, drain_timeout=20.0) as running:
        running.endpoint.enqueue(chat_reply(["Hello", gate, " world"]))
        stream_id = await running.start()
        await gate.reached()
        log = await running.hub.log(stream_id)
        async with opened(running, stream_id) as websocket:
            heard = await listen(websocket, at_most=2)
            # What still runs keeps running: only this process's readers are let go.
            running.edge.drain()
            heard = await listen(websocket, heard)
        assert heard.code == 1012
        assert "come again" in heard.reason
        assert heard.events == log.events
        gate.open()


@pytest.mark.parametrize("websockets", ["edge", "asgi"])
async def test_a_server_that_stops_ends_every_reader_in_order(start_hub: StartHub, websockets: str) -> None:
    async with start_hub(websockets=websockets) as running:
        running.endpoint.enqueue(chat_reply(["Hello", Gate()]))
        stream_id = await running.start()
        async with asyncio.timeout(10), opened(running, stream_id) as websocket:
            heard = await listen(websocket, at_most=1)
            running.server.should_exit = True
            await listen(websocket, heard)
            await running.task
    assert (heard.events[-1].type, heard.code) == ("done", 1000)
    check_grammar(heard.events)
