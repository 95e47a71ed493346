"""The events of one answer as its reader holds them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from typing import Protocol, Self

from hub.completion import Completion
from hub.errors import ClosedError, endpoint_error
from hub.events import EndStatus, LLMEvent
from hub.formats import sse
from hub.result import Failure, LLMResult

__all__ = ("AnswerSource", "EventStream")


class AnswerSource(Protocol):
    """What produces an answer's events."""

    def batches(self) -> AsyncGenerator[list[LLMEvent], None]:
        """Every event from `meta` to `done`, in lists of what came together."""
        ...

    def stop(self) -> None:
        """End the answer as `cancelled` at once; does nothing after its end."""
        ...

    def ending(self, status: EndStatus, failure: Failure | None = None) -> list[LLMEvent]:
        """The events from the last batch's end through `done`; nothing where `done` has been given already."""
        ...


class EventStream:
    """The events of one answer, to be read once: by `async for`, or as an async context manager and by `async for`.

    Left early, the connection to the endpoint closes: at the end of the `async with` block, at `aclose()`, or when
    the iteration is dropped (`async for event in client.stream(…): break`). `stop()` instead ends the stream in
    order: what is being awaited is given up, and `usage` and `done` with status `cancelled` come out.

    Attributes:
        stream_id: The id that every event bears.
    """

    def __init__(self, answer: AnswerSource, stream_id: str) -> None:
        self.stream_id = stream_id
        self._answer = answer
        self._unread = _Unread()
        # The generators must not refer to this object: a cycle would keep a dropped stream's connection open.
        self._batches = answer.batches()
        self._events = _events(self._batches, self._unread)

    def __aiter__(self) -> AsyncGenerator[LLMEvent, None]:
        """The events, from where an earlier iteration left off."""
        return self._events

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connection to the endpoint; no further event comes. A second call does nothing.

        While another task reads the stream, use `stop()`.
        """
        await self._events.aclose()
        await self._batches.aclose()

    def batches(self) -> AsyncGenerator[list[LLMEvent], None]:
        """The events in lists of what arrived together, for a reader that stores or sends them together.

        Read either this or the stream itself, not both.
        """
        return self._batches

    async def result(self) -> LLMResult:
        """Read to the end, and give the whole answer.

        Raises:
            ClosedError: Something of the stream has been read already, or it was left; fold its events by `Completion`.
        """
        completion = Completion()
        async with aclosing(self.batches()) as batches:
            async for batch in batches:
                if completion.last_seq < 0 and batch[0].seq - batch[0].span >= 0:
                    break
                for event in batch:
                    completion.add(event)
        if completion.last_seq < 0:
            raise ClosedError("The stream has been read or left already: fold its events by hub.Completion.")
        return completion.result()

    async def texts(self) -> AsyncGenerator[str, None]:
        """The answer's text in pieces; the first choice's where there are several.

        Raises:
            EndpointError: The endpoint gave no whole answer; after the pieces that came.
        """
        async with aclosing(aiter(self)) as events:
            async for event in events:
                if event.type == "text_delta" and event.choice == 0:
                    yield event.text
                elif event.type == "error":
                    raise endpoint_error(
                        event.message,
                        code=event.code,
                        status=event.status,
                        retryable=event.retryable,
                        retry_after=event.retry_after,
                    )

    async def frames(self) -> AsyncGenerator[bytes, None]:
        """The events as SSE frames, one each."""
        async with aclosing(aiter(self)) as events:
            async for event in events:
                yield sse.frame(event)

    def stop(self) -> None:
        """End the stream as `cancelled`, from anywhere in the event loop; does nothing after its end."""
        self._answer.stop()

    def ending(self, status: EndStatus, failure: Failure | None = None) -> list[LLMEvent]:
        """The events not yet handed out, through `done`, for a reader that was cancelled and tells others the end."""
        return [*self._unread.take(), *self._answer.ending(status, failure)]


class _Unread:
    """The events of a batch that its reader has not taken yet."""

    __slots__ = ("events",)

    def __init__(self) -> None:
        self.events: Iterator[LLMEvent] = iter(())

    def take(self) -> list[LLMEvent]:
        return list(self.events)


async def _events(batches: AsyncGenerator[list[LLMEvent], None], unread: _Unread) -> AsyncGenerator[LLMEvent, None]:
    async with aclosing(batches):
        async for batch in batches:
            unread.events = events = iter(batch)
            for event in events:
                yield event
