"""Runs the server: the composition root of `hub serve`."""

from __future__ import annotations

import asyncio
import resource
import signal
import socket
from collections.abc import Callable, Collection
from contextlib import AsyncExitStack
from ipaddress import ip_address

import uvicorn
from uvicorn.server import HANDLED_SIGNALS

from hub.answerer import Answering, EndpointChoice
from hub.config import HubSettings, Settings
from hub.errors import ConfigurationError
from hub.hub import Hub
from hub.opening import open_hub
from hub.server.app import create_app
from hub.server.drain import DrainingServer
from hub.server.edge import Edge
from hub.server.protocol import EdgeProtocol
from hub.server.pusher_auth import pusher_app
from hub.server.websocket_protocol import MAX_MESSAGE_BYTES, EdgeWebSocketProtocol
from sinks.pusher import PusherApp

__all__ = ("address", "build_server", "check_exposure", "listen", "serve")

SEND_BUFFER_BYTES = 131_072
"""What the kernel holds for a client that doesn't read; left alone it grows to megabytes each."""

SPARE_FILES = 256
"""File descriptors left for everything but connections."""


async def serve(
    settings: Settings,
    choice: EndpointChoice,
    announce: Callable[[str, Answering], None],
    listener: socket.socket | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT, then drain.

    Args:
        settings: Everything configured.
        choice: What the command line says about the endpoint.
        announce: Called once the server listens, with its address and who answers.
        listener: Listens already; None to listen as the settings say.

    Raises:
        ConfigurationError: A setting can't be used; the message says which and why.
        StoreError: The store can't be used.
    """
    hub_settings = settings.hub
    check_exposure(hub_settings)
    pusher = pusher_app(settings.pusher)
    # One of several processes may be told by its parent and by whoever ends them all: that is no second time.
    hurrying = HANDLED_SIGNALS if listener is None else (signal.SIGINT,)
    listener = listener or listen(hub_settings.host, hub_settings.port)
    async with AsyncExitStack() as stack:
        stack.callback(listener.close)
        opened = await open_hub(stack, settings, choice)
        edge = Edge(heartbeat_interval=hub_settings.heartbeat_interval)
        server = build_server(opened.hub, edge, hub_settings, opened.answering, pusher=pusher, hurrying=hurrying)
        announce(address(listener), opened.answering)
        await server.serve(sockets=[listener])


def build_server(
    hub: Hub,
    edge: Edge,
    settings: HubSettings,
    answering: Answering,
    *,
    http: type[asyncio.Protocol] = EdgeProtocol,
    ws: type[asyncio.Protocol] = EdgeWebSocketProtocol,
    pusher: PusherApp | None = None,
    hurrying: Collection[int] = HANDLED_SIGNALS,
) -> DrainingServer:
    """The server over a hub that someone else opens and closes; it listens once it is given a socket to serve.

    Args:
        hub: Runs and keeps the streams.
        edge: Serves the subscribers.
        settings: Keys, bounds and intervals.
        answering: Who answers.
        http: uvicorn's protocol class; with another than the edge's, every subscriber takes the ordinary way.
        ws: uvicorn's protocol class for WebSockets; as `http`.
        pusher: The app whose channels streams may be read on; None for none.
        hurrying: The signals that, when they come a second time, break off what runs at once.
    """
    if issubclass(http, EdgeProtocol):
        # uvicorn makes a protocol for each connection and hands it no settings of ours.
        bounds = {"request_timeout": settings.request_timeout, "stuck_timeout": settings.stuck_timeout}
        http = type(http.__name__, (http,), {"__slots__": (), **bounds})
    pings_itself = issubclass(ws, EdgeWebSocketProtocol)
    if pings_itself:
        ws = type(ws.__name__, (ws,), {"stuck_timeout": settings.stuck_timeout})
    config = uvicorn.Config(
        create_app(hub, edge, settings, answering, pusher=pusher),
        http=http,
        ws=ws,
        ws_max_size=MAX_MESSAGE_BYTES,
        ws_per_message_deflate=False,  # a context of 20 KB a subscriber, and bytes that nobody could share
        ws_ping_interval=None if pings_itself else settings.heartbeat_interval,
        ws_ping_timeout=None,  # a slow reader's pong comes late; who takes nothing at all is given up anyway
        lifespan="off",
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=5,
        limit_concurrency=_max_connections(),
    )
    return DrainingServer(config, hub, edge, drain_timeout=settings.drain_timeout, hurrying=hurrying)


def check_exposure(settings: HubSettings) -> None:
    """Refuse to stand open to others by accident, and keys that can't be sent.

    Raises:
        ConfigurationError: The settings would do so, or have such.
    """
    if not all(key.isascii() and key.isprintable() and " " not in key for key in settings.key_list()):
        raise ConfigurationError("HUB_API_KEYS: a key may have visible ASCII characters only.")
    if settings.key_list() or settings.insecure or _is_loopback(settings.host):
        return
    raise ConfigurationError(
        f"Listening on {settings.host} without keys would let anyone spend your tokens. Set HUB_API_KEYS to one or "
        "more keys, separated by commas, or pass --insecure if something in front of the hub checks who comes."
    )


def listen(host: str, port: int) -> socket.socket:
    """A listening socket whose connections hold little for a client that doesn't read.

    Raises:
        ConfigurationError: The address is taken, or none of this machine's.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = socket.create_server(address[:2], family=family, backlog=2048)
    except OSError as exc:
        raise ConfigurationError(
            f"Can't listen on {host} port {port}: {exc.strerror or exc}. Choose another with --host and --port."
        ) from exc
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
    listener.setblocking(False)
    return listener


def address(listener: socket.socket) -> str:
    """The address of a listening socket, as a person would open it."""
    host, port = listener.getsockname()[:2]
    shown = "localhost" if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host  # noqa: S104
    return f"http://{shown}:{port}"


def _max_connections() -> int:
    """As many connections as there are file descriptors for, after raising their number as far as allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        wanted = hard if hard != resource.RLIM_INFINITY else max(soft, 1_048_576)
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    return max(64, soft - SPARE_FILES)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
