"""The cache in Qdrant, on Qdrant's own engine, with the errors that a server has.

What every cache promises is in tests/contracts/test_caches.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from qdrant_client import AsyncQdrantClient, models

from hub.cache.qdrant import QdrantCache
from hub.cache.qdrant_points import point_id
from hub.errors import CacheEntryError, CacheError
from tests.real.cache_support import an_entry, at_once, needs
from tests.real.qdrant_server import QdrantServer, has_qdrant

pytestmark = needs(has_qdrant(), "qdrant-edge-py")

HELLO = an_entry()
POINT = point_id(HELLO.key)
BY_KEY = "POST /collections/llm_cache/points"


@pytest.fixture
async def server() -> AsyncIterator[QdrantServer]:
    async with QdrantServer() as server:
        yield server


@pytest.fixture
async def cache(server: QdrantServer) -> AsyncIterator[QdrantCache]:
    cache = QdrantCache(qdrant_url=server.url, cool_down_delay=0)
    yield cache
    await cache.aclose()


def answers(status: int, body: Any = None, **options: Any) -> Any:
    """A reply with this status."""

    async def reply() -> web.StreamResponse:
        return web.json_response({"status": {"error": body}}, status=status, **options)

    return reply


async def says_nothing() -> web.StreamResponse:
    """A reply that never comes."""
    await asyncio.Event().wait()
    raise AssertionError("unreachable")


# Points


async def test_an_entry_is_one_point_under_an_id_that_stays_the_same(server: QdrantServer, cache: QdrantCache) -> None:
    assert POINT == "8323015b-9e0e-bf92-e2c0-f4ae6d8bd5c1"
    await cache.put(HELLO)
    client = AsyncQdrantClient(url=server.url, check_compatibility=False)
    (point,) = await client.retrieve("llm_cache", [POINT])
    assert point.payload is not None
    assert point.payload["key"] == HELLO.key
    await client.close()


async def test_a_read_is_one_request_and_searches_nothing(server: QdrantServer, cache: QdrantCache) -> None:
    await cache.put(HELLO)
    server.requests.clear()
    assert await cache.get(HELLO.key) == HELLO
    await cache.put(HELLO)
    assert server.requests == [BY_KEY, f"{BY_KEY}/batch"]


async def test_points_that_are_not_ours_are_neither_told_nor_removed(server: QdrantServer, cache: QdrantCache) -> None:
    await cache.put(HELLO)
    client = AsyncQdrantClient(url=server.url, check_compatibility=False)
    theirs = models.PointStruct(id=7, vector=[1.0], payload={"key": HELLO.key, "namespace": "", "role": "newest"})
    await client.upsert("llm_cache", [theirs])
    assert [entry async for entry in cache.entries()] == [HELLO]
    assert await cache.clear() == await cache.clear("") + 1 == 1
    assert (await client.count("llm_cache")).count == 1
    await client.close()


async def test_more_entries_than_a_page_are_all_told(cache: QdrantCache) -> None:
    await cache.warm()
    for number in range(130):
        await cache.put(an_entry(f"number {number}"))
    assert len([entry async for entry in cache.entries()]) == (await cache.stats()).entries == 130


async def test_one_entry_may_be_kept_by_many_tasks_and_none_is_lost(cache: QdrantCache) -> None:
    versions = [an_entry("greeting", str(number)) for number in range(20)]
    await cache.warm()
    async with asyncio.TaskGroup() as tasks:
        for entry in versions:
            tasks.create_task(cache.put(entry, keep_older=True))
    newest = await cache.get(HELLO.key)
    assert newest is not None
    assert sorted(map(repr, [newest, *await cache.older(HELLO.key)])) == sorted(map(repr, versions))


@pytest.mark.parametrize(("field", "value"), [("entry", "{"), ("entry", None), ("entry", 7), ("key", "another")])
async def test_a_damaged_point_is_an_error_until_the_next_write(
    server: QdrantServer, cache: QdrantCache, field: str, value: Any
) -> None:
    await cache.put(HELLO)
    server.spoil("llm_cache", POINT, field, value)
    if field == "entry":
        with pytest.raises(CacheEntryError):
            await cache.get(HELLO.key)
    assert [entry async for entry in cache.entries()] == []
    await cache.put(HELLO)
    assert await cache.get(HELLO.key) == HELLO


# The collection


async def test_before_the_first_write_everything_is_a_miss(server: QdrantServer, cache: QdrantCache) -> None:
    assert await cache.get(HELLO.key) is None
    assert await cache.older(HELLO.key) == []
    assert [entry async for entry in cache.entries()] == []
    assert (await cache.stats()).entries == await cache.clear() == 0
    assert not any(request.startswith("PUT") for request in server.requests)


async def test_many_may_make_the_collection_at_once(server: QdrantServer) -> None:
    caches = [QdrantCache(qdrant_url=server.url) for _ in range(10)]
    async with asyncio.TaskGroup() as tasks:
        for cache in caches:
            tasks.create_task(cache.put(HELLO))
    assert server.requests.count("PUT /collections/llm_cache") > 1
    for cache in caches:
        assert await cache.get(HELLO.key) == HELLO
        await cache.aclose()


async def test_a_collection_that_was_dropped_is_made_again(server: QdrantServer, cache: QdrantCache) -> None:
    await cache.put(HELLO)
    server.drop("llm_cache")
    assert await cache.get(HELLO.key) is None
    await cache.put(HELLO)
    assert await cache.get(HELLO.key) == HELLO


async def test_somebody_elses_collection_is_not_written_to(server: QdrantServer, cache: QdrantCache) -> None:
    client = AsyncQdrantClient(url=server.url, check_compatibility=False)
    await client.create_collection("llm_cache", models.VectorParams(size=3, distance=models.Distance.DOT))
    with pytest.raises(CacheError, match="status 400: Wrong input: Vector dimension error"):
        await cache.put(HELLO)
    await client.close()


# Errors


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (answers(401), r"refused the API key \(401\): check QDRANT_API_KEY"),
        (answers(403), r"refused the API key \(403\)"),
        (answers(409, "busy"), "answered with status 409: busy"),
        (answers(429), "answered with status 429"),
        (answers(429, headers={"Retry-After": "7"}), "turns requests away for 7 s"),
        (answers(429, headers={"Retry-After": "soon"}), "not Qdrant's"),
        (answers(500, "Service internal error: disk full"), "status 500: Service internal error: disk full"),
        (answers(503), "answered with status 503"),
        (answers(200), "can't be reached|not Qdrant's"),
    ],
)
async def test_each_status_is_an_error_that_says_what_is_wrong(
    server: QdrantServer, cache: QdrantCache, reply: Any, message: str
) -> None:
    await cache.put(HELLO)
    server.next_replies = [reply]
    with pytest.raises(CacheError, match=message):
        await cache.get(HELLO.key)
    assert await cache.get(HELLO.key) == HELLO


@pytest.mark.parametrize("body", [b"", b"<html>", b"null", b'{"result": null}', b'{"result": 7}', b"[" * 9999])
async def test_an_answer_that_is_not_qdrants_is_an_error(server: QdrantServer, cache: QdrantCache, body: bytes) -> None:
    async def reply() -> web.StreamResponse:
        return web.Response(body=body)

    server.next_replies = [reply]
    with pytest.raises(CacheError):
        await cache.get(HELLO.key)


async def test_a_server_that_hangs_holds_a_call_for_its_time_out_and_no_further_ones(server: QdrantServer) -> None:
    cache = QdrantCache(qdrant_url=server.url, timeout=0.3, cool_down_delay=30)
    server.next_replies = [says_nothing]
    with at_once(2):
        with pytest.raises(CacheError, match=r"no answer within 0\.3 s"):
            await cache.get(HELLO.key)
        for _ in range(20):
            with pytest.raises(CacheError, match="left alone for a moment"):
                await cache.get(HELLO.key)
    assert server.requests == [BY_KEY]
    await cache.aclose()


async def test_a_server_that_went_away_and_came_back_serves_again(server: QdrantServer, cache: QdrantCache) -> None:
    await cache.put(HELLO)
    await server.stop()
    with pytest.raises(CacheError, match="can't be reached"):
        await cache.get(HELLO.key)
    await server.start()
    assert await cache.get(HELLO.key) == HELLO


async def test_a_key_is_sent_and_never_told() -> None:
    async with QdrantServer(api_key="right-key") as guarded:
        right = QdrantCache(qdrant_url=guarded.url, qdrant_api_key="right-key")
        wrong = QdrantCache(qdrant_url=guarded.url, qdrant_api_key="wr0ng-key")
        await right.put(HELLO)
        assert await right.get(HELLO.key) == HELLO
        with pytest.raises(CacheError, match="refused the API key") as caught:
            await wrong.get(HELLO.key)
        for told in (repr(right), repr(wrong), str(caught.value), repr(caught.value.__cause__)):
            assert "-key" not in told
        await right.aclose()
        await wrong.aclose()
