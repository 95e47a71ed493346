"""Streams over HTTP: start, subscribe, resume, stop. Each promise by the edge and by the ordinary way."""

from __future__ import annotations

import asyncio
import random

import httpx2
import pytest

from hub.errors import StoreError
from hub.events import Snapshot, TextDelta
from hub.streams.log import StreamLog
from hub.streams.memory import MemoryStreamStore
from hub.testing import Gate, chat_reply, check_grammar

from .conftest import HELLO, RunningHub, StartHub, events_of


async def test_start_answers_201_with_the_stream_and_where_to_read_it(any_hub: RunningHub) -> None:
    response = await any_hub.http.post("/v1/streams", json=HELLO)
    body = response.json()
    assert response.status_code == 201
    assert body["status"] == "running"
    assert body["events_url"] == f"/v1/streams/{body['stream_id']}/events"
    assert response.headers["location"] == f"/v1/streams/{body['stream_id']}"


async def test_subscribers_get_every_event_through_done(any_hub: RunningHub) -> None:
    any_hub.endpoint.enqueue(chat_reply("Hello wide world", usage=True))
    events = await any_hub.read(await any_hub.start())
    check_grammar(events)
    assert "".join(event.text for event in events if isinstance(event, TextDelta)) == "Hello wide world"


async def test_start_with_accept_event_stream_is_the_stream_itself(any_hub: RunningHub) -> None:
    any_hub.endpoint.enqueue(chat_reply("Hi there"))
    async with any_hub.http.stream(
        "POST", "/v1/streams", json=HELLO, headers={"Accept": "text/event-stream"}
    ) as response:
        assert response.status_code == 200
        events = [event async for event in events_of(response)]
    check_grammar(events)
    assert response.headers["location"] == f"/v1/streams/{events[0].stream_id}"


async def test_headers_keep_proxies_from_buffering(any_hub: RunningHub) -> None:
    stream_id = await any_hub.start()
    async with any_hub.http.stream("GET", f"/v1/streams/{stream_id}/events") as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        assert response.headers["x-accel-buffering"] == "no"
        assert "no-transform" in response.headers["cache-control"]
        body = await response.aread()
    assert body.startswith(b"retry: ")
    assert b"\r" not in body


async def test_error_events_have_no_event_line(any_hub: RunningHub) -> None:
    any_hub.endpoint.enqueue(chat_reply(["x"], finish_reason=None).__class__(steps=(b"",)))
    events = await any_hub.read(await any_hub.start())
    check_grammar(events)
    assert [event.type for event in events] == ["meta", "error", "usage", "done"]


@pytest.mark.parametrize("by_header", [True, False])
async def test_resuming_at_any_position_gives_the_rest_exactly_once(any_hub: RunningHub, by_header: bool) -> None:
    any_hub.endpoint.enqueue(chat_reply([f"w{n} " for n in range(20)], usage=True))
    stream_id = await any_hub.start()
    whole = await any_hub.read(stream_id)
    for after in range(len(whole) - 1):
        rest = (
            await any_hub.read(stream_id, after=after)
            if by_header
            else await any_hub.read(stream_id, query=f"?after={after}")
        )
        assert rest == whole[after + 1 :]


async def test_readers_that_come_and_go_at_random_see_every_event_once(any_hub: RunningHub) -> None:
    gates = [Gate() for _ in range(10)]
    pieces: list[object] = []
    for number, gate in enumerate(gates):
        pieces += [f"a{number} ", f"b{number} ", gate]
    any_hub.endpoint.enqueue(chat_reply(pieces, usage=True))  # type: ignore[arg-type]
    stream_id = await any_hub.start()
    dice = random.Random(7)

    async def reader() -> list[int]:
        seen: list[int] = []
        while True:
            async with any_hub.subscription(stream_id, after=seen[-1] if seen else None) as events:
                leave_after = dice.randint(1, 6)
                async for event in events:
                    seen.append(event.seq)
                    leave_after -= 1
                    if event.type == "done":
                        return seen
                    if not leave_after:
                        break

    async with asyncio.TaskGroup() as tasks, asyncio.timeout(20):
        readers = [tasks.create_task(reader()) for _ in range(5)]
        for gate in gates:
            await gate.reached()
            gate.open()
    results = [task.result() for task in readers]
    assert all(seen == list(range(len(results[0]))) for seen in results)


async def test_a_resumer_who_has_the_last_event_gets_204(any_hub: RunningHub) -> None:
    stream_id = await any_hub.start()
    last = (await any_hub.read(stream_id))[-1]
    response = await any_hub.http.get(f"/v1/streams/{stream_id}/events", headers={"Last-Event-ID": str(last.seq)})
    assert response.status_code == 204
    assert response.content == b""


async def test_snapshot_gives_one_event_then_live(any_hub: RunningHub) -> None:
    gate = Gate()
    any_hub.endpoint.enqueue(chat_reply(["Hello", gate, " world"], usage=True))
    stream_id = await any_hub.start()
    await gate.reached()
    async with any_hub.subscription(stream_id) as events:
        async for event in events:
            if event.type == "text_delta":
                break
    async with any_hub.subscription(stream_id, query="?snapshot=1") as events:
        first = await anext(events)
        gate.open()
        rest = [event async for event in events]
    assert isinstance(first, Snapshot)
    assert first.result.text == "Hello"
    assert first.span == first.seq + 1
    check_grammar([first, *rest])


async def test_snapshot_of_an_ended_stream_is_followed_by_done(any_hub: RunningHub) -> None:
    stream_id = await any_hub.start()
    whole = await any_hub.read(stream_id)
    snapshot, done = await any_hub.read(stream_id, query="?snapshot=1")
    assert snapshot.type == "snapshot"
    assert done == whole[-1]
    check_grammar([snapshot, done])


async def test_get_tells_the_result_so_far(any_hub: RunningHub) -> None:
    gate = Gate()
    any_hub.endpoint.enqueue(chat_reply(["Hello", gate, " world"], usage=True))
    stream_id = await any_hub.start()
    await gate.reached()
    async with any_hub.subscription(stream_id) as events:
        async for event in events:
            if event.type == "text_delta":
                break
    running = (await any_hub.http.get(f"/v1/streams/{stream_id}")).json()
    gate.open()
    await any_hub.read(stream_id)
    ended = (await any_hub.http.get(f"/v1/streams/{stream_id}")).json()
    assert (running["status"], running["text"], running["last_seq"]) == ("running", "Hello", 1)
    assert (ended["status"], ended["text"], ended["finish_reason"]) == ("completed", "Hello world", "stop")
    assert ended["usage"]["output_tokens"] > 0


async def test_delete_stops_the_generation_and_closes_the_endpoint_connection(any_hub: RunningHub) -> None:
    gate = Gate()
    any_hub.endpoint.enqueue(chat_reply(["Hello", gate, " world"]))
    stream_id = await any_hub.start()
    await gate.reached()
    async with any_hub.subscription(stream_id) as events:
        response = await any_hub.http.delete(f"/v1/streams/{stream_id}")
        seen = [event async for event in events]
    assert response.status_code == 202
    check_grammar(seen)
    assert seen[-1].type == "done"
    assert seen[-1].status == "cancelled"
    async with asyncio.timeout(5):
        await any_hub.endpoint.requests[0].left.wait()


async def test_a_generation_lives_on_when_its_subscribers_leave(any_hub: RunningHub) -> None:
    gate = Gate()
    any_hub.endpoint.enqueue(chat_reply(["Hello", gate, " world"]))
    stream_id = await any_hub.start()
    async with any_hub.subscription(stream_id) as events:
        await anext(events)
    await gate.reached()
    gate.open()
    events_after = await any_hub.read(stream_id)
    assert "".join(event.text for event in events_after if isinstance(event, TextDelta)) == "Hello world"


async def test_list_is_newest_first(any_hub: RunningHub) -> None:
    first, second = await any_hub.start(), await any_hub.start()
    listed = (await any_hub.http.get("/v1/streams")).json()["streams"]
    assert [stream["stream_id"] for stream in listed] == [second, first]


async def test_list_is_100_long_where_nothing_else_is_asked(start_hub: StartHub) -> None:
    store = MemoryStreamStore()
    async with start_hub(store=store) as running:
        streams = [f"str_{number}" for number in range(1_003)]
        for stream_id in streams:
            await store.create(stream_id)
        for query, count in (("", 100), ("?limit=3", 3), ("?limit=1000", 1_000)):
            listed = (await running.http.get(f"/v1/streams{query}")).json()["streams"]
            assert [stream["stream_id"] for stream in listed] == streams[::-1][:count]


class LaggingStore(MemoryStreamStore):
    """What a store of several processes may do: the log it opens holds no more than a reader is known to have seen."""

    async def open(self, stream_id: str, *, at_least: int = -1) -> StreamLog:
        log = await super().open(stream_id)
        if log.last_seq < 2:
            return log
        copy = StreamLog(stream_id, created_at=log.created_at)
        copy.append([event for event in log.events if event.seq <= at_least])
        asyncio.get_running_loop().call_soon(copy.append, log.events)
        return copy


@pytest.mark.parametrize("several", [False, True])
async def test_a_position_that_this_process_has_yet_to_see_is_not_beyond_the_end(
    start_hub: StartHub, several: bool
) -> None:
    async with start_hub(store=LaggingStore()) as running:
        running.endpoint.enqueue(chat_reply(["a ", "b ", "c"], usage=True))
        stream_id = await running.start()
        whole = await running.read(stream_id)
        for after in range(len(whole) - 1):
            path = f"/v1/events?stream={stream_id}" if several else f"/v1/streams/{stream_id}/events"
            async with running.http.stream("GET", path, headers={"Last-Event-ID": str(after)}) as response:
                assert response.status_code == 200
                assert [event async for event in events_of(response)] == whole[after + 1 :]


async def test_head_sends_headers_only(any_hub: RunningHub) -> None:
    stream_id = await any_hub.start()
    response = await any_hub.http.head(f"/v1/streams/{stream_id}/events")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.content == b""


async def test_idle_subscribers_get_heartbeats(start_hub) -> None:  # type: ignore[no-untyped-def]
    for protocol in ("edge", "httptools"):
        async with start_hub(protocol=protocol, heartbeat_interval=0.05) as running:
            gate = Gate()
            running.endpoint.enqueue(chat_reply(["Hello", gate]))
            stream_id = await running.start()
            async with asyncio.timeout(10), running.http.stream("GET", f"/v1/streams/{stream_id}/events") as response:
                seen = b""
                async for data in response.aiter_bytes():
                    seen += data
                    if seen.count(b": keep-alive\n\n") >= 2:
                        break
            gate.open()


async def test_an_http_1_0_client_is_served(running_hub: RunningHub) -> None:
    stream_id = await running_hub.start()
    await running_hub.read(stream_id)
    reader, writer = await asyncio.open_connection("127.0.0.1", running_hub.port)
    writer.write(f"GET /v1/streams/{stream_id}/events HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n".encode())
    async with asyncio.timeout(10):
        answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    assert b"event: done" in answer


async def test_unknown_streams_are_404(any_hub: RunningHub) -> None:
    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/events")):
        response = await any_hub.http.request(method, f"/v1/streams/str_none{path}")
        assert_problem(response, 404, "str_none")


def assert_problem(response: httpx2.Response, status: int, *words: str) -> None:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body = response.json()
    assert body["status"] == status
    assert all(word in body["detail"] for word in words), body


async def test_a_store_that_can_t_serve_is_503_and_its_own_words_stay_in_the_log(
    start_hub: StartHub, caplog: pytest.LogCaptureFixture
) -> None:
    class BrokenStore(MemoryStreamStore):
        async def open(self, stream_id: str, *, at_least: int = -1) -> StreamLog:
            raise StoreError("redis at 10.0.0.7 is away")

    async with start_hub(store=BrokenStore()) as running:
        response = await running.http.get("/v1/streams/str_1")
    assert response.status_code == 503
    assert response.headers["retry-after"] == "5"
    assert "10.0.0.7" not in response.text
    assert "10.0.0.7" in caplog.text
