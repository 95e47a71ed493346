"""The hub: starts generations, keeps each as a log, lets anyone read it from any position, and stops it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any, Protocol, Self

from hub.errors import BackendError, ClosedError, HubBusyError
from hub.events import EndStatus, LLMEvent, new_stream_id
from hub.result import Failure, LLMResult
from hub.streams.base import StreamInfo, StreamStore
from hub.streams.log import StreamLog
from hub.streams.memory import MemoryStreamStore

__all__ = ("Generation", "Generator", "Hub")

log = logging.getLogger(__name__)

MAX_STREAM_BYTES = 64_000_000
"""What one stream's frames may weigh: far above any answer, well below what would hurt the others."""

_INTERRUPTED = Failure(code="interrupted", message="The server stopped while the answer was under way.", retryable=True)
_TOO_LONG = Failure(code="budget_exceeded", message="The answer grew beyond what a stream may hold.")
_BROKEN = Failure(code="interrupted", message="The answer was broken off by an internal error.", retryable=True)


class Generation(Protocol):
    """An answer under way: what `OpenAIClient.stream` returns."""

    stream_id: str

    def batches(self) -> AsyncGenerator[list[LLMEvent], None]:
        """The events from `meta` to `done`, in lists of what came together."""
        ...

    def stop(self) -> None:
        """End it as `cancelled`."""
        ...

    def ending(self, status: EndStatus, failure: Failure | None = None) -> list[LLMEvent]:
        """The events still due after the last batch, where `batches` can't go on."""
        ...


class Generator(Protocol):
    """What the hub asks for answers: an `OpenAIClient`, or anything with its `stream`."""

    def stream(self, *, stream_id: str, messages: Any, **params: Any) -> Generation:
        """Begin an answer; raises `RequestError` where the arguments are wrong."""
        ...


class Hub:
    """Owns the running generations. They live on when their readers leave, and end with the hub.

    Use it as an async context manager; leaving it breaks off what still runs (`error` with code `interrupted`).
    `drain` first gives it time.

    Args:
        generator: Gives the answers.
        store: Keeps the logs; in memory by default. The hub closes it.
        max_streams: Generations that may run at once; beyond it `start` raises `HubBusyError`.
    """

    def __init__(self, generator: Generator, store: StreamStore | None = None, *, max_streams: int = 1_000) -> None:
        self._generator = generator
        self._store: StreamStore = store if store is not None else MemoryStreamStore()
        self._max_streams = max_streams
        self._running: dict[str, tuple[Generation, asyncio.Task[None]]] = {}
        self._tasks: asyncio.TaskGroup | None = None
        self._draining = False

    async def __aenter__(self) -> Self:
        self._tasks = await asyncio.TaskGroup().__aenter__()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Break off what still runs, each with its `error` and `done`, and close the store."""
        if self._tasks is None:
            return
        tasks, self._tasks = self._tasks, None
        for _, task in self._running.values():
            task.cancel()
        await tasks.__aexit__(None, None, None)
        await self._store.aclose()

    @property
    def running(self) -> int:
        """How many generations run."""
        return len(self._running)

    @property
    def is_draining(self) -> bool:
        """Whether the hub takes no further streams."""
        return self._draining

    async def start(self, *, messages: Any, stream_id: str | None = None, **params: Any) -> StreamInfo:
        """Begin a generation, which runs on by itself.

        Args:
            messages: The conversation.
            stream_id: The stream's id; a fresh one by default.
            params: Whatever the generator's `stream` takes.

        Raises:
            RequestError: The arguments are wrong, or the id is taken.
            HubBusyError: Too many generations run, or the hub is about to stop.
        """
        if self._tasks is None:
            raise ClosedError("a Hub works inside its `async with` block only")
        if self._draining:
            raise HubBusyError("The hub is about to stop and takes no new streams.", retry_after=5.0)
        if len(self._running) >= self._max_streams:
            raise HubBusyError(f"{self._max_streams} streams are running, as many as may.", retry_after=2.0)
        stream_id = stream_id or new_stream_id()
        generation = self._generator.stream(stream_id=stream_id, messages=messages, **params)
        model = params.get("model")
        epoch = await self._store.create(stream_id, model=model if isinstance(model, str) else None)
        stream = await self._store.open(stream_id)
        task = self._tasks.create_task(self._run(generation, stream, epoch), name=f"generation {stream_id}")
        self._running[stream_id] = (generation, task)
        task.add_done_callback(lambda _: self._running.pop(stream_id, None))
        return _info(stream)

    async def log(self, stream_id: str) -> StreamLog:
        """A stream's log.

        Raises:
            StreamNotFoundError: There is no such stream.
        """
        return await self._store.open(stream_id)

    async def get(self, stream_id: str) -> LLMResult:
        """A stream's result so far.

        Raises:
            StreamNotFoundError: There is no such stream.
        """
        return (await self._store.open(stream_id)).result()

    async def subscribe(
        self, stream_id: str, *, after: int = -1, snapshot: bool = False
    ) -> AsyncGenerator[LLMEvent, None]:
        """A stream's events behind position `after`, each exactly once, through `done`.

        Args:
            stream_id: The stream.
            after: The last position the reader has; -1 for none.
            snapshot: Begin with one `snapshot` of everything so far.

        Raises:
            StreamNotFoundError: There is no such stream.
            PositionError: `after` lies beyond the last event.
        """
        stream = await self._store.open(stream_id)
        async with aclosing(stream.read(after=after, snapshot=snapshot)) as events:
            async for event in events:
                yield event

    async def cancel(self, stream_id: str) -> StreamInfo:
        """Stop a generation; its readers get `usage` and `done` with status `cancelled`. An ended one stays as it is.

        Raises:
            StreamNotFoundError: There is no such stream.
        """
        stream = await self._store.open(stream_id)
        if (running := self._running.get(stream_id)) is not None:
            running[0].stop()
        return _info(stream)

    async def list(self) -> Sequence[StreamInfo]:
        """Every stream that is kept, newest first."""
        return await self._store.list()

    async def drain(self, timeout: float) -> None:
        """Take no new streams, give the running ones `timeout` seconds, then break them off."""
        self._draining = True
        tasks = [task for _, task in self._running.values()]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=timeout)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)

    async def _run(self, generation: Generation, stream: StreamLog, epoch: int) -> None:
        """One generation: whatever happens, its log ends with `done`."""
        stream_id = stream.stream_id
        try:
            async with aclosing(generation.batches()) as batches:
                async for batch in batches:
                    await self._store.append(stream_id, batch, epoch=epoch)
                    if stream.size_bytes > MAX_STREAM_BYTES and not stream.is_closed:
                        await self._store.append(stream_id, generation.ending("failed", _TOO_LONG), epoch=epoch)
                        break
        except asyncio.CancelledError:
            await self._store.append(stream_id, generation.ending("failed", _INTERRUPTED), epoch=epoch)
            raise
        except BackendError:
            log.exception("the log of stream %s can't be written", stream_id)
        except Exception:
            log.exception("the generation of stream %s failed", stream_id)
            await self._store.append(stream_id, generation.ending("failed", _BROKEN), epoch=epoch)


def _info(stream: StreamLog) -> StreamInfo:
    return StreamInfo(stream.stream_id, stream.status, stream.model, stream.created_at, stream.last_seq)
