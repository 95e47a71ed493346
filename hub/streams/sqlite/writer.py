"""One thread with one connection: what was asked of it while a transaction was under way shares the next one."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from hub.errors import ClosedError, StoreError
from hub.streams.sqlite.faults import in_words
from hub.streams.sqlite.presence import Presence
from hub.streams.sqlite.rows import add_batches
from hub.streams.sqlite.schema import open_database

__all__ = ("Change", "GroupCommit")

T = TypeVar("T")

Change: TypeAlias = Callable[[sqlite3.Connection], T]
"""Statements, run in the thread, and what they give."""

MAX_CHANGES = 512
"""How many changes share a transaction at most: so many logs grow between two turns of the event loop."""


class GroupCommit:
    """The connection to one file. Its methods belong to the event loop, but `read_here`.

    Args:
        path: The file.
        busy_timeout: Seconds to wait for another process that has the file.
        pause: Gives the seconds from one transaction's begin to the next one's, at least: what gathers meanwhile
            costs a fraction of what it would alone.
    """

    def __init__(self, path: Path, *, busy_timeout: float, pause: Callable[[], float]) -> None:
        self._path = path
        self._busy_timeout = busy_timeout
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="hub-sqlite")
        self._connection: sqlite3.Connection | None = None
        self._presence: Presence | None = None
        self._closed = False
        self._is_shut = False
        self._waiting: list[_Item] = []
        self._flush: asyncio.Future[list[Any]] | None = None
        self._pause = pause
        self._next_at = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def open(self, first: Change[T]) -> asyncio.Future[T]:
        """Open the file and do `first`, which sees to its own transactions; where it fails the file is closed again.

        Raises:
            StoreError: The file can't be used.
        """

        def work() -> T:
            self._connection = open_database(self._path, busy_timeout=self._busy_timeout)
            try:
                done = self._in_words(first)
                self._presence = Presence(self._path)
            except BaseException:
                self._close()
                raise
            return done

        return asyncio.get_running_loop().run_in_executor(self._thread, work)

    def write(
        self,
        change: Change[T] | None,
        applied: Callable[[Any], None],
        *,
        lines: tuple[int, bytes] | None = None,
        settled: Callable[[], None] | None = None,
    ) -> asyncio.Future[Any]:
        """Have a change committed with others that come at the same time.

        Args:
            change: What is done; its value is the future's, None where there is none.
            applied: Called with the value once it is committed, whether anyone still waits for it or not.
            lines: A batch to add before that: the stream's key, and the events.
            settled: Called first, also where the transaction failed.

        Returns:
            A future, which may be cancelled without harm. It has a `StoreError` where the transaction failed, and
            nothing of it is there.
        """
        self._require_open()
        future = asyncio.get_running_loop().create_future()
        self._waiting.append(_Item(change, applied, lines, settled, future))
        if self._flush is None and self._timer is None:
            self._go_on()
        return future

    def read(self, query: Change[T]) -> asyncio.Future[T]:
        """What a query gives, which sees all that was committed."""
        self._require_open()
        return asyncio.get_running_loop().run_in_executor(self._thread, self._in_words, query)

    def change_alone(self, change: Change[T]) -> asyncio.Future[T]:
        """What a change gives that sees to its own transactions."""
        self._require_open()
        return asyncio.get_running_loop().run_in_executor(self._thread, self._change, change)

    def read_here(self, query: Change[T]) -> T:
        """What a query gives, for a caller in a thread of its own, which waits."""
        return self._thread.submit(self._in_words, query).result()

    async def aclose(self) -> None:
        """Commit what was asked for, and close the file. A second call does what the first was kept from."""
        self._closed = True
        if self._timer is not None:
            self._begin()
        while self._flush is not None:
            await asyncio.wait([self._flush])
        if not self._is_shut:
            await asyncio.shield(asyncio.get_running_loop().run_in_executor(self._thread, self._close))
            self._is_shut = True
            self._thread.shutdown()

    def _require_open(self) -> None:
        if self._closed:
            raise ClosedError("the store is closed")

    def _go_on(self) -> None:
        """Begin the next transaction, now or when its time has come."""
        loop = asyncio.get_running_loop()
        if self._closed or loop.time() >= self._next_at:
            self._begin()
        else:
            self._timer = loop.call_at(self._next_at, self._begin)

    def _begin(self) -> None:
        loop = asyncio.get_running_loop()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._next_at = loop.time() + self._pause()
        items, self._waiting = self._waiting[:MAX_CHANGES], self._waiting[MAX_CHANGES:]
        self._flush = loop.run_in_executor(self._thread, self._commit, items)
        self._flush.add_done_callback(lambda flush: self._end(items, flush))

    def _end(self, items: Sequence[_Item], flush: asyncio.Future[list[Any]]) -> None:
        self._flush = None
        if self._waiting:
            self._go_on()  # the thread works while the logs grow here
        exc = flush.exception()
        if exc is not None:
            for item in items:
                item.fail(exc)
            return
        for item, value in zip(items, flush.result(), strict=True):
            item.apply(value)

    def _commit(self, items: Sequence[_Item]) -> list[Any]:
        return self._change(lambda connection: _in_transaction(connection, items))

    def _change(self, work: Change[T]) -> T:
        if self._presence is None:
            raise ClosedError("the store is closed")
        self._presence.check()
        try:
            return self._in_words(work)
        finally:
            self._presence.note()

    def _in_words(self, work: Change[T]) -> T:
        if self._connection is None:
            raise ClosedError("the store is closed")
        try:
            return work(self._connection)
        except sqlite3.Error as exc:
            raise in_words(exc, self._path) from exc

    def _close(self) -> None:
        self._presence = None
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):  # what was committed is in the write-ahead log
                connection.close()


@dataclass(slots=True, eq=False)
class _Item:
    change: Change[Any] | None
    applied: Callable[[Any], None]
    lines: tuple[int, bytes] | None
    settled: Callable[[], None] | None
    future: asyncio.Future[Any]

    def apply(self, value: Any) -> None:
        if self.settled is not None:
            self.settled()
        try:
            self.applied(value)
        except Exception as exc:  # of one change: the others' logs have to grow all the same
            if not self.future.done():
                self.future.set_exception(exc)
        else:
            if not self.future.done():
                self.future.set_result(value)

    def fail(self, exc: BaseException) -> None:
        if self.settled is not None:
            self.settled()
        if not self.future.done():
            # One exception raised in several tasks would gather all their tracebacks.
            own = StoreError(str(exc)) if isinstance(exc, StoreError) else exc
            own.__cause__ = exc.__cause__
            self.future.set_exception(own)


def _in_transaction(connection: sqlite3.Connection, items: Sequence[_Item]) -> list[Any]:
    if connection.in_transaction:
        connection.execute("ROLLBACK")  # one that failed before, and could not be rolled back then
    connection.execute("BEGIN IMMEDIATE")
    try:
        add_batches(connection, [item.lines for item in items if item.lines is not None])
        values = [None if item.change is None else item.change(connection) for item in items]
        connection.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise
    return values
