"""The echo on the other APIs: responses and embeddings."""

from __future__ import annotations

from typing import Any

import openai
import pytest
from openai import AsyncOpenAI

from hub.client import OpenAIClient
from hub.testing import EchoHandler, ScriptedTransport, check_grammar, collect, fake_vector

PARTS: Any = [{"role": "user", "content": [{"type": "input_text", "text": "Hello"}]}]


def sdk() -> AsyncOpenAI:
    transport = ScriptedTransport(handler=EchoHandler(word_delay=0))
    return AsyncOpenAI(base_url="http://scripted/v1", api_key="EMPTY", max_retries=0, http_client=transport.client())


@pytest.mark.parametrize("given", ["Hello", PARTS, [*PARTS, {"type": "function_call_output", "output": "x"}]])
async def test_a_response_echoes(given: Any) -> None:
    async with sdk() as client:
        whole = await client.responses.create(model="any", input=given)
        assert whole.output_text == "This is the scripted endpoint, not a language model. You said: Hello"
        stream = await client.responses.create(model="any", input=given, stream=True)
        deltas = [event.delta async for event in stream if event.type == "response.output_text.delta"]
    assert "".join(deltas) == whole.output_text


@pytest.mark.parametrize("given", ["", [], [{"type": "function_call_output"}], [{"role": "user"}], 7])
async def test_a_response_to_nothing_is_refused(given: Any) -> None:
    async with sdk() as client:
        with pytest.raises(openai.BadRequestError):
            await client.responses.create(model="any", input=given)


async def test_the_client_can_ask_either_api_and_embed() -> None:
    transport = ScriptedTransport(handler=EchoHandler(word_delay=0))
    async with OpenAIClient(
        "any", base_url="http://scripted/v1", api_key="EMPTY", http_client=transport.client()
    ) as client:
        for api in ("chat", "responses"):
            events = await collect(client.stream(input="Hello", api=api))
            check_grammar(events)
            assert events[-1].type == "done"
            assert events[-1].status == "completed"
        embeddings = await client.embedding(["Hello", "you"])
    assert embeddings.vectors == [fake_vector("Hello"), fake_vector("you")]
    assert [request.path for request in transport.requests] == [
        "/v1/chat/completions", "/v1/responses", "/v1/embeddings",
    ]  # fmt: skip


async def test_another_method_is_refused() -> None:
    async with ScriptedTransport(handler=EchoHandler()).client() as http:
        assert (await http.get("http://scripted/v1/responses")).status_code == 405
        assert (await http.get("http://scripted/v1/embeddings")).status_code == 405
