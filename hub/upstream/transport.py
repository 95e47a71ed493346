"""The HTTP transport beneath the SDK: aiohttp, behind httpx2's interface, made for streams.

Against the transport that `openai[aiohttp]` brings: a body is read in whatever pieces arrive, past the generators
that httpx2 puts round it (a third of the cost of a paced token); errors keep their kind (there, every lost connection
is a `ConnectTimeout`); the bodies of error answers are bounded; connections are probed by TCP keep-alive.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from base64 import b64encode
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any, TypeAlias
from urllib.request import getproxies, proxy_bypass

import aiohttp
import httpx2
from yarl import URL

__all__ = ("READ_EXTENSION", "AiohttpTransport", "Read", "RedirectsElsewhereError", "check_redirect")

Read: TypeAlias = Callable[[], Awaitable[bytes]]

READ_EXTENSION = "hub.read"
"""The response extension that awaits a body's next bytes as they came over the wire; b"" at its end."""

MAX_ERROR_BODY_BYTES = 65_536
MAX_BODY_IN_ONE_PIECE_BYTES = 500_000

_KEEP_ALIVE = (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3))
"""A connection that a router forgot is noticed within a minute. Not every platform has these options."""

_ERRORS: tuple[tuple[type[Exception], type[httpx2.RequestError]], ...] = (
    (aiohttp.ConnectionTimeoutError, httpx2.ConnectTimeout),
    (aiohttp.ServerTimeoutError, httpx2.ReadTimeout),
    (aiohttp.ClientHttpProxyError, httpx2.ProxyError),
    (aiohttp.ClientProxyConnectionError, httpx2.ProxyError),
    (aiohttp.ClientConnectorError, httpx2.ConnectError),
    (aiohttp.InvalidURL, httpx2.UnsupportedProtocol),
    (aiohttp.NonHttpUrlClientError, httpx2.UnsupportedProtocol),
    (aiohttp.ClientOSError, httpx2.ReadError),
    (aiohttp.ClientError, httpx2.RemoteProtocolError),
    (OSError, httpx2.ReadError),
)
"""The first that fits decides."""


class AiohttpTransport(httpx2.AsyncBaseTransport):
    """Sends requests over aiohttp. A session begins with the first request in an event loop and ends with it.

    Args:
        keepalive_timeout: Seconds that an idle connection is kept for another request.
    """

    def __init__(self, *, keepalive_timeout: float = 30.0) -> None:
        self._keepalive_timeout = keepalive_timeout
        self._proxies = getproxies()
        self._ssl: ssl.SSLContext | bool = True
        self._sessions: dict[asyncio.AbstractEventLoop, _Session] = {}

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send it and wait for the headers of the answer."""
        if self._ssl is True and request.url.scheme == "https":
            # Reading the certificates takes tens of milliseconds.
            self._ssl = await asyncio.to_thread(httpx2.create_ssl_context)
        session = await self._session()
        timeout = request.extensions.get("timeout", {})
        proxy, proxy_headers = self._proxy(request.url)
        # Without TLS it is the request itself that a proxy reads.
        own_headers = proxy_headers if request.url.scheme == "http" else {}
        with _mapped_errors():
            response = await session.request(
                request.method,
                URL(str(request.url), encoded=True),
                headers=httpx2.Headers([*request.headers.multi_items(), *own_headers.items()]),
                data=_body(request),
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(
                    total=None,
                    connect=timeout.get("pool"),
                    sock_connect=timeout.get("connect"),
                    sock_read=timeout.get("read"),
                ),
                ssl=self._ssl,
                server_hostname=request.extensions.get("sni_hostname"),
                proxy=proxy,
                proxy_headers=proxy_headers,
            )
        body = _BodyStream(response)
        return httpx2.Response(
            status_code=response.status,
            headers=[
                (name, value)
                for name, value in response.raw_headers
                if not body.is_withheld or name.lower() != _ENCODING
            ],
            stream=body,
            request=request,
            extensions={
                "http_version": b"HTTP/1.1",
                "reason_phrase": (response.reason or "").encode("ascii", "ignore"),
                READ_EXTENSION: response.content.readany,
            },
        )

    async def aclose(self) -> None:
        """Close every connection."""
        for _, ending in list(self._sessions.values()):
            await ending.aclose()

    async def _session(self) -> aiohttp.ClientSession:
        """The session of the running event loop."""
        loop = asyncio.get_running_loop()
        if (known := self._sessions.get(loop)) is not None:
            return known[0]
        session = self._new_session()
        ending = _closed_at_end(session)
        await anext(ending)
        self._sessions[loop] = session, ending
        for ended in [each for each in tuple(self._sessions) if each.is_closed()]:
            # Closed already, but where the loop was not shut down in order. Another thread may be at it too.
            if (gone := self._sessions.pop(ended, None)) is not None:
                await gone[1].aclose()
        return session

    def _new_session(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            # Unlimited: how many streams run at once is decided where it can be seen, not in a pool's hidden queue.
            limit=0,
            keepalive_timeout=self._keepalive_timeout,
            socket_factory=_socket,
        )
        # httpx2 keeps the cookies and decodes the bodies.
        return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False)

    def _proxy(self, url: httpx2.URL) -> tuple[URL | None, dict[str, str]]:
        """The proxy that the environment names for this URL (`HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY`, `NO_PROXY`)."""
        address = self._proxies.get(url.scheme) or self._proxies.get("all")
        if not address or proxy_bypass(url.host):
            return None, {}
        proxy = URL(address if "://" in address else f"http://{address}")
        if proxy.user is None:
            return proxy, {}
        credentials = b64encode(f"{proxy.user}:{proxy.password or ''}".encode()).decode()
        return proxy.with_user(None), {"Proxy-Authorization": f"Basic {credentials}"}


_Session: TypeAlias = tuple[aiohttp.ClientSession, AsyncGenerator[None, None]]


async def _closed_at_end(session: aiohttp.ClientSession) -> AsyncGenerator[None, None]:
    """Close the session when the event loop shuts down its generators, as `asyncio.run` has it do at its end.

    Later no one could: the connections of a loop that is closed can't be closed any more, and aiohttp complains.
    """
    try:
        yield
    finally:
        await session.close()


class RedirectsElsewhereError(httpx2.RequestError):
    """A redirect leads away from the endpoint; the message is where to."""


async def check_redirect(request: httpx2.Request) -> None:
    """Refuse a redirect to another origin: a header that holds a key would go along, and the conversation.

    An event hook for requests. The same host's https in the place of its http is no other origin.

    Raises:
        RedirectsElsewhereError: The request is one that a redirect made, to another origin.
    """
    there = request.url
    here = request.extensions.get(_REDIRECTED_FROM, there)  # a redirect hands the extensions on
    upgrade = (here.scheme, there.scheme, there.host) == ("http", "https", here.host)
    if there.origin != here.origin and not upgrade:
        raise RedirectsElsewhereError(f"{there.scheme}://{there.netloc.decode('ascii')}", request=request)
    request.extensions[_REDIRECTED_FROM] = there


_REDIRECTED_FROM = "hub.redirected_from"
_ENCODING = b"content-encoding"


class _BodyStream(httpx2.AsyncByteStream):
    """A body for those who read it httpx2's way. That of an error or a redirect is cut where no one reads on.

    Attributes:
        is_withheld: Nothing of the body is given, nor may anything decode it: compressed though that wasn't asked
            for, a few kilobytes of an error can unfold to gigabytes.
    """

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self._max_bytes = MAX_ERROR_BODY_BYTES if response.status >= 300 else None
        encodings = response.headers.getall("Content-Encoding", ())
        self.is_withheld = response.status >= 300 and any(each.strip().lower() != "identity" for each in encodings)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self.is_withheld:
            return
        read = 0
        with _mapped_errors():
            while data := await self._response.content.readany():
                yield data
                read += len(data)
                if self._max_bytes is not None and read >= self._max_bytes:
                    return

    async def aclose(self) -> None:
        # A body that was read to its end has given its connection back by itself; any other closes it.
        self._response.close()


@contextmanager
def _mapped_errors() -> Iterator[None]:
    """What aiohttp raises, as httpx2's exception of the same kind."""
    try:
        yield
    except (aiohttp.ClientError, OSError) as exc:
        raise next(ours for theirs, ours in _ERRORS if isinstance(exc, theirs))(str(exc)) from exc


def _body(request: httpx2.Request) -> Any:
    try:
        content = request.content
        # In one piece a large body would be one write that holds up the event loop; aiohttp warns of it.
        return BytesIO(content) if len(content) > MAX_BODY_IN_ONE_PIECE_BYTES else content or None
    except httpx2.RequestNotRead:
        request.headers.pop("transfer-encoding", None)  # aiohttp's own to decide
        return request.stream


def _socket(address: tuple[Any, ...]) -> socket.socket:
    family, kind, protocol, *_ = address
    connection = socket.socket(family, kind, protocol)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEP_ALIVE:
        if (option := getattr(socket, name, None)) is not None:
            connection.setsockopt(socket.IPPROTO_TCP, option, value)
    return connection
