"""Generators and stores that do as a test says, and fail where it wants."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Any

from hub.completion import Completion
from hub.errors import (
    InvalidRequestError,
)
from hub.events import EndStatus, LLMEvent
from hub.hub import Hub
from hub.result import Failure
from hub.streams.log import StreamLog
from hub.streams.memory import MemoryStreamStore
from hub.testing import collect

from .samples import a_stream

HELLO = [{"role": "user", "content": "Hello"}]
WORDS = a_stream("Hello", " wide", " world")


class Scripted:
    """A generation that gives what it is told: lists are batches, an event is waited for, an exception is raised."""

    def __init__(self, stream_id: str, script: Sequence[Any]) -> None:
        self.stream_id = stream_id
        self.closed = False
        self._script = script
        self._stopped = asyncio.Event()
        self._fold = Completion(stream_id, model="model-x")

    async def batches(self) -> AsyncGenerator[list[LLMEvent], None]:
        try:
            for part in self._script:
                if self._stopped.is_set():
                    break
                if isinstance(part, Exception):
                    raise part
                if isinstance(part, asyncio.Event):
                    await self._wait(part)
                elif isinstance(part, float):
                    await asyncio.sleep(part)
                else:
                    for event in part:
                        self._fold.add(event)
                    yield part
            if ending := self.ending("cancelled"):
                yield ending
        finally:
            self.closed = True

    async def _wait(self, event: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as tasks:
            waits = [tasks.create_task(event.wait()), tasks.create_task(self._stopped.wait())]
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for wait in waits:
                wait.cancel()

    def stop(self) -> None:
        self._stopped.set()

    def ending(self, status: EndStatus, failure: Failure | None = None) -> list[LLMEvent]:
        ending = self._fold.ending(status, failure)
        for event in ending:
            self._fold.add(event)
        return ending


class Scripts:
    """A generator whose generations follow scripts, the first for the first stream."""

    def __init__(self, *scripts: Sequence[Any]) -> None:
        self.generations: list[Scripted] = []
        self.asked: list[dict[str, Any]] = []
        self._scripts = list(scripts)

    def stream(self, *, stream_id: str, messages: Any, **params: Any) -> Scripted:
        if not messages:
            raise InvalidRequestError("messages is empty")
        self.asked.append({"messages": messages, **params})
        script = self._scripts.pop(0) if self._scripts else [a_stream("Hello", stream_id=stream_id)]
        generation = Scripted(stream_id, script)
        self.generations.append(generation)
        return generation


class Store(MemoryStreamStore):
    """A store that can be held up or made to fail, a method at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.fails: dict[str, Exception] = {}
        self.gates: dict[str, asyncio.Event] = {}
        self.reached = asyncio.Event()

    async def _come(self, name: str) -> None:
        if name in self.gates:
            self.reached.set()
            await self.gates[name].wait()
        if name in self.fails:
            raise self.fails[name]

    async def create(
        self, stream_id: str, *, model: str | None = None, fingerprint: str | None = None, input_tokens: int = 0
    ) -> int:
        await self._come("create")
        epoch = await super().create(stream_id, model=model, fingerprint=fingerprint, input_tokens=input_tokens)
        await self._come("created")
        return epoch

    async def append(self, stream_id: str, events: Sequence[LLMEvent], *, epoch: int) -> None:
        await self._come("append")
        await super().append(stream_id, events, epoch=epoch)
        await self._come("appended")

    async def open(self, stream_id: str, *, at_least: int = -1) -> StreamLog:
        await self._come("open")
        return await super().open(stream_id, at_least=at_least)


def one_by_one(events: Sequence[LLMEvent]) -> list[list[LLMEvent]]:
    return [[event] for event in events]


async def whole(hub: Hub, stream_id: str = "str_1", **options: Any) -> list[LLMEvent]:
    return await collect(hub.subscribe(stream_id, **options))
