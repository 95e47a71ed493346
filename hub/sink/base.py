"""What a sink promises, and what a source may offer to it."""

from __future__ import annotations

from types import TracebackType
from typing import Protocol, Self, runtime_checkable

from hub.events import EndStatus, LLMEvent, ReasoningDelta, RefusalDelta, TextDelta, ToolCallDelta, ToolResult
from hub.result import Failure

__all__ = ("CLOSE_TIMEOUT", "Endable", "OpenableSink", "Sink", "Troubled", "carried_text", "trouble_of", "with_trouble")

CLOSE_TIMEOUT = 1.0
"""Seconds that a sink which failed, or was broken off, gets to close."""


class Sink(Protocol):
    """Takes the events of one stream, in order, and carries them away.

    `send` is awaited before the next `send` begins, so a slow sink holds its producer back; it raises when the
    sink can't carry the event, and `ClosedError` after `aclose`. An event may be sent again after a cancelled
    `send`: readers know a repeat by its `seq`. `aclose` flushes what is held, may be called twice, and is not called
    while a `send` runs.
    """

    async def send(self, event: LLMEvent) -> None:
        """Carry one event away."""
        ...

    async def aclose(self) -> None:
        """Flush and release; a second call does nothing."""
        ...


class OpenableSink(Sink, Protocol):
    """A sink that takes events inside its `async with` block; leaving the block closes it."""

    async def __aenter__(self) -> Self:
        """Make it ready; what it sends to need not be there yet."""
        ...

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None, /
    ) -> None:
        """As `aclose`, in short where an exception ends the block."""
        ...


@runtime_checkable
class Endable(Protocol):
    """A source of events that can say how its stream ends when it is left early."""

    def ending(self, status: EndStatus, failure: Failure | None = None) -> list[LLMEvent]:
        """The events still due, from the first one not yet handed out through `done`."""
        ...


@runtime_checkable
class Troubled(Protocol):
    """A sink, or what stands before one, that can say what goes wrong while it still tries."""

    @property
    def trouble(self) -> str | None:
        """What the last try failed with, without a full stop; None where it went well, or there was none."""
        ...


def trouble_of(sink: object) -> str | None:
    """What goes wrong at a sink; None where nothing does, or it can't say."""
    return sink.trouble if isinstance(sink, Troubled) else None


def with_trouble(words: str, trouble: str | None) -> str:
    """The words, and the cause that is known for them."""
    return words if trouble is None else f"{words}; the last try failed: {trouble}"


def carried_text(event: LLMEvent) -> str:
    """The text that an event carries, where that makes up its weight."""
    match event:
        case TextDelta() | ReasoningDelta() | RefusalDelta():
            return event.text
        case ToolCallDelta():
            return event.arguments
        case ToolResult():
            return event.output
        case _:
            return ""
