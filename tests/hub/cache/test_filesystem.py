"""The cache in a directory: names that stay inside, files that are whole, limits, and other processes."""

from __future__ import annotations

import asyncio
import os
import re
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from hub.cache.directory import LEFT_BEHIND_SECONDS, READ_AGAIN_SECONDS, file_stem
from hub.cache.entry import encode_entry
from hub.cache.filesystem import FilesystemCache
from hub.errors import CacheEntryError, CacheError

from ...contracts.cache_backends import HOSTILE, an_entry

posix = pytest.mark.skipif(os.name != "posix", reason="there are no such permissions, or no fork")


class Clock:
    """Unix seconds that a test moves; the file system's own clock has the first word."""

    now = float(int(time.time()))

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def files(path: Path) -> list[Path]:
    return sorted(item for item in path.rglob("*") if item.is_file())


def age(path: Path, read_at: float) -> None:
    os.utime(path, (read_at, read_at))


# Names


@pytest.mark.parametrize("identifier", HOSTILE, ids=lambda value: repr(value)[:20])
async def test_whatever_the_identifier_the_file_stays_inside(tmp_path: Path, identifier: str) -> None:
    cache = FilesystemCache(tmp_path / "a" / "cache")
    await cache.put(an_entry(identifier))
    (path,) = files(tmp_path)
    assert path.parent.parent == tmp_path / "a" / "cache"
    assert re.fullmatch(r"[A-Za-z0-9_-]+\.json", path.name)
    assert len(path.name) <= 143
    assert path.resolve() == path


@pytest.mark.parametrize("key", ["../../../etc/passwd", "", "\x00", "A" * 64, "x" * 5_000])
async def test_a_key_that_is_none_stays_inside_too(tmp_path: Path, key: str) -> None:
    cache = FilesystemCache(tmp_path / "cache")
    entry = msgspec.structs.replace(an_entry(), key=key)
    assert await cache.get(key) is None
    await cache.put(entry)
    assert await cache.get(key) == entry
    assert [path.parent.parent for path in files(tmp_path)] == [tmp_path / "cache"]


@pytest.mark.parametrize(
    ("identifier", "stem"),
    [
        ("capital of France?", "capital_of_France"),
        ("../../etc/passwd", "etc_passwd"),
        ("con.txt", "con_txt"),
        ("שלום", "entry"),
        ("", "entry"),
        ("-rf", "rf"),
        ("x" * 5_000, "x" * 60),
    ],
)
def test_the_name_of_a_file_begins_as_its_identifier_does(identifier: str, stem: str) -> None:
    assert file_stem(identifier) == stem


async def test_identifiers_that_begin_alike_have_files_of_their_own(tmp_path: Path) -> None:
    cache = FilesystemCache(tmp_path)
    entries = [an_entry(identifier) for identifier in ("a/b", "a\\b", "A_b", "a_b", "x" * 100, "x" * 101)]
    for entry in entries:
        await cache.put(entry)
    assert [await cache.get(entry.key) for entry in entries] == entries
    assert len(files(tmp_path)) == len(entries)


# Files


@posix
async def test_only_the_owner_may_read(tmp_path: Path) -> None:
    cache_dir = tmp_path / "cache"
    await FilesystemCache(cache_dir).put(an_entry())
    (path,) = files(cache_dir)
    modes = [stat.S_IMODE(each.stat().st_mode) for each in (cache_dir, path.parent, path)]
    assert modes == [0o700, 0o700, 0o600]


@pytest.mark.parametrize("fsync", [True, False])
async def test_a_file_holds_the_entry_and_nothing_else_is_left(tmp_path: Path, fsync: bool) -> None:
    await FilesystemCache(tmp_path, fsync=fsync).put(entry := an_entry())
    (path,) = files(tmp_path)
    assert path.read_bytes() == encode_entry(entry)


async def test_an_entry_cut_short_anywhere_is_told_apart(tmp_path: Path) -> None:
    cache = FilesystemCache(tmp_path)
    await cache.put(entry := an_entry())
    (path,) = files(tmp_path)
    whole = path.read_bytes()
    for end in range(0, len(whole), 37):
        path.write_bytes(whole[:end])
        with pytest.raises(CacheEntryError):
            await cache.get(entry.key)


async def test_a_file_of_another_key_is_no_entry(tmp_path: Path) -> None:
    cache = FilesystemCache(tmp_path)
    await cache.put(mine := an_entry("mine"))
    (path,) = files(tmp_path)
    path.write_bytes(encode_entry(an_entry("another")))
    with pytest.raises(CacheEntryError, match="another key"):
        await cache.get(mine.key)


async def test_files_of_others_are_left_alone(tmp_path: Path, clock: Clock) -> None:
    cache = FilesystemCache(tmp_path, max_bytes=2_000, clock=clock)
    names = ("notes.json", "abc/notes.json", "abc/.new", "x/y", "def")
    others = [tmp_path / name for name in names]
    for other in others:
        other.parent.mkdir(exist_ok=True)
        other.write_text("mine" * 1_000)
        age(other, 0)
    for number in range(10):
        await cache.put(an_entry(str(number)))
    await cache.warm()
    await cache.clear()
    assert files(tmp_path) == sorted(others)


async def test_a_directory_that_can_t_be_used_is_a_cache_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    cache = FilesystemCache(tmp_path / "file")
    with pytest.raises(CacheError, match="Not a directory"):
        await cache.put(an_entry())
    with pytest.raises(CacheError, match="can't be read"):
        await cache.get(an_entry().key)
    with pytest.raises(CacheError):
        await cache.warm()
    with pytest.raises(CacheError):
        await cache.stats()


@pytest.mark.parametrize("limits", [{"max_bytes": 0}, {"max_bytes": -1}, {"entry_ttl": 0.0}])
def test_a_limit_of_nothing_is_refused(tmp_path: Path, limits: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="above 0"):
        FilesystemCache(tmp_path, **limits)  # type: ignore[arg-type]


async def test_entries_put_at_once_in_the_same_instant_are_all_kept(tmp_path: Path) -> None:
    caches = [FilesystemCache(tmp_path) for _ in range(20)]
    entries = [an_entry("mine", f"text {number}") for number in range(20)]
    await asyncio.gather(*(cache.put(entry, keep_older=True) for cache, entry in zip(caches, entries, strict=True)))
    newest, older = await caches[0].get(entries[0].key), await caches[0].older(entries[0].key)
    assert newest is not None
    assert len(older) == 19
    assert all(entry in [newest, *older] for entry in entries)


async def test_of_entries_put_at_once_in_each_other_s_place_one_is_left(tmp_path: Path) -> None:
    caches = [FilesystemCache(tmp_path) for _ in range(20)]
    entries = [an_entry("mine", f"text {number}") for number in range(20)]
    await asyncio.gather(*(cache.put(entry) for cache, entry in zip(caches, entries, strict=True)))
    assert await caches[0].get(entries[0].key) in entries
    assert await caches[0].older(entries[0].key) == []
    assert len(files(tmp_path)) == 1


# Limits


async def swept(cache: FilesystemCache) -> None:
    """What a put began in the background is done."""
    if cache._sweeping is not None:
        await cache._sweeping


async def test_the_files_stay_within_their_limit(tmp_path: Path) -> None:
    size = len(encode_entry(an_entry("00", "x" * 1_000)))
    cache = FilesystemCache(tmp_path, max_bytes=size * 20)
    for number in range(100):
        await cache.put(an_entry(f"{number:02}", "x" * 1_000))
        await swept(cache)
        assert (await cache.stats()).size_bytes <= size * 20
    assert len(files(tmp_path)) >= 17


async def test_what_was_read_longest_ago_goes_first(tmp_path: Path, clock: Clock) -> None:
    size = len(encode_entry(an_entry("0", "x" * 1_000)))
    cache = FilesystemCache(tmp_path, max_bytes=size * 4, clock=clock)
    entries = [an_entry(str(number), "x" * 1_000) for number in range(5)]
    for number, entry in enumerate(entries[:4]):
        await cache.put(entry)
        await swept(cache)
        age(next(path for path in files(tmp_path) if path.name.startswith(f"{number}-")), clock.now - 1_000 + number)
    await cache.get(entries[0].key)
    await cache.put(entries[4])
    newest = next(path for path in files(tmp_path) if path.name.startswith("4-"))
    age(newest, clock.now)
    await swept(cache)
    await cache.warm()
    found = [await cache.get(entry.key) is not None for entry in entries]
    assert found == [True, False, False, True, True]


async def test_a_reading_is_marked_once_a_minute_at_most(tmp_path: Path, clock: Clock) -> None:
    cache = FilesystemCache(tmp_path, clock=clock)
    await cache.put(entry := an_entry())
    (path,) = files(tmp_path)
    age(path, clock.now)
    for seconds, marked in (
        (READ_AGAIN_SECONDS - 1, 0.0),
        (2.0, READ_AGAIN_SECONDS + 1),
        (1.0, READ_AGAIN_SECONDS + 1),
    ):
        clock.now += seconds
        await cache.get(entry.key)
        assert path.stat().st_mtime == Clock.now + marked


async def test_entries_expire(tmp_path: Path, clock: Clock) -> None:
    cache = FilesystemCache(tmp_path, entry_ttl=60.0, clock=clock)
    await cache.put(old := an_entry("old", created_at=clock.now))
    clock.now += 50
    await cache.put(young := an_entry("young", created_at=clock.now))
    clock.now += 20
    assert await cache.get(old.key) is None
    assert await cache.get(young.key) == young
    assert (await cache.stats()).entries == 1
    assert [entry async for entry in cache.entries()] == [young]
    await cache.put(an_entry("third", created_at=clock.now))
    await cache.aclose()
    assert sorted(path.name.partition("-")[0] for path in files(tmp_path)) == ["third", "young"]


async def test_an_entry_larger_than_the_limit_is_refused(tmp_path: Path) -> None:
    cache = FilesystemCache(tmp_path, max_bytes=100)
    with pytest.raises(CacheError, match="larger than the cache"):
        await cache.put(an_entry())
    assert files(tmp_path) == []


async def test_what_killed_processes_left_goes_after_an_hour(tmp_path: Path, clock: Clock) -> None:
    cache = FilesystemCache(tmp_path, clock=clock)
    await cache.put(an_entry())
    (path,) = files(tmp_path)
    fresh, stale = path.with_name(".new-1-a"), path.with_name(".new-1-b")
    for left, seconds in ((fresh, LEFT_BEHIND_SECONDS - 60), (stale, LEFT_BEHIND_SECONDS + 60)):
        left.write_bytes(b"half")
        age(left, clock.now - seconds)
    await cache.warm()
    assert files(tmp_path) == sorted([path, fresh])


async def test_a_put_does_not_look_at_the_whole_directory(tmp_path: Path) -> None:
    cache = FilesystemCache(tmp_path)
    await cache.put(an_entry("first"))
    await swept(cache)
    sweep = cache._sweeping
    for number in range(20):
        await cache.put(an_entry(str(number)))
    assert cache._sweeping is sweep


async def test_what_other_processes_wrote_is_seen_after_a_tenth_of_the_limit(tmp_path: Path) -> None:
    size = len(encode_entry(an_entry("00", "x" * 1_000)))
    caches = [FilesystemCache(tmp_path, max_bytes=size * 20) for _ in range(4)]
    for number in range(80):
        await caches[number % 4].put(an_entry(f"{number:02}", "x" * 1_000))
        await swept(caches[number % 4])
        assert len(files(tmp_path)) <= 20 + 4 * 2


async def test_a_directory_removed_under_its_feet_is_made_again(tmp_path: Path) -> None:
    cache = FilesystemCache(tmp_path / "cache")
    await cache.put(entry := an_entry())
    await swept(cache)
    for path in [*files(tmp_path), *sorted((tmp_path / "cache").iterdir()), tmp_path / "cache"]:
        path.unlink() if path.is_file() else path.rmdir()
    assert await cache.get(entry.key) is None
    await cache.put(entry)
    assert await cache.get(entry.key) == entry


# Processes


@posix
@pytest.mark.parametrize("max_bytes", [10_000_000, 30_000], ids=["roomy", "evicting"])
async def test_fifty_processes_share_a_directory(tmp_path: Path, max_bytes: int) -> None:
    raced = await asyncio.to_thread(_race, tmp_path, str(max_bytes))
    assert raced.returncode == 0, raced.stderr
    await _check(tmp_path)


@posix
async def test_processes_that_are_killed_leave_no_half_entry(tmp_path: Path) -> None:
    raced = await asyncio.to_thread(_race, tmp_path, "10000000", "victims")
    assert raced.returncode == 0, raced.stderr
    await _check(tmp_path)


def _race(path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.hub.cache.racing", str(path / "cache"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=Path(__file__).parents[3])


async def _check(path: Path) -> None:
    """Every entry that is left is whole, and what comes after it takes its place."""
    cache = FilesystemCache(path / "cache")
    stats = await cache.stats()
    assert stats.entries == len([entry async for entry in cache.entries()]) > 0
    await cache.put(last := an_entry("key 0", "last"))
    assert await cache.get(last.key) == last
    assert await cache.older(last.key) == []


# What has an entry's name and is none


@posix
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
async def test_a_pipe_or_a_directory_of_an_entry_s_name_is_a_miss_that_stays_and_stops_nothing(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    cache = FilesystemCache(tmp_path, max_bytes=100_000)
    await cache.put(an_entry("mine"))
    await cache.put(an_entry("other"))
    (path,) = (path for path in files(tmp_path) if path.name.startswith("mine"))
    path.unlink()
    make(path)
    async with asyncio.timeout(5):
        with pytest.raises(CacheEntryError, match="no file"):
            await cache.get(an_entry("mine").key)
        assert [entry.identifier async for entry in cache.entries()] == ["other"]
        await cache.put(msgspec.structs.replace(an_entry("mine"), created_at=an_entry().created_at + 1))
        assert await cache.get(an_entry("mine").key) is not None
        assert (await cache.stats()).entries == 2
        assert await cache.clear() == 2
    assert path.exists()
