"""A sink that keeps what it gets."""

from __future__ import annotations

from typing import Self

from hub.completion import fold
from hub.errors import ClosedError
from hub.events import LLMEvent
from hub.result import LLMResult

__all__ = ("MemorySink",)


class MemorySink:
    """Keeps every event of one stream, for as long as the sink itself is kept. It need not be entered.

    Attributes:
        events: What was sent, in order, repeats included.
        is_closed: Whether it was closed.
    """

    def __init__(self) -> None:
        self.events: list[LLMEvent] = []
        self.is_closed = False

    async def __aenter__(self) -> Self:
        if self.is_closed:
            raise ClosedError("the MemorySink is closed")
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    async def send(self, event: LLMEvent) -> None:
        """Keep the event."""
        if self.is_closed:
            raise ClosedError("the MemorySink is closed")
        self.events.append(event)

    async def aclose(self) -> None:
        """Take no further events; those that came stay."""
        self.is_closed = True

    def result(self) -> LLMResult:
        """What came so far, folded.

        Raises:
            SequenceGapError: Events are missing.
        """
        return fold(self.events)
