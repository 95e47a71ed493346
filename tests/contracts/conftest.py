"""What the contracts of the streams share."""

from __future__ import annotations

from hub.events import LLMEvent
from hub.streams.base import StreamStore
from hub.testing import collect

from .samples import a_stream
from .stream_stores import HandClock

__all__ = ("HandClock", "events_of", "kept")


async def kept(store: StreamStore, stream_id: str, events: list[LLMEvent] | None = None) -> int:
    """A stream with these events; returns its epoch."""
    epoch = await store.create(stream_id)
    await store.append(stream_id, a_stream("a", stream_id=stream_id) if events is None else events, epoch=epoch)
    return epoch


async def events_of(store: StreamStore, stream_id: str, after: int = -1, *, snapshot: bool = False) -> list[LLMEvent]:
    """What a reader of an ended stream gets."""
    return await collect((await store.open(stream_id)).read(after=after, snapshot=snapshot))
