"""A reader of one stream as a browser is one: it comes back after each loss with the last position it has."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from random import Random

import aiohttp

from hub.events import LLMEvent, decode_event

__all__ = ("READ_TIMEOUT", "Subscriber")

READ_TIMEOUT = 6.0
"""Seconds of silence after which a reader connects anew; the server's heartbeats are more frequent."""

MAX_PAUSE = 0.4


class Subscriber:
    """Reads a stream to its `done`, from whichever of some servers is there.

    Args:
        http: Has as many connections as it takes.
        stream_id: The stream.
        bases: Servers' addresses; the first one, and another one after each loss.
        rand: How long it waits before it comes back.

    Attributes:
        events: What has come, in order.
        heard_at: When each came, in the loop's time.
        refusals: How often it got which other status than 200.
        losses: How often a connection ended before `done`.
        wrong: What must not be; it reads no further then.
    """

    def __init__(self, http: aiohttp.ClientSession, stream_id: str, bases: Sequence[str], rand: Random) -> None:
        self.stream_id = stream_id
        self.events: list[LLMEvent] = []
        self.heard_at: list[float] = []
        self.refusals: Counter[int] = Counter()
        self.losses = 0
        self.wrong: list[str] = []
        self._http = http
        self._bases = bases
        self._rand = rand
        self._visits = 0

    @property
    def last_seq(self) -> int:
        """The last position it has; -1 for none."""
        return self.events[-1].seq if self.events else -1

    @property
    def is_done(self) -> bool:
        """Whether it has all, or is at its wit's end."""
        return bool(self.wrong) or (bool(self.events) and self.events[-1].type == "done")

    async def run(self) -> None:
        """Read until it is done."""
        while not self.is_done:
            with suppress(aiohttp.ClientError, OSError, TimeoutError):
                await self._visit(self._bases[self._visits % len(self._bases)])
            self._visits += 1
            if not self.is_done:
                self.losses += 1
                await asyncio.sleep(self._rand.uniform(0.05, MAX_PAUSE))

    async def _visit(self, base: str) -> None:
        headers = {"Last-Event-ID": str(self.last_seq)} if self.events else {}
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=READ_TIMEOUT, sock_read=READ_TIMEOUT)
        url = f"{base}/v1/streams/{self.stream_id}/events"
        async with self._http.get(url, headers=headers, timeout=timeout) as response:
            if response.status != 200:
                self.refusals[response.status] += 1
                if response.status == 204:
                    self.wrong.append(f"204, that is all, at position {self.last_seq}")
                return
            held = b""
            async for data in response.content.iter_any():
                *frames, held = (held + data).split(b"\n\n")
                for frame in frames:
                    self._take(frame)
                if self.is_done:
                    return

    def _take(self, frame: bytes) -> None:
        data = next((line[6:] for line in frame.split(b"\n") if line.startswith(b"data: ")), None)
        if data is None:
            return
        event = decode_event(data)
        if event.seq - event.span != self.last_seq:
            self.wrong.append(f"{event.type} {event.seq} (span {event.span}) came behind {self.last_seq}")
        self.events.append(event)
        self.heard_at.append(asyncio.get_running_loop().time())
