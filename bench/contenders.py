"""What the client benchmarks compare: `python -m bench.contenders NAME BASE_URL LOOP` is the process under measurement.

Every contender reads streams and gives the text it got, so that none is measured on work it didn't do. Only what is
installed takes part; nothing is imported but the contender's own library.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from importlib.util import find_spec
from typing import Any, Literal, TypeAlias
from urllib.parse import urlsplit

import msgspec
import uvloop

from bench.children import Usage, obey
from bench.words import expected_text

__all__ = ("installed",)

Read: TypeAlias = Callable[[str], Awaitable[str]]
"""Asks for one stream of this model and returns its text."""

MESSAGES = [{"role": "user", "content": "Say something long."}]

REQUIRES = {
    "hub": "hub",
    "hub-responses": "hub",
    "floor": "msgspec",
    "sdk": "httpx2",
    "sdk-aiohttp": "aiohttp",
    "sdk-responses": "httpx2",
    "litellm": "litellm",
    "langchain": "langchain_openai",
    "pydantic-ai": "pydantic_ai",
    "agents-sdk": "agents",
}
"""The contenders, and the package each needs."""

IN_BURSTS_ONLY = ("hub-responses", "sdk-responses")
"""The endpoint has the Responses API in no other way."""

NAMES = {
    "hub": "`client.stream()`",
    "hub-responses": '`client.stream(api="responses")`',
    "floor": "raw floor: socket + msgspec, no types, no errors",
    "sdk": "openai SDK, default transport",
    "sdk-aiohttp": "openai SDK, aiohttp transport",
    "sdk-responses": "openai SDK, default transport, Responses API",
    "litellm": "LiteLLM",
    "langchain": "LangChain (langchain-openai)",
    "pydantic-ai": "pydantic-ai",
    "agents-sdk": "OpenAI Agents SDK (its model)",
}


def installed(*, is_burst: bool) -> dict[str, str]:
    """The contenders that can take part, with the names that people know."""
    names = [name for name, package in REQUIRES.items() if find_spec(package) is not None]
    return {name: NAMES[name] for name in names if is_burst or name not in IN_BURSTS_ONLY}


def _content(chunk: Any) -> str:
    return (chunk.choices[0].delta.content or "") if chunk.choices else ""


async def _hub(base_url: str, api: Literal["chat", "responses"]) -> Read:
    from hub.client import OpenAIClient

    client = OpenAIClient("bench", base_url=base_url, api_key="EMPTY", api=api)

    async def read(model: str) -> str:
        events = client.stream(model=model, messages=MESSAGES)
        return "".join([event.text async for event in events if event.type == "text_delta"])

    return read


async def hub(base_url: str) -> Read:
    """Ours."""
    return await _hub(base_url, "chat")


async def hub_responses(base_url: str) -> Read:
    """Ours, by the other API."""
    return await _hub(base_url, "responses")


async def _sdk(base_url: str, **options: Any) -> Read:
    from openai import AsyncOpenAI

    client = AsyncOpenAI(base_url=base_url, api_key="EMPTY", max_retries=0, **options)

    async def read(model: str) -> str:
        stream = await client.chat.completions.create(
            model=model,
            messages=MESSAGES,  # type: ignore[arg-type]
            stream=True,
            stream_options={"include_usage": True},
        )
        return "".join([_content(chunk) async for chunk in stream])

    return read


async def sdk(base_url: str) -> Read:
    """The SDK as it comes."""
    return await _sdk(base_url)


async def sdk_aiohttp(base_url: str) -> Read:
    """The SDK with its faster transport."""
    from openai import DefaultAioHttpClient

    return await _sdk(base_url, http_client=DefaultAioHttpClient())


async def sdk_responses(base_url: str) -> Read:
    """The SDK by the other API."""
    from openai import AsyncOpenAI

    client = AsyncOpenAI(base_url=base_url, api_key="EMPTY", max_retries=0)

    async def read(model: str) -> str:
        stream = await client.responses.create(model=model, input="Say something long.", stream=True)
        return "".join([event.delta async for event in stream if event.type == "response.output_text.delta"])

    return read


class _Delta(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    delta: _Delta


class _Chunk(msgspec.Struct):
    choices: list[_Choice]


async def floor(base_url: str) -> Read:
    """The least that reads such a stream: it trusts every byte."""
    address = urlsplit(base_url)
    decode = msgspec.json.Decoder(_Chunk).decode

    async def read(model: str) -> str:
        body = msgspec.json.encode({"model": model, "messages": MESSAGES, "stream": True})
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        writer.write(b"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
        parts: list[str] = []
        rest = b""
        while data := await reader.read(262_144):
            *frames, rest = (rest + data).split(b"\n\n")
            for frame in frames:
                start = frame.find(b"data: ") + 6
                if frame.startswith(b"[DONE]", start):
                    writer.close()
                    return "".join(parts)
                choices = decode(frame[start:]).choices
                if choices and choices[0].delta.content:
                    parts.append(choices[0].delta.content)
        return "".join(parts)

    return read


async def litellm(base_url: str) -> Read:
    """LiteLLM's own stream wrapper."""
    import litellm as library

    async def read(model: str) -> str:
        stream = await library.acompletion(
            model=f"openai/{model}", messages=MESSAGES, api_base=base_url, api_key="EMPTY", stream=True
        )
        return "".join([_content(chunk) async for chunk in stream])

    return read


async def langchain(base_url: str) -> Read:
    """LangChain's chat model."""
    from langchain_openai import ChatOpenAI

    async def read(model: str) -> str:
        chat = ChatOpenAI(model=model, base_url=base_url, api_key="EMPTY", stream_usage=True)
        return "".join([chunk.text async for chunk in chat.astream("Say something long.")])

    return read


async def pydantic_ai(base_url: str) -> Read:
    """pydantic-ai's model, without an agent round it."""
    from pydantic_ai.direct import model_request_stream
    from pydantic_ai.messages import ModelRequest, PartDeltaEvent, PartStartEvent, TextPart, TextPartDelta
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    provider = OpenAIProvider(base_url=base_url, api_key="EMPTY")

    async def read(model: str) -> str:
        parts = []
        request = [ModelRequest.user_text_prompt("Say something long.")]
        async with model_request_stream(OpenAIChatModel(model, provider=provider), request) as stream:
            async for event in stream:
                if isinstance(event, PartStartEvent) and isinstance(event.part, TextPart):
                    parts.append(event.part.content)
                elif isinstance(event, PartDeltaEvent) and isinstance(event.delta, TextPartDelta):
                    parts.append(event.delta.content_delta)
        return "".join(parts)

    return read


async def agents_sdk(base_url: str) -> Read:
    """The Agents SDK's model, without a runner round it."""
    from agents import ModelSettings, ModelTracing, OpenAIChatCompletionsModel
    from openai import AsyncOpenAI

    client = AsyncOpenAI(base_url=base_url, api_key="EMPTY", max_retries=0)

    async def read(model: str) -> str:
        stream = OpenAIChatCompletionsModel(model, client).stream_response(
            None,
            "Say something long.",
            ModelSettings(include_usage=True),
            [],
            None,
            [],
            ModelTracing.DISABLED,
            previous_response_id=None,
            conversation_id=None,
            prompt=None,
        )
        return "".join([event.delta async for event in stream if event.type == "response.output_text.delta"])

    return read


def main(name: str, base_url: str, loop: str) -> None:
    """Carry out measurements until the parent is gone."""
    makers = (hub, hub_responses, floor, sdk, sdk_aiohttp, sdk_responses, litellm, langchain, pydantic_ai, agents_sdk)
    make: Callable[[str], Awaitable[Read]] = next(maker for maker in makers if maker.__name__ == name.replace("-", "_"))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop if loop == "uvloop" else None) as runner:
        read: Read = runner.run(make(base_url))  # type: ignore[arg-type]

        async def measure(model: str, streams: int) -> dict[str, float]:
            usage = Usage()
            async with asyncio.TaskGroup() as tasks:
                texts = [tasks.create_task(read(model)) for _ in range(streams)]
            figures = usage.so_far()
            expected = expected_text(int(model.split("-")[1]))
            if any(text.result() != expected for text in texts):
                raise RuntimeError(f"{name} did not give the whole text")
            return figures

        obey({}, lambda command: runner.run(measure(command["model"], command["streams"])))


if __name__ == "__main__":
    main(*sys.argv[1:])
