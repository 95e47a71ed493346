"""Where `hub chat --sink` sends the answer beside the terminal."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from types import TracebackType
from typing import Self

from hub.errors import ConfigurationError, InvalidRequestError, SinkError
from hub.events import LLMEvent
from hub.sink import FanOut, OpenableSink, Sink
from sinks.opening import open_sink

__all__ = ("ChatSinks",)

DRAIN_TIMEOUT = 15.0
"""Seconds that the sinks have for what they lack once the answer has ended; one, after Ctrl-C."""


class ChatSinks:
    """The sinks of one answer. What becomes of them leaves the answer in the terminal as it is.

    Use it as an async context manager; call `finish` once the answer has ended.

    Args:
        urls: Theirs.
        stream_id: The answer's.

    Raises:
        ConfigurationError: A URL makes no sense, or what its sink needs is missing; the message says which.
    """

    def __init__(self, urls: Sequence[str], stream_id: str) -> None:
        self._sinks: list[OpenableSink] = []
        for number, url in enumerate(urls, 1):
            try:
                self._sinks.append(open_sink(url, stream_id=stream_id))
            except (ConfigurationError, InvalidRequestError) as exc:
                raise ConfigurationError(f"--sink no. {number} can't be used: {exc}") from exc
        self._failures: list[tuple[int, Exception]] = []
        self._fan_out: FanOut | None = None
        if self._sinks:
            self._fan_out = FanOut(*self._sinks, drain_timeout=DRAIN_TIMEOUT, on_failure=self._failed)
        self._limit: asyncio.Timeout | None = None
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        # What it logs is told at the end, by the numbers of the sinks.
        logging.getLogger(FanOut.__module__).addHandler(logging.NullHandler())
        logging.getLogger(FanOut.__module__).propagate = False
        try:
            for number, sink in enumerate(self._sinks, 1):
                try:
                    await self._stack.enter_async_context(sink)
                except SinkError as exc:
                    raise ConfigurationError(f"--sink no. {number} can't be used: {exc}") from exc
            if self._fan_out is not None:
                await self._stack.enter_async_context(self._fan_out)
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._stack.__aexit__(exc_type, exc, traceback)

    async def send(self, event: LLMEvent) -> None:
        """Send the event to every sink that still works."""
        if self._fan_out is not None and len(self._failures) < len(self._sinks):
            with suppress(SinkError):  # all have failed, and each is known
                await self._fan_out.send(event)

    async def finish(self) -> list[str]:
        """Let the sinks take what they lack, for a bounded time; a sentence about each that failed."""
        if self._fan_out is not None:
            with suppress(SinkError, TimeoutError):
                async with asyncio.timeout(None) as self._limit:
                    await self._fan_out.aclose()
        self._limit = None
        return [f"--sink no. {number} did not get the whole answer: {exc}" for number, exc in self._failures]

    def hurry(self) -> None:
        """Cut `finish` short: break off what the sinks are at, and let them close, for a second at most."""
        if self._limit is not None and not self._limit.expired():
            self._limit.reschedule(asyncio.get_running_loop().time())

    def _failed(self, sink: Sink, exc: Exception) -> None:
        self._failures.append((1 + next(at for at, each in enumerate(self._sinks) if each is sink), exc))
