"""The hub: starts generations, keeps each as a log, lets anyone read it from any position, and stops it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Protocol, Self

from hub.completion import Completion
from hub.errors import ClosedError, HubBusyError, InvalidRequestError, StoreError, StreamExistsError
from hub.events import EndStatus, LLMEvent, new_stream_id
from hub.result import Failure, LLMResult
from hub.streams.base import StreamInfo, StreamStore
from hub.streams.log import StreamLog
from hub.streams.memory import MemoryStreamStore

__all__ = ("Generation", "Generator", "Hub")

log = logging.getLogger(__name__)

MAX_STREAM_BYTES = 64_000_000
"""What one stream's frames may weigh: far above any answer, well below what would hurt the others."""

END_TIMEOUT = 1.0
"""Seconds that the store has for the end of a stream that is broken off."""

_INTERRUPTED = Failure(code="interrupted", message="The hub stopped while the answer was under way.", retryable=True)
_TOO_LONG = Failure(code="budget_exceeded", message="The answer grew beyond what a stream may hold.")
_BROKEN = Failure(code="interrupted", message="The answer was broken off by an internal error.", retryable=True)
_UNSTORED = Failure(code="store_unavailable", message="The answer could not be kept any longer.", retryable=True)


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
    `drain` first gives it time. It may be closed by another task than entered it.

    Args:
        generator: Gives the answers.
        store: Keeps the logs; in memory by default. The hub closes it.
        max_streams: Generations that may run at once; beyond it `start` raises `HubBusyError`.
    """

    def __init__(self, generator: Generator, store: StreamStore | None = None, *, max_streams: int = 1_000) -> None:
        self._generator = generator
        self._store: StreamStore = store if store is not None else MemoryStreamStore()
        self._max_streams = max_streams
        self._running: dict[str, _Running] = {}
        self._tasks: asyncio.TaskGroup | None = None
        self._draining = False
        self._closed = False

    async def __aenter__(self) -> Self:
        if self._tasks is not None or self._closed:
            raise ClosedError("A Hub is entered once.")
        # A group cancels the task that entered it when a child raises. None does: each keeps its failure in its log.
        self._tasks = await asyncio.TaskGroup().__aenter__()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Break off what still runs, each with its `error` and `done`, and close the store."""
        if self._closed:
            return
        self._closed = True
        tasks, self._tasks = self._tasks, None
        try:
            for running in self._running.values():
                running.task.cancel()
            if tasks is not None:
                await tasks.__aexit__(None, None, None)
        finally:
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
        """Begin a generation, which runs on by itself. Cancelled before it returns, the stream ends as `cancelled`.

        Args:
            messages: The conversation.
            stream_id: The stream's id; a fresh one by default.
            params: Whatever the generator's `stream` takes.

        Raises:
            RequestError: The arguments are wrong, or the id is taken.
            HubBusyError: Too many generations run, or the hub is about to stop.
            StoreError: The store can't take it.
            ClosedError: The hub is not open.
        """
        tasks = self._require_open()
        if self._draining:
            raise _about_to_stop()
        if len(self._running) >= self._max_streams:
            raise HubBusyError(
                f"The hub is full: {self._max_streams} of {self._max_streams} streams are running.", retry_after=2.0
            )
        stream_id = stream_id or new_stream_id()
        for name, text in (("stream_id", stream_id), ("model", params.get("model"))):
            if isinstance(text, str) and not _is_unicode(text):
                raise InvalidRequestError(f"{name} has half a character (a lone surrogate) in it.")
        if stream_id in self._running:
            raise StreamExistsError(stream_id)
        generation = self._generator.stream(stream_id=stream_id, messages=messages, **params)
        model = params.get("model")
        began: asyncio.Future[StreamInfo] = asyncio.get_running_loop().create_future()
        task = tasks.create_task(
            self._run(generation, stream_id, model if isinstance(model, str) else None, began),
            name=f"generation {stream_id}",
        )
        self._running[stream_id] = _Running(generation, task)
        task.add_done_callback(lambda _: self._forget(stream_id, generation, began))
        try:
            return await began
        except asyncio.CancelledError:
            generation.stop()
            raise

    async def log(self, stream_id: str) -> StreamLog:
        """A stream's log.

        Raises:
            StreamNotFoundError: There is no such stream.
        """
        self._require_open()
        return await self._store.open(stream_id)

    async def get(self, stream_id: str) -> LLMResult:
        """A stream's result so far.

        Raises:
            StreamNotFoundError: There is no such stream.
        """
        return (await self.log(stream_id)).result()

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
        stream = await self.log(stream_id)
        async with aclosing(stream.read(after=after, snapshot=snapshot)) as events:
            async for event in events:
                yield event

    async def cancel(self, stream_id: str) -> StreamInfo:
        """Stop a generation and return at once; its readers get `usage` and `done` with status `cancelled`.

        An ended one stays as it is.

        Raises:
            StreamNotFoundError: There is no such stream.
        """
        stream = await self.log(stream_id)
        if (running := self._running.get(stream_id)) is not None:
            running.generation.stop()
        return _info(stream)

    async def list(self) -> Sequence[StreamInfo]:
        """Every stream that is kept, newest first."""
        self._require_open()
        return await self._store.list()

    async def drain(self, timeout: float) -> None:
        """Take no new streams, give the running ones `timeout` seconds, then break them off."""
        self._draining = True
        tasks = [running.task for running in self._running.values()]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=timeout)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)

    def _require_open(self) -> asyncio.TaskGroup:
        if self._tasks is None:
            raise ClosedError("a Hub works inside its `async with` block only")
        return self._tasks

    def _forget(
        self,
        stream_id: str,
        generation: Generation,
        began: asyncio.Future[StreamInfo],
        exc: Exception | None = None,
    ) -> None:
        """Count a generation no longer; where it never began, `start` raises."""
        running = self._running.get(stream_id)
        if running is not None and running.generation is generation:
            del self._running[stream_id]
        if not began.done():
            began.set_exception(exc or _about_to_stop())

    async def _run(
        self, generation: Generation, stream_id: str, model: str | None, began: asyncio.Future[StreamInfo]
    ) -> None:
        """One generation from its empty log to its `done`; `began` learns that the log is there, or why not."""
        try:
            epoch, stream = await self._create(stream_id, model)
        except Exception as exc:
            self._forget(stream_id, generation, began, exc)
            return
        if not began.done():
            began.set_result(_info(stream))
        try:
            await self._generate(generation, stream, epoch)
        except Exception:
            # One job's border: what escaped would end every other generation with the task group.
            log.exception("stream %s could not be ended in order", stream_id)

    async def _create(self, stream_id: str, model: str | None) -> tuple[int, StreamLog]:
        epoch = await self._store.create(stream_id, model=model)
        try:
            return epoch, await self._store.open(stream_id)
        except BaseException:
            # No one will ever write that log: left as it is, it would seem to run.
            await self._store_end(stream_id, Completion(stream_id, model=model).ending("failed", _UNSTORED), epoch)
            raise

    async def _generate(self, generation: Generation, stream: StreamLog, epoch: int) -> None:
        stream_id = stream.stream_id
        unsaved: list[LLMEvent] = []
        failure = _BROKEN
        try:
            async with aclosing(generation.batches()) as batches:
                async for batch in batches:
                    unsaved = batch
                    await self._store.append(stream_id, batch, epoch=epoch)
                    unsaved = []
                    if stream.size_bytes > MAX_STREAM_BYTES:
                        failure = _TOO_LONG
                        break
        except asyncio.CancelledError:
            failure = _INTERRUPTED
            raise
        except StoreError:
            failure = _UNSTORED
            log.exception("the log of stream %s can't be written", stream_id)
        except Exception:
            log.exception("the generation of stream %s failed", stream_id)
        finally:
            if not stream.is_closed:
                await self._end(generation, stream, epoch, unsaved, failure)

    async def _end(
        self, generation: Generation, stream: StreamLog, epoch: int, unsaved: Sequence[LLMEvent], failure: Failure
    ) -> None:
        """See to it that the log ends: as the generation says, else by what the log holds, else here alone."""
        stream_id = stream.stream_id
        try:
            last_seq = unsaved[-1].seq if unsaved else stream.last_seq
            await self._store_end(stream_id, [*unsaved, *_ending(generation, failure, last_seq)], epoch)
            if not stream.is_closed:
                await self._store_end(stream_id, stream.ending("failed", failure), epoch)
        finally:
            if not stream.is_closed:
                # The store has no end for it; whoever reads here must not wait for one for ever.
                stream.append(stream.ending("failed", failure))

    async def _store_end(self, stream_id: str, events: Sequence[LLMEvent], epoch: int) -> None:
        try:
            async with asyncio.timeout(END_TIMEOUT):
                await self._store.append(stream_id, events, epoch=epoch)
        except Exception:
            log.exception("the end of stream %s can't be stored", stream_id)


@dataclass(frozen=True, slots=True)
class _Running:
    generation: Generation
    task: asyncio.Task[None]


def _ending(generation: Generation, failure: Failure, last_seq: int) -> list[LLMEvent]:
    """What a generation says is still due; nothing where that doesn't adjoin what it gave before."""
    try:
        events = generation.ending("failed", failure)
    except Exception:
        log.exception("the generation of stream %s knows no end", generation.stream_id)
        return []
    return events if events and events[0].seq - events[0].span == last_seq else []


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _about_to_stop() -> HubBusyError:
    return HubBusyError("The hub is about to stop and takes no new streams.", retry_after=5.0)


def _info(stream: StreamLog) -> StreamInfo:
    return StreamInfo(stream.stream_id, stream.status, stream.model, stream.created_at, stream.last_seq)
