"""Writes a generation into its log, from its first event through `done`, whatever becomes of either."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any, Literal, Protocol, TypeAlias

import msgspec

from hub.errors import StaleWriterError, StoreError
from hub.events import Done, EndStatus, LLMEvent, Meta, Snapshot, Usage, merge_neighbours
from hub.result import Failure, TokenUsage
from hub.streams.base import StreamStore
from hub.streams.log import StreamLog
from hub.streams.takeover import LOST_POSITIONS, takeover

__all__ = ("Generation", "Generator", "Recorded", "continued", "end", "end_in_store", "record", "take_up")

log = logging.getLogger(__name__)

MAX_STREAM_BYTES = 64_000_000
"""What one stream's frames may weigh: far above any answer, well below what would hurt the others."""

GATHERING = 5.0
"""As many times as long as an append took may tokens gather: it takes long where the process or the store is behind."""

LEAST_PAUSE = 0.005
"""Seconds; a shorter one would gather nothing."""

END_TIMEOUT = 1.0
"""Seconds that the store has for the end of a stream that is broken off."""

Recorded: TypeAlias = Literal["ended", "fenced", "left"]
"""What became of a log: it has its end; another writes it; it is as it is, and somebody has to go on with it."""

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


async def record(
    generation: Generation,
    stream: StreamLog,
    store: StreamStore,
    epoch: int,
    *,
    unfinished: Literal["end", "leave"] = "end",
    coalesce_delay: float = 0.0,
) -> Recorded:
    """Write a generation into its log until it has ended, or another writer has taken the stream over.

    Args:
        generation: Not read from yet.
        stream: Its log, as the store gave it.
        store: Where the log is.
        epoch: The writer's.
        unfinished: What becomes of the log where the task is cancelled or the store fails: `end` ends it as failed,
            at least for its readers here; `leave` leaves it as it is, for the next writer.
        coalesce_delay: Seconds for which tokens may gather between two appends, at most, where appends take long;
            neighbours become one event. 0 keeps every event as it came.

    Returns:
        What became of the log.
    """
    leaves = unfinished == "leave"
    stream_id = stream.stream_id
    loop = asyncio.get_running_loop()
    unsaved: list[LLMEvent] = []
    is_behind = False
    failure: Failure | None = _BROKEN
    outcome: Recorded = "left"
    unwatch = await store.watch_cancel(stream_id, generation.stop)
    try:
        async with aclosing(generation.batches()) as batches:
            async for batch in batches:
                unsaved = merge_neighbours(batch) if is_behind else batch
                began_at = loop.time()
                await store.append(stream_id, unsaved, epoch=epoch)
                unsaved = []
                if stream.size_bytes > MAX_STREAM_BYTES:
                    failure = _TOO_LONG
                    break
                # What comes meanwhile is read, stored and sent together: a process that is behind catches up.
                pause = min(coalesce_delay, GATHERING * (loop.time() - began_at))
                is_behind = pause >= LEAST_PAUSE
                if is_behind and not stream.is_closed:
                    await asyncio.sleep(pause)
    except asyncio.CancelledError:
        failure = None if leaves else _INTERRUPTED
        raise
    except StaleWriterError:
        log.info("stream %s has another writer; this one stops", stream_id)
        failure, outcome = None, "fenced"
    except StoreError as exc:
        failure = None if leaves else _UNSTORED
        log.error("the log of stream %s can't be written: %s", stream_id, exc)
    except Exception:
        log.exception("the generation of stream %s failed", stream_id)
    finally:
        unwatch()
        if failure is not None and not stream.is_closed:
            due = _due(generation, failure, unsaved, stream.last_seq)
            await (end_in_store if leaves else end)(stream, store, epoch, failure=failure, due=due)
    return "ended" if stream.is_closed else outcome


async def end(
    stream: StreamLog,
    store: StreamStore,
    epoch: int,
    *,
    status: EndStatus = "failed",
    failure: Failure | None = None,
    due: Sequence[LLMEvent] = (),
) -> None:
    """See to it that a log ends: by what is due, else by what it holds, else for this process's readers alone.

    Args:
        stream: The log.
        store: Where it is.
        epoch: The writer's.
        status: How it ends.
        failure: Why, where it failed.
        due: Events that would end it.
    """
    is_writer = True
    try:
        is_writer = await end_in_store(stream, store, epoch, status=status, failure=failure, due=due)
    finally:
        if is_writer and not stream.is_closed:
            # The store has no end for it; whoever reads here must not wait for one for ever.
            stream.append(stream.ending(status, failure))


async def end_in_store(
    stream: StreamLog,
    store: StreamStore,
    epoch: int,
    *,
    status: EndStatus = "failed",
    failure: Failure | None = None,
    due: Sequence[LLMEvent] = (),
) -> bool:
    """End a log as `end` does, or leave it open where the store fails.

    Returns:
        Whether the log is the caller's to write still.
    """
    is_writer = True
    if due:
        is_writer = await _store_end(stream, due, store, epoch)
    if is_writer and not stream.is_closed:
        is_writer = await _store_end(stream, stream.ending(status, failure), store, epoch)
    return is_writer


async def take_up(stream: StreamLog, store: StreamStore, epoch: int, *, was_begun: bool = False) -> None:
    """Say in a log that has another writer now what is due before a further attempt.

    Args:
        stream: The log.
        store: Where it is.
        epoch: The new writer's.
        was_begun: Another writer has been at it. A crash may have taken back all that readers saw of it: then an empty
            log doesn't begin at position 0 again, where other events stood, nor with the same attempt.
    """
    snapshot = _nothing_left(stream) if was_begun and stream.last_seq < 0 else takeover(stream)
    if snapshot is not None:
        # Reckoned before the snapshot is in the log: it doesn't tell whether the attempt's usage has come.
        due = [
            msgspec.structs.replace(event, seq=snapshot.seq + number)
            for number, event in enumerate(stream.abandoned(), 1)
        ]
        await store.append(stream.stream_id, [snapshot, *due], epoch=epoch)


def _nothing_left(stream: StreamLog) -> Snapshot:
    result = msgspec.structs.replace(stream.result(), last_seq=LOST_POSITIONS)
    return Snapshot(
        stream_id=stream.stream_id, seq=LOST_POSITIONS, span=LOST_POSITIONS + 1, result=result, reason="takeover"
    )


def continued(generation: Generation, stream: StreamLog) -> Generation:
    """A generation begun anew for a stream in which another writer has said something: a further attempt of it.

    Args:
        generation: Not read from yet.
        stream: Its log, in which `take_up` has said what is due.
    """
    if stream.last_seq < 0:
        return generation
    result = stream.result()
    return _Continued(generation, stream.last_seq + 1, result.attempt, result.usage)


class _Continued:
    """A generation whose events follow others.

    Args:
        generation: Begins at position 0, with attempt 1.
        first_seq: Where its events begin.
        attempts: As many were made before.
        usage: What they used.
    """

    def __init__(self, generation: Generation, first_seq: int, attempts: int, usage: TokenUsage | None) -> None:
        self.stream_id = generation.stream_id
        self._generation = generation
        self._first_seq = first_seq
        self._attempts = attempts
        self._usage = usage

    async def batches(self) -> AsyncGenerator[list[LLMEvent], None]:
        """The generation's batches, with their positions and attempts moved on."""
        async with aclosing(self._generation.batches()) as batches:
            async for batch in batches:
                yield [self._moved(event) for event in batch]

    def stop(self) -> None:
        """End it as `cancelled`."""
        self._generation.stop()

    def ending(self, status: EndStatus, failure: Failure | None = None) -> list[LLMEvent]:
        """The events still due, moved on as well."""
        return [self._moved(event) for event in self._generation.ending(status, failure)]

    def _moved(self, event: LLMEvent) -> LLMEvent:
        changes: dict[str, Any] = {"seq": event.seq + self._first_seq}
        match event:
            case Meta() | Usage():
                changes["attempt"] = event.attempt + self._attempts
            case Done(usage=usage) if self._usage is not None:
                changes["usage"] = self._usage if usage is None else self._usage + usage
        return msgspec.structs.replace(event, **changes)


async def _store_end(stream: StreamLog, events: Sequence[LLMEvent], store: StreamStore, epoch: int) -> bool:
    """Try to store the end of a log; whether it is the caller's to write still."""
    try:
        async with asyncio.timeout(END_TIMEOUT):
            await store.append(stream.stream_id, events, epoch=epoch)
    except StaleWriterError:
        return False
    except Exception:
        log.exception("the end of stream %s can't be stored", stream.stream_id)
    return True


def _due(generation: Generation, failure: Failure, unsaved: Sequence[LLMEvent], last_seq: int) -> list[LLMEvent]:
    """What isn't stored yet, and what the generation says is due behind it; of the latter what adjoins."""
    try:
        last_seq = unsaved[-1].seq if unsaved else last_seq
        ending = generation.ending("failed", failure)
        return [*unsaved, *(ending if ending and ending[0].seq - ending[0].span == last_seq else [])]
    except Exception:
        log.exception("the generation of stream %s knows no end", generation.stream_id)
        return []
