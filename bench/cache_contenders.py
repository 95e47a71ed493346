"""What the benchmark of hits compares: `python -m bench.cache_contenders` is the process under measurement.

Each asks an endpoint once and has its cache keep the answers; then they are read again, with the endpoint gone, so
that nobody is measured on anything but hits. Both find an answer by a digest of the request.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from bench.children import Usage, obey_async
from bench.words import expected_text

__all__ = ("Reader", "hub", "litellm")

SETTLE_SECONDS = 0.3
"""How long tasks that outlive the calls are watched."""

Read: TypeAlias = Callable[[str], Awaitable[list[str]]]
"""Asks for the stream of this prompt and returns its pieces."""


@dataclass(frozen=True, slots=True)
class Reader:
    """A client with its cache.

    Attributes:
        read: As above.
        forget: What the cache holds besides its back end is gone.
    """

    read: Read
    forget: Callable[[], None]


def hub(base_url: str, model: str, options: dict[str, Any]) -> Reader:
    """Ours; the options are those of the client's cache."""
    from hub.client import OpenAIClient

    client = OpenAIClient(model, base_url=base_url, api_key="EMPTY", **options)

    async def read(prompt: str) -> list[str]:
        messages = [{"role": "user", "content": prompt}]
        events = client.stream(messages=messages, cache_response=True, hash_as_identifier=True)
        return [event.text async for event in events if event.type == "text_delta"]

    return Reader(read, lambda: None)


def litellm(base_url: str, model: str, options: dict[str, Any]) -> Reader:
    """LiteLLM; the options are those of its `Cache`, for Redis with its address as `url`."""
    import litellm as library
    from litellm.caching.caching_handler import in_memory_cache_obj

    name = f"openai/{model}"
    # It looks long for the price of a model that it doesn't know, and prints to standard output.
    library.suppress_debug_info = True
    prices = {"input_cost_per_token": 1e-6, "output_cost_per_token": 4e-6}
    library.register_model({name: {**prices, "litellm_provider": "openai", "mode": "chat", "max_tokens": 1_000}})
    if "url" in options:
        address = urlsplit(options.pop("url"))
        options |= {"host": address.hostname, "port": str(address.port)}
    library.cache = library.Cache(**options)

    async def read(prompt: str) -> list[str]:
        messages = [{"role": "user", "content": prompt}]
        stream = await library.acompletion(
            model=name, messages=messages, api_base=base_url, api_key="EMPTY", stream=True, caching=True, max_retries=0
        )
        texts = [chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices]
        return [text for text in texts if text]

    return Reader(read, in_memory_cache_obj.flush_cache)


CONTENDERS: dict[str, Callable[[str, str, dict[str, Any]], Reader]] = {"hub": hub, "litellm": litellm}


async def _measure(reader: Reader, expected: str, *, answers: int, times: int, cold: bool) -> dict[str, float]:
    """Read every answer so many times; where `cold`, the back end answers each time."""
    pieces = 0
    usage = Usage()
    for _ in range(times):
        if cold:
            reader.forget()
        for number in range(answers):
            got = await reader.read(f"Say something long, number {number}.")
            if "".join(got) != expected:
                raise RuntimeError("the answer was not told whole")
            pieces = len(got)
    wall = usage.so_far()["wall"]
    # Some store and log behind the caller's back; that is CPU too.
    if others := asyncio.all_tasks() - {asyncio.current_task()}:
        await asyncio.wait(others, timeout=SETTLE_SECONDS)
    return {"cpu": usage.so_far()["cpu"], "wall": wall, "pieces": pieces}


async def main(name: str, base_url: str, pieces: str) -> None:
    """Open the cache that the first command asks for, then measure until the parent is gone."""
    readers: list[Reader] = []

    async def carry_out(command: dict[str, Any]) -> dict[str, float]:
        if command.pop("command") == "open":
            readers.append(CONTENDERS[name](base_url, f"burst-{pieces}", command["options"]))
            return {}
        return await _measure(readers[-1], expected_text(int(pieces)), **command)

    await obey_async({}, carry_out)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
