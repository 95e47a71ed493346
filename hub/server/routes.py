"""The routes of the API."""

from __future__ import annotations

from dataclasses import asdict
from importlib.metadata import version
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket

from hub.answerer import Answering
from hub.config import HubSettings
from hub.errors import HubBusyError
from hub.hub import Hub
from hub.server.edge import Edge
from hub.server.feed import Cursor, Feed, LogFeed
from hub.server.idempotency import Starts, keyed_start, read_idempotency_key
from hub.server.merged_feed import MergedFeed
from hub.server.positions import MAX_ID_BYTES, could_outgrow
from hub.server.problem import ProblemError
from hub.server.query import (
    read_limit,
    read_position,
    read_positions,
    read_streams,
    wants_event_stream,
    wants_snapshot,
)
from hub.server.requests import read_stream_request
from hub.server.sse_response import SubscriptionResponse
from hub.server.websocket import WebSocketSubscription
from hub.server.wire import WEBSOCKET

__all__ = ("Routes",)


class Routes:
    """The API over one hub."""

    def __init__(self, hub: Hub, edge: Edge, settings: HubSettings, answering: Answering) -> None:
        self._hub = hub
        self._edge = edge
        self._settings = settings
        self._answering = answering
        self._starts = Starts(hub)

    def routes(self) -> list[BaseRoute]:
        """For Starlette."""
        return [
            Route("/healthz", self.health),
            Route("/v1/info", self.info),
            Route("/v1/streams", self.streams, methods=["GET", "POST"]),
            Route("/v1/streams/{stream_id}", self.stream, methods=["GET", "DELETE"]),
            Route("/v1/streams/{stream_id}/events", self.events, methods=["GET"]),
            WebSocketRoute("/v1/streams/{stream_id}/ws", self.messages),
            Route("/v1/streams/{stream_id}/ws", self.upgrade, methods=["GET"]),
            Route("/v1/events", self.merged_events, methods=["GET"]),
            WebSocketRoute("/{path:path}", self.no_websocket),
        ]

    async def health(self, request: Request) -> Response:
        """Whether the server takes new streams."""
        if self._hub.is_draining:
            return JSONResponse({"status": "draining"}, status_code=503)
        return JSONResponse({"status": "ok", "running": self._hub.running, "subscribers": len(self._edge)})

    async def info(self, request: Request) -> Response:
        """Who answers here."""
        return JSONResponse({"name": "llm-stream-hub", "version": version("llm-stream-hub"), **asdict(self._answering)})

    async def streams(self, request: Request) -> Response:
        """All streams: list them, or begin one."""
        return await (self.start(request) if request.method == "POST" else self.list(request))

    async def stream(self, request: Request) -> Response:
        """One stream: its result so far, or its end."""
        return await (self.cancel(request) if request.method == "DELETE" else self.get(request))

    async def start(self, request: Request) -> Response:
        """Begin a stream: 201 and its address, or with `Accept: text/event-stream` the stream itself.

        With an idempotency key that has begun a stream before, the answer is that stream's.
        """
        key = read_idempotency_key(request)
        body = await read_stream_request(
            request, max_bytes=self._settings.max_body_bytes, timeout=self._settings.request_timeout
        )
        models = self._answering.models
        if body.model is not None and models is not None and body.model not in models:
            raise ProblemError(422, f"The model {body.model!r} is not served here; there is: {', '.join(models)}.")
        if wants_event_stream(request):
            self._check_places()  # before anything is generated that nobody could read
        arguments, is_repeat = body.arguments(), False
        if key is None:
            info = await self._hub.start(**arguments)
        else:
            info, is_repeat = await self._starts.start(keyed_start(request, key, arguments), arguments)
        location = {"Location": f"/v1/streams/{info.stream_id}"}
        if wants_event_stream(request):
            # Whoever sends the request again may have read some of the answer already.
            after = read_position(request) if is_repeat else -1
            return await self._read(info.stream_id, after, headers=location)
        content = {"stream_id": info.stream_id, "status": info.status, "events_url": f"{location['Location']}/events"}
        return JSONResponse(content, status_code=201, headers=location)

    async def list(self, request: Request) -> Response:
        """The newest streams, newest first."""
        infos = await self._hub.list(limit=read_limit(request))
        return JSONResponse({"streams": [asdict(info) for info in infos]})

    async def get(self, request: Request) -> Response:
        """A stream's result so far."""
        return _json(await self._hub.get(request.path_params["stream_id"]))

    async def cancel(self, request: Request) -> Response:
        """Stop a stream."""
        info = await self._hub.cancel(request.path_params["stream_id"])
        return JSONResponse({"stream_id": info.stream_id, "status": info.status}, status_code=202)

    async def events(self, request: Request) -> Response:
        """Subscribe to a stream."""
        after, snapshot = read_position(request), wants_snapshot(request)
        return await self._read(request.path_params["stream_id"], after, snapshot=snapshot)

    async def messages(self, websocket: WebSocket) -> None:
        """Subscribe to a stream over a WebSocket; what is refused is refused before the handshake's end."""
        after, snapshot = read_position(websocket), wants_snapshot(websocket)
        log = await self._hub.log(websocket.path_params["stream_id"], at_least=after)
        cursor = LogFeed(log, WEBSOCKET).begin(after, snapshot=snapshot)
        self._check_places()
        subscription = WebSocketSubscription(self._edge, log, cursor, self._settings.stuck_timeout)
        await subscription.serve(websocket)

    async def no_websocket(self, websocket: WebSocket) -> None:
        """Tell whoever asks for a WebSocket where there is none."""
        raise ProblemError(
            404, f"There is no WebSocket at {websocket.url.path}; a stream's is '/v1/streams/{{id}}/ws'."
        )

    async def upgrade(self, request: Request) -> Response:
        """Tell whoever asks for a WebSocket without asking for one."""
        raise ProblemError(
            426,
            "This is a WebSocket: connect with a client for WebSockets, or read '/v1/streams/{id}/events' (SSE). Where "
            "one did, a proxy in front has dropped the headers Connection and Upgrade.",
            {"Upgrade": "websocket", "Connection": "Upgrade"},
        )

    async def merged_events(self, request: Request) -> Response:
        """Subscribe to several streams at once."""
        streams = read_streams(request)
        positions = read_positions(request, len(streams))
        asked = list(zip(streams, positions, strict=True))
        logs = [await self._hub.log(stream_id, at_least=after) for stream_id, after in asked]
        for log, after in zip(logs, positions, strict=True):
            if after > log.last_seq:
                detail = f"Position {after} lies beyond the last event of stream {log.stream_id!r}, {log.last_seq}."
                raise ProblemError(400, detail)
        if could_outgrow([log.last_seq for log in logs]):
            raise ProblemError(400, f"The positions of these streams could outgrow an id of {MAX_ID_BYTES} bytes.")
        feed = MergedFeed(tuple(logs))
        return self._subscription(feed, feed.begin(positions, snapshot=wants_snapshot(request)))

    async def _read(
        self, stream_id: str, after: int, *, snapshot: bool = False, headers: dict[str, str] | None = None
    ) -> Response:
        feed = LogFeed(await self._hub.log(stream_id, at_least=after))
        return self._subscription(feed, feed.begin(after, snapshot=snapshot), headers)

    def _subscription(self, feed: Feed, cursor: Cursor, headers: dict[str, str] | None = None) -> Response:
        if feed.is_closed and cursor == feed.head():
            return Response(status_code=204, headers=headers)  # ends a browser's EventSource for good
        self._check_places()
        return SubscriptionResponse(
            self._edge, feed, cursor, heartbeat_interval=self._settings.heartbeat_interval, headers=headers
        )

    def _check_places(self) -> None:
        if len(self._edge) >= self._settings.max_subscribers:
            raise HubBusyError(
                f"The hub is full: it serves {self._settings.max_subscribers} subscribers.", retry_after=5.0
            )


def _json(value: Any) -> Response:
    return Response(msgspec.json.encode(value), media_type="application/json")
