"""What the tests of a client's rate limits share: a limiter by a moved clock, and what is left of its budgets."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from hub.client import OpenAIClient
from hub.completion import fold
from hub.errors import LimitTimeoutError
from hub.limits import Limiter
from hub.models.profile import RateLimits
from hub.models.tokens import estimate_input_tokens
from hub.result import LLMResult
from hub.testing import (
    RecordedRequest,
    Reply,
    ScriptedTransport,
    chat_reply,
    check_grammar,
    collect,
    embeddings_answer,
)
from hub.upstream.stream import EventStream
from tests.hub.limits.support import ManualClock

from .support import HELLO, within

INPUT = estimate_input_tokens(HELLO)
"""Tokens of the request that most tests send."""


def limiter_of(clock: ManualClock, tokens: int | None = None, requests: int | None = None, **options: Any) -> Limiter:
    return Limiter(RateLimits(tkn_per_min=tokens, req_per_min=requests), clock=clock, **options)


def scripted(*replies: Reply) -> ScriptedTransport:
    """These replies, and at once "Hi" or vectors to whatever is asked after them."""

    def answer(request: RecordedRequest) -> Reply:
        return embeddings_answer(request) if request.path.endswith("/embeddings") else chat_reply("Hi")

    return ScriptedTransport(*replies, handler=answer)


def client_at(transport: ScriptedTransport, limiter: Any = None, **options: Any) -> OpenAIClient:
    """A client of a scripted transport; close it, or not: it holds nothing."""
    given = {"model": "m-1", "base_url": "http://scripted/v1", "api_key": "EMPTY", "http_client": transport.client()}
    return OpenAIClient(**{**given, "limiter": limiter, **options})


def with_headers(reply: Reply, headers: Mapping[str, str]) -> Reply:
    return replace(reply, headers={**reply.headers, **headers})


def used(prompt: int, completion: int) -> Reply:
    """An answer whose endpoint reports that usage."""
    counts = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    return chat_reply("Hi", usage=counts)


async def answered(client: OpenAIClient, **options: Any) -> LLMResult:
    """The outcome of a whole call, in time."""
    return await within(_outcome(client.stream(**{"messages": HELLO, **options})))


def ask(client: OpenAIClient, **options: Any) -> asyncio.Task[LLMResult]:
    """A call under way; the loop's clock may be moved meanwhile."""
    return asyncio.create_task(_outcome(client.stream(**{"messages": HELLO, **options})))


async def _outcome(stream: EventStream) -> LLMResult:
    events = await collect(stream)
    check_grammar(events)
    return fold(events)


async def waiting(limiter: Limiter, count: int = 1) -> None:
    """Return once so many wait in line."""
    async with asyncio.timeout(10):
        while limiter.waiting != count:  # noqa: ASYNC110 - nothing tells of it, and it is the next turns' affair
            await asyncio.sleep(0)


async def has(limiter: Limiter, *, tokens: float = 0, requests: float = 0) -> bool:
    """Whether so much is left now; it is left afterwards, too."""
    try:
        async with limiter.limit(tokens, requests, timeout=0.0) as permit:
            permit.cancel()
    except LimitTimeoutError:
        return False
    return True


async def tokens_left(limiter: Limiter, most: int) -> int:
    """How many tokens are left, of as many as the budget has."""
    low, high = -1, most
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if await has(limiter, tokens=middle) else (low, middle - 1)
    return low
