"""The thread of a sink that writes to a file, and what waits for the lock without one."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from sinks.jsonl.file import JSONLFile
from sinks.jsonl.thread import OwnThread, thread_of
from sinks.jsonl.writer import LineWriter


async def test_calls_are_made_one_after_another_and_give_what_the_function_gives() -> None:
    thread, order = OwnThread("a thread of tests"), list[int]()

    def fail() -> None:
        raise ZeroDivisionError

    calls = [asyncio.ensure_future(thread.run(lambda n=n: order.append(n) or n * n)) for n in range(5)]
    failing = asyncio.ensure_future(thread.run(fail))
    assert await asyncio.gather(*calls) == [0, 1, 4, 9, 16]
    assert order == [0, 1, 2, 3, 4]
    with pytest.raises(ZeroDivisionError):
        await failing
    assert await thread.run(lambda: threading.current_thread().daemon)


async def test_what_is_cancelled_is_finished_or_never_begun_unless_it_must_be() -> None:
    troubles: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, trouble: troubles.append(trouble))
    thread, reached, free = OwnThread("a thread of tests"), threading.Event(), threading.Event()
    done: list[str] = []

    def hang() -> None:
        reached.set()
        assert free.wait(20)
        done.append("under way")

    under_way = asyncio.ensure_future(thread.run(hang))
    behind = asyncio.ensure_future(thread.run(lambda: done.append("behind")))
    closing = asyncio.ensure_future(thread.run(lambda: done.append("close"), in_any_case=True))
    await asyncio.to_thread(reached.wait, 20)
    for each in (under_way, behind, closing):
        each.cancel()
        with pytest.raises(asyncio.CancelledError):
            await each
    free.set()
    await thread.run(lambda: done.append("last"))
    assert done == ["under way", "close", "last"]
    assert troubles == []


def test_all_that_write_to_a_file_have_one_thread_and_other_files_have_others(monkeypatch: pytest.MonkeyPatch) -> None:
    thread = thread_of(Path("x.jsonl"))
    assert thread_of(Path("x.jsonl")) is thread
    assert thread_of(Path("y.jsonl")) is not thread
    monkeypatch.setattr(os, "getpid", lambda: -1)  # a process that was forked off while the thread ran
    assert thread_of(Path("x.jsonl")) is not thread


class OneByOne(JSONLFile):
    """Loses the lock to another one after each line."""

    def append(self, lines: Sequence[bytes], *, sync: bool) -> int:
        """Write the first."""
        return super().append(lines[:1], sync=sync)


async def test_a_writer_that_gets_on_between_others_is_not_told_that_it_waits_for_good(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    writer = LineWriter(OneByOne(path), lock_timeout=0.001)
    await writer.append([b'{"type":"%d"}\n' % n for n in range(20)], sync=False)
    await writer.close()
    assert len(path.read_bytes().splitlines()) == 20
