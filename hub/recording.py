"""Writes a generation into its log, from its first event through `done`, whatever becomes of either."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any, Literal, TypeAlias

import msgspec

from hub.errors import StaleWriterError, StoreError
from hub.events import Done, EndStatus, LLMEvent, Meta, Snapshot, Usage, merge_neighbours
from hub.generation import Generation, Generator, MisfitError, check_events, stop
from hub.result import Failure, TokenUsage
from hub.stopping import is_from_outside
from hub.streams.base import StreamStore
from hub.streams.log import StreamLog
from hub.streams.takeover import LOST_POSITIONS, takeover

__all__ = (
    "INTERRUPTED",
    "Generation",
    "Generator",
    "Recorded",
    "continued",
    "end",
    "end_in_store",
    "end_instead",
    "record",
    "take_up",
)

log = logging.getLogger(__name__)

MAX_STREAM_BYTES = 64_000_000
"""What one stream's frames may weigh: far above any answer, well below what would hurt the others."""

GATHERING = 5.0
"""As many times as long as an append took may tokens gather: it takes long where the process or the store is behind."""

LEAST_PAUSE = 0.005
"""Seconds; a shorter one would gather nothing."""

END_TIMEOUT = 1.0
"""Seconds that the store has for the end of a stream that is broken off."""

INSTEAD_TIMEOUT = 2.0
"""Seconds in which a stream is ended that another task, or process, should have ended."""

Recorded: TypeAlias = Literal["ended", "fenced", "left"]
"""What became of a log: it has its end; another writes it; it is as it is, and somebody has to go on with it."""

INTERRUPTED = Failure(code="interrupted", message="The hub stopped while the answer was under way.", retryable=True)
"""Why a stream ends that is broken off."""

_TOO_LONG = Failure(code="budget_exceeded", message="The answer grew beyond what a stream may hold.")
_BROKEN = Failure(code="interrupted", message="The answer was broken off by an internal error.", retryable=True)
_MISFIT = Failure(
    code="interrupted", message="The generation's events don't follow one another, or aren't this stream's."
)
_UNSTORED = Failure(code="store_unavailable", message="The answer could not be kept any longer.", retryable=True)


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
    last_seq = stream.last_seq
    is_behind = False
    failure: Failure | None = _BROKEN
    outcome: Recorded = "left"
    unwatch = _nothing
    try:
        unwatch = await store.watch_cancel(stream_id, partial(stop, generation, stream_id))
        async with aclosing(generation.batches()) as batches:
            async for batch in batches:
                last_seq = check_events(batch, stream_id, last_seq)
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
    except StaleWriterError:
        log.info("stream %s has another writer; this one stops", stream_id)
        failure, outcome = None, "fenced"
    except StoreError as exc:
        failure = None if leaves else _UNSTORED
        log.error("the log of stream %s can't be written: %s", stream_id, exc)
    except MisfitError as exc:
        failure = _MISFIT
        log.error("the generation of stream %s is broken off, its events don't fit: %s", stream_id, exc)
    except BaseException as exc:
        if is_from_outside(exc):
            failure = None if leaves or isinstance(exc, GeneratorExit) else INTERRUPTED
            raise
        # Its own code's, SystemExit too: it must not end everybody else's streams with it.
        log.exception("the generation of stream %s failed", stream_id)
    finally:
        unwatch()
        if failure is not None and not stream.is_closed:
            due = _due(generation, failure, unsaved, stream)
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


async def end_instead(
    stream_id: str, store: StreamStore, *, status: EndStatus = "failed", failure: Failure | None = None
) -> bool:
    """Take a stream over and end it, as `end` does, in the place of a writer that doesn't; that one writes no more.

    Returns:
        Whether the store has its end, within `INSTEAD_TIMEOUT`.
    """
    try:
        async with asyncio.timeout(INSTEAD_TIMEOUT):
            stream = await store.open(stream_id)
            if stream.is_closed:
                return True
            epoch = await store.take_over(stream_id)
            is_writer = await end_in_store(stream, store, epoch, status=status, failure=failure)
            if is_writer and not stream.is_closed:
                stream.append(stream.ending(status, failure))  # for who reads here; others may still go on with it
                return False
    except (StoreError, TimeoutError) as exc:
        log.error("stream %s can't be ended: %r", stream_id, exc)
        return False
    return True


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


def _due(generation: Generation, failure: Failure, unsaved: Sequence[LLMEvent], stream: StreamLog) -> list[LLMEvent]:
    """What isn't stored yet, and what the generation says is due behind it; of the latter what adjoins."""
    try:
        last_seq = unsaved[-1].seq if unsaved else stream.last_seq
        ending = generation.ending("failed", failure)
        return [*unsaved, *(ending if _fits(ending, stream.stream_id, last_seq) else [])]
    except (Exception, SystemExit):
        log.exception("the generation of stream %s knows no end", stream.stream_id)
        return []


def _fits(events: Sequence[LLMEvent], stream_id: str, last_seq: int) -> bool:
    try:
        check_events(events, stream_id, last_seq)
    except MisfitError:
        return False
    return True


def _nothing() -> None:
    """What ends a watch that was never begun."""
