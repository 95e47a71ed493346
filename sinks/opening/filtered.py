"""The option `types` of a sink's URL."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from hub.events import LLMEvent
from hub.sink import Filter, OpenableSink
from hub.sink.base import trouble_of

__all__ = ("FilteredSink",)


class FilteredSink:
    """A sink with a `Filter` before it, entered and left as one.

    Args:
        sink: Where the events go.
        types: As for `Filter`.

    Raises:
        ConfigurationError: There is no such type.
    """

    def __init__(self, sink: OpenableSink, types: Sequence[Any]) -> None:
        self._sink = sink
        self._filter = Filter(sink, types)

    async def __aenter__(self) -> Self:
        await self._sink.__aenter__()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._sink.__aexit__(exc_type, exc, traceback)

    async def send(self, event: LLMEvent) -> None:
        """Send the event on, or pass over it."""
        await self._filter.send(event)

    @property
    def trouble(self) -> str | None:
        """As the sink behind says."""
        return trouble_of(self._sink)

    async def aclose(self) -> None:
        """Close both; a second call does nothing."""
        await self._filter.aclose()
