"""The file of streams: made, locked, and told from what is none."""

from __future__ import annotations

import asyncio
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hub.errors import StoreError
from hub.streams.sqlite import SqliteStreamStore

from ...contracts.conftest import events_of, kept
from ...contracts.samples import a_stream
from .support import edit, names_in, opened, refusal


async def test_nothing_is_touched_before_the_first_call(tmp_path: Path) -> None:
    SqliteStreamStore(tmp_path / "streams.db")
    assert names_in(tmp_path) == []


async def test_the_file_and_its_folder_are_made_for_their_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "streams.db"
    async with opened(path) as store:
        await kept(store, "str_1")
        for file in path.parent.iterdir():
            assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


async def test_a_closed_store_leaves_one_file_behind(tmp_path: Path) -> None:
    async with opened(tmp_path / "streams.db") as store:
        await kept(store, "str_1")
    assert names_in(tmp_path) == ["streams.db"]


async def test_a_folder_in_the_file_s_place_is_said_to_be_one(tmp_path: Path) -> None:
    assert await refusal(tmp_path) == f"{tmp_path} is a folder. Name a file in it."


async def test_a_path_below_a_file_can_t_be_opened(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "can't be opened" in await refusal(tmp_path / "file" / "streams.db")


@pytest.fixture
def locked_folder(tmp_path: Path) -> Iterator[Path]:
    tmp_path.chmod(0o500)
    yield tmp_path
    tmp_path.chmod(0o700)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="an administrator may write everywhere")
async def test_a_folder_that_may_not_be_written_to_is_named(locked_folder: Path) -> None:
    assert "streams.db can't be opened: Permission denied." in await refusal(locked_folder / "streams.db")


async def test_what_is_no_database_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "streams.db"
    path.write_bytes(b"Dear diary, " * 1_000)
    assert "is not a database" in await refusal(path)
    assert path.read_bytes() == b"Dear diary, " * 1_000


async def test_another_program_s_database_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "streams.db"
    edit(path, "CREATE TABLE songs (title TEXT)")
    before = path.read_bytes()
    assert "is a database of another program" in await refusal(path)
    assert path.read_bytes() == before


async def test_a_schema_of_a_later_version_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "streams.db"
    async with opened(path):
        pass
    edit(path, "PRAGMA user_version = 99")
    assert "later version of llm-stream-hub (schema 99; this one knows 2)" in await refusal(path)
    edit(path, "PRAGMA user_version = 2")
    async with opened(path) as store:
        await kept(store, "str_1")


async def test_a_file_of_the_first_schema_is_brought_up_to_date_and_keeps_its_streams(tmp_path: Path) -> None:
    path = tmp_path / "streams.db"
    async with opened(path) as store:
        await kept(store, "str_1", a_stream("a"))
    edit(path, "ALTER TABLE streams DROP COLUMN input_tokens")
    edit(path, "PRAGMA user_version = 1")
    async with opened(path) as store:
        assert await events_of(store, "str_1") == a_stream("a")
        await store.create("str_2", input_tokens=12)
        assert (await store.open("str_2")).input_tokens == 12


async def test_a_store_that_could_not_start_starts_once_the_cause_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "streams.db"
    path.write_bytes(b"Dear diary, " * 1_000)
    store = SqliteStreamStore(path)
    with pytest.raises(StoreError):
        await store.start()
    path.unlink()
    await kept(store, "str_1")
    await store.aclose()


async def test_a_damaged_file_is_said_to_be_damaged(tmp_path: Path) -> None:
    path = tmp_path / "streams.db"
    async with opened(path) as store:
        await kept(store, "str_1", a_stream(*("x" * 500 for _ in range(400))))
    content = bytearray(path.read_bytes())
    for page in range(2, len(content) // 4_096):
        content[page * 4_096 : page * 4_096 + 200] = os.urandom(200)
    path.write_bytes(content)
    store = SqliteStreamStore(path)
    with pytest.raises(StoreError, match=r"damaged|not a database"):
        await events_of(store, "str_1")
    await store.aclose()


# One process


async def test_a_second_store_on_the_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "streams.db"
    async with opened(path) as store:
        assert "is in use by another process" in await refusal(path)
        await kept(store, "str_1")
    async with opened(path) as store:
        assert await events_of(store, "str_1") == a_stream("a")


HOLDER = """
import asyncio, sys
from hub.streams.sqlite import SqliteStreamStore

async def main():
    store = SqliteStreamStore(sys.argv[1])
    await store.create("str_1")
    print("ready", flush=True)
    sys.stdin.read()

asyncio.run(main())
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Another process, which has the file."""
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "streams.db")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield process
        process.kill()


async def test_a_second_process_is_refused_until_the_first_is_gone_however_it_went(
    tmp_path: Path, holder: subprocess.Popen[bytes]
) -> None:
    path = tmp_path / "streams.db"
    assert "is in use by another process" in await refusal(path)
    holder.kill()
    holder.wait()
    async with opened(path) as store:
        assert [(info.stream_id, info.status) for info in await store.list()] == [("str_1", "failed")]


async def test_of_two_that_start_at_once_on_a_new_file_no_more_than_one_does(tmp_path: Path) -> None:
    stores = [SqliteStreamStore(tmp_path / "streams.db", busy_timeout=0.2) for _ in range(2)]
    started = await asyncio.gather(*(store.start() for store in stores), return_exceptions=True)
    assert [result is None for result in started].count(True) <= 1
    for store in stores:
        await store.aclose()
