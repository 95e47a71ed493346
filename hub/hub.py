"""The hub: starts generations, keeps each as a log, lets anyone read it from any position, and stops it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Collection, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass
from typing import Any, Self

from hub.errors import ClosedError, ConfigurationError, HubBusyError, InvalidRequestError, StoreError, StreamExistsError
from hub.events import LLMEvent, new_stream_id
from hub.generation import Generation, Generator, begin, stop
from hub.models.tokens import estimate_input_tokens
from hub.recording import INTERRUPTED, end, end_instead, record
from hub.relaying import Relays, SinkRequest, checked_sinks
from hub.result import Failure, LLMResult
from hub.stopping import break_off
from hub.streams.base import StreamInfo, StreamStore
from hub.streams.log import StreamLog
from hub.streams.memory import MemoryStreamStore
from hub.workforce import Workforce

__all__ = ("Generation", "Generator", "Hub", "Workforce")

log = logging.getLogger(__name__)

_UNSTORED = Failure(code="store_unavailable", message="The answer could not be kept.", retryable=True)

CLAIM_TIMEOUT = 0.5
STOP_TIMEOUT = 1.0
"""Seconds that a worker has for ending a stream that is cancelled, where nothing was said yet and where something was;
then it is ended here: it may wait for a worker."""

BREAK_OFF_TIMEOUT = 2.5
"""Seconds that a generation has for its end once it is broken off: the store may take two of them."""


class Hub:
    """Owns the running generations. They live on when their readers leave, and end with the hub.

    Use it as an async context manager; leaving it breaks off what still runs (`error` with code `interrupted`).
    `drain` first gives it time. It may be closed by another task than entered it.

    Args:
        generator: Gives the answers; None where others do.
        store: Keeps the logs; in memory by default. The hub closes it.
        max_streams: Generations that may run at once; beyond it `start` raises `HubBusyError`.
        workforce: Carries out the generations in the place of this hub, which then runs none itself.
        coalesce_delay: Seconds for which tokens may gather before they are stored, at most, where the store is
            behind; neighbours become one event. 0 keeps every event as it came.
        relays: Carries streams to the sinks that `start` names; its owner enters and closes it. Without one there are
            none to name.

    Raises:
        ConfigurationError: There is neither a generator nor a workforce.
    """

    def __init__(
        self,
        generator: Generator | None,
        store: StreamStore | None = None,
        *,
        max_streams: int = 1_000,
        workforce: Workforce | None = None,
        coalesce_delay: float = 0.0,
        relays: Relays | None = None,
    ) -> None:
        if generator is None and workforce is None:
            raise ConfigurationError("A Hub needs a generator, or a workforce that has some.")
        self._generator = generator
        self._workforce = workforce
        self._coalesce_delay = coalesce_delay
        self._relays = relays
        self._store: StreamStore = store if store is not None else MemoryStreamStore()
        self._max_streams = max_streams
        self._running: dict[str, _Running] = {}
        self._resisting: set[asyncio.Task[None]] = set()
        self._tasks: asyncio.TaskGroup | None = None
        # Apart from what is the hub's own: other people's code may never end.
        self._generations = asyncio.TaskGroup()
        self._draining = False
        self._closed = False

    async def __aenter__(self) -> Self:
        if self._tasks is not None or self._closed:
            raise ClosedError("A Hub is entered once.")
        try:
            await self._store.start()
        except BaseException:
            await self._store.aclose()
            raise
        # A group cancels the task that entered it when a child raises. None does: each keeps its failure in its log.
        await self._generations.__aenter__()
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
            if tasks is not None:
                await self._break_off([running.task for running in self._running.values()])
                await tasks.__aexit__(None, None, None)
                if all(running.task.done() for running in self._running.values()):
                    await self._generations.__aexit__(None, None, None)
        finally:
            await self._store.aclose()

    @property
    def running(self) -> int:
        """How many generations run in this process."""
        return len(self._running) if self._workforce is None else self._workforce.running

    @property
    def is_draining(self) -> bool:
        """Whether the hub takes no further streams."""
        return self._draining

    async def start(
        self,
        *,
        messages: Any,
        stream_id: str | None = None,
        fingerprint: str | None = None,
        sinks: Iterable[str | Mapping[str, str | None] | SinkRequest] = (),
        **params: Any,
    ) -> StreamInfo:
        """Begin a generation, which runs on by itself. Cancelled before it returns, the stream ends as `cancelled`.

        Args:
            messages: The conversation.
            stream_id: The stream's id; a fresh one by default.
            fingerprint: A digest of the request, which the stream's log has too.
            sinks: Where the stream goes beside its log: names that the relays know, or objects of `name` and
                `channel`. What becomes of them harms the stream in no way.
            params: Whatever the generator's `stream` takes.

        Raises:
            RequestError: The arguments are wrong, or the id is taken.
            HubBusyError: Too many generations run, or the hub is about to stop.
            StoreError: The store can't take it.
            ConfigurationError: What the generator returns is no generation.
            ClosedError: The hub is not open.
        """
        tasks = self._require_open()
        if self._draining:
            raise _about_to_stop()
        if self._workforce is None and len(self._running) >= self._max_streams:
            raise HubBusyError(
                f"The hub is full: {self._max_streams} of {self._max_streams} streams are running.", retry_after=2.0
            )
        stream_id = stream_id or new_stream_id()
        for name, text in (("stream_id", stream_id), ("model", params.get("model"))):
            if isinstance(text, str) and not _is_unicode(text):
                raise InvalidRequestError(f"{name} has half a character (a lone surrogate) in it.")
        requests = checked_sinks(self._relays, sinks, stream_id)
        model = params["model"] if isinstance(params.get("model"), str) else None
        prompt = messages if isinstance(messages, list | tuple) else (messages,)
        asked = _Asked(stream_id, model, fingerprint, requests, estimate_input_tokens(prompt, params.get("tools")))
        if self._workforce is not None:
            arguments = {"messages": messages, **params}
            if requests:
                arguments["sinks"] = [asdict(request) for request in requests]
            # A task of the hub's own: a caller that leaves meanwhile must not leave a log that nobody writes.
            handed_over: asyncio.Future[StreamInfo] = asyncio.get_running_loop().create_future()
            tasks.create_task(self._hand_over(self._workforce, asked, arguments, handed_over))
            return await handed_over
        if stream_id in self._running:
            raise StreamExistsError(stream_id)
        assert self._generator is not None
        generation = begin(self._generator, stream_id, {"messages": messages, **params})
        began: asyncio.Future[StreamInfo] = asyncio.get_running_loop().create_future()
        task = self._generations.create_task(self._run(generation, asked, began), name=f"generation {stream_id}")
        self._running[stream_id] = _Running(generation, task)
        task.add_done_callback(lambda _: self._forget(stream_id, generation, began))
        try:
            return await began
        except asyncio.CancelledError:
            stop(generation, stream_id)
            raise

    async def log(self, stream_id: str, *, at_least: int = -1) -> StreamLog:
        """A stream's log.

        Args:
            stream_id: The stream.
            at_least: A position that a reader has seen: the log holds it too, unless there is no such position.

        Raises:
            StreamNotFoundError: There is no such stream.
        """
        self._require_open()
        return await self._store.open(stream_id, at_least=at_least)

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
        stream = await self.log(stream_id, at_least=after)
        async with aclosing(stream.read(after=after, snapshot=snapshot)) as events:
            async for event in events:
                yield event

    async def cancel(self, stream_id: str) -> StreamInfo:
        """Stop a generation and return at once; its readers get `usage` and `done` with status `cancelled`.

        An ended one stays as it is.

        Raises:
            StreamNotFoundError: There is no such stream.
        """
        tasks = self._require_open()
        if (running := self._running.get(stream_id)) is not None:
            stop(running.generation, stream_id)
        stream = await self.log(stream_id)
        await self._store.cancel(stream_id)
        if running is None and not stream.is_closed:
            tasks.create_task(self._end_cancelled(stream), name=f"cancel {stream_id}")
        return _info(stream)

    async def list(self, *, limit: int = 1_000) -> Sequence[StreamInfo]:
        """The streams that are kept, newest first, and at most so many."""
        self._require_open()
        return await self._store.list(limit=limit)

    async def drain(self, timeout: float) -> None:
        """Take no new streams, give the running ones `timeout` seconds, then break them off."""
        self._draining = True
        if self._workforce is not None:
            await self._workforce.drain(timeout)
        tasks = [running.task for running in self._running.values()]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=timeout)
            await self._break_off(late)

    async def _break_off(self, tasks: Collection[asyncio.Task[None]]) -> None:
        """End generations, and in their place the streams of those that go on all the same."""
        resisting = await break_off([task for task in tasks if task not in self._resisting], BREAK_OFF_TIMEOUT)
        self._resisting |= resisting
        async with asyncio.TaskGroup() as ends:
            for stream_id, running in self._running.items():
                if running.task in resisting:
                    log.error("the generation of stream %s doesn't stop; it is left behind", stream_id)
                    ends.create_task(end_instead(stream_id, self._store, failure=INTERRUPTED))

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

    async def _hand_over(
        self,
        workforce: Workforce,
        asked: _Asked,
        arguments: Mapping[str, Any],
        handed_over: asyncio.Future[StreamInfo],
    ) -> None:
        """Make the log, and have the workforce write it; `handed_over` learns that it will, or why not."""
        try:
            # Never taken back, since another process may have announced the same: a worker looks what became of it.
            await workforce.announce(asked.stream_id, arguments)
            epoch, stream = await self._create(asked)
            try:
                await self._store.hand_over(asked.stream_id)
                await workforce.submit(asked.stream_id, arguments, created_at=stream.created_at)
            except StoreError as exc:
                # The announcement stands, and a worker sees to it. Ended here, the stream would be all that its
                # Idempotency-Key ever gives.
                log.warning("stream %s waits until a worker finds it: %s", asked.stream_id, exc)
            except BaseException:
                await end(stream, self._store, epoch, failure=_UNSTORED)
                raise
        except Exception as exc:
            if not handed_over.done():
                handed_over.set_exception(exc)
        else:
            if not handed_over.done():
                handed_over.set_result(_info(stream))

    async def _end_cancelled(self, stream: StreamLog) -> None:
        """End a cancelled stream whose writer doesn't: it waits for one, or that one hangs."""
        try:
            async with asyncio.timeout(CLAIM_TIMEOUT if stream.last_seq < 0 else STOP_TIMEOUT):
                while not stream.is_closed:
                    await stream.wait(len(stream.events))
        except TimeoutError:
            if await end_instead(stream.stream_id, self._store, status="cancelled"):
                await self._withdraw(stream)

    async def _withdraw(self, stream: StreamLog) -> None:
        """Let no worker find a stream that has ended while it waited for one, unless it has to tell sinks so."""
        if self._workforce is None or self._relays is not None:
            return
        try:
            await self._workforce.forget(stream.stream_id, created_at=stream.created_at)
        except StoreError as exc:
            log.warning("the job of stream %s waits on, though it has ended: %s", stream.stream_id, exc)

    async def _run(self, generation: Generation, asked: _Asked, began: asyncio.Future[StreamInfo]) -> None:
        """One generation from its empty log to its `done`; `began` learns that the log is there, or why not."""
        stream_id = asked.stream_id
        try:
            epoch, stream = await self._create(asked)
        except Exception as exc:
            self._forget(stream_id, generation, began, exc)
            return
        if not began.done():
            began.set_result(_info(stream))
        try:
            if self._relays is not None:
                self._relays.begin(stream, asked.sinks)
            await record(generation, stream, self._store, epoch, coalesce_delay=self._coalesce_delay)
        except Exception:
            # One job's border: what escaped would end every other generation with the task group.
            log.exception("stream %s could not be ended in order", stream_id)

    async def _create(self, asked: _Asked) -> tuple[int, StreamLog]:
        stream_id, model = asked.stream_id, asked.model
        epoch = await self._store.create(
            stream_id, model=model, fingerprint=asked.fingerprint, input_tokens=asked.input_tokens
        )
        try:
            return epoch, await self._store.open(stream_id)
        except BaseException:
            # No one will ever write that log: left as it is, it would seem to run.
            await end(StreamLog(stream_id, created_at=0.0, model=model), self._store, epoch, failure=_UNSTORED)
            raise


@dataclass(frozen=True, slots=True)
class _Asked:
    stream_id: str
    model: str | None
    fingerprint: str | None
    sinks: Sequence[SinkRequest]
    input_tokens: int


@dataclass(frozen=True, slots=True)
class _Running:
    generation: Generation
    task: asyncio.Task[None]


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
