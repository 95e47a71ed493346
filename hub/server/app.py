"""The ASGI application: routes, keys, and the page."""

from __future__ import annotations

from pathlib import Path

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hub.answerer import Answering
from hub.config import HubSettings
from hub.hub import Hub
from hub.server.auth import BearerAuth, HostGuard, OriginGuard
from hub.server.edge import Edge
from hub.server.problem import HANDLERS, LastResort
from hub.server.pusher_auth import PusherAuth
from hub.server.routes import Routes
from sinks.pusher import PusherApp

__all__ = ("create_app",)

PAGE = Path(__file__).parent / "page"

_PAGE_HEADERS = {
    "content-security-policy": "default-src 'self'; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    # Revalidated at each visit, so that a page never runs with the modules of an older release.
    "cache-control": "no-cache",
}

LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "[::1]")


def create_app(
    hub: Hub, edge: Edge, settings: HubSettings, answering: Answering, *, pusher: PusherApp | None = None
) -> ASGIApp:
    """The application over a hub that someone else opens and closes.

    Args:
        hub: Runs and keeps the streams.
        edge: Serves the subscribers.
        settings: Keys, bounds and intervals.
        answering: Who answers.
        pusher: The app whose channels streams may be read on; None for none, and no `/pusher/auth`.
    """
    middleware = []
    origins = settings.origin_list()
    if origins:
        # Outermost: a browser asks for leave without a key.
        middleware.append(
            Middleware(
                CORSMiddleware,
                allow_origins=origins,
                allow_methods=["GET", "POST", "DELETE"],
                allow_headers=["Authorization", "Content-Type", "Idempotency-Key", "Last-Event-ID"],
                expose_headers=["Location", "Retry-After"],
            )
        )
    if keys := settings.key_list():
        middleware.append(Middleware(BearerAuth, keys=keys))
    elif not settings.insecure:
        middleware.append(Middleware(HostGuard, hosts={*LOOPBACK_HOSTS, settings.host}))
    middleware.append(Middleware(OriginGuard, origins=origins))
    middleware.append(Middleware(LastResort))
    return Starlette(
        routes=[
            *(PusherAuth(hub, pusher, settings).routes() if pusher else ()),
            *Routes(hub, edge, settings, answering).routes(),
            Route("/", _index),
            Mount("/page", PageFiles(StaticFiles(directory=PAGE))),
        ],
        middleware=middleware,
        exception_handlers=HANDLERS,
    )


async def _index(request: Request) -> Response:
    return FileResponse(PAGE / "index.html", headers=_PAGE_HEADERS)


class PageFiles:
    """The page's own files, which need no key."""

    def __init__(self, files: ASGIApp) -> None:
        self._files = files

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a file, with the page's headers."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = [(name.encode(), value.encode()) for name, value in _PAGE_HEADERS.items()]
                message["headers"] = [*message["headers"], *own]
            await send(message)

        await self._files(scope, receive, send_with_headers)
