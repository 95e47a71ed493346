"""A real server under load and in trouble: queues, streams that are left, servers that stall or die."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

import pytest

from hub.client import Fallback, OpenAIClient
from hub.completion import fold
from hub.events import Meta, Usage
from hub.local_model import LocalModel
from hub.testing import ScriptedEndpoint, chat_reply, never_answer
from hub.upstream.clocks import Timeouts
from hub.upstream.retry import RetryPolicy
from tests.hub.upstream.support import NO_RETRY, client_of, outcome, within
from tests.real.support import ENDLESS, QUESTION, REAL, SLOTS, busy, idle, read_on, read_to_text

pytestmark = REAL

APIS = ["chat", "responses"]


@pytest.mark.parametrize("api", APIS)
async def test_leaving_a_stream_stops_the_model(client: OpenAIClient, model: LocalModel, api: Any) -> None:
    async with client.stream(**ENDLESS, api=api) as stream:
        await read_to_text(stream)
    await idle(model)


@pytest.mark.parametrize("api", APIS)
async def test_stopping_a_stream_ends_it_in_order_and_stops_the_model(
    client: OpenAIClient, model: LocalModel, api: Any
) -> None:
    stream = client.stream(**ENDLESS, api=api)
    events = await read_to_text(stream)
    stream.stop()
    result = fold(await read_on(stream, events))
    await idle(model)
    assert result.status == "cancelled"
    assert result.usage is not None
    assert result.usage.estimated


@pytest.mark.parametrize("api", APIS)
async def test_cancelling_a_reader_stops_the_model(client: OpenAIClient, model: LocalModel, api: Any) -> None:
    stream = client.stream(**ENDLESS, api=api)
    events = await read_to_text(stream)
    reading = asyncio.create_task(read_on(stream, events))
    await asyncio.sleep(0)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    await idle(model)


async def test_more_streams_than_the_server_takes_are_all_answered(client: OpenAIClient, model: LocalModel) -> None:
    async with asyncio.TaskGroup() as group:
        asked = [group.create_task(client.invoke(messages=QUESTION, max_tokens=12)) for _ in range(SLOTS + 3)]
    results = [each.result() for each in asked]
    assert [result.status for result in results] == ["completed"] * (SLOTS + 3)
    assert all(result.text and result.attempt == 1 for result in results)
    await idle(model)


async def test_a_stream_that_queues_begins_when_a_place_is_free(client: OpenAIClient, model: LocalModel) -> None:
    async with client.stream(**ENDLESS) as first:
        await read_to_text(first)
        async with asyncio.TaskGroup() as group:
            others = [client.stream(**ENDLESS) for _ in range(SLOTS - 1)]
            for other in others:
                await read_to_text(other)
            queued = group.create_task(client.invoke(messages=QUESTION, max_tokens=4))
            await asyncio.wait([queued], timeout=0.3)
            assert not queued.done()
            await first.aclose()
            assert (await within(queued)).status == "completed"
            for other in others:
                await other.aclose()
    await idle(model)


async def test_a_request_that_gave_up_queueing_is_not_answered_later(client: OpenAIClient, model: LocalModel) -> None:
    async with busy(client, model):
        impatient = Timeouts(first_token_timeout=0.3)
        result = await client.invoke(**ENDLESS, timeouts=impatient, retry=NO_RETRY)
    assert (result.error and result.error.code) == "first_token_timeout"
    assert result.text == ""


@pytest.mark.parametrize("api", APIS)
async def test_a_prompt_too_long_for_the_server_is_an_error_that_says_so(client: OpenAIClient, api: Any) -> None:
    result = await client.invoke(messages=[{"role": "user", "content": "word " * 20_000}], api=api)
    assert result.error is not None
    assert (result.error.code, result.error.status, result.error.retryable) == ("invalid_request", 400, False)
    assert "context size" in result.error.message
    assert result.attempt == 1
    assert result.usage is not None
    assert result.usage.total_tokens == 0


async def test_streams_that_fill_the_context_together_are_broken_off_with_an_error() -> None:
    async with (
        LocalModel(slots=4, context_tokens=64) as small,
        OpenAIClient(small.model, base_url=small.base_url, api_key="EMPTY", temperature=0) as client,
        asyncio.TaskGroup() as group,
    ):
        asked = [group.create_task(client.invoke(**ENDLESS)) for _ in range(4)]
        results = [await each for each in asked]
    errors = [result.error for result in results if result.error is not None]
    assert [(error.code, error.status, error.message) for error in errors] == [
        ("endpoint_error", 500, "Context size has been exceeded.")
    ] * len(errors)
    assert errors  # one of them at least, up to all, as it happens
    assert any(result.text for result in results)
    assert all(result.usage for result in results)


async def test_an_address_where_no_one_is_gives_way_to_the_server(model: LocalModel) -> None:
    async with ScriptedEndpoint() as gone:
        dead = gone.base_url
    there = Fallback(base_url=model.base_url, api_key="EMPTY", model=model.model)
    async with OpenAIClient("m", base_url=dead, api_key="EMPTY", temperature=0, fallbacks=[there]) as client:
        result = await client.invoke(messages=QUESTION, max_tokens=6)
    assert (result.status, result.attempt, result.model) == ("completed", 2, model.model)
    assert result.text


async def test_beside_a_busy_server_another_answers_first(client: OpenAIClient, model: LocalModel) -> None:
    async with ScriptedEndpoint(chat_reply("from elsewhere")) as other:
        elsewhere = Fallback(base_url=other.base_url, api_key="EMPTY")
        async with (
            busy(client, model),
            client_of(other, base_url=model.base_url, fallbacks=[elsewhere], hedge_delay=0.3) as hedging,
        ):
            result = await outcome(hedging.stream(**ENDLESS))
    # Leaving `busy` proves that the try which lost is not answered once there is a place.
    assert (result.status, result.text, result.attempt) == ("completed", "from elsewhere", 2)


async def test_beside_a_silent_endpoint_the_server_answers(model: LocalModel) -> None:
    async with ScriptedEndpoint(never_answer()) as silent:
        there = Fallback(base_url=model.base_url, api_key="EMPTY", model=model.model)
        async with client_of(silent, fallbacks=[there], hedge_delay=0.1) as hedging:
            result = await outcome(hedging.stream(messages=QUESTION, max_tokens=6))
            await within(silent.requests[0].left.wait())
    assert (result.status, result.model, result.attempt) == ("completed", model.model, 2)


async def test_a_server_that_stands_still_in_mid_answer_is_a_stall(client: OpenAIClient, model: LocalModel) -> None:
    assert model.pid is not None
    stream = client.stream(**ENDLESS, timeouts=Timeouts(stall_timeout=0.5))
    events = await read_to_text(stream)
    os.kill(model.pid, signal.SIGSTOP)
    try:
        result = fold(await read_on(stream, events))
    finally:
        os.kill(model.pid, signal.SIGCONT)
    await idle(model)
    assert (result.error and result.error.code) == "stall_timeout"
    assert result.text


async def test_a_server_that_dies_in_mid_answer_is_replaced_where_that_is_wished(model: LocalModel) -> None:
    there = Fallback(base_url=model.base_url, api_key="EMPTY", model=model.model)
    async with (
        LocalModel() as dying,
        OpenAIClient(
            dying.model, base_url=dying.base_url, api_key="EMPTY", fallbacks=[there], restart=True, temperature=0
        ) as client,
    ):
        stream = client.stream(messages=ENDLESS["messages"], max_tokens=24)
        events = await read_to_text(stream)
        assert dying.pid is not None
        os.kill(dying.pid, signal.SIGKILL)
        events = await read_on(stream, events)
        again = await client.invoke(messages=QUESTION, max_tokens=2)
    assert [event.attempt for event in events if isinstance(event, Meta)] == [1, 2]
    assert [event.estimated for event in events if isinstance(event, Usage)] == [True, False]
    assert fold(events).status == "completed"
    assert again.status == "completed"


async def test_a_server_that_dies_in_mid_answer_is_an_error_that_keeps_the_text() -> None:
    async with (
        LocalModel() as dying,
        OpenAIClient(dying.model, base_url=dying.base_url, api_key="EMPTY", retry=RetryPolicy(backoff=0.0)) as client,
    ):
        stream = client.stream(**ENDLESS)
        events = await read_to_text(stream)
        assert dying.pid is not None
        os.kill(dying.pid, signal.SIGKILL)
        cut = fold(await read_on(stream, events))
        after = await client.invoke(messages=QUESTION)
    assert cut.error is not None
    assert (cut.error.code, cut.error.retryable) == ("connection_failed", True)
    assert cut.text
    assert (after.error and after.error.code, after.attempt) == ("connection_failed", 3)
