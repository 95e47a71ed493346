"""A real language model end to end: llama.cpp's server, the client, the hub, the command line."""

from __future__ import annotations

import asyncio

import httpx2

from hub.client import OpenAIClient
from hub.events import TextDelta, decode_event
from hub.hub import Hub
from hub.testing import check_grammar
from hub.upstream.wire.sse import SSEDecoder
from tests.hub.test_cli import hub, outcome, serving
from tests.real.support import QUESTION, REAL

pytestmark = REAL


async def test_a_real_answer_obeys_the_grammar_and_reports_its_usage(client: OpenAIClient) -> None:
    events = [event async for event in client.stream(messages=QUESTION, max_tokens=24)]
    check_grammar(events)
    assert sum(isinstance(event, TextDelta) for event in events) >= 3
    done = events[-1]
    assert done.type == "done"
    assert done.status == "completed"
    assert done.usage is not None
    assert not done.usage.estimated
    assert 0 < done.usage.output_tokens <= 24


async def test_at_temperature_0_stream_and_invoke_say_the_same(client: OpenAIClient) -> None:
    pieces = [piece async for piece in client.generate_streaming(QUESTION, max_tokens=24)]
    result = await client.invoke(messages=QUESTION, max_tokens=24)
    assert result.text == "".join(pieces)
    assert len(pieces) > 3


async def test_the_length_limit_is_the_finish_reason(client: OpenAIClient) -> None:
    result = await client.invoke(messages=QUESTION, max_tokens=3)
    assert result.finish_reason == "length"
    assert result.usage is not None
    assert result.usage.output_tokens == 3


async def test_late_readers_of_a_real_stream_see_what_the_first_saw(client: OpenAIClient) -> None:
    async with Hub(client) as streams:
        info = await streams.start(messages=QUESTION, max_tokens=24)
        first = [event async for event in streams.subscribe(info.stream_id)]
        again = [event async for event in streams.subscribe(info.stream_id)]
        rest = [event async for event in streams.subscribe(info.stream_id, after=3)]
    assert first == again
    assert rest == first[4:]


async def test_serve_with_nothing_configured_answers_with_a_real_model() -> None:
    async with (
        serving() as (_, url),
        httpx2.AsyncClient(base_url=url, timeout=60) as http,
        asyncio.timeout(60),
    ):
        info = (await http.get("/v1/info")).json()
        started = await http.post("/v1/streams", json={"messages": QUESTION, "max_tokens": 12})
        body = (await http.get(started.json()["events_url"])).content
        unknown = await http.post("/v1/streams", json={"messages": QUESTION, "model": "gpt-9"})
    events = [decode_event(frame.data) for frame in SSEDecoder().feed(body)]
    check_grammar(events)
    assert info["source"] == "local"
    assert any(isinstance(event, TextDelta) for event in events)
    assert unknown.status_code == 422
    assert "gpt-9" in unknown.json()["detail"]


async def test_chat_with_nothing_configured_says_which_model_answers() -> None:
    code, out, err = await outcome(await hub("chat", "Say hello.", "--max-tokens", "8"))
    assert code == 0
    assert out.strip()
    assert "SmolLM2" in err
