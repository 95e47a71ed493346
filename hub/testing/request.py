"""Reads HTTP/1.1 requests from a connection: as much of the protocol as clients of an endpoint use."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import msgspec

__all__ = ("MAX_HEAD_BYTES", "BadRequestError", "RecordedRequest", "read_request")

MAX_HEAD_BYTES = 64 * 1024
MAX_BODY_BYTES = 64 * 1024 * 1024


class BadRequestError(ValueError):
    """The bytes on a connection are no HTTP request, or one too large."""


@dataclass(frozen=True, slots=True, eq=False)
class RecordedRequest:
    """One request as it arrived.

    Attributes:
        method: In capitals, as sent.
        path: The target as sent, with its query.
        version: `HTTP/1.1` or `HTTP/1.0`.
        headers: By lower-case name; several of one name are joined with a comma.
        body: The whole body, without its framing.
        left: Set once the client has closed the connection that the request came on.
    """

    method: str
    path: str
    version: str
    headers: dict[str, str]
    body: bytes
    left: asyncio.Event

    def json(self) -> Any:
        """The body's JSON.

        Raises:
            msgspec.DecodeError: It is none.
        """
        return msgspec.json.decode(self.body)

    @property
    def keep_alive(self) -> bool:
        """Whether the client will send a further request on this connection."""
        tokens = self.headers.get("connection", "").lower()
        return "keep-alive" in tokens if self.version == "HTTP/1.0" else "close" not in tokens


async def read_request(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, left: asyncio.Event
) -> RecordedRequest:
    """The next request on a connection.

    Raises:
        BadRequestError: What arrived is no request.
        asyncio.IncompleteReadError: The connection ended before the request did.
    """
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.LimitOverrunError as exc:
        raise BadRequestError(f"The head is longer than {MAX_HEAD_BYTES} bytes.") from exc
    request_line, *lines = head.decode("latin-1").removesuffix("\r\n\r\n").lstrip("\r\n").split("\r\n")
    match request_line.split(" "):
        case [method, path, ("HTTP/1.1" | "HTTP/1.0") as version]:
            pass
        case _:
            raise BadRequestError("The request line is not `METHOD TARGET HTTP/1.1`.")
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip():
            raise BadRequestError(f"Not a header: {line!r}.")
        known = headers.get(name.lower())
        headers[name.lower()] = value.strip() if known is None else f"{known}, {value.strip()}"
    if headers.get("expect", "").lower() == "100-continue":
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    body = await _read_body(reader, headers)
    return RecordedRequest(method=method, path=path, version=version, headers=headers, body=body, left=left)


async def _read_body(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
    if "chunked" in headers.get("transfer-encoding", "").lower():
        return await _read_chunks(reader)
    length = headers.get("content-length", "0")
    if not (length.isascii() and length.isdecimal()):
        raise BadRequestError(f"Not a Content-Length: {length!r}.")
    _check_size(int(length))
    return await reader.readexactly(int(length))


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    body = bytearray()
    while True:
        line = await reader.readuntil(b"\r\n")
        try:
            size = int(line.partition(b";")[0], 16)
        except ValueError as exc:
            raise BadRequestError(f"Not the size of a chunk: {line!r}.") from exc
        if size == 0:
            break
        _check_size(len(body) + size)
        body += await reader.readexactly(size)
        await reader.readexactly(2)
    while await reader.readuntil(b"\r\n") != b"\r\n":
        pass  # trailers
    return bytes(body)


def _check_size(size: int) -> None:
    if not 0 <= size <= MAX_BODY_BYTES:
        raise BadRequestError(f"A body of {size} bytes; {MAX_BODY_BYTES} are taken.")
