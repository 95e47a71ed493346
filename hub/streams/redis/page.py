"""Pages of a stream's log in Redis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from hub.errors import StoreError
from hub.events import EndStatus, LLMEvent
from hub.redis_io.calls import Calls
from hub.streams.log import StreamLog
from hub.streams.redis.copy import close, decode_lines, extend, fill
from hub.streams.redis.scripts import READ, Keys

__all__ = ("Page", "apply", "read_page")

MAX_PAGE_EVENTS = 1_000
MAX_PAGE_BYTES = 1_000_000


@dataclass(frozen=True, slots=True)
class Page:
    """Some events of a log, and how its stream stood when they were read.

    Attributes:
        events: From the position asked for.
        epoch: The writer's.
        next_seq: The position of the next event to be written.
        is_closed: The stream has ended.
        status: Its status.
        created_at: When it was made, in Unix seconds.
        model: The model asked for or answering; None where unknown.
        fingerprint: A digest of the request; None where there is none.
        input_tokens: About how many tokens the prompt has; 0 where that isn't known.
        ttl: Seconds for which the stream is kept.
    """

    events: list[LLMEvent]
    epoch: int
    next_seq: int
    is_closed: bool
    status: str
    created_at: float
    model: str | None
    fingerprint: str | None
    input_tokens: int
    ttl: float


async def read_page(calls: Calls, keys: Keys, first_seq: int) -> Page | None:
    """The events from position `first_seq` on, a page of them; None where there is no such stream.

    Raises:
        StoreError: What is there is no log of ours.
        Exception: One of `hub.redis_io.faults.FAULTS`.
    """
    command = READ.call((keys.log, keys.state), b"%d" % first_seq, b"%d" % MAX_PAGE_EVENTS, b"%d" % MAX_PAGE_BYTES)
    reply = await calls.run(keys.log, command, script=READ)
    return None if reply is None else _page(reply)


def apply(log: StreamLog, page: Page) -> bool:
    """Add a page to a copy; whether the copy has all that there was when it was read.

    What is gone from the server is declared in the copy by a snapshot with reason `gap`.
    """
    log.is_queued = page.status == "queued" and log.last_seq < 0
    if page.events:
        first = page.events[0]
        fill(log, first.seq - first.span)
        extend(log, page.events)
        return log.is_closed or log.last_seq >= page.next_seq - 1
    if page.is_closed:
        close(log, cast("EndStatus", page.status), page.next_seq)
    else:
        fill(log, page.next_seq - 1)
    return True


def _page(reply: Any) -> Page:
    try:
        epoch, next_seq, is_closed, status, created_at, model, fingerprint, input_tokens, ttl, lines = reply
        return Page(
            events=decode_lines(lines),
            epoch=epoch,
            next_seq=next_seq,
            is_closed=bool(is_closed),
            status=status.decode(),
            created_at=float(created_at),
            model=model.decode() or None,
            fingerprint=fingerprint.decode() or None,
            input_tokens=int(input_tokens),
            ttl=max(ttl, 0) / 1000,
        )
    except (TypeError, ValueError, AttributeError) as exc:  # msgspec's errors are ValueErrors
        raise StoreError("Redis has something else than a log of ours under a stream's keys.") from exc
