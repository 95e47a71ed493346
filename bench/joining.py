"""What somebody who joins at token 4,000 is sent: every event, or one snapshot."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

from bench.children import Child
from bench.hub_processes import begin_stream, last_seq, valkey, web, worker
from bench.report import Row, Table

__all__ = ("run",)

WAYS = {"?snapshot=1": "with `?snapshot=1`", "": "from the first event"}
UNITS = {"bytes": "bytes", "events": "events", "wall": "ms until all is there"}
START_TIMEOUT = 60.0


def run(quick: bool) -> Iterator[Table]:
    """Join a stream that says nothing more for now."""
    tokens, rounds = (400, 3) if quick else (4_000, 15)
    rows = {way: Row(shown) for way, shown in WAYS.items()}
    with (
        Child("bench.endpoint") as endpoint,
        valkey() as redis,
        web(redis.url) as serving,
        worker(redis.url, endpoint.hello["base_url"]),
    ):
        stream_id = begin_stream(serving.port, f"held-{tokens}")
        deadline = time.monotonic() + START_TIMEOUT
        while last_seq(serving.port, stream_id) < tokens:
            if time.monotonic() > deadline:
                raise RuntimeError("the stream did not get so far")
            time.sleep(0.1)
        for number in range(-1, rounds):
            for way, row in rows.items():
                figures = _join(serving.port, f"/v1/streams/{stream_id}/events{way}", tokens)
                if number >= 0:  # else one that loads the log
                    row.add(**figures)
    note = "Whole responses with their heads, by one process on loopback, the log in memory."
    yield Table(f"Joining a running stream at token {tokens:,}", UNITS, list(rows.values()), [note])


def _join(port: int, path: str, last: int) -> dict[str, float]:
    received = bytearray()
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        began_at = time.perf_counter()
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        mark = b"id: %d\n" % last
        while not ((at := received.find(mark)) >= 0 and received.find(b"\n\n", at) >= 0):
            data = connection.recv(1_000_000)
            if not data:
                raise RuntimeError(f"the response ended early: {bytes(received[-200:])!r}")
            received += data
        wall = time.perf_counter() - began_at
    return {
        "bytes": len(received),
        "events": received.count(b"\nid: ") + received.startswith(b"id: "),
        "wall": wall * 1000,
    }
