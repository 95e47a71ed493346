"""Which server a key lies on: one, the master that Sentinel names, or a node of a cluster."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Protocol
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from redis.asyncio import Redis, RedisCluster
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.sentinel import Sentinel
from redis.exceptions import RedisClusterException

from hub.errors import ConfigurationError
from hub.redis_io.cancellation import keeping_cancellation
from hub.redis_io.connection import connect

__all__ = ("Node", "Servers", "open_servers")

SENTINEL_PORT = 26379


class Node:
    """One server, to which connections can be made.

    Args:
        name: Its address, which tells it from others.
        make: Makes a connection that is not connected yet.
    """

    def __init__(self, name: str, make: Callable[[], AbstractConnection]) -> None:
        self.name = name
        self._make = make

    async def dial(self) -> AbstractConnection:
        """A new connection, the caller's own; its reads and writes have no time-out: put one round them."""
        connection = self._make()
        with keeping_cancellation():
            try:
                await connection.connect()  # type: ignore[no-untyped-call]
            except BaseException:
                await connection.disconnect(nowait=True)
                raise
        # The driver's own costs a task for each write (asyncio.wait_for before Python 3.12).
        connection.socket_timeout = None
        return connection


class Servers(Protocol):
    """Where keys lie.

    Attributes:
        is_cluster: Keys lie on several nodes, and channels are sharded like keys.
        address: Where they are, as messages say it: neither user nor password.
    """

    is_cluster: bool
    address: str

    def node(self, key: bytes) -> Node | None:
        """The server of a key; None where that has to be found out first."""
        ...

    async def discover(self) -> None:
        """Find out anew where keys lie. Raises one of `FAULTS`."""
        ...

    async def aclose(self) -> None:
        """Release what is held."""
        ...


class OneServer:
    """All keys lie on one server, or on whichever Sentinel says is the master."""

    is_cluster = False

    def __init__(self, client: Redis, address: str, sentinel: Sentinel | None = None) -> None:
        self.address = address
        self._client = client
        self._sentinel = sentinel
        self._node = Node(self.address, client.connection_pool.make_connection)

    def node(self, key: bytes) -> Node | None:
        """As `Servers` says; always known."""
        return self._node

    async def discover(self) -> None:
        """Nothing: each new connection asks."""

    async def aclose(self) -> None:
        """As `Servers` says."""
        await self._client.aclose()
        if self._sentinel is not None:
            await self._sentinel.aclose()


class ClusterServers:
    """Keys lie on the nodes of a cluster."""

    is_cluster = True

    def __init__(self, client: RedisCluster) -> None:
        self._client = client
        self.address = ", ".join(client.nodes_manager.startup_nodes)
        self._nodes: dict[str, Node] = {}
        self._is_known = False
        self._discovering = asyncio.Lock()
        self._round = 0

    def node(self, key: bytes) -> Node | None:
        """As `Servers` says."""
        if not self._is_known:
            return None
        try:
            found = self._client.get_node_from_key(key)  # type: ignore[arg-type]  # takes bytes too
        except RedisClusterException:  # a slot that nobody serves
            return None
        if found is None:
            return None
        node = self._nodes.get(found.name)
        if node is None:
            make = _maker(found.connection_class, found.connection_kwargs)
            node = self._nodes[found.name] = Node(found.name, make)
        return node

    async def discover(self) -> None:
        """As `Servers` says; who comes while it is under way gets what it finds."""
        before = self._round
        async with self._discovering:
            if self._round != before:
                return
            with keeping_cancellation():
                if self._is_known:
                    await self._client.nodes_manager.initialize()
                else:
                    await self._client.initialize()
            self._is_known = True
            self._round += 1

    async def aclose(self) -> None:
        """As `Servers` says."""
        await self._client.aclose()


def open_servers(url: str, *, timeout: float) -> Servers:
    """The servers behind a URL, without any I/O.

    Args:
        url: `redis://`, `rediss://` or `unix://` as redis-py has them; `redis+cluster://HOST:PORT`;
            `redis+sentinel://HOST:PORT,HOST:PORT/SERVICE/DB`, whose user and password are the master's; the two with
            `rediss+` for TLS.
        timeout: Seconds to connect.

    Raises:
        ConfigurationError: The URL makes no sense. The message doesn't repeat it, since it may hold a password.
    """
    scheme = url.partition("://")[0]
    if scheme.endswith("+sentinel"):
        return _sentinel(url, timeout)
    if scheme.endswith("+cluster"):
        return _cluster(url, timeout)
    client = connect(url, timeout=timeout)
    return OneServer(client, _address(client.connection_pool.connection_kwargs))


def _cluster(url: str, timeout: float) -> Servers:
    try:
        client = RedisCluster.from_url(
            url.replace("+cluster", "", 1),
            socket_timeout=timeout,
            socket_connect_timeout=timeout,
            protocol=2,
            driver_info=None,
        )
    except (ValueError, TypeError, AttributeError, RedisClusterException):
        client = None
    if client is None:
        raise ConfigurationError(
            "The URL of Redis can't be used (REDIS_URL, HUB_STORE): a cluster's looks like redis+cluster://HOST:PORT."
        )
    return ClusterServers(client)


def _sentinel(url: str, timeout: float) -> Servers:
    client = None
    try:
        parts = urlsplit(url)
        hosts, service, db = _sentinel_address(parts)
        options: dict[str, Any] = {
            "socket_timeout": timeout,
            "socket_connect_timeout": timeout,
            "protocol": 2,
            "driver_info": None,
        }
        sentinel_options = {**options, **_prefixed(parts.query, "sentinel_")}
        if parts.scheme.startswith("rediss"):
            options["ssl"] = sentinel_options["ssl"] = True
        sentinel = Sentinel(  # type: ignore[no-untyped-call]
            hosts,
            sentinel_kwargs=sentinel_options,
            db=db,
            username=unquote(parts.username) if parts.username else None,
            password=unquote(parts.password) if parts.password else None,
            **options,
        )
        client = sentinel.master_for(service)
    except (ValueError, TypeError, AttributeError):
        pass  # and not raised from here: the cause may quote the URL
    if client is None:
        raise ConfigurationError(
            "The URL of Redis can't be used (REDIS_URL, HUB_STORE): Sentinel's looks like redis+sentinel://HOST:PORT,HOST:PORT/SERVICE/DB."
        )
    known_by = ", ".join(f"{_bracketed(host)}:{port}" for host, port in hosts)
    return OneServer(client, f"{service} (Sentinel at {known_by})", sentinel)


def _sentinel_address(parts: SplitResult) -> tuple[list[tuple[str, int]], str, int]:
    hosts = []
    for each in parts.netloc.rpartition("@")[2].split(","):
        host, _, port = each.rpartition(":") if ":" in each else (each, "", "")
        if not host:
            raise ValueError("no host")
        hosts.append((host.strip("[]"), int(port) if port else SENTINEL_PORT))
    service, _, db = parts.path.strip("/").partition("/")
    if not service:
        raise ValueError("no service")
    return hosts, unquote(service), int(db or 0)


def _prefixed(query: str, prefix: str) -> dict[str, str]:
    """The options of a URL's query that are for the sentinels: `sentinel_username` and `sentinel_password`."""
    allowed = {"username", "password"}
    pairs = [(name.removeprefix(prefix), value) for name, value in parse_qsl(query) if name.startswith(prefix)]
    if any(name not in allowed for name, _ in pairs):
        raise ValueError("an option that is not known")
    return dict(pairs)


def _address(options: Mapping[str, Any]) -> str:
    if (path := options.get("path")) is not None:
        return str(path)
    return f"{_bracketed(str(options.get('host', 'localhost')))}:{options.get('port', 6379)}"


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _maker(cls: type[AbstractConnection], options: dict[str, Any]) -> Callable[[], AbstractConnection]:
    return lambda: cls(**options)
