"""Readers that note how old each token is when it arrives: `python -m bench.stamp_readers`.

Tokens are the times at which the endpoint sent them. Streams come from a hub, or straight from the endpoint.
"""

from __future__ import annotations

import asyncio
import re
import time
from itertools import chain
from statistics import quantiles
from typing import Any

import uvloop

from bench.children import obey_async
from bench.first_token import request

__all__: tuple[str, ...] = ()

STAMP = re.compile(rb"[0-9]{10}\.[0-9]{6} ")
TAKEN_OVER = b"event: snapshot\n"
MODEL = "stamped-100000-33"


class Reader(asyncio.Protocol):
    """One stream.

    Attributes:
        ages: Seconds from the endpoint to here, a token each, since they were last asked for.
        token_at: When the last token came.
        taken_over_at: When a further attempt began; None before.
        resumed_at: When its first token came.
    """

    def __init__(self, head: bytes) -> None:
        self.ages: list[float] = []
        self.token_at: float | None = None
        self.taken_over_at: float | None = None
        self.resumed_at: float | None = None
        self._head = head
        self._unread = b""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Ask."""
        self.transport = transport
        transport.write(self._head)

    def data_received(self, data: bytes) -> None:
        """Take note of whatever is whole."""
        now = time.monotonic()
        whole, end, rest = (self._unread + data).rpartition(b"\n")
        self._unread = rest
        if TAKEN_OVER in whole + end:
            # Its result has the earlier tokens, which are none that arrive now.
            whole = whole.partition(TAKEN_OVER)[2].partition(b"\n\n")[2]
            self.taken_over_at = now
        for stamp in STAMP.findall(whole):
            self.ages.append(now - float(stamp))
            self.token_at = now
            if self.taken_over_at is not None and self.resumed_at is None:
                self.resumed_at = now


async def main() -> None:
    """Read as told."""
    loop = asyncio.get_running_loop()
    groups: dict[str, list[Reader]] = {}

    async def read(group: str, port: int, head: bytes) -> None:
        _, reader = await loop.create_connection(lambda: Reader(head), "127.0.0.1", port)
        groups.setdefault(group, []).append(reader)

    async def carry_out(command: dict[str, Any]) -> dict[str, Any]:
        match command["command"]:
            case "subscribe":
                for stream_id in command["streams"]:
                    head = f"GET /v1/streams/{stream_id}/events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
                    await read("hub", command["port"], head.encode())
                return {}
            case "ask":
                for _ in range(command["streams"]):
                    await read("endpoint", command["port"], request("/v1/chat/completions", MODEL))
                return {}
            case "forget":
                for reader in chain(*groups.values()):
                    reader.ages.clear()
                return {}
            case "leave":
                for reader in chain(*groups.values()):
                    reader.transport.abort()
                groups.clear()
                return {}
            case "attempts":
                readers = groups["hub"]
                return {
                    "reading": sum(reader.token_at is not None for reader in readers),
                    "taken_over": [reader.taken_over_at for reader in readers],
                    "resumed": [reader.resumed_at for reader in readers],
                }
            case _:
                return {group: _ages(readers) for group, readers in groups.items()}

    await obey_async({}, carry_out)


def _ages(readers: list[Reader]) -> dict[str, float]:
    """How many tokens came, and how old they were in milliseconds: the median, and what one in a hundred exceeds."""
    ages = [age for reader in readers for age in reader.ages]
    if len(ages) < 2:
        raise RuntimeError("no tokens came")
    cuts = quantiles(ages, n=100)
    return {"tokens": len(ages), "p50": cuts[49] * 1000, "p99": cuts[98] * 1000}


if __name__ == "__main__":
    uvloop.run(main())
