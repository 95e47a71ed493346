"""The stores of streams that the contracts are run over, and how: in which time, with what a test asks for."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from hub.streams.base import StreamStore
from hub.streams.memory import MemoryStreamStore
from hub.streams.sqlite import SqliteStreamStore

from .redis_stores import redis_stores
from .samples import in_standing_time, without_leaks

REAL_TIMEOUT = 30.0

OpenStore = Callable[..., StreamStore]
Test = Callable[..., Coroutine[Any, Any, None]]


@dataclass
class HandClock:
    """Unix seconds that a test moves."""

    now: float = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@dataclass(frozen=True)
class Backend:
    """A kind of store.

    Attributes:
        open: Gives what opens stores over the same data, each as another process would; for the length of a test.
        lasts: What one store was given is there in the next one, after the first was closed.
        is_shared: Several stores may be open over the same data at once.
        has_clock: It forgets by the test's clock, not by its own, and by what the logs weigh.
        is_in_process: It waits for nothing outside the event loop, so time may stand still round it.
    """

    name: str
    open: Callable[[HandClock], AbstractAsyncContextManager[OpenStore]]
    lasts: bool = True
    is_shared: bool = False
    has_clock: bool = False
    is_in_process: bool = False


@asynccontextmanager
async def memory(clock: HandClock) -> AsyncIterator[OpenStore]:
    def open_store(**options: Any) -> StreamStore:
        return MemoryStreamStore(clock=clock, **{"retention_bytes": 1_000_000, **options})

    yield open_store


@asynccontextmanager
async def sqlite(clock: HandClock) -> AsyncIterator[OpenStore]:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "streams.db"

        def open_store(**options: Any) -> StreamStore:
            return SqliteStreamStore(path, clock=clock, **{"retention_bytes": 1_000_000, **options})

        yield open_store


BACKENDS = (
    Backend("memory", memory, lasts=False, has_clock=True, is_in_process=True),
    Backend("sqlite", sqlite, has_clock=True),
    *(Backend(name, opener, is_shared=True) for name, opener in redis_stores().items()),
)


@asynccontextmanager
async def opened(backend: Backend, clock: HandClock) -> AsyncIterator[OpenStore]:
    """What opens stores of that kind; all are closed in the end."""
    async with AsyncExitStack() as stack:
        open_backend = await stack.enter_async_context(backend.open(clock))

        def open_store(**options: Any) -> StreamStore:
            store = open_backend(**options)
            stack.push_async_callback(store.aclose)
            return store

        yield open_store


def over(backends: Sequence[Backend] = BACKENDS) -> Callable[[Test], Callable[..., None]]:
    """Run an async test over each of the stores: in standing time where it can be, else within a time-out.

    The test may ask for `store` (one that is started), `open_store`, `clock` and `backend`, and for pytest's fixtures.
    """

    def decorate(test: Test) -> Callable[..., None]:
        asked = inspect.signature(test).parameters

        def run(**fixtures: Any) -> None:
            backend = fixtures["backend"]
            mode = in_standing_time if backend.is_in_process else in_real_time
            mode(_with_stores)(test, backend, {name: fixtures[name] for name in fixtures if name in asked})

        names = ["backend", *(name for name in asked if name not in ("store", "open_store", "clock", "backend"))]
        parameters = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY) for name in names]
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__name__, run.__doc__, run.__module__ = test.__name__, test.__doc__, test.__module__
        return pytest.mark.parametrize("backend", backends, ids=lambda backend: backend.name)(run)

    return decorate


async def _with_stores(test: Test, backend: Backend, fixtures: dict[str, Any]) -> None:
    asked = inspect.signature(test).parameters
    clock = HandClock()
    async with opened(backend, clock) as open_store:
        provided: dict[str, Any] = {"open_store": open_store, "clock": clock}
        if "store" in asked:
            provided["store"] = open_store()
            await provided["store"].start()
        await test(**{name: value for name, value in provided.items() if name in asked}, **fixtures)


def in_real_time(test: Test) -> Callable[..., None]:
    """Run an async test in an ordinary loop; one that hangs fails."""

    async def within(coroutine: Coroutine[Any, Any, None]) -> None:
        async with asyncio.timeout(REAL_TIMEOUT):
            await without_leaks(coroutine)

    return lambda *args, **kwargs: asyncio.run(within(test(*args, **kwargs)))
