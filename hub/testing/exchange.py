"""Recorded exchanges, and the files that hold them.

A file is one JSON object: `{"format": 1, "exchanges": […]}`. An exchange has a `request` (method, path, body), a
`response` (status, headers; null where none came), `pieces`, each on a line of its own: the seconds since what came
before, and the text (or `{"base64": …}` for what is no UTF-8), and an `ending`: `complete`; `left`, where the
client closed the response; `waiting`, where it did so while it waited for more; or the name of an httpx2 exception.
"""

from __future__ import annotations

import json
import os
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import httpx2
import msgspec

from hub.errors import ConfigurationError

__all__ = ("ERRORS", "Body", "Exchange", "RequestRecord", "ResponseRecord", "load", "piece_of", "save")

FORMAT = 1

Body: TypeAlias = Any
"""JSON as its value; other text as `{"text": …}`, other bytes as `{"base64": …}`; None where there is none."""

ERRORS: dict[str, type[httpx2.RequestError]] = {
    kind.__name__: kind
    for kind in (
        httpx2.ConnectTimeout,
        httpx2.ReadTimeout,
        httpx2.WriteTimeout,
        httpx2.PoolTimeout,
        httpx2.ConnectError,
        httpx2.ReadError,
        httpx2.WriteError,
        httpx2.CloseError,
        httpx2.ProxyError,
        httpx2.UnsupportedProtocol,
        httpx2.LocalProtocolError,
        httpx2.RemoteProtocolError,
    )
}
"""What a transport can end with instead of an answer."""


class RequestRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked: the path has its query; no header is kept."""

    method: str
    path: str
    body: Body = None


class ResponseRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The head of what was answered."""

    status: int
    headers: dict[str, str]


class Exchange(msgspec.Struct, frozen=True, kw_only=True):
    """One request and what came of it.

    Attributes:
        request: What was asked.
        response: The head of the answer; None where none came.
        pieces: The body as it arrived, each piece with the seconds since what came before it; the first one's count
            from the head.
        seconds_to_head: From the request to the head, or to the end where no head came.
        ending: `complete`, `left`, `waiting`, or a name in `ERRORS`.
        message: What that error said.
    """

    request: RequestRecord
    response: ResponseRecord | None = None
    seconds_to_head: float = 0.0
    pieces: tuple[tuple[float, str | dict[str, str]], ...] = ()
    ending: str = "complete"
    message: str = ""

    def body(self) -> Iterable[tuple[float, bytes]]:
        """The pieces as bytes."""
        for seconds, piece in self.pieces:
            yield seconds, piece.encode() if isinstance(piece, str) else b64decode(piece["base64"])


class _File(msgspec.Struct, frozen=True, kw_only=True):
    format: int
    exchanges: list[Exchange]


def piece_of(data: bytes) -> str | dict[str, str]:
    """Bytes as they stand in the file."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return {"base64": b64encode(data).decode("ascii")}


def load(path: Path) -> list[Exchange]:
    """The exchanges of a file.

    Raises:
        ConfigurationError: There is no such file, or it is no recording.
    """
    try:
        file = msgspec.json.decode(path.read_bytes(), type=_File)
    except FileNotFoundError as exc:
        raise ConfigurationError(f"There is no recording at {path}: record it first.") from exc
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise ConfigurationError(f"{path} is no recording of hub.testing: {exc}.") from exc
    unknown = {each.ending for each in file.exchanges} - {"complete", "left", "waiting", *ERRORS}
    if file.format != FORMAT or unknown:
        raise ConfigurationError(f"{path} is a recording of another version of hub.testing: record it anew.")
    return file.exchanges


def save(path: Path, exchanges: Iterable[Exchange]) -> None:
    """Write the file anew, all or nothing; folders that are missing are made."""
    written = ",\n".join(map(_layout, exchanges))
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_text(f'{{"format": {FORMAT}, "exchanges": [\n{written}\n]}}\n', "utf-8")
    beside.replace(path)


def _layout(exchange: Exchange) -> str:
    """An exchange's JSON, made to be read and compared: a member or a piece a line."""
    fields: Mapping[str, Any] = msgspec.to_builtins(exchange)
    head = {name: value for name, value in fields.items() if name != "pieces"}
    lines = json.dumps(head, indent=2, ensure_ascii=False).removesuffix("\n}")
    pieces = ",\n".join(f"    {json.dumps(piece, ensure_ascii=False)}" for piece in fields["pieces"])
    return f'{lines},\n  "pieces": [\n{pieces}\n  ]\n}}' if pieces else f'{lines},\n  "pieces": []\n}}'
