"""The sink that writes files."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from hub.events import LLMEvent
from sinks.jsonl import JSONLSink, read_events
from sinks.jsonl.lock import try_lock, unlock

from .sink_sides import Side

IS_REAL = True


@contextmanager
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


class Reader:
    """Reads a file for as long as it is there, and then gives what was in it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._last: list[LLMEvent] | None = None

    def read(self) -> list[LLMEvent]:
        """The events by now."""
        return list(read_events(self._path)) if self._last is None else self._last

    def finish(self) -> None:
        """The file goes away."""
        self._last = self.read()


def wait_for_lock(file: BinaryIO) -> None:
    """Have the lock on a file, once those who write to it let go of it."""
    deadline = time.monotonic() + 5
    while not try_lock(file.fileno()):
        assert time.monotonic() < deadline, "the lock is not to be had"


def holding(file: BinaryIO) -> Callable[[bool], None]:
    """Keeps the lock on a file, as another sink does while it writes."""

    def hold(held: bool) -> None:
        if held:
            wait_for_lock(file)
        else:
            unlock(file.fileno())

    return hold


@asynccontextmanager
async def json_lines() -> AsyncIterator[Side]:
    with folder() as there:
        path = there / "events.jsonl"
        reader = Reader(path)
        async with JSONLSink(path, max_held_bytes=400, max_delay=0.01) as sink:
            with path.open("rb") as file:
                yield Side(sink, reader.read, holding(file), bound=6)
                unlock(file.fileno())
            await sink.aclose()
        reader.finish()


@asynccontextmanager
async def json_lines_that_rotate() -> AsyncIterator[Side]:
    with folder() as there:
        path = there / "events.jsonl"
        reader = Reader(path)
        async with JSONLSink(path, max_bytes=300, max_delay=0, fsync="always") as sink:
            yield Side(sink, reader.read, lambda held: None)
            await sink.aclose()
        reader.finish()


@asynccontextmanager
async def failing_json_lines() -> AsyncIterator[Any]:
    """Its folder goes away."""
    with folder() as there:
        inner = there / "inner"
        inner.mkdir()
        sink = JSONLSink(inner / "events.jsonl", max_delay=0, fsync="never")
        await sink.__aenter__()
        shutil.rmtree(inner)
        try:
            yield sink
        finally:
            await sink.aclose()


def unentered_json_lines() -> Any:
    return JSONLSink(os.devnull)


SIDES = (json_lines, json_lines_that_rotate)
FAILING = (failing_json_lines,)
UNENTERED = (unentered_json_lines,)
