"""The routes of the API."""

from __future__ import annotations

from dataclasses import asdict
from importlib.metadata import version
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from hub.answerer import Answering
from hub.config import HubSettings
from hub.errors import HubBusyError
from hub.hub import Hub
from hub.server.edge import Edge
from hub.server.problem import ProblemError
from hub.server.requests import read_position, read_stream_request
from hub.server.sse_response import SubscriptionResponse
from hub.streams.log import StreamLog

__all__ = ("Routes",)


class Routes:
    """The API over one hub."""

    def __init__(self, hub: Hub, edge: Edge, settings: HubSettings, answering: Answering) -> None:
        self._hub = hub
        self._edge = edge
        self._settings = settings
        self._answering = answering

    def routes(self) -> list[Route]:
        """For Starlette."""
        return [
            Route("/healthz", self.health),
            Route("/v1/info", self.info),
            Route("/v1/streams", self.streams, methods=["GET", "POST"]),
            Route("/v1/streams/{stream_id}", self.stream, methods=["GET", "DELETE"]),
            Route("/v1/streams/{stream_id}/events", self.events, methods=["GET"]),
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
        """Begin a stream: 201 and its address, or with `Accept: text/event-stream` the stream itself."""
        body = await read_stream_request(
            request, max_bytes=self._settings.max_body_bytes, timeout=self._settings.request_timeout
        )
        models = self._answering.models
        if body.model is not None and models is not None and body.model not in models:
            raise ProblemError(422, f"The model {body.model!r} is not served here; there is: {', '.join(models)}.")
        reads_at_once = "text/event-stream" in request.headers.get("accept", "").lower()
        if reads_at_once:
            self._check_places()  # before anything is generated that nobody could read
        info = await self._hub.start(**body.arguments())
        events_url = f"/v1/streams/{info.stream_id}/events"
        location = {"Location": f"/v1/streams/{info.stream_id}"}
        if reads_at_once:
            return self._subscription(await self._hub.log(info.stream_id), after=-1, headers=location)
        content = {"stream_id": info.stream_id, "status": info.status, "events_url": events_url}
        return JSONResponse(content, status_code=201, headers=location)

    async def list(self, request: Request) -> Response:
        """Every stream, newest first."""
        return JSONResponse({"streams": [asdict(info) for info in await self._hub.list()]})

    async def get(self, request: Request) -> Response:
        """A stream's result so far."""
        return _json(await self._hub.get(request.path_params["stream_id"]))

    async def cancel(self, request: Request) -> Response:
        """Stop a stream."""
        info = await self._hub.cancel(request.path_params["stream_id"])
        return JSONResponse({"stream_id": info.stream_id, "status": info.status}, status_code=202)

    async def events(self, request: Request) -> Response:
        """Subscribe to a stream."""
        stream = await self._hub.log(request.path_params["stream_id"])
        after = read_position(request)
        snapshot = request.query_params.get("snapshot", "").lower() in ("1", "true")
        if stream.is_closed and after == stream.last_seq:
            return Response(status_code=204)  # ends a browser's EventSource for good
        self._check_places()
        return self._subscription(stream, after=after, snapshot=snapshot)

    def _subscription(
        self, stream: StreamLog, *, after: int, snapshot: bool = False, headers: dict[str, str] | None = None
    ) -> Response:
        return SubscriptionResponse(
            self._edge,
            stream,
            stream.begin(after, snapshot=snapshot),
            heartbeat_interval=self._settings.heartbeat_interval,
            headers=headers,
        )

    def _check_places(self) -> None:
        if len(self._edge) >= self._settings.max_subscribers:
            raise HubBusyError(
                f"The hub is full: it serves {self._settings.max_subscribers} subscribers.", retry_after=5.0
            )


def _json(value: Any) -> Response:
    return Response(msgspec.json.encode(value), media_type="application/json")
