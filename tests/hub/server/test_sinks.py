"""Sinks that a request names: which there are, what they get, and what is refused."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from hub.named_sinks import open_relays
from sinks.jsonl import read_events

from .conftest import HELLO, RunningHub, StartHub
from .test_streams import assert_problem


@pytest.fixture
async def hub_with_sinks(start_hub: StartHub, tmp_path: Path) -> AsyncIterator[RunningHub]:
    async with AsyncExitStack() as stack:
        relays = await open_relays(
            stack, f"live=file://{tmp_path}/live.jsonl, chat=file://{tmp_path}/chat-{{channel}}.jsonl"
        )
        yield await stack.enter_async_context(start_hub(relays=relays))


async def written(running: RunningHub, path: Path) -> list[Any]:
    assert running.relays is not None
    await running.relays.aclose()
    return list(read_events(path))


async def test_a_stream_goes_to_the_sinks_that_its_request_names(hub_with_sinks: RunningHub, tmp_path: Path) -> None:
    stream_id = await hub_with_sinks.start(sinks=["live", {"name": "chat", "channel": "42"}])
    events = await hub_with_sinks.read(stream_id)
    assert await written(hub_with_sinks, tmp_path / "chat-42.jsonl") == events
    assert await written(hub_with_sinks, tmp_path / "live.jsonl") == events


async def test_the_endpoint_is_not_told_of_sinks(hub_with_sinks: RunningHub) -> None:
    await hub_with_sinks.read(await hub_with_sinks.start(sinks=["live"]))
    (request,) = hub_with_sinks.endpoint.requests
    assert "sinks" not in request.json()


ONE_SENTENCE = (
    'sinks: at most 16 names, such as "live", or objects, such as {"name": "chat", "channel": "42"}, with up to 64 and '
    "164 characters."
)


@pytest.mark.parametrize(
    ("sinks", "words"),
    [
        (["elsewhere"], "There is no sink 'elsewhere' here; there are: live, chat."),
        (["chat"], "needs a channel"),
        ([{"name": "live", "channel": "42"}], "takes no channel"),
        ([{"name": "chat", "channel": "../42"}], "letters, digits"),
        (["live", "live"], "twice"),
        ("live", "sinks"),
        ([7], ONE_SENTENCE),
        ([{"name": "chat", "url": "redis://elsewhere/x"}], ONE_SENTENCE),
        ([{"channel": "42"}], ONE_SENTENCE),
        (["x" * 65, 7, None], ONE_SENTENCE),
        (["file:///etc/passwd"], "There is no sink"),
        ([{"name": "chat", "channel": str(n)} for n in range(17)], "sinks"),
    ],
)
async def test_sinks_that_can_t_be_had_are_422_before_anything_is_made(
    hub_with_sinks: RunningHub, sinks: Any, words: str
) -> None:
    response = await hub_with_sinks.http.post("/v1/streams", json={**HELLO, "sinks": sinks})
    assert_problem(response, 422, words)
    assert words is not ONE_SENTENCE or response.json()["detail"] == words
    assert hub_with_sinks.endpoint.requests == []
    assert (await hub_with_sinks.http.get("/v1/streams")).json() == {"streams": []}


async def test_a_hub_without_sinks_has_none_to_name(running_hub: RunningHub) -> None:
    response = await running_hub.http.post("/v1/streams", json={**HELLO, "sinks": ["live"]})
    assert_problem(response, 422, "no sinks here")


async def test_a_repeated_request_with_a_key_is_not_sent_to_its_sinks_again(
    hub_with_sinks: RunningHub, tmp_path: Path
) -> None:
    async def start(*sinks: str) -> Any:
        return await hub_with_sinks.http.post(
            "/v1/streams", json={**HELLO, "sinks": list(sinks)}, headers={"Idempotency-Key": "key-1"}
        )

    first, again, other = await start("live"), await start("live"), await start()
    assert first.json()["stream_id"] == again.json()["stream_id"]
    assert_problem(other, 422, "another body")
    events = await hub_with_sinks.read(first.json()["stream_id"])
    assert await written(hub_with_sinks, tmp_path / "live.jsonl") == events
