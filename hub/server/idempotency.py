"""`Idempotency-Key`: the same request, sent again, begins no second stream.

The stream's id is derived from the key and whoever sends it, so the store, which gives an id once, makes it one stream
in all processes that share it; and once the stream has passed its retention, the key is free again.
https://datatracker.ietf.org/doc/html/draft-ietf-httpapi-idempotency-key-header (an early version, read 2026-11-21).
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from weakref import WeakValueDictionary

import msgspec
from starlette.requests import Request

from hub.errors import StreamExistsError, StreamNotFoundError
from hub.hub import Hub
from hub.server.auth import bearer_key
from hub.server.problem import ProblemError
from hub.streams.base import StreamInfo

__all__ = ("KeyedStart", "Starts", "keyed_start", "read_idempotency_key")

MAX_KEY_CHARACTERS = 255

# A string of RFC 9651, section 3.3.3, as the draft asks for; or without the quotes, as most clients send it.
_QUOTED = re.compile(r'"((?:[ !#-\[\]-~]|\\["\\])*)"')
_BARE = re.compile(r"[A-Za-z0-9!#$%&'*+./:=^_`|~-]+")


@dataclass(frozen=True, slots=True)
class KeyedStart:
    """What a request with an idempotency key begins, or has begun before.

    Attributes:
        stream_id: The one stream of this key and this caller.
        fingerprint: A digest of what is asked for: another one under the same key is a mistake of the caller's.
    """

    stream_id: str
    fingerprint: str


class Starts:
    """Begins streams over a hub; of requests with one key and one caller, the first does.

    Args:
        hub: Runs and keeps the streams.
    """

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def start(self, keyed: KeyedStart, arguments: Mapping[str, Any]) -> tuple[StreamInfo, bool]:
        """The stream of a key, begun now or found, and whether it was found.

        Raises:
            ProblemError: 422 where the key's stream was begun by another request.
            HubError: As `Hub.start`.
        """
        # A stream that is being made can't be found yet: who comes meanwhile waits for it.
        lock = self._locks.setdefault(keyed.stream_id, asyncio.Lock())
        async with lock:
            try:
                return await self._find(keyed), True
            except StreamNotFoundError:
                pass
            try:
                started = await self._hub.start(**arguments, stream_id=keyed.stream_id, fingerprint=keyed.fingerprint)
            except StreamExistsError:  # another process was faster
                return await self._find(keyed), True
            return started, False

    async def _find(self, keyed: KeyedStart) -> StreamInfo:
        stream = await self._hub.log(keyed.stream_id)
        if stream.fingerprint != keyed.fingerprint:
            raise ProblemError(
                422, "This Idempotency-Key has begun a stream for another body: each request needs a key of its own."
            )
        return StreamInfo(stream.stream_id, stream.status, stream.model, stream.created_at, stream.last_seq)


def read_idempotency_key(request: Request) -> str | None:
    """The request's idempotency key, without quotes; None where it has none.

    Raises:
        ProblemError: 400 where it is malformed or too long, or there are several.
    """
    fields = request.headers.getlist("idempotency-key")
    if not fields:
        return None
    text = fields[0].strip()
    if quoted := _QUOTED.fullmatch(text):
        key = re.sub(r"\\(.)", r"\1", quoted[1])
    else:
        key = text if _BARE.fullmatch(text) else ""
    if len(fields) > 1 or not 1 <= len(key) <= MAX_KEY_CHARACTERS:
        raise ProblemError(
            400,
            f"Send one Idempotency-Key of 1 to {MAX_KEY_CHARACTERS} characters, such as a UUID: in double quotes, or "
            "without them if it has letters, digits and !#$%&'*+-./:=^_`|~ only.",
        )
    return key


def keyed_start(request: Request, key: str, arguments: Mapping[str, Any]) -> KeyedStart:
    """What a request asks for under its key; whoever sends another bearer key is another caller."""
    parts = ("idempotency-key", bearer_key(request.headers) or "", key)
    # Neither a header nor a key has a NUL in it.
    digest = hashlib.sha256("\0".join(parts).encode()).digest()
    return KeyedStart(
        # As long as any other stream's id: 128 bits, in 26 characters.
        stream_id="str_" + base64.b32encode(digest[:16]).decode().rstrip("="),
        fingerprint=hashlib.sha256(msgspec.json.encode(arguments, order="sorted")).hexdigest(),
    )
