"""What the caches on a server share: addresses, names, outages."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from hub.cache.postgres_redis import PostgresRedisCache
from hub.cache.postgres_schema import SCHEMA_NAME, SCHEMA_NAME_RULE
from hub.cache.qdrant import QdrantCache
from hub.cache.servers import Availability, LeftAloneError, check_collection, shown_address
from hub.errors import CacheError, ConfigurationError
from tests.contracts.conftest import HandClock

PG = "postgresql://hub:s3cr3t@db:5432/hub"
REDIS = "redis://:s3cr3t@cache:6379/0"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (PG, "db:5432"),
        ("postgresql://db/hub?password=s3cr3t", "db"),
        ("postgresql://hub:s3cr3t@db1:1,db2:2/hub", "db1:1,db2:2"),
        ("redis://[::1]:6379", "[::1]:6379"),
        ("redis://:s3@cr3t@cache", "cache"),
        ("redis://:s3/cr3t@cache", ""),
        ("redis://:s3#cr3t@cache", ""),
        ("redis://:s3?cr3t@cache", ""),
        ("redis://[s3cr3t@cache", ""),
        ("unix:///var/run/redis.sock", ""),
        ("s3cr3t", ""),
        ("", ""),
    ],
)
def test_of_an_address_only_the_host_is_shown(url: str, shown: str) -> None:
    assert shown_address(url) == shown


@pytest.mark.parametrize("name", ["llm_cache", "a", "_x9", "x" * 63])
def test_a_plain_name_is_a_schema(name: str) -> None:
    assert check_collection(name, SCHEMA_NAME, rule=SCHEMA_NAME_RULE) == name


@pytest.mark.parametrize(
    "name",
    ["", "9a", "Cache", "a-b", 'a"b', "a;b", "a b", "a\n", "x" * 64, "pg_x", "public", "information_schema", "é"],
)
def test_any_other_name_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="cache_collection"):
        PostgresRedisCache(pg_dsn=PG, redis_url=REDIS, cache_collection=name)


@pytest.mark.parametrize("name", ["", "a/b", "..", "a?b", "a b", "x" * 256])
def test_a_name_that_would_change_qdrants_path_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="cache_collection"):
        QdrantCache(qdrant_url="http://q:6333", cache_collection=name)


@pytest.mark.parametrize(
    ("options", "variable"),
    [
        ({"pg_dsn": "mysql://hub:s3cr3t@db"}, "PG_DSN"),
        ({"pg_dsn": "host=db password=s3cr3t"}, "PG_DSN"),
        ({"pg_dsn": ""}, "PG_DSN"),
        ({"redis_url": "http://:s3cr3t@cache"}, "REDIS_URL"),
        ({"redis_url": "redis://:s3cr3t@cache:port"}, "REDIS_URL"),
        ({"redis_url": "redis://:s3cr3t@cache?nonsense=1"}, "REDIS_URL"),
    ],
)
def test_an_address_that_makes_no_sense_is_named_and_not_quoted(options: dict[str, Any], variable: str) -> None:
    with pytest.raises(ConfigurationError, match=variable) as caught:
        PostgresRedisCache(**{"pg_dsn": PG, "redis_url": REDIS, **options})
    assert "s3cr3t" not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_qdrants_address_needs_a_scheme() -> None:
    with pytest.raises(ConfigurationError, match="QDRANT_URL"):
        QdrantCache(qdrant_url="localhost:6333")


@pytest.mark.parametrize("options", [{"redis_ttl_seconds": 0}, {"pg_timeout": 0}, {"redis_timeout": -1}])
def test_a_time_that_is_not_above_0_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        PostgresRedisCache(pg_dsn=PG, redis_url=REDIS, **options)


async def test_a_port_that_only_the_driver_understands_is_not_quoted_either() -> None:
    cache = PostgresRedisCache(pg_dsn="postgresql://hub:s3/cr3t@db/hub", redis_url="redis://127.0.0.1:1")
    with pytest.raises(CacheError, match="PG_DSN") as caught:
        await cache.get("0" * 64)
    assert "s3" not in str(caught.value)
    assert caught.value.__suppress_context__
    await cache.aclose()


def test_passwords_are_not_in_the_repr() -> None:
    cache = PostgresRedisCache(pg_dsn=PG, redis_url=REDIS)
    assert repr(cache) == "<PostgresRedisCache: PostgreSQL at db:5432, Redis at cache:6379>"
    assert repr(QdrantCache(qdrant_url="http://q:6333", qdrant_api_key="s3cr3t")) == (
        "<QdrantCache: Qdrant at q:6333, collection llm_cache>"
    )


# Outages


def outage(clock: HandClock, **options: Any) -> Availability:
    return Availability("Redis at cache", cool_down_delay=2, max_at_once=2, clock=clock, **options)


async def test_a_server_that_failed_is_left_alone_for_a_while() -> None:
    clock = HandClock()
    server = outage(clock)
    async with server.turn():
        server.failed(CacheError("refused"))
    clock.now += 1.9
    with pytest.raises(LeftAloneError, match="left alone for a moment, because it failed: refused"):
        async with server.turn():
            pass
    clock.now += 0.1
    async with server.turn():
        pass


async def test_a_server_that_answers_again_is_asked_at_once(caplog: pytest.LogCaptureFixture) -> None:
    server = outage(HandClock())
    server.failed(CacheError("refused"))
    with caplog.at_level(logging.INFO):
        server.succeeded()
        server.succeeded()
    async with server.turn():
        pass
    assert caplog.messages == ["Redis at cache answers again"]


async def test_those_that_wait_for_their_turn_do_not_ask_a_server_that_fails_meanwhile() -> None:
    server, told = outage(HandClock()), list[str]()

    async def ask() -> None:
        async with server.turn():
            told.append("asked")

    async with server.turn(), server.turn():
        waiting = [asyncio.create_task(ask()) for _ in range(3)]
        await asyncio.sleep(0)
        server.failed(CacheError("hangs"))
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [LeftAloneError] * 3
    assert told == []


def test_a_fault_is_told_once_a_minute() -> None:
    clock, told = HandClock(), list[str]()
    server = outage(clock, on_fault=lambda error: told.append(str(error)))
    for _ in range(3):
        server.report(CacheError("refused"))
        server.report(CacheError("damaged"))
    assert told == ["refused", "damaged"]
    clock.now += 60
    server.report(CacheError("refused"))
    assert told == ["refused", "damaged", "refused"]


def test_a_fault_that_nobody_wants_to_be_told_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    outage(HandClock()).report(CacheError("refused"))
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [("WARNING", "refused")]
