"""The stores that the contracts are run over, and the clock by which they forget."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from hub.events import LLMEvent
from hub.streams.base import StreamStore
from hub.streams.memory import MemoryStreamStore
from hub.testing import collect

from .samples import a_stream


@dataclass
class HandClock:
    """Unix seconds that a test moves."""

    now: float = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


OpenStore = Callable[..., StreamStore]


def memory(clock: HandClock, *, retention_ttl: float = 3600.0, retention_bytes: int = 1_000_000) -> StreamStore:
    return MemoryStreamStore(retention_ttl=retention_ttl, retention_bytes=retention_bytes, clock=clock)


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture(params=[memory], ids=lambda param: param.__name__)
def open_store(request: pytest.FixtureRequest, clock: HandClock) -> OpenStore:
    return lambda **options: request.param(clock, **options)


@pytest.fixture
def store(open_store: OpenStore) -> StreamStore:
    return open_store()


async def kept(store: StreamStore, stream_id: str, events: list[LLMEvent] | None = None) -> int:
    """A stream with these events; returns its epoch."""
    epoch = await store.create(stream_id)
    await store.append(stream_id, a_stream("a", stream_id=stream_id) if events is None else events, epoch=epoch)
    return epoch


async def events_of(store: StreamStore, stream_id: str, after: int = -1, *, snapshot: bool = False) -> list[LLMEvent]:
    """What a reader of an ended stream gets."""
    return await collect((await store.open(stream_id)).read(after=after, snapshot=snapshot))
