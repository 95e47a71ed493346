"""From a source of events to a sink, with an end in every case."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Sequence

from hub.completion import Completion
from hub.events import EndStatus, LLMEvent, merge_neighbours
from hub.result import Failure, LLMResult
from hub.sink.base import Endable, Sink

__all__ = ("pump",)

log = logging.getLogger(__name__)

_SOURCE_FAILED = Failure(code="interrupted", message="The answer was broken off by an internal error.", retryable=True)


async def pump(events: AsyncIterable[LLMEvent], sink: Sink, *, cancel_timeout: float = 1.0) -> LLMResult:
    """Send every event to the sink and return their fold. The sink stays open: its owner closes it.

    `events` begin with the stream's first one, or with a snapshot. However they are left, an async generator among
    them is closed, which releases what it holds. A cancelled pump still sends the end of the stream (`usage`, and
    `done` with status `cancelled`), for at most `cancel_timeout` seconds, before the cancellation goes on. Where the
    source raises in mid-stream, the end says so: `error` with code `interrupted`.

    Raises:
        Exception: What the sink's `send`, or the source, raised.
    """
    completion = Completion()
    source = aiter(events)
    unsent: list[LLMEvent] = []
    try:
        async for event in source:
            completion.add(event)
            unsent = [event]
            await sink.send(event)
            unsent = []
    except asyncio.CancelledError:
        await _send_end(events, completion, "cancelled", None, unsent, sink, cancel_timeout)
        raise
    except Exception:
        if not unsent:  # else it is the sink that failed
            await _send_end(events, completion, "failed", _SOURCE_FAILED, unsent, sink, cancel_timeout)
        raise
    finally:
        await _close_source(source)
    return completion.result()


async def _send_end(
    events: AsyncIterable[LLMEvent],
    completion: Completion,
    status: EndStatus,
    failure: Failure | None,
    unsent: Sequence[LLMEvent],
    sink: Sink,
    timeout: float,
) -> None:
    """Send what is still due of a stream that is left; a sink that can't take it must not delay that."""
    try:
        ending = (events if isinstance(events, Endable) else completion).ending(status, failure)
        async with asyncio.timeout(timeout):
            # What may have arrived already goes again as it was: merged anew, a reader would have it in part.
            for event in (*unsent, *merge_neighbours(ending)):
                await sink.send(event)
    except Exception as exc:
        log.warning("the end of a stream left early did not reach %s: %s", type(sink).__name__, exc)


async def _close_source(source: AsyncIterator[LLMEvent]) -> None:
    if isinstance(source, AsyncGenerator):
        await source.aclose()
