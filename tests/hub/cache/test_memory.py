"""The cache in memory: its limits."""

from __future__ import annotations

import pytest

from hub.cache.memory import MemoryCache
from hub.errors import CacheError

from ...contracts.cache_backends import NOW, an_entry


async def test_what_was_read_longest_ago_goes_first() -> None:
    probe = MemoryCache()
    await probe.put(an_entry("0"))
    size = (await probe.stats()).size_bytes
    cache = MemoryCache(max_bytes=3 * size)
    entries = [an_entry(str(number)) for number in range(4)]
    for entry in entries[:3]:
        await cache.put(entry)
    await cache.get(entries[0].key)
    await cache.put(entries[3])
    assert [await cache.get(entry.key) is not None for entry in entries] == [True, False, True, True]
    assert (await cache.stats()).size_bytes == 3 * size


async def test_older_entries_of_a_key_go_before_its_newest() -> None:
    probe = MemoryCache()
    await probe.put(an_entry("0"))
    cache = MemoryCache(max_bytes=2 * (await probe.stats()).size_bytes)
    entries = [an_entry("0", created_at=NOW + number) for number in range(4)]
    for entry in entries:
        await cache.put(entry, keep_older=True)
    assert await cache.get(entries[3].key) == entries[3]
    assert await cache.older(entries[3].key) == [entries[2]]


async def test_entries_expire_and_weigh_no_more() -> None:
    now = NOW
    cache = MemoryCache(entry_ttl=60.0, clock=lambda: now)
    await cache.put(an_entry("a", created_at=NOW))
    await cache.put(an_entry("a", created_at=NOW + 30), keep_older=True)
    now = NOW + 61
    assert (await cache.stats()).entries == 1
    now = NOW + 91
    assert await cache.get(an_entry("a").key) is None
    assert (await cache.stats()).size_bytes == 0


async def test_an_entry_larger_than_the_limit_is_refused() -> None:
    with pytest.raises(CacheError, match="larger than the cache"):
        await MemoryCache(max_bytes=100).put(an_entry())


@pytest.mark.parametrize("limits", [{"max_bytes": 0}, {"entry_ttl": -1.0}])
def test_a_limit_of_nothing_is_refused(limits: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="above 0"):
        MemoryCache(**limits)  # type: ignore[arg-type]
