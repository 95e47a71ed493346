"""The sink that writes one event a line."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from hub.completion import fold
from hub.errors import ClosedError, ConfigurationError, MalformedEventError, SinkError, SinkUnavailableError
from hub.events import LLMEvent, encode_event
from hub.sink import FanOut, pump
from sinks.jsonl import JSONLSink, read_events
from sinks.jsonl.file import JSONLFile, rotated_files
from sinks.jsonl.lock import try_lock
from sinks.jsonl.writer import LineWriter
from sinks.memory import MemorySink

from ..contracts.samples import a_stream, done, meta, source, text, turns, unmergeable, words

STREAM = a_stream("Hello", " world", "\x00😀 שלום\r\n\u2028")


def lines(events: list[LLMEvent]) -> bytes:
    return b"".join(encode_event(event) + b"\n" for event in events)


async def write(path: Path, events: list[LLMEvent], **options: Any) -> None:
    async with JSONLSink(path, **options) as sink:
        for event in events:
            await sink.send(event)


async def test_each_event_is_a_line_as_it_came(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    await write(path, STREAM)
    assert path.read_bytes() == lines(STREAM)
    assert fold(read_events(path)) == fold(STREAM)


async def test_the_file_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    await write(path, STREAM)
    assert path.stat().st_mode & 0o777 == 0o600


async def test_done_returns_once_the_stream_is_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    async with JSONLSink(path, max_delay=60) as sink:
        for event in STREAM:
            await sink.send(event)
        assert path.read_bytes() == lines(STREAM)


async def test_a_burst_takes_few_writes(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    with path.open("w+b", buffering=0) as held, pytest.MonkeyPatch.context() as patch:
        syncs: list[int] = []
        patch.setattr(os, "fsync", lambda file: syncs.append(1))
        async with JSONLSink(path, fsync="always", max_delay=60) as sink:
            before = len(syncs)
            for event in [*words(500), done(501)]:
                await sink.send(event)
            assert 1 <= len(syncs) - before <= 2
        assert held.read() == lines([*words(500), done(501)])


@pytest.mark.parametrize(
    ("fsync", "expected"), [("never", (0, 0, 0)), ("end", (0, 1, 2)), ("always", (1, 3, 4))], ids=str
)
async def test_the_disk_is_waited_for_as_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fsync: Any, expected: tuple[int, int, int]
) -> None:
    path = tmp_path / "x.jsonl"
    path.touch()
    syncs: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda file: syncs.append(1))
    async with JSONLSink(path, fsync=fsync, max_delay=0, max_held_bytes=1) as sink:
        opened = len(syncs)
        await sink.send(text(0))
        await sink.send(text(1))  # there is room: the one before is written
        counts = [len(syncs) - opened]
        await sink.send(done(2))
        counts.append(len(syncs) - opened)
        await sink.send(text(3))
        await sink.aclose()
        counts.append(len(syncs) - opened)
    assert tuple(counts) == expected


async def test_several_streams_and_several_sinks_share_a_file_line_by_line(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    streams = [a_stream(*(f"{n} " + "x" * n for n in range(60)), stream_id=f"str_{number}") for number in range(6)]

    async def fill(sink: JSONLSink, events: list[LLMEvent]) -> None:
        for event in events:
            await sink.send(event)
            await asyncio.sleep(0)

    async def fill_in_turn(*of_one_sink: list[LLMEvent]) -> None:
        async with JSONLSink(path, max_delay=0, max_bytes=4000, fsync="never") as sink:
            for events in of_one_sink:
                await fill(sink, events)

    async with asyncio.TaskGroup() as tasks:
        for number in range(0, 6, 2):
            tasks.create_task(fill_in_turn(*streams[number : number + 2]))
    read = list(read_events(path))
    for events in streams:
        assert [event for event in read if event.stream_id == events[0].stream_id] == events
    files = [*rotated_files(path), path]
    assert all(each.read_bytes().endswith(b"\n") for each in files)
    assert len(files) > 3


async def test_what_cant_be_opened_says_so(tmp_path: Path) -> None:
    others = tmp_path / "notes.txt"
    others.write_text("dear diary")
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path, reason in [
        (tmp_path / "none" / "x.jsonl", "No such file"),
        (tmp_path, "directory"),
        (others, "no file of events"),
        (pipe, "no ordinary file"),
        (Path(os.devnull), "no ordinary file"),
    ]:
        sink = JSONLSink(path)
        with pytest.raises(SinkError, match=reason):
            await sink.__aenter__()
        with pytest.raises(ClosedError):
            await sink.send(STREAM[0])
    assert others.read_text() == "dear diary"


async def test_half_a_character_is_refused_and_nothing_of_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    async with JSONLSink(path) as sink:
        await sink.send(meta(0))
        with pytest.raises(MalformedEventError):
            await sink.send(text(1, "\ud83d"))
        await sink.send(text(1))
    assert list(read_events(path)) == [meta(0), text(1)]


async def test_a_write_that_fails_is_raised_and_the_stream_goes_on_elsewhere(tmp_path: Path) -> None:
    path = tmp_path / "inner" / "x.jsonl"
    path.parent.mkdir()
    kept = MemorySink()
    async with JSONLSink(path, max_delay=0) as sink:
        path.unlink()
        path.parent.rmdir()
        async with FanOut(sink, kept) as both:
            assert await pump(source(STREAM), both) == fold(STREAM)
        assert [type(error) for _, error in both.failures] == [SinkError]
    assert kept.events == STREAM


async def test_a_file_that_somebody_removes_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    async with JSONLSink(path) as sink:
        await sink.send(done(0))
        path.unlink()
        await sink.send(done(1))
    assert list(read_events(path)) == [done(1)]


class HungDisk:
    """A call to the system takes until it is `free`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, module: ModuleType, name: str) -> None:
        self.reached = threading.Event()
        self.free = threading.Event()
        self._call = getattr(module, name)
        monkeypatch.setattr(module, name, self._hang)

    def _hang(self, *args: Any) -> Any:
        self.reached.set()
        assert self.free.wait(20)
        return self._call(*args)


def threads(*paths: Path) -> list[threading.Thread]:
    """Those that write to these files."""
    names = {f"JSONL {path.name}" for path in paths}
    return [each for each in threading.enumerate() if each.name in names]


def wait_for_threads(*paths: Path) -> None:
    for each in threads(*paths):
        each.join(20)
    assert not threads(*paths)


async def test_a_disk_that_hangs_is_left_and_gets_what_was_under_way_once_it_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "hung.jsonl"
    path.touch()
    sink = await JSONLSink(path, close_timeout=0.05, max_delay=0, fsync="never").__aenter__()
    disk = HungDisk(monkeypatch, os.path, "samestat")  # before it writes
    await sink.send(text(0))
    with pytest.raises(SinkUnavailableError, match=r"within 0\.05 s"):
        await sink.aclose()
    assert len(threads(path)) == 1
    assert path.read_bytes() == b""
    disk.free.set()
    wait_for_threads(path)
    assert list(read_events(path)) == [text(0)]


async def test_disks_that_hang_take_no_thread_of_the_loops_pool(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(1))
    paths = [tmp_path / f"hung-{n}.jsonl" for n in range(3)]
    sinks = [await JSONLSink(path, close_timeout=0.01, max_delay=0).__aenter__() for path in paths]
    disk = HungDisk(monkeypatch, os, "fsync")
    sending = [asyncio.ensure_future(sink.send(done(0))) for sink in sinks]
    assert await asyncio.wait_for(loop.run_in_executor(None, disk.reached.wait, 20), 20)
    for each in sinks:
        with suppress(SinkUnavailableError):
            await each.aclose()
    assert len(threads(*paths)) == 3
    assert [type(each) for each in await asyncio.gather(*sending, return_exceptions=True)] == 3 * [SinkUnavailableError]
    await asyncio.wait_for(loop.shutdown_default_executor(), 20)
    disk.free.set()
    wait_for_threads(*paths)


HANGING_PROCESS = """
import asyncio, os, sys, threading

from hub.events import Done
from sinks.jsonl import JSONLSink


async def main():
    async with JSONLSink(sys.argv[1], close_timeout=0.05) as sink:
        os.fsync = lambda file: threading.Event().wait()
        sending = asyncio.ensure_future(sink.send(Done(stream_id="str_1", seq=0, status="completed")))
        await asyncio.wait([sending], timeout=0.05)
    print(type((await asyncio.gather(sending, return_exceptions=True))[0]).__name__)


asyncio.run(main())
"""


async def test_a_process_ends_also_where_a_disk_never_answers(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.touch()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", HANGING_PROCESS, str(path)), stdout=asyncio.subprocess.PIPE
    )
    try:
        said, _ = await asyncio.wait_for(process.communicate(), 20)
    finally:
        if process.returncode is None:
            process.kill()
    assert (process.returncode, said) == (0, b"SinkUnavailableError\n")


async def test_a_file_that_another_one_has_locked_costs_no_thread_and_is_written_to_once_it_is_free(
    tmp_path: Path,
) -> None:
    path = tmp_path / "locked.jsonl"
    with path.open("a+b") as other:
        assert try_lock(other.fileno())
        opening = [asyncio.ensure_future(write(path, [done(n)])) for n in range(5)]
        while not threads(path):
            await turns(1)
        while threads(path):  # between two tries there is none
            await turns(1)
        assert not any(each.done() for each in opening)
    await asyncio.wait_for(asyncio.gather(*opening), 20)
    assert sorted(event.seq for event in read_events(path)) == [0, 1, 2, 3, 4]


async def test_many_sinks_of_a_disk_that_hangs_take_one_thread_and_hold_nothing_when_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "hung.jsonl"
    sinks = [await JSONLSink(path, close_timeout=0.01, max_delay=0, fsync="never").__aenter__() for _ in range(5)]
    disk = HungDisk(monkeypatch, os.path, "samestat")
    for number, sink in enumerate(sinks):
        await sink.send(text(number))
    await asyncio.to_thread(disk.reached.wait, 20)
    for sink in sinks:
        with pytest.raises(SinkUnavailableError):
            await sink.aclose()
    assert len(threads(path)) == 1
    disk.free.set()
    wait_for_threads(path)
    assert list(read_events(path)) == [text(0)]


async def test_what_is_cancelled_while_another_one_has_the_lock_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "locked-2.jsonl"
    with path.open("a+b") as other:
        sink = await JSONLSink(path, close_timeout=0.05, max_delay=0).__aenter__()
        assert try_lock(other.fileno())
        await sink.send(text(0))
        with pytest.raises(SinkUnavailableError, match=r"within 0\.05 s"):
            await sink.aclose()
    wait_for_threads(path)
    assert path.read_bytes() == b""


async def test_a_writer_that_keeps_the_lock_for_good_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    writer = LineWriter(JSONLFile(path), lock_timeout=0.01)
    with path.open("a+b") as other:
        assert try_lock(other.fileno())
        for call in (writer.open(), writer.append([b"{}\n"], sync=False)):
            with pytest.raises(SinkUnavailableError, match=r"locked by another writer for 0\.01 s"):
                await call
    await writer.close()
    assert path.read_bytes() == b""


async def test_a_process_that_may_have_no_more_threads_is_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    path = tmp_path / "x.jsonl"
    sink = await JSONLSink(path).__aenter__()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(SinkUnavailableError, match="no more threads"):
            await sink.send(done(0))
    await sink.aclose()


@pytest.mark.parametrize("path", ["x\0y.jsonl", "x\ud800.jsonl"], ids=["NUL", "half a character"])
def test_a_path_that_no_file_can_have_is_refused(path: str) -> None:
    with pytest.raises(ConfigurationError, match="No file can have the path"):
        JSONLSink(path)
    with pytest.raises(ConfigurationError, match="No file can have the path"):
        next(read_events(path))


async def test_a_held_file_holds_the_producer_back_at_the_bound(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    kept = MemorySink()
    with path.open("a+b", buffering=0) as other:
        async with JSONLSink(path, max_held_bytes=300) as sink:
            assert try_lock(other.fileno())
            with suppress(TimeoutError):
                async with asyncio.timeout(0.1):
                    for event in unmergeable(50):
                        await sink.send(event)
                        await kept.send(event)
            other.close()
        assert list(read_events(path)) == kept.events
    assert 3 <= len(kept.events) <= 6


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"max_bytes": 0}, "max_bytes"),
        ({"max_bytes": 10, "max_files": 0}, "max_files"),
        ({"max_files": 2}, "max_files"),
        ({"fsync": "sometimes"}, "fsync"),
        ({"max_delay": -1}, "max_delay"),
        ({"max_held_bytes": 0}, "max_held_bytes"),
        ({"close_timeout": 0}, "close_timeout"),
    ],
)
def test_what_makes_no_sense_is_refused(options: Any, named: str) -> None:
    with pytest.raises(ConfigurationError, match=named):
        JSONLSink("x.jsonl", **options)
