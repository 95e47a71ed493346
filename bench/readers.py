"""Subscribers by the thousand in a process of their own: each checks that it gets every event once, in order.

Sockets and epoll without an event loop, so that the readers never are the bottleneck.
"""

from __future__ import annotations

import selectors
import socket
import time
from statistics import median
from typing import Any

from bench.children import Usage, obey, raise_file_limit

__all__: tuple[str, ...] = ()

MAX_READ_BYTES = 262_144
READ_TIMEOUT = 240.0


class Reader:
    """One subscriber: what it still has to parse, and which event comes next."""

    __slots__ = ("expected", "has_head", "is_over", "socket", "unread")

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.unread = b""
        self.has_head = False
        self.expected = 0
        self.is_over = False


class Crowd:
    """All subscribers of one stream.

    Attributes:
        events: The first reader's events as bytes: what every other must get, to the byte.
        first_at, last_at: When the first and the last reader got each event.
        reads: How often anything was read.
    """

    def __init__(self, port: int, path: str, count: int) -> None:
        self.events: list[bytes] = []
        self.first_at: list[float] = []
        self.last_at: list[float] = []
        self.reads = 0
        self._now = 0.0
        self._selector = selectors.DefaultSelector()
        self._readers: list[Reader] = []
        request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAccept: text/event-stream\r\n\r\n".encode()
        for _ in range(count):
            connection = socket.create_connection(("127.0.0.1", port), timeout=30)
            connection.sendall(request)
            connection.setblocking(False)
            reader = Reader(connection)
            self._readers.append(reader)
            self._selector.register(connection, selectors.EVENT_READ, reader)
            # A few hundred at a time: the server has to keep up with accepting.
            if len(self._readers) % 200 == 0:
                self.read_until(lambda reader: reader.has_head)
        self.read_until(lambda reader: reader.has_head)

    def read_until(self, is_done: Any) -> None:
        """Read until every reader is there.

        Raises:
            RuntimeError: An event is missing, came twice, came in another order, or differs between readers.
        """
        missing = sum(not is_done(reader) for reader in self._readers)
        deadline = time.monotonic() + READ_TIMEOUT
        while missing:
            ready = self._selector.select(1.0)
            self._now = time.monotonic()
            if self._now > deadline:
                raise RuntimeError(f"{missing} of {len(self._readers)} readers still wait")
            for key, _ in ready:
                reader: Reader = key.data
                was_done = is_done(reader)
                self._read(reader)
                missing -= is_done(reader) and not was_done

    def close(self) -> None:
        """Leave."""
        for reader in self._readers:
            reader.socket.close()
        self._selector.close()

    def _read(self, reader: Reader) -> None:
        data = reader.socket.recv(MAX_READ_BYTES)
        self.reads += 1
        if not data:
            raise RuntimeError(f"a connection was closed before event {reader.expected}")
        if reader.unread:
            data = reader.unread + data
        if not reader.has_head:
            head, blank, data = data.partition(b"\r\n\r\n")
            if not blank:
                reader.unread = head
                return
            if not head.startswith(b"HTTP/1.1 200 "):
                raise RuntimeError(f"not a stream: {head[:200]!r}")
            reader.has_head = True
        *frames, rest = data.split(b"\n\n")
        for frame in frames:
            # What stands before the id is the framing of the chunk, or a frame without an event.
            start = frame.find(b"id: ")
            if start >= 0:
                self._check(reader, frame[start:])
        reader.unread = rest
        reader.is_over = rest.endswith(b"\r\n0\r\n\r\n") or rest == b"0\r\n\r\n"

    def _check(self, reader: Reader, event: bytes) -> None:
        number = reader.expected
        if number == len(self.events):
            if not event.startswith(b"id: %d\n" % number):
                raise RuntimeError(f"event {number} was due, there came {event[:60]!r}")
            self.events.append(event)
            self.first_at.append(self._now)
            self.last_at.append(self._now)
        elif event != self.events[number]:
            raise RuntimeError(f"event {number} was due, there came {event[:60]!r}")
        self.last_at[number] = self._now
        reader.expected = number + 1


def main() -> None:
    """Subscribe and read as told."""
    files = raise_file_limit()
    crowds: list[Crowd] = []

    def carry_out(command: dict[str, Any]) -> dict[str, Any]:
        match command["command"]:
            case "subscribe":
                crowds[:] = [Crowd(command["port"], command["path"], command["count"])]
                return {}
            case "read":
                crowd = crowds[0]
                usage, reads_before = Usage(), crowd.reads
                crowd.read_until(lambda reader: reader.is_over)
                if len(crowd.events) != command["events"]:
                    raise RuntimeError(f"{len(crowd.events)} events came, not {command['events']}")
                spread = median(last - first for first, last in zip(crowd.first_at, crowd.last_at, strict=True))
                return {"reads": crowd.reads - reads_before, "spread": spread, **usage.so_far()}
            case _:
                crowds.pop().close()
                return {}

    obey({"files": files}, carry_out)


if __name__ == "__main__":
    main()
