"""What every cache of answers promises, run over each back end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hub.cache.base import Cache, CacheMaintenance, CacheStats
from hub.cache.entry import CacheEntry
from hub.errors import CacheEntryError, ClosedError

from .cache_backends import HOSTILE, NOW, Backend, an_entry
from .cache_servers import BACKENDS


@pytest.fixture(params=BACKENDS)
async def backend(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Backend]:
    async with BACKENDS[request.param](tmp_path) as opened:
        yield opened


@pytest.fixture
async def cache(backend: Backend) -> AsyncIterator[Cache]:
    opened = backend.open()
    try:
        yield opened
    finally:
        await opened.aclose()


@pytest.fixture
def care(cache: Cache) -> CacheMaintenance:
    """The same cache as its operator sees it."""
    assert isinstance(cache, CacheMaintenance)
    return cache


def by_text(entries: list[CacheEntry]) -> list[str]:
    return ["".join(getattr(event, "text", "") for event in entry.events) for entry in entries]


async def all_of(care: CacheMaintenance, namespace: str | None = None) -> list[CacheEntry]:
    return [entry async for entry in care.entries(namespace)]


# Getting and putting


async def test_a_miss_is_none(cache: Cache) -> None:
    assert await cache.get(an_entry().key) is None


async def test_what_was_put_is_got_unchanged(cache: Cache) -> None:
    entry = an_entry("mine", "Hello", " 😀", "\x00", "שלום", "\r\n\n", "e\u0301", namespace="tenant")
    await cache.put(entry)
    assert await cache.get(entry.key) == entry


async def test_a_put_replaces(cache: Cache, care: CacheMaintenance) -> None:
    await cache.put(an_entry("mine", "old"))
    await cache.put(an_entry("mine", "older yet", created_at=NOW + 1), keep_older=True)
    await cache.put(newest := an_entry("mine", "new", created_at=NOW + 2))
    assert await cache.get(newest.key) == newest
    assert await care.older(newest.key) == []
    assert await all_of(care) == [newest]


async def test_the_last_one_put_is_the_newest_whatever_the_clocks_say(cache: Cache) -> None:
    await cache.put(an_entry("mine", "first", created_at=NOW))
    await cache.put(an_entry("mine", "second", created_at=NOW - 100), keep_older=True)
    await cache.put(third := an_entry("mine", "third", created_at=NOW - 100), keep_older=True)
    assert await cache.get(third.key) == third


async def test_older_entries_stay_readable_where_they_are_kept(cache: Cache, care: CacheMaintenance) -> None:
    entries = [an_entry("mine", said, created_at=NOW + at) for at, said in enumerate(("first", "second", "third"))]
    for entry in entries:
        await cache.put(entry, keep_older=True)
    assert await cache.get(entries[-1].key) == entries[-1]
    assert await care.older(entries[-1].key) == [entries[1], entries[0]]


async def test_keys_do_not_meet(cache: Cache) -> None:
    entries = [
        an_entry("mine", "a"),
        an_entry("mine", "b", namespace="tenant"),
        an_entry("mine", "c", endpoint="https://y/v1"),
        an_entry("Mine", "d"),
    ]
    for entry in entries:
        await cache.put(entry)
    assert [await cache.get(entry.key) for entry in entries] == entries


@pytest.mark.parametrize("identifier", HOSTILE, ids=lambda value: repr(value)[:20])
async def test_any_identifier_will_do(cache: Cache, identifier: str) -> None:
    await cache.put(entry := an_entry(identifier))
    assert await cache.get(entry.key) == entry


async def test_a_large_answer_is_kept_whole(cache: Cache) -> None:
    await cache.put(entry := an_entry("mine", *("word " * 40 for _ in range(5_000))))
    assert await cache.get(entry.key) == entry


async def test_of_puts_at_once_one_is_the_newest_and_whole(cache: Cache, care: CacheMaintenance) -> None:
    entries = [an_entry("mine", f"text {number}") for number in range(20)]
    await asyncio.gather(*(cache.put(entry) for entry in entries))
    assert await cache.get(entries[0].key) in entries
    await cache.put(last := an_entry("mine", "last"))
    assert await all_of(care) == [last]


async def test_a_cancelled_put_leaves_an_entry_or_none(cache: Cache) -> None:
    before, after = an_entry("mine", "before"), an_entry("mine", "after")
    await cache.put(before)
    task = asyncio.create_task(cache.put(after))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert await cache.get(before.key) in (before, after)


async def test_a_damaged_entry_is_told_apart_and_replaced(backend: Backend, cache: Cache) -> None:
    if backend.damage is None:
        pytest.skip("nothing can be spoilt here")
    await cache.put(entry := an_entry())
    backend.damage(entry.key)
    with pytest.raises(CacheEntryError):
        await cache.get(entry.key)
    assert isinstance(cache, CacheMaintenance)
    assert await all_of(cache) == []
    await cache.put(entry)
    assert await cache.get(entry.key) == entry


async def test_another_process_finds_it(backend: Backend, cache: Cache) -> None:
    if not backend.survives:
        pytest.skip("nothing outlives this cache")
    await cache.put(entry := an_entry())
    other = backend.open()
    assert await other.get(entry.key) == entry
    await other.put(newer := an_entry("mine", "newer"))
    await other.aclose()
    assert await cache.get(entry.key) == newer


# Maintenance


async def test_the_stats_count_every_entry(cache: Cache, care: CacheMaintenance) -> None:
    assert await care.stats() == CacheStats(0, 0)
    await cache.put(an_entry("a"))
    first = await care.stats()
    assert first.entries == 1
    assert first.size_bytes > 0
    await cache.put(an_entry("b"))
    await cache.put(an_entry("b", "again"), keep_older=True)
    assert (await care.stats()).entries == 3
    assert (await care.stats()).size_bytes > first.size_bytes


async def test_the_entries_of_a_namespace_are_listed_alone(cache: Cache, care: CacheMaintenance) -> None:
    for namespace in ("a", "b"):
        for number in range(3):
            await cache.put(an_entry(f"{number}", namespace + str(number), namespace=namespace))
    assert sorted(by_text(await all_of(care, "a"))) == ["a0", "a1", "a2"]
    assert len(await all_of(care)) == 6
    assert await all_of(care, "") == []


async def test_clearing_a_namespace_leaves_the_others(cache: Cache, care: CacheMaintenance) -> None:
    kept, gone = an_entry("mine", namespace="a"), an_entry("mine", namespace="b")
    await cache.put(kept)
    await cache.put(gone)
    await cache.put(gone, keep_older=True)
    assert await care.clear("b") == 2
    assert await cache.get(gone.key) is None
    assert await care.older(gone.key) == []
    assert await cache.get(kept.key) == kept
    assert await care.clear() == 1
    assert await care.stats() == CacheStats(0, 0)


async def test_a_key_that_is_not_there_has_no_older_entries(care: CacheMaintenance) -> None:
    assert await care.older(an_entry().key) == []


async def test_warming_twice_loses_nothing(cache: Cache, care: CacheMaintenance) -> None:
    await care.warm()
    await cache.put(entry := an_entry())
    await care.warm()
    assert await cache.get(entry.key) == entry


async def test_a_closed_cache_says_so(cache: Cache, care: CacheMaintenance) -> None:
    await cache.aclose()
    await cache.aclose()
    entry = an_entry()
    with pytest.raises(ClosedError):
        await cache.get(entry.key)
    with pytest.raises(ClosedError):
        await cache.put(entry)
    with pytest.raises(ClosedError):
        await care.stats()
    with pytest.raises(ClosedError):
        await care.clear()
    with pytest.raises(ClosedError):
        await all_of(care)
    with pytest.raises(ClosedError):
        await care.older(entry.key)
    with pytest.raises(ClosedError):
        await care.warm()
