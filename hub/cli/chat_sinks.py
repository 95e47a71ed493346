"""Where `hub chat --sink` sends the answer beside the terminal."""

from __future__ import annotations

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
"""Seconds that the sinks have for what they lack once the answer has ended."""


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
        self._fan_out = FanOut(*self._sinks, drain_timeout=DRAIN_TIMEOUT, on_failure=self._failed)
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        # What it logs is told at the end, behind the answer; without a handler it would stand in the midst of it.
        logging.getLogger(FanOut.__module__).addHandler(logging.NullHandler())
        try:
            for number, sink in enumerate(self._sinks, 1):
                try:
                    await self._stack.enter_async_context(sink)
                except SinkError as exc:
                    raise ConfigurationError(f"--sink no. {number} can't be used: {exc}") from exc
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
        if len(self._failures) < len(self._sinks):
            with suppress(SinkError):  # all have failed, and each is known
                await self._fan_out.send(event)

    async def finish(self) -> list[str]:
        """Let the sinks take what they lack, for a bounded time; a sentence about each that failed."""
        with suppress(SinkError):
            await self._fan_out.aclose()
        return [f"--sink no. {number} did not get the whole answer: {exc}" for number, exc in self._failures]

    def _failed(self, sink: Sink, exc: Exception) -> None:
        self._failures.append((1 + next(at for at, each in enumerate(self._sinks) if each is sink), exc))
