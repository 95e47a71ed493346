"""An endpoint that is asked through a cache, and caches that misbehave."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from hub.cache.base import CacheError
from hub.cache.core import CacheCore
from hub.cache.entry import CacheEntry
from hub.cache.memory import MemoryCache
from hub.events import LLMEvent, Meta, TextDelta, new_stream_id
from hub.result import Failure, LLMResult, TokenUsage
from hub.testing import check_grammar, fake_answer
from hub.testing.fake_plan import Piece, plan
from hub.testing.telling import Telling
from hub.upstream.clocks import Timeouts
from hub.upstream.stream import EventStream

USAGE = TokenUsage(input_tokens=7, output_tokens=2, total_tokens=9, cost_usd=0.5)
FAILURE = Failure(code="connection_failed", message="The endpoint is away.", retryable=True)

NO_LIMITS = Timeouts(connect_timeout=None, first_token_timeout=None, stall_timeout=None, total_timeout=None)


class Asked:
    """An endpoint that answers as told, the last answer again and again, and keeps what it told.

    Args:
        answers: Each a list of pieces, with a `Failure` at its end where it fails; or an exception that asking raises.
    """

    def __init__(self, *answers: Sequence[Piece] | Exception) -> None:
        self.tellings: list[Telling] = []
        self._answers = deque(answers or [["Hello", " world"]])

    @property
    def calls(self) -> int:
        return len(self.tellings)

    def __call__(self, stream_id: str, identifier: str | None) -> Telling:
        answer = self._answers.popleft() if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        planned = plan(list(answer))
        planned = replace(planned, result=fake_answer(usage=USAGE, error=planned.result.error))
        meta = Meta(stream_id=stream_id, seq=0, model="model-x", cached=False, identifier=identifier)
        telling = Telling(planned, meta, input_tokens=7, timeouts=NO_LIMITS)
        self.tellings.append(telling)
        return telling


def call(core: CacheCore, asked: Callable[[str, str | None], Any], identifier: str = "mine", **use: Any) -> EventStream:
    """A call of the client; stored unless it says otherwise."""
    stream_id = use.pop("stream_id", None) or new_stream_id()
    answer = core.answer(
        core.key(identifier, endpoint="https://x/v1"),
        lambda _: asked(stream_id, identifier),
        stream_id=stream_id,
        identifier=identifier,
        model="asked-model",
        **{"cache_response": True, **use},
    )
    return EventStream(answer, stream_id)


async def events_of(stream: EventStream) -> list[LLMEvent]:
    """Every event; they keep to the grammar."""
    events = [event async for event in stream]
    check_grammar(events)
    assert {event.stream_id for event in events} == {stream.stream_id}
    return events


def texts(events: Sequence[LLMEvent]) -> list[str]:
    return [event.text for event in events if isinstance(event, TextDelta)]


def costs(result: LLMResult) -> tuple[float | None, float | None]:
    assert result.usage is not None
    return result.usage.cost_usd, result.usage.original_cost_usd


class BrokenCache:
    """Fails at everything, or at what it is told to."""

    def __init__(self, error: Exception | None = None, *, broken: Sequence[str] = ("get", "put", "aclose")) -> None:
        self._error = error or CacheError("The cache is away.")
        self._broken = broken
        self._memory = MemoryCache()

    async def get(self, key: str) -> CacheEntry | None:
        self._fail("get")
        return await self._memory.get(key)

    async def put(self, entry: CacheEntry, *, keep_older: bool = False) -> None:
        self._fail("put")
        await self._memory.put(entry, keep_older=keep_older)

    async def aclose(self) -> None:
        self._fail("aclose")

    def _fail(self, operation: str) -> None:
        if operation in self._broken:
            raise self._error


class HangingCache(BrokenCache):
    """Never comes back from what it is told to hang at."""

    def __init__(self, *, broken: Sequence[str]) -> None:
        super().__init__(broken=())
        self.hangs = broken
        self.reached = asyncio.Event()

    async def get(self, key: str) -> CacheEntry | None:
        await self._hang("get")
        return await super().get(key)

    async def put(self, entry: CacheEntry, *, keep_older: bool = False) -> None:
        await self._hang("put")
        await super().put(entry, keep_older=keep_older)

    async def _hang(self, operation: str) -> None:
        if operation in self.hangs:
            self.reached.set()
            await asyncio.Event().wait()
