"""A process that makes equal calls when it is told to, and says what came of them: one JSON object a line."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from hub.client import OpenAIClient
from hub.completion import Completion
from hub.events import Meta, TextDelta

__all__ = ("main",)


async def main(url: str, base_url: str) -> None:
    """Take a line for each round: how many calls, and under which name."""
    async with OpenAIClient(
        "m", base_url=base_url, api_key="EMPTY", limiter="none", cache_backend="memory", cache_flights=url, observers=[]
    ) as client:
        _say(ready=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            count, identifier = line.split()
            answers = await asyncio.gather(
                *(_call(client, identifier, say=number == 0) for number in range(int(count)))
            )
            assert client.cache is not None
            _say(answers=answers, faults=client.cache.counts.faults)


async def _call(client: OpenAIClient, identifier: str, *, say: bool) -> dict[str, Any]:
    completion, attempts = Completion(), []
    messages = [{"role": "user", "content": "Hello"}]
    async for event in client.stream(messages=messages, identifier=identifier, cache_response=True):
        completion.add(event)
        if isinstance(event, Meta):
            attempts.append(event.attempt)
        if say and isinstance(event, TextDelta):
            _say(text=event.text)
    result = completion.result()
    cost = None if result.usage is None else result.usage.cost_usd
    return {"text": result.text, "status": result.status, "attempts": attempts, "cost": cost, "cached": result.cached}


def _say(**what: Any) -> None:
    print(json.dumps(what), flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
