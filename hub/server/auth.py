"""Who may use the API: bearer keys, and without any, only this machine's own pages and programs."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from hub.server.problem import problem

__all__ = ("BearerAuth", "HostGuard", "bearer_key")


class BearerAuth:
    """Asks for a bearer key on every path that begins with `/v1`. Keys are compared in constant time."""

    def __init__(self, app: ASGIApp, keys: Iterable[str]) -> None:
        self._app = app
        # Digests have one length, so that comparing them tells nothing of the keys' lengths.
        self._digests = tuple(_digest(key.encode()) for key in keys)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 401."""
        if scope["type"] != "http" or not scope["path"].startswith("/v1") or self._allows(Headers(scope=scope)):
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

    def _allows(self, headers: Headers) -> bool:
        key = bearer_key(headers)
        given = _digest((key or "").encode())
        matches = [hmac.compare_digest(given, digest) for digest in self._digests]
        return key is not None and any(matches)


def bearer_key(headers: Headers) -> str | None:
    """The key of `Authorization: Bearer KEY`; None where none was sent."""
    scheme, _, key = headers.get("authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else None


class HostGuard:
    """Serves only requests for known host names.

    A hub without keys on a loopback address is open to every program on the machine, but must not be to a web page
    whose own name was made to resolve to that address (DNS rebinding): its requests name another host.
    """

    def __init__(self, app: ASGIApp, hosts: Iterable[str]) -> None:
        self._app = app
        self._hosts = frozenset(host.lower() for host in hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 421."""
        if scope["type"] == "http":
            host = Headers(scope=scope).get("host", "")
            name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
            if name.lower() not in self._hosts:
                response = problem(421, f"This hub does not answer for the host {name[:100]!r}.")
                await response(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()
