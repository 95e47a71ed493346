"""What a channel said and its reader has not taken yet."""

from __future__ import annotations

import asyncio
from collections import deque
from enum import Enum, auto
from typing import TypeAlias

from hub.errors import SinkUnavailableError

__all__ = ("Inbox", "Missed", "Word")


class Missed(Enum):
    """Why messages may be missing at this place."""

    CONNECTION = auto()
    """The connection to the server was lost, and is there again."""
    ROOM = auto()
    """The reader was too slow: so many waited that further ones were dropped."""


Word: TypeAlias = "bytes | Missed"


class Inbox:
    """A bounded queue of messages, in which it stands where some may be missing.

    Once it is full, what comes is dropped until the reader has taken everything that waits; `Missed.ROOM` stands in
    its place.

    Args:
        max_messages: Messages that wait, at most.
        max_bytes: Bytes of them, at most, but for one message that is larger by itself.
        outage_timeout: Seconds for which `get` waits while the channel is not heard.
        address: The server's, for the message of the error.
    """

    def __init__(self, *, max_messages: int, max_bytes: int, outage_timeout: float, address: str) -> None:
        self._words: deque[Word] = deque()
        self._bytes = 0
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._outage_timeout = outage_timeout
        self._address = address
        self._changed = asyncio.Event()
        self._lost_at: float | None = None
        self._is_overflowing = False
        self._is_closed = False

    def hear(self, message: bytes) -> None:
        """Take a message, or note that it was dropped."""
        if self._is_overflowing:
            return
        if len(self._words) >= self._max_messages or (self._words and self._bytes + len(message) > self._max_bytes):
            self._is_overflowing = True
            self._put(Missed.ROOM)
        else:
            self._bytes += len(message)
            self._put(message)

    def confirmed(self) -> None:
        """Note that messages may be missing."""
        if self._lost_at is not None:  # else it is the first word about the channel
            self._lost_at = None
            if not self._words or not isinstance(self._words[-1], Missed):
                self._put(Missed.CONNECTION)

    def lost(self) -> None:
        """The channel is not heard for now."""
        if self._lost_at is None:
            self._lost_at = asyncio.get_running_loop().time()
            self._changed.set()

    def close(self) -> None:
        """Nothing comes any more."""
        self._is_closed = True
        self._changed.set()

    async def get(self) -> Word | None:
        """The next word; None once the inbox is closed.

        Raises:
            SinkUnavailableError: The channel is not heard, for too long. A further call waits as long again.
        """
        while not self._words and not self._is_closed:
            self._changed.clear()
            until = None if self._lost_at is None else self._lost_at + self._outage_timeout
            try:
                async with asyncio.timeout_at(until):
                    await self._changed.wait()
            except TimeoutError:
                self._lost_at = asyncio.get_running_loop().time()
                raise SinkUnavailableError(
                    f"Redis at {self._address} could not be reached for {self._outage_timeout:g} s, "
                    "and the channel is not heard."
                ) from None
        if self._is_closed:
            return None
        word = self._words.popleft()
        if isinstance(word, bytes):
            self._bytes -= len(word)
        if not self._words:
            self._is_overflowing = False
        return word

    def _put(self, word: Word) -> None:
        self._words.append(word)
        self._changed.set()
