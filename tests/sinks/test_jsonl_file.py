"""Files of lines: what they rotate to, what a killed writer leaves, what is read from them."""

from __future__ import annotations

import logging
import multiprocessing
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from hub.errors import MalformedEventError, SinkError
from hub.events import LLMEvent, encode_event
from sinks.jsonl import read_events
from sinks.jsonl.file import JSONLFile, rotated_files
from sinks.jsonl.lock import try_lock, unlock

from ..contracts.samples import a_stream, text, words

EVENTS = a_stream("Hello", " world")


def line(event: LLMEvent) -> bytes:
    return encode_event(event) + b"\n"


def lines(events: list[LLMEvent]) -> list[bytes]:
    return [line(event) for event in events]


def append(path: Path, events: list[LLMEvent], *, max_bytes: int | None = None, max_files: int | None = None) -> None:
    file = JSONLFile(path, max_bytes=max_bytes, max_files=max_files, is_durable=True)
    file.open()
    file.append(lines(events), sync=True)
    file.close()


def test_lines_are_appended_to_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    append(path, EVENTS[:2])
    append(path, EVENTS[2:])
    assert path.read_bytes() == b"".join(lines(EVENTS))


def test_a_file_rotates_before_it_is_larger_than_told_and_no_line_is_split(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    events = words(9)
    size = len(line(events[0]))
    append(path, events[:4], max_bytes=2 * size)
    append(path, events[4:], max_bytes=2 * size)
    assert [each.name for each in rotated_files(path)] == [f"x.jsonl.00000{n}" for n in (1, 2, 3, 4)]
    contents = [each.read_bytes() for each in (*rotated_files(path), path)]
    assert contents == [b"".join(lines(events[n : n + 2])) for n in range(0, 9, 2)]
    assert list(read_events(path)) == events


def test_a_line_larger_than_a_file_has_one_for_itself(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    events = [text(0), text(1, "x" * 500), text(2)]
    append(path, events, max_bytes=200)
    assert [each.read_bytes() for each in (*rotated_files(path), path)] == lines(events)


def test_the_oldest_are_deleted_beyond_what_is_kept_and_it_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "sinks")
    path = tmp_path / "x.jsonl"
    others = [tmp_path / "x.jsonl.000001.gz", tmp_path / "y.jsonl.000001", tmp_path / "x.jsonl.1"]
    for other in others:
        other.touch()
    events = words(7)
    append(path, events, max_bytes=len(line(events[0])), max_files=3)
    assert [each.name for each in rotated_files(path)] == ["x.jsonl.000005", "x.jsonl.000006"]
    assert list(read_events(path)) == events[4:]
    assert all(other.exists() for other in others)
    assert sum("is deleted: 3 files are kept" in message for message in caplog.messages) == 4


def test_one_file_alone_may_be_kept(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    append(path, words(3), max_bytes=1, max_files=1)
    assert [each.name for each in tmp_path.iterdir()] == ["x.jsonl"]
    assert list(read_events(path)) == words(3)[2:]


def test_what_rotates_and_the_names_outlast_a_power_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.jsonl"
    synced: list[int] = []

    def note(file: Any) -> None:
        synced.append(os.fstat(file if isinstance(file, int) else file.fileno()).st_ino)

    monkeypatch.setattr(os, "fsync", note)
    file = JSONLFile(path, max_bytes=1, is_durable=True)
    file.append(lines(words(3)), sync=False)
    folder = tmp_path.stat().st_ino
    first, second = (each.stat().st_ino for each in rotated_files(path))
    assert synced == [folder, first, folder, second, folder]
    file.close()
    assert synced[5:] == [path.stat().st_ino]


def test_numbers_grow_beyond_six_digits_in_order(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    (tmp_path / "x.jsonl.999999").write_bytes(line(text(0)))
    append(path, words(2), max_bytes=1)
    assert [each.name for each in rotated_files(path)] == ["x.jsonl.999999", "x.jsonl.1000000"]
    assert list(read_events(path)) == [text(0), *words(2)]


@pytest.mark.parametrize("kept", [0, 1, 2], ids=str)
def test_what_a_killed_writer_left_of_a_line_is_cut_off(
    tmp_path: Path, kept: int, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "x.jsonl"
    torn = line(text(9, "x" * 100_000))[:-3]
    path.write_bytes(b"".join(lines(EVENTS[:kept])) + torn)
    assert list(read_events(path)) == EVENTS[:kept]
    append(path, EVENTS[kept:])
    assert path.read_bytes() == b"".join(lines(EVENTS))
    assert f"{len(torn)} bytes of a line whose writer was killed" in caplog.text


def test_a_line_that_lacks_its_end_alone_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(line(EVENTS[0])[:-1])
    append(path, EVENTS[1:])
    assert list(read_events(path)) == EVENTS


def test_an_end_is_mended_also_while_the_file_is_open(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    file = JSONLFile(path)
    file.append(lines(EVENTS[:2]), sync=False)
    with path.open("ab") as killed:
        killed.write(line(EVENTS[2])[:20])
    file.append(lines(EVENTS[2:]), sync=False)
    file.close()
    assert list(read_events(path)) == EVENTS


def test_a_reader_says_which_line_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    append(path, words(4), max_bytes=2 * len(line(text(1, " 1"))))
    rotated = rotated_files(path)[0]
    rotated.write_bytes(line(text(1)) + b'{"type":"text_de\n')
    events = read_events(path)
    assert next(events) == text(1)
    with pytest.raises(MalformedEventError, match=r"Line 2 of .*x\.jsonl\.000001 is damaged"):
        next(events)


def test_a_reader_reads_each_event_once_whatever_rotates_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    size = len(line(text(1, " 1")))
    append(path, words(4), max_bytes=2 * size)
    events = read_events(path)
    read = [next(events)]
    append(path, words(4, first=5), max_bytes=2 * size)
    assert [*read, *events] == words(4)


@pytest.mark.parametrize("count", [5, 70], ids=["a few files", "more than are open at once"])
def test_a_reader_reads_what_a_writer_deletes_meanwhile(tmp_path: Path, count: int) -> None:
    path = tmp_path / "x.jsonl"
    append(path, words(count), max_bytes=1, max_files=count)
    events = read_events(path)
    read = [next(events)]
    append(path, words(4, first=count + 1), max_bytes=1, max_files=count)
    assert len(rotated_files(path)) == count - 1
    assert [*read, *events] == words(count)


def test_a_reader_that_is_left_far_behind_says_so(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    append(path, words(80), max_bytes=1)
    events = read_events(path)
    next(events)
    for each in rotated_files(path):
        each.unlink()
    with pytest.raises(SinkError, match="can't be read: No such file"):
        list(events)


def test_a_reader_passes_over_what_is_deleted_just_before_it_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.jsonl"
    append(path, words(4), max_bytes=1)
    oldest = rotated_files(path)[0]
    list_folder = Path.iterdir

    def list_and_delete(folder: Path) -> list[Path]:
        listed = list(list_folder(folder))
        oldest.unlink()
        return listed

    monkeypatch.setattr(Path, "iterdir", list_and_delete)
    assert list(read_events(path)) == words(3, first=2)


@pytest.mark.skipif(sys.platform != "linux", reason="which alone lists what is open")
def test_a_reader_that_is_given_up_leaves_no_file_open(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    append(path, words(4), max_bytes=1)
    opened = Path("/proc/self/fd")
    before = len(list(opened.iterdir()))
    events = read_events(path)
    next(events)
    assert len(list(opened.iterdir())) > before
    del events
    assert len(list(opened.iterdir())) == before


def test_what_another_one_has_locked_is_left_to_a_later_try(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    file = JSONLFile(path)
    with path.open("a+b") as other:
        assert try_lock(other.fileno())
        assert not file.open()
        assert file.append(lines(EVENTS), sync=False) == 0
        unlock(other.fileno())
        assert file.open()
        assert file.append(lines(EVENTS), sync=False) == len(EVENTS)
        assert try_lock(other.fileno())
    file.close()
    assert list(read_events(path)) == EVENTS


def test_a_reader_between_a_rotation_and_the_next_file_reads_each_once(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    append(path, words(2))
    (tmp_path / "x.jsonl.000001").hardlink_to(path)  # as if it were renamed after it was opened
    assert list(read_events(path)) == words(2)


def test_what_was_written_before_a_rotation_that_was_broken_off_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    append(path, words(2))
    path.rename(tmp_path / "x.jsonl.000001")
    assert list(read_events(path)) == words(2)
    append(path, words(2, first=3))
    assert list(read_events(path)) == words(4)


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(SinkError, match="can't be read: No such file"):
        next(read_events(tmp_path / "x.jsonl"))


def write_apart(path: Path, stream_id: str) -> None:
    """What one process writes."""
    file = JSONLFile(path, max_bytes=2000)
    for event in a_stream(*("x" * n for n in range(40)), stream_id=stream_id):
        while not file.append([line(event)], sync=False):
            time.sleep(0.001)  # the other process has the lock
    file.close()


def test_processes_share_a_file_that_rotates(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    spawn = multiprocessing.get_context("spawn")
    names = ["str_1", "str_2"]
    writers = [spawn.Process(target=write_apart, args=(path, name)) for name in names]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(30)
        assert writer.exitcode == 0
    read = list(read_events(path))
    for name in names:
        expected = a_stream(*("x" * n for n in range(40)), stream_id=name)
        assert [event for event in read if event.stream_id == name] == expected


def write_too_much(path: Path, limit: int) -> None:
    """What a process writes whose files may be no larger than that."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    file = JSONLFile(path)
    file.append(lines(words(2)), sync=False)
    with pytest.raises(SinkError, match="can't be written to: File too large"):
        file.append(lines(words(9, first=3)), sync=False)
    file.close()


def test_a_write_that_fails_leaves_the_lines_that_it_took_whole(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    size = len(line(words(1)[0]))
    writer = multiprocessing.get_context("spawn").Process(target=write_too_much, args=(path, 5 * size + 20))
    writer.start()
    writer.join(30)
    assert writer.exitcode == 0
    assert path.read_bytes() == b"".join(lines(words(5)))
