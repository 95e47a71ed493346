"""Takes secrets out of what is recorded."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode

import httpx2

from hub.testing.exchange import Body, RequestRecord, piece_of

__all__ = ("HIDDEN", "Secrets", "kept_headers", "request_record")

HIDDEN = "***"
"""As in the client's own messages, so that a replay gives the same ones."""

MIN_SECRET_CHARS = 8
"""What is shorter is a word such as `EMPTY`, and may stand in any text."""

_SECRET_NAME = re.compile(
    r"(^|[-_])(key|apikey|token|secret|password|signature|sig)$|authorization|cookie|credential", re.IGNORECASE
)
_SECRET_MEMBER = re.compile(
    r"^(x-)?(api|access|secret|private)[-_]?(key|token)$|^(authorization|password)$", re.IGNORECASE
)

_BOUNDARY = re.compile(r'^multipart/.*boundary="?([^";]+)')

_KEPT_HEADERS = re.compile(
    r"^(content-type|content-encoding|location|retry-after(-ms)?|x-request-id|x-should-retry|x-ratelimit-.+)$"
)
"""All that anything here reads. Others may name an account, a project or a person."""


class Secrets:
    """Known secrets, to be blotted out wherever they stand."""

    def __init__(self, values: Iterable[str]) -> None:
        self._values = sorted({value for value in values if len(value) >= MIN_SECRET_CHARS}, key=len, reverse=True)

    def hide(self, text: str) -> str:
        """The text without them; also without those that JSON writes with escapes."""
        for value in self._values:
            text = text.replace(value, HIDDEN).replace(json.dumps(value)[1:-1], HIDDEN)
        return text

    def hide_in_pieces(self, pieces: list[tuple[float, bytes]]) -> list[tuple[float, bytes]]:
        """The pieces without them; as one piece where one is spread over several."""
        encoded = [value.encode() for value in self._values]
        body = b"".join(data for _, data in pieces)
        if not any(value in body for value in encoded):
            return pieces
        hidden = [(seconds, self._hide_bytes(data)) for seconds, data in pieces]
        if b"".join(data for _, data in hidden) == self._hide_bytes(body):
            return hidden
        return [(sum(seconds for seconds, _ in pieces), self._hide_bytes(body))]

    def _hide_bytes(self, data: bytes) -> bytes:
        for value in self._values:
            data = data.replace(value.encode(), HIDDEN.encode())
        return data

    @classmethod
    def of(cls, request: httpx2.Request, more: Iterable[str] = ()) -> Secrets:
        """Those that a request brings: in its headers, its query, its user and password."""
        found = [*more, request.url.password]
        for name, value in (*request.headers.multi_items(), *request.url.params.multi_items()):
            if _SECRET_NAME.search(name):
                found += [value, value.partition(" ")[2]]  # of "Bearer …", what follows the word
        return cls(found)


def request_record(request: httpx2.Request, content: bytes, secrets: Secrets) -> RequestRecord:
    """What is kept of a request: no header, no host, and no secret in its query or body."""
    path, _, query = request.url.raw_path.decode("ascii").partition("?")
    pairs = sorted(
        (name, HIDDEN if _SECRET_NAME.search(name) else value)
        for name, value in parse_qsl(query, keep_blank_values=True)
    )
    if boundary := _BOUNDARY.search(request.headers.get("content-type", "")):
        content = content.replace(boundary[1].encode(), b"boundary")  # another one at each run
    whole = f"{path}?{urlencode(pairs, safe='*')}" if pairs else path
    return RequestRecord(method=request.method, path=secrets.hide(whole), body=_body(content, secrets))


def kept_headers(headers: httpx2.Headers, secrets: Secrets) -> dict[str, str]:
    """What is kept of a response's headers."""
    return {
        name: secrets.hide(value) if name != "location" else secrets.hide(value.partition("?")[0])
        for name, value in headers.items()
        if _KEPT_HEADERS.match(name)
    }


def _body(content: bytes, secrets: Secrets) -> Body:
    if not content:
        return None
    try:
        value = json.loads(secrets.hide(content.decode()))
    except ValueError:
        piece = piece_of(content)
        return {"text": secrets.hide(piece)} if isinstance(piece, str) else piece
    return _without_secret_members(value)


def _without_secret_members(value: Any) -> Any:
    """Keys as some gateways take them in the body, at its top: further down the words stand for other things."""
    if not isinstance(value, Mapping):
        return value
    return {name: HIDDEN if _SECRET_MEMBER.match(name) else each for name, each in value.items()}
