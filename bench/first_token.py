"""Milliseconds until a reader has the first token: through the hub, through a relay by hand, and straight."""

from __future__ import annotations

import socket
import time
from contextlib import ExitStack
from statistics import quantiles
from urllib.parse import urlsplit

import msgspec

from bench.children import Child
from bench.report import Row, Table

__all__ = ("request", "run")

KINDS = {"hub": "endpoint → client → hub → reader", "by-hand": "endpoint → SDK → sse-starlette → reader"}
DIRECT = "endpoint → reader"
MODEL = "prompt-3-5"
UNITS = {"first": "median, ms"}


def run(quick: bool) -> list[Table]:
    """With nothing else to do, and with streams running; the reader's connection stands already."""
    samples, streams = (10, 10) if quick else (150, 100)
    idle = {name: Row(shown) for name, shown in (*KINDS.items(), ("direct", DIRECT))}
    busy = {name: Row(shown) for name, shown in (*KINDS.items(), ("direct", DIRECT))}
    load = {}
    with ExitStack() as stack:
        base_url = stack.enter_context(Child("bench.endpoint")).hello["base_url"]
        for kind in KINDS:
            with Child("bench.relays", kind, base_url) as server, Child("bench.background") as background:
                port = server.hello["port"]
                _sample(idle, kind, base_url, port, samples)
                background.ask("read", port=port, model="paced-100000-30", streams=streams)
                before = server.ask("usage")
                _sample(busy, kind, base_url, port, samples)
                after = server.ask("usage")
                load[kind] = (after["cpu"] - before["cpu"]) / (after["wall"] - before["wall"])
    for row in (*idle.values(), *busy.values()):
        row.facts["p90, ms"] = f"{quantiles(row.samples['first'], n=10)[-1]:.2f}"
    for kind, share in load.items():
        busy[kind].facts["the server's CPU"] = f"{share:.0%} of a core"
    return [
        Table("Time to the first token, idle", UNITS, list(idle.values()), [_added(idle)]),
        Table(f"The same with {streams} streams running", UNITS, list(busy.values()), [_added(busy)]),
    ]


def request(path: str, model: str) -> bytes:
    """A request for a stream, in the form that the endpoint and the servers share."""
    body = msgspec.json.encode({"model": model, "messages": [{"role": "user", "content": "Say something long."}]})
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def _sample(rows: dict[str, Row], kind: str, base_url: str, port: int, samples: int) -> None:
    direct = urlsplit(base_url).port
    assert direct is not None
    with (
        socket.create_connection(("127.0.0.1", port), timeout=30) as ours,
        socket.create_connection(("127.0.0.1", direct), timeout=30) as endpoint,
    ):
        for number in range(-3, samples):
            through = _first_token(ours, "/v1/streams", b"event: text_delta")
            straight = _first_token(endpoint, "/v1/chat/completions", b'"content":" the"')
            if number >= 0:
                rows[kind].add(first=through)
                if kind == "hub":
                    rows["direct"].add(first=straight)


def _first_token(connection: socket.socket, path: str, mark: bytes) -> float:
    """Milliseconds from the request to the first token; the rest of the stream is read after it."""
    began_at = time.perf_counter()
    connection.sendall(request(path, MODEL))
    received = b""
    first = 0.0
    while not received.endswith(b"\r\n0\r\n\r\n"):
        data = connection.recv(65_536)
        if not data:
            raise RuntimeError(f"the connection was closed after {received[-300:]!r}")
        received += data
        if not first and mark in received:
            first = (time.perf_counter() - began_at) * 1000
    if not first or b'"status":"failed"' in received:
        raise RuntimeError(f"no whole answer: {received[-1000:]!r}")
    return first


def _added(rows: dict[str, Row]) -> str:
    added = {kind: rows[kind].middle("first") - rows["direct"].middle("first") for kind in KINDS}
    return f"The hub adds {added['hub']:.2f} ms, the relay by hand {added['by-hand']:.2f} ms."
