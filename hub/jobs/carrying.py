"""Carries out one job: from a log that waits for its writer to a log that has ended."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any, TypeVar

from hub.errors import ConfigurationError, RequestError, StaleWriterError, StoreError, StreamNotFoundError
from hub.events import EndStatus
from hub.generation import Generation, Generator, begin
from hub.jobs.base import Finished, Job, Outcome, Released, SetAside
from hub.recording import continued, end_in_store, record, take_up
from hub.relaying import Relays, read_sinks
from hub.result import Failure
from hub.streams.base import StreamStore
from hub.streams.log import StreamLog

__all__ = ("GIVE_BACK_DELAY", "carry_out")

T = TypeVar("T")

log = logging.getLogger(__name__)

PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0)
"""Seconds between two tries while the store can't be reached at the beginning of a job."""

GIVE_BACK_DELAY = 2.0
"""Seconds for which a job is kept that a failing store holds up, so that nobody runs in circles with it."""

FENCED = Released(is_lost=True)
"""Another writer has the stream, and mostly the job as well: then this says nothing. Where the job is still this
worker's, two write one stream in turns, which is counted, so that it has an end."""


async def carry_out(
    job: Job,
    generator: Generator,
    store: StreamStore,
    *,
    max_attempts: int,
    coalesce_delay: float = 0.0,
    relays: Relays | None = None,
) -> Outcome:
    """Write the stream of a job to its end, or as far as this worker can.

    Args:
        job: What is to be done.
        generator: Gives the answer.
        store: Keeps the log.
        max_attempts: Workers that may be lost with the job.
        coalesce_delay: As `record` has it.
        relays: Carries the stream to the sinks that the job names.

    Returns:
        What is to become of the job.

    Raises:
        asyncio.CancelledError: The log is as it was last, for another worker to go on with.
    """
    try:
        epoch = await _patiently(lambda: store.take_over(job.stream_id))
        stream = await _patiently(lambda: store.open(job.stream_id))
        if job.created_at not in (None, stream.created_at):
            log.info("stream %s has expired, and is another one now; its earlier job is dropped", job.stream_id)
            return Finished()
        async with _relaying(stream, job, relays):
            if stream.is_closed:
                return Finished()
            return await _written(job, generator, stream, store, epoch, max_attempts, coalesce_delay)
    except StreamNotFoundError:
        log.warning("stream %s is gone; its job is dropped", job.stream_id)
        return Finished()
    except StaleWriterError:
        return FENCED
    except StoreError as exc:
        log.warning("the job of stream %s is given back: %s", job.stream_id, exc)
        return await _given_back(is_lost=False)


async def _written(
    job: Job,
    generator: Generator,
    stream: StreamLog,
    store: StreamStore,
    epoch: int,
    max_attempts: int,
    coalesce_delay: float,
) -> Outcome:
    """Write an open log from where it is."""
    if job.lost > 0 or stream.last_seq >= 0:
        # Also where it is only ended: what readers have seen, and a crash took back, must not be told anew.
        await _patiently(lambda: take_up(stream, store, epoch, was_begun=job.lost > 0))
    if await _is_cancelled(stream, store):
        return await _ended(stream, store, epoch, status="cancelled")
    if job.lost >= max_attempts:
        return await _given_up(job, stream, store, epoch)
    try:
        generation = begin(generator, job.stream_id, _without_sinks(job.arguments))
    except RequestError as exc:
        return await _ended(stream, store, epoch, failure=Failure(code="invalid_request", message=str(exc)))
    except ConfigurationError as exc:
        log.error("the generation of stream %s can't begin: %s", job.stream_id, exc)
        return await _ended(stream, store, epoch, failure=Failure(code="interrupted", message=str(exc)))
    except Exception:
        log.exception("the generation of stream %s can't begin", job.stream_id)
        failure = Failure(code="interrupted", message="The answer could not be begun: an internal error.")
        return await _ended(stream, store, epoch, failure=failure)
    return await _generated(generation, stream, store, epoch, coalesce_delay)


def _relaying(stream: StreamLog, job: Job, relays: Relays | None) -> AbstractAsyncContextManager[None]:
    """Carry what is written to the sinks that the job names: none of them can harm the job."""
    named = job.arguments.get("sinks", ())
    if not named:
        return nullcontext()
    if relays is None:
        log.warning(
            "stream %s names sinks; this worker has none: give it the web processes' HUB_SINKS", stream.stream_id
        )
        return nullcontext()
    try:
        return relays.relaying(stream, read_sinks(named))
    except RequestError as exc:
        log.warning("the sinks of stream %s can't be read: %s", stream.stream_id, exc)
        return nullcontext()


def _without_sinks(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """What is the generator's."""
    return {name: value for name, value in arguments.items() if name != "sinks"}


async def _generated(
    generation: Generation, stream: StreamLog, store: StreamStore, epoch: int, coalesce_delay: float
) -> Outcome:
    """Let a generation go its way, behind what another worker's has said."""
    following = continued(generation, stream)
    match await record(following, stream, store, epoch, unfinished="leave", coalesce_delay=coalesce_delay):
        case "ended":
            return Finished()
        case "fenced":
            return FENCED
        case _:
            # Counted: what was generated was paid for, and a store that never takes it must not cost without end.
            return await _given_back(is_lost=True)


async def _given_up(job: Job, stream: StreamLog, store: StreamStore, epoch: int) -> Outcome:
    """End a stream that has cost too many workers."""
    workers = "1 worker was" if job.lost == 1 else f"{job.lost} workers were"
    failure = Failure(code="worker_lost", message=f"{workers} lost while the answer was under way.", retryable=True)
    outcome = await _ended(stream, store, epoch, failure=failure)
    return SetAside(failure.message) if isinstance(outcome, Finished) else outcome


async def _ended(
    stream: StreamLog, store: StreamStore, epoch: int, *, status: EndStatus = "failed", failure: Failure | None = None
) -> Outcome:
    """End a stream without a generation."""
    await end_in_store(stream, store, epoch, status=status, failure=failure)
    return Finished() if stream.is_closed else await _given_back(is_lost=False)


async def _given_back(*, is_lost: bool) -> Outcome:
    """Let another worker try, a little later."""
    await asyncio.sleep(GIVE_BACK_DELAY)
    return Released(is_lost)


async def _is_cancelled(stream: StreamLog, store: StreamStore) -> bool:
    """Whether the stream was to stop before anybody took it up."""
    told: list[None] = []
    unwatch = await store.watch_cancel(stream.stream_id, lambda: told.append(None))
    unwatch()
    return bool(told)


async def _patiently(call: Callable[[], Awaitable[T]]) -> T:
    """What a store says, once it can be reached; the job stays this worker's meanwhile."""
    for pause in PAUSES:
        try:
            return await call()
        except StaleWriterError:
            raise
        except StoreError as exc:
            log.warning("the store of streams can't be reached: %s", exc)
            await asyncio.sleep(pause)
    return await call()
