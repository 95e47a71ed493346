"""Takes secrets out of what is recorded."""

from __future__ import annotations

import json
import re
from base64 import b64decode
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qsl, urlencode

import httpx2

from hub.testing.exchange import Body, RequestRecord, piece_of
from hub.testing.secret_names import (
    HIDDEN,
    MIN_SECRET_CHARS,
    is_secret_header,
    is_secret_member,
    is_secret_parameter,
    is_surely_secret,
    without_secrets,
)

__all__ = ("Secrets", "kept_headers", "request_record")

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
        """Those that a request brings: in its headers, its query, its user and password, and its body once read."""
        found = [*more, request.url.password]
        for name, value in request.headers.multi_items():
            if is_secret_header(name):
                found += _forms(value)
        found += [value for name, value in request.url.params.multi_items() if is_secret_parameter(name)]
        with suppress(httpx2.RequestNotRead, ValueError):  # it may have no JSON
            found += _members(json.loads(request.content))
        return cls(found)


def request_record(request: httpx2.Request, content: bytes, secrets: Secrets) -> RequestRecord:
    """What is kept of a request: no header, no host, and no secret in its query or body."""
    path, _, query = request.url.raw_path.decode("ascii").partition("?")
    pairs = sorted(
        (name, HIDDEN if is_secret_parameter(name) else value)
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
    return _without_secrets(value)


def _without_secrets(value: Any, name: str = "", owner: Any = None) -> Any:
    """A JSON value without the texts that are secrets, however deep; `name` is the member of `owner` it is under."""
    match value:
        case dict():
            return {key: _without_secrets(each, key, value) for key, each in value.items()}
        case list():
            return [_without_secrets(each, name, owner) for each in value]
        case str():
            return HIDDEN if is_secret_member(name, value, owner) else without_secrets(value)
        case _:
            return value


def _members(value: Any, name: str = "") -> Iterator[str]:
    """The texts in a JSON value that are surely secrets."""
    match value:
        case dict():
            for key, each in value.items():
                yield from _members(each, key)
        case list():
            for each in value:
                yield from _members(each, name)
        case str() if is_surely_secret(name):
            yield from _forms(value)


def _forms(value: str) -> Iterator[str]:
    """A secret, and what of it may be quoted by itself: what follows `Bearer`, a password, each of the cookies."""
    yield value
    scheme, _, rest = value.partition(" ")
    yield rest
    if scheme.lower() == "basic":
        with suppress(ValueError):  # it may be no user and password
            yield b64decode(rest).decode().partition(":")[2]
    for cookie in value.split(";"):
        yield cookie.partition("=")[2].strip()
