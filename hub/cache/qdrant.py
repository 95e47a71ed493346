"""Entries in Qdrant, as the payloads of points in a collection of their own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from math import ceil
from typing import Any, TypeVar

from hub.cache.base import CacheStats
from hub.cache.entry import CacheEntry
from hub.cache.qdrant_faults import FAULTS, NoCollectionError, is_missing, is_outage, is_taken, translate
from hub.cache.qdrant_points import (
    INDEXED_FIELDS,
    entry_filter,
    newest_point,
    older_point,
    payload_entry,
    point_id,
    sound_entry,
    upsert_operation,
    written_at,
)
from hub.cache.servers import Availability, check_collection, check_numbers, check_url, shown_address
from hub.errors import ClosedError, MissingExtraError

try:
    import httpx
    from qdrant_client import AsyncQdrantClient, models
except ImportError as exc:
    raise MissingExtraError("The cache in Qdrant", "qdrant") from exc

__all__ = ("QdrantCache",)

_T = TypeVar("_T")

_COLLECTION_NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,254}"
_COLLECTION_RULE = "its name has letters, digits, _, - and ., at most 255, and begins with a letter or a digit"
_MAX_CONNECTIONS = 20
_PAGE = 100


class QdrantCache:
    """Entries as payloads of points, for those who run Qdrant anyway.

    The point's id is a digest of the key, so reading asks for one point and searches nothing. The collection has one
    dimension and no index of vectors; it is made at the first write. Only points of ours are read and removed, should
    the collection hold others. Two processes that put under one key with `keep_older` at the same moment may lose one
    of the two; all else may happen at once anywhere.

    Args:
        qdrant_url: Address, `http://host:6333` or `https://…`.
        qdrant_api_key: Key, where the server asks for one. Over `http://` it is sent in the clear.
        cache_collection: Name of the collection.
        timeout: Seconds for a read in all; a write may take twice, and `warm` ten times as long.
        cool_down_delay: Seconds an unreachable server is left alone.
        clock: Unix seconds, by which older entries are put in order.

    Raises:
        ConfigurationError: The address or the name can't be used.
        ValueError: A number is out of its range.
    """

    def __init__(
        self,
        *,
        qdrant_url: str,
        qdrant_api_key: str | None = None,
        cache_collection: str = "llm_cache",
        timeout: float = 1.5,
        cool_down_delay: float = 2.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        check_numbers(above_0={"timeout": timeout}, from_0={"cool_down_delay": cool_down_delay})
        self._url = check_url(qdrant_url, name="QDRANT_URL", schemes=("http", "https"))
        self._collection = check_collection(cache_collection, _COLLECTION_NAME, rule=_COLLECTION_RULE)
        self._api_key = qdrant_api_key
        self._timeout = timeout
        self._clock = clock
        self._server = f"Qdrant at {shown_address(qdrant_url)}".removesuffix(" at ")
        self._availability = Availability(self._server, cool_down_delay=cool_down_delay, max_at_once=_MAX_CONNECTIONS)
        self._keeping = asyncio.Lock()
        self._opened: AsyncQdrantClient | None = None
        self._closed = False

    def __repr__(self) -> str:
        return f"<QdrantCache: {self._server}, collection {self._collection}>"

    async def get(self, key: str) -> CacheEntry | None:
        """The newest entry of a key; None where there is none.

        Raises:
            CacheEntryError: What the collection keeps under this key is damaged.
            CacheError: Qdrant can't serve.
        """
        payload = await self._payload(key)
        return None if payload is None else payload_entry(payload, key)

    async def put(self, entry: CacheEntry, *, keep_older: bool = False) -> None:
        """Store an entry as its key's only or newest one.

        Raises:
            CacheError: Qdrant can't serve.
        """
        point = newest_point(entry, written_at=self._clock())
        if not keep_older:
            older = models.FilterSelector(filter=entry_filter(key=entry.key, role="older"))
            await self._write([models.DeleteOperation(delete=older), upsert_operation(point)])
            return
        async with self._keeping:
            payload = await self._payload(entry.key)
            await self._write(
                [upsert_operation(point) if payload is None else upsert_operation(older_point(payload), point)]
            )

    async def older(self, key: str) -> list[CacheEntry]:
        """The entries of a key but the newest, newest first.

        Raises:
            CacheError: Qdrant can't serve.
        """
        payloads = [payload async for payload in self._scroll(entry_filter(key=key, role="older"))]
        payloads.sort(key=written_at, reverse=True)
        return [entry for payload in payloads if (entry := sound_entry(payload))]

    async def entries(self, namespace: str | None = None) -> AsyncIterator[CacheEntry]:
        """Every entry of a namespace, or all, in no order.

        Raises:
            CacheError: Qdrant can't serve.
        """
        async for payload in self._scroll(entry_filter(namespace=namespace)):
            if entry := sound_entry(payload):
                yield entry

    async def clear(self, namespace: str | None = None) -> int:
        """Remove the entries of a namespace, or all; returns how many they were.

        Raises:
            CacheError: Qdrant can't serve.
        """
        ours = entry_filter(namespace=namespace)

        async def work(client: AsyncQdrantClient) -> int:
            found = await client.count(self._collection, count_filter=ours)
            await client.delete(self._collection, models.FilterSelector(filter=ours))
            return found.count

        return await self._run_where_there(work, 0)

    async def stats(self) -> CacheStats:
        """How many entries there are, and their bytes as JSON; reads a number of every point.

        Raises:
            CacheError: Qdrant can't serve.
        """
        sizes = [payload.get("size_bytes") async for payload in self._scroll(entry_filter(), fields=["size_bytes"])]
        return CacheStats(len(sizes), sum(size for size in sizes if isinstance(size, int)))

    async def warm(self) -> None:
        """Connected, and the collection is there.

        Raises:
            CacheError: Qdrant can't serve.
        """
        await self._run(self._create, timeout=10 * self._timeout)

    async def aclose(self) -> None:
        """Close the connections; afterwards every method raises `ClosedError`."""
        self._closed = True
        client, self._opened = self._opened, None
        if client is not None:
            await client.close()

    async def _payload(self, key: str) -> dict[str, Any] | None:
        async def work(client: AsyncQdrantClient) -> list[models.Record]:
            return await client.retrieve(self._collection, [point_id(key)], with_payload=True)

        none: list[models.Record] = []
        found = await self._run_where_there(work, none)
        return (found[0].payload or {}) if found else None

    async def _write(self, operations: Sequence[models.UpdateOperation]) -> None:
        async def work(client: AsyncQdrantClient) -> None:
            try:
                await client.batch_update_points(self._collection, operations)
            except FAULTS as exc:
                if not is_missing(exc):
                    raise
                await self._create(client)
                await client.batch_update_points(self._collection, operations)

        await self._run(work, timeout=2 * self._timeout)

    async def _scroll(self, ours: models.Filter, *, fields: list[str] | None = None) -> AsyncIterator[dict[str, Any]]:
        offset: Any = None
        end: tuple[list[models.Record], Any] = ([], None)

        async def work(client: AsyncQdrantClient) -> tuple[list[models.Record], Any]:
            return await client.scroll(
                self._collection, scroll_filter=ours, limit=_PAGE, offset=offset, with_payload=fields or True
            )

        while True:
            records, offset = await self._run_where_there(work, end)
            for record in records:
                yield record.payload or {}
            if offset is None:
                return

    async def _create(self, client: AsyncQdrantClient) -> None:
        """The collection is there, whoever made it."""
        try:
            await client.create_collection(
                self._collection,
                vectors_config=models.VectorParams(size=1, distance=models.Distance.DOT),
                # No graph of the vectors, which are all the same (Qdrant's tutorial on bulk upload, read 2026-11-21).
                hnsw_config=models.HnswConfigDiff(m=0),
            )
        except FAULTS as exc:
            if not is_taken(exc):
                raise
        for field in INDEXED_FIELDS:  # again where it was there: who made it may have died before
            await client.create_payload_index(self._collection, field, models.PayloadSchemaType.KEYWORD)

    async def _run_where_there(self, work: Callable[[AsyncQdrantClient], Awaitable[_T]], otherwise: _T) -> _T:
        """What the work gives; `otherwise` where there is no collection."""
        try:
            return await self._run(work)
        except NoCollectionError:
            return otherwise

    async def _run(self, work: Callable[[AsyncQdrantClient], Awaitable[_T]], *, timeout: float | None = None) -> _T:
        timeout = self._timeout if timeout is None else timeout
        if self._closed:
            raise ClosedError("The cache is closed.")
        try:
            async with self._availability.turn(), asyncio.timeout(timeout):
                result = await work(self._client())
        except FAULTS as exc:
            if self._closed:
                raise ClosedError("The cache is closed.") from exc
            error = translate(exc, self._server, timeout)
            if is_outage(exc):
                self._availability.failed(error)
            raise error from exc
        self._availability.succeeded()
        return result

    def _client(self) -> AsyncQdrantClient:
        if self._opened is None:
            self._opened = AsyncQdrantClient(
                url=self._url,
                # As a header: the client warns of `api_key` over http, which is right on loopback and inside a cluster.
                headers=None if self._api_key is None else {"api-key": self._api_key},
                timeout=ceil(10 * self._timeout),  # whole seconds, for each read; ours is the one that counts
                check_compatibility=False,  # a request and a thread of its own
                limits=httpx.Limits(max_connections=_MAX_CONNECTIONS),  # else it connects anew for each on loopback
            )
        return self._opened
