"""What the tests of the caches on real servers share."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import pytest

from hub.cache.entry import CacheEntry
from tests.contracts.samples import a_stream
from tests.real.processes import ServerProcess

__all__ = ("a_collection", "an_entry", "at_once", "crash", "needs", "start")


def an_entry(
    identifier: str = "greeting", *said: str, namespace: str = "", created_at: float = 1_800_000_000.0
) -> CacheEntry:
    """An entry whose answer is these words; the same arguments make the same entry."""
    events = tuple(a_stream(*(said or ("Hello", " world")), stream_id=""))
    return CacheEntry(
        key=hashlib.sha256(f"{namespace}\0{identifier}".encode()).hexdigest(),
        identifier=identifier,
        namespace=namespace,
        created_at=created_at,
        status="completed",
        model="model-x",
        events=events,
        offsets=tuple(0.25 * position for position in range(len(events))),
    )


def a_collection() -> str:
    """A name that no other test uses."""
    return f"cache_{uuid4().hex}"


def needs(found: Any, what: str) -> pytest.MarkDecorator:
    """Skips where a server is not at hand; under CI its absence is a failure."""
    return pytest.mark.skipif(not found and not os.environ.get("CI"), reason=f"not installed: {what}")


async def crash(server: ServerProcess) -> None:
    """The server is gone."""
    await asyncio.to_thread(server.crash)


async def start(server: ServerProcess) -> None:
    """The server takes connections."""
    await asyncio.to_thread(server.start)


@contextmanager
def at_once(seconds: float) -> Iterator[None]:
    """What is in the block takes less than so many seconds."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    yield
    assert loop.time() - began < seconds
