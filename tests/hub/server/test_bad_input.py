"""What is wrong gets a status and a sentence, and harms nobody else."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from hub.testing import Gate, chat_reply, check_grammar, status_reply

from .conftest import HELLO, RunningHub, StartHub
from .test_streams import assert_problem


async def test_a_body_that_is_no_json_is_400(running_hub: RunningHub) -> None:
    response = await running_hub.http.post(
        "/v1/streams", content=b'{"messages": [', headers={"Content-Type": "application/json"}
    )
    assert_problem(response, 400, "no JSON")


async def test_a_body_of_another_type_is_415(running_hub: RunningHub) -> None:
    response = await running_hub.http.post(
        "/v1/streams", content=json.dumps(HELLO), headers={"Content-Type": "text/plain"}
    )
    assert_problem(response, 415, "application/json")


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ([], "body"),
        ({}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": "Hello"}, "messages"),
        ({"messages": [{"content": "Hello"}]}, "messages[0].role"),
        ({"messages": [{"role": "robot", "content": "Hello"}]}, "messages[0].role"),
        ({**HELLO, "temperature": "hot"}, "temperature"),
        ({**HELLO, "temperature": 9}, "temperature"),
        ({**HELLO, "max_tokens": -1}, "max_tokens"),
        ({**HELLO, "model": 7}, "model"),
        ({**HELLO, "extra_headers": {"Authorization": "x"}}, "extra_headers"),
        ({**HELLO, "stream_id": "mine"}, "stream_id"),
        ({**HELLO, "timeouts": 1}, "timeouts"),
    ],
)
async def test_a_body_of_another_shape_is_422_and_names_the_member(
    running_hub: RunningHub, body: Any, word: str
) -> None:
    response = await running_hub.http.post("/v1/streams", json=body)
    assert_problem(response, 422, word)
    assert running_hub.endpoint.requests == []


async def test_a_body_of_20_mb_is_413_and_its_sender_reads_so(any_hub: RunningHub) -> None:
    body = {"messages": [{"role": "user", "content": "x" * 20_000_000}]}
    assert_problem(await any_hub.http.post("/v1/streams", json=body), 413, "10,000,000")

    async def unannounced() -> Any:
        for _ in range(20):
            yield b"x" * 1_000_000

    response = await any_hub.http.post(
        "/v1/streams", content=unannounced(), headers={"Content-Type": "application/json"}
    )
    assert_problem(response, 413, "10,000,000")


@pytest.mark.parametrize("position", ["abc", "1.5", "-7", "١", "9" * 40, "0x10"])
async def test_a_position_that_is_no_number_is_400(running_hub: RunningHub, position: str) -> None:
    stream_id = await running_hub.start()
    response = await running_hub.http.get(
        f"/v1/streams/{stream_id}/events", headers={"Last-Event-ID": position.encode()}
    )
    assert_problem(response, 400, "Last-Event-ID")
    assert_problem(await running_hub.http.get(f"/v1/streams/{stream_id}/events?after={position}"), 400, "after")


async def test_a_position_beyond_the_end_is_400(any_hub: RunningHub) -> None:
    stream_id = await any_hub.start()
    await any_hub.read(stream_id)
    response = await any_hub.http.get(f"/v1/streams/{stream_id}/events", headers={"Last-Event-ID": "999"})
    assert_problem(response, 400, "999")


@pytest.mark.parametrize("limit", ["", "0", "-1", "1001", "ten", "1.5", "٣", "9" * 40])
async def test_a_limit_that_makes_no_sense_is_400(running_hub: RunningHub, limit: str) -> None:
    assert_problem(await running_hub.http.get(f"/v1/streams?limit={limit}"), 400, "limit", "1,000")


async def test_an_endpoint_that_fails_is_an_error_event_with_a_sentence(any_hub: RunningHub) -> None:
    any_hub.endpoint.enqueue(status_reply(404, "The model `nope` does not exist", code="model_not_found"))
    events = await any_hub.read(await any_hub.start(model="nope"))
    check_grammar(events)
    error = next(event for event in events if event.type == "error")
    assert (error.code, error.status) == ("not_found", 404)
    assert "nope" in error.message


async def test_too_many_streams_are_503(start_hub: StartHub) -> None:
    async with start_hub(max_streams=1) as running:
        gate = Gate()
        running.endpoint.enqueue(chat_reply(["Hello", gate]))
        await running.start()
        response = await running.http.post("/v1/streams", json=HELLO)
        assert_problem(response, 503, "1 of 1")
        assert "retry-after" in response.headers
        gate.open()


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/nowhere", 404), ("PUT", "/v1/streams", 405)])
async def test_unknown_paths_and_methods_are_problems_too(
    running_hub: RunningHub, method: str, path: str, status: int
) -> None:
    assert_problem(await running_hub.http.request(method, path), status, path)


async def test_another_host_name_is_refused_where_no_key_guards_the_hub(running_hub: RunningHub) -> None:
    response = await running_hub.http.get("/v1/streams", headers={"Host": "evil.example"})
    assert_problem(response, 421, "evil.example")


async def test_hundreds_of_connections_that_say_nothing_harm_nobody(running_hub: RunningHub) -> None:
    connections = await asyncio.gather(*(asyncio.open_connection("127.0.0.1", running_hub.port) for _ in range(400)))
    events = await running_hub.read(await running_hub.start())
    check_grammar(events)
    for _, writer in connections:
        writer.close()
    await asyncio.gather(*(writer.wait_closed() for _, writer in connections))


async def test_a_reader_without_a_place_starts_no_generation(start_hub: StartHub) -> None:
    async with start_hub(max_subscribers=1) as running:
        gate = Gate()
        running.endpoint.enqueue(chat_reply(["Hello", gate]))
        stream_id = await running.start()
        async with running.subscription(stream_id) as events:
            await anext(events)
            refused = await running.http.post("/v1/streams", json=HELLO, headers={"Accept": "text/event-stream"})
            assert_problem(refused, 503, "full")
            assert running.hub.running == 1
        gate.open()


async def test_a_million_members_are_refused_at_once(running_hub: RunningHub) -> None:
    body = {"messages": [{"role": "user", "content": ""}] * 100_000}
    assert_problem(await running_hub.http.post("/v1/streams", json=body), 422, "messages")
