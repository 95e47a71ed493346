"""Who may use the API: bearer keys, and without any, only this machine's own pages and programs."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterable

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from hub.server.problem import problem

__all__ = ("BearerAuth", "HostGuard", "OriginGuard", "bearer_key", "subprotocol_key")

GUARDED = ("/v1", "/pusher/")
"""How the paths begin that ask for a key."""

KEY_SUBPROTOCOL = "bearer."


class BearerAuth:
    """Asks for a bearer key on every path that begins with `/v1` or `/pusher/`. Keys are compared in constant time."""

    def __init__(self, app: ASGIApp, keys: Iterable[str]) -> None:
        self._app = app
        # Digests have one length, so that comparing them tells nothing of the keys' lengths.
        self._digests = tuple(_digest(key.encode()) for key in keys)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 401."""
        if scope["type"] == "lifespan" or not scope["path"].startswith(GUARDED) or self._allows(scope):
            await self._app(scope, receive, send)
            return
        response = problem(
            401,
            "The key that was sent is none of this hub's ('Authorization: Bearer KEY')."
            if "authorization" in Headers(scope=scope)
            else "This hub asks for a key: send it as 'Authorization: Bearer KEY'.",
            {"WWW-Authenticate": 'Bearer realm="hub"'},
        )
        await response(scope, receive, send)

    def _allows(self, scope: Scope) -> bool:
        key = bearer_key(Headers(scope=scope))
        if key is None and scope["type"] == "websocket":
            key = subprotocol_key(scope.get("subprotocols", ()))
        given = _digest((key or "").encode())
        matches = [hmac.compare_digest(given, digest) for digest in self._digests]
        return key is not None and any(matches)


def bearer_key(headers: Headers) -> str | None:
    """The key of `Authorization: Bearer KEY`; None where none was sent."""
    scheme, _, key = headers.get("authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else None


def subprotocol_key(offered: Iterable[str]) -> str | None:
    """The key of the WebSocket subprotocol `bearer.KEY`, in base64url without padding; None where none was offered.

    A browser's WebSocket can't set a header but this one, and in an address the key would stand in logs.
    """
    for subprotocol in offered:
        if subprotocol.startswith(KEY_SUBPROTOCOL):
            text = subprotocol.removeprefix(KEY_SUBPROTOCOL)
            try:
                return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
            except ValueError:
                return ""
    return None


class HostGuard:
    """Serves only requests for known host names.

    A hub without keys on a loopback address is open to every program on the machine, but must not be to a web page
    whose own name was made to resolve to that address (DNS rebinding): its requests name another host.
    """

    def __init__(self, app: ASGIApp, hosts: Iterable[str]) -> None:
        self._app = app
        self._hosts = frozenset(host.lower() for host in hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 421, or 400 where it names several hosts."""
        if scope["type"] != "lifespan":
            named = Headers(scope=scope).getlist("host")
            if len(named) > 1:
                # A proxy in front may have judged another one (RFC 9112, section 3.2, read 2026-11-21).
                await problem(400, "The request names several hosts.")(scope, receive, send)
                return
            host = named[0] if named else ""
            name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
            if name.lower() not in self._hosts:
                response = problem(421, f"This hub does not answer for the host {name[:100]!r}.")
                await response(scope, receive, send)
                return
        await self._app(scope, receive, send)


class OriginGuard:
    """Refuses WebSockets that pages of other origins open.

    A browser lets any page open one to any host, and sends along what it has for that host, cookies among it; whether
    the page may is for the server to say. Programs send no `Origin`.

    Args:
        app: Who serves the rest.
        origins: Whose pages may, beside those under the host that is asked; `*` for any.
    """

    def __init__(self, app: ASGIApp, origins: Iterable[str]) -> None:
        self._app = app
        self._origins = frozenset(origin.lower() for origin in origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 403."""
        if scope["type"] == "websocket":
            headers = Headers(scope=scope)
            origin = headers.get("origin")
            if origin is not None and not self._allows(origin.lower(), headers.get("host", "").lower()):
                response = problem(
                    403,
                    f"Pages of {origin[:100]!r} may not open a WebSocket here: add the origin to HUB_CORS_ORIGINS, or "
                    "have the proxy in front pass on the Host header it got.",
                )
                await response(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _allows(self, origin: str, host: str) -> bool:
        # The scheme isn't compared: behind a proxy that ends TLS, the hub doesn't know its own.
        return "*" in self._origins or origin in self._origins or origin.partition("://")[2] == host != ""


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()
