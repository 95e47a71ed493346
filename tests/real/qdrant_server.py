"""Qdrant's own engine, in this process, behind the part of its REST interface that a cache uses.

The paths, bodies, statuses and words of errors are those of Qdrant 1.20. No package has the server itself.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from aiohttp import web

try:
    import qdrant_edge
except ImportError:  # no wheel for this platform
    qdrant_edge = None  # type: ignore[assignment]

from tests.real.processes import free_port

__all__ = ("QdrantServer", "has_qdrant")


def has_qdrant() -> bool:
    """Whether the engine is installed."""
    return qdrant_edge is not None


class _RefusedError(Exception):
    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status


class QdrantServer:
    """One server on loopback; its collections live until it is left.

    Args:
        api_key: What it asks for; None lets everybody in.

    Attributes:
        url: Its address.
        requests: Method and path of every request it got.
        next_replies: What it answers to the next requests instead of what they ask for; a response, or a function.
    """

    def __init__(self, *, api_key: str | None = None) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.requests: list[str] = []
        self.next_replies: list[Callable[[], Awaitable[web.StreamResponse]]] = []
        self._api_key = api_key
        self._shards: dict[str, tuple[Any, dict[str, Any]]] = {}
        self._operations = 0
        self._creating = asyncio.Lock()

    async def __aenter__(self) -> Self:
        self._folder = Path(tempfile.mkdtemp(prefix="hub-qdrant-"))
        await self.start()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.stop()
        for shard, _ in self._shards.values():
            shard.close()
        shutil.rmtree(self._folder)

    async def start(self) -> None:
        """It takes connections."""
        app = web.Application(client_max_size=64_000_000, middlewares=[self._guard])
        app.router.add_put("/collections/{name}", self._create)
        app.router.add_get("/collections/{name}", self._info)
        app.router.add_put("/collections/{name}/index", self._index)
        app.router.add_put("/collections/{name}/points", self._upsert)
        app.router.add_post("/collections/{name}/points", self._retrieve)
        app.router.add_post("/collections/{name}/points/batch", self._batch)
        app.router.add_post("/collections/{name}/points/count", self._count)
        app.router.add_post("/collections/{name}/points/delete", self._delete)
        app.router.add_post("/collections/{name}/points/scroll", self._scroll)
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()

    async def stop(self) -> None:
        """It takes no connections, and has cut those there were; the collections stay."""
        await self._runner.cleanup()

    def drop(self, name: str) -> None:
        """A collection is gone."""
        self._shards.pop(name)[0].close()

    def spoil(self, name: str, point_id: str, field: str, value: Any) -> None:
        """A field of a point's payload has another value."""
        shard, _ = self._shard(name)
        (point,) = shard.retrieve([point_id], True, True)
        payload = {**point.payload, field: value}
        shard.update(qdrant_edge.UpdateOperation.upsert_points([qdrant_edge.Point(point_id, [0.0], payload)]))

    @web.middleware
    async def _guard(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.requests.append(f"{request.method} {request.path}")
        if self.next_replies:
            return await self.next_replies.pop(0)()
        if self._api_key is not None and request.headers.get("api-key") != self._api_key:
            return web.Response(status=401, text="Must provide an API key or an Authorization bearer token")
        try:
            body = await request.json() if request.can_read_body else {}
            result = await handler(request.match_info["name"], body)
        except _RefusedError as exc:
            return web.json_response({"status": {"error": str(exc)}, "time": 0.001}, status=exc.status)
        return web.json_response({"result": result, "status": "ok", "time": 0.001})

    async def _create(self, name: str, body: Any) -> bool:
        async with self._creating:
            if name in self._shards:
                raise _RefusedError(409, f"Wrong input: Collection `{name}` already exists!")
            size, distance = body["vectors"]["size"], getattr(qdrant_edge.Distance, body["vectors"]["distance"])
            config = qdrant_edge.EdgeConfig(vectors=qdrant_edge.EdgeVectorParams(size=size, distance=distance))
            folder = str(self._folder / uuid.uuid4().hex)
            self._shards[name] = (await asyncio.to_thread(qdrant_edge.EdgeShard.create, folder, config), body)
            return True

    async def _info(self, name: str, body: Any) -> Any:
        shard, config = self._shard(name)
        return {"status": "green", "points_count": shard.info().points_count, "config": {"params": config}}

    async def _index(self, name: str, body: Any) -> Any:
        kind = getattr(qdrant_edge.PayloadSchemaType, body["field_schema"].capitalize())
        return await self._update(name, qdrant_edge.UpdateOperation.create_field_index(body["field_name"], kind))

    async def _upsert(self, name: str, body: Any) -> Any:
        _, config = self._shard(name)
        size = config["vectors"]["size"]
        points = []
        for point in body["points"]:
            if (got := len(point["vector"])) != size:
                raise _RefusedError(400, f"Wrong input: Vector dimension error: expected dim: {size}, got {got}")
            points.append(qdrant_edge.Point(point["id"], point["vector"], point.get("payload") or {}))
        return await self._update(name, qdrant_edge.UpdateOperation.upsert_points(points))

    async def _delete(self, name: str, body: Any) -> Any:
        operation = qdrant_edge.UpdateOperation
        if "points" in body:
            return await self._update(name, operation.delete_points(body["points"]))
        return await self._update(name, operation.delete_points_by_filter(_filter(body["filter"])))

    async def _batch(self, name: str, body: Any) -> Any:
        kinds = {"upsert": self._upsert, "delete": self._delete}
        return [
            await kinds[kind](name, argument)
            for operation in body["operations"]
            for kind, argument in operation.items()
        ]

    async def _retrieve(self, name: str, body: Any) -> Any:
        shard, _ = self._shard(name)
        return [_shown(point) for point in await asyncio.to_thread(shard.retrieve, body["ids"], True, False)]

    async def _count(self, name: str, body: Any) -> Any:
        shard, _ = self._shard(name)
        asked = qdrant_edge.CountRequest(filter=_filter(body.get("filter")), exact=True)
        return {"count": await asyncio.to_thread(shard.count, asked)}

    async def _scroll(self, name: str, body: Any) -> Any:
        shard, _ = self._shard(name)
        asked = qdrant_edge.ScrollRequest(
            offset=body.get("offset"),
            limit=body.get("limit", 10),
            filter=_filter(body.get("filter")),
            with_payload=True,
            with_vector=False,
        )
        points, offset = await asyncio.to_thread(shard.scroll, asked)
        return {"points": [_shown(point) for point in points], "next_page_offset": offset and str(offset)}

    async def _update(self, name: str, operation: Any) -> Any:
        shard, _ = self._shard(name)
        await asyncio.to_thread(shard.update, operation)
        self._operations += 1
        return {"operation_id": self._operations, "status": "completed"}

    def _shard(self, name: str) -> tuple[Any, dict[str, Any]]:
        if name not in self._shards:
            raise _RefusedError(404, f"Not found: Collection `{name}` doesn't exist!")
        return self._shards[name]


def _shown(point: Any) -> dict[str, Any]:
    return {"id": str(point.id), "payload": point.payload}


def _filter(given: Any) -> Any:
    if given is None:
        return None
    conditions = []
    for condition in given["must"]:
        match = condition["match"]
        wanted = qdrant_edge.MatchAny(match["any"]) if "any" in match else qdrant_edge.MatchValue(match["value"])
        conditions.append(qdrant_edge.FieldCondition(condition["key"], match=wanted))
    return qdrant_edge.Filter(must=conditions)
