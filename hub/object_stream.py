"""A stream whose answer is an object: growing as it comes, validated at the end."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Generic, TypeVar

from hub.completion import Completion
from hub.errors import ClosedError
from hub.events import LLMEvent, Meta, TextDelta
from hub.result import LLMResult
from hub.structured import PartialParser, ResponseModel
from hub.upstream.stream import AnswerSource, EventStream

__all__ = ("ObjectStream",)

T = TypeVar("T")


class ObjectStream(EventStream, Generic[T]):
    """An `EventStream` of an answer asked for with a `response_model`.

    Read it by its events, by `partials()`, or at once by `parsed()`.
    """

    def __init__(self, answer: AnswerSource, stream_id: str, response_model: ResponseModel[T]) -> None:
        super().__init__(answer, stream_id)
        self._response_model = response_model
        self._completion = Completion()
        self._folded = _folded(self._events, self._completion)

    def __aiter__(self) -> AsyncGenerator[LLMEvent, None]:
        """The events, from where an earlier iteration left off."""
        return self._folded

    async def aclose(self) -> None:
        """Close the connection to the endpoint; no further event comes. A second call does nothing."""
        await self._folded.aclose()
        await super().aclose()

    async def partials(self) -> AsyncGenerator[T, None]:
        """The object as it grows: made without validation, what hasn't come yet is None or its default.

        A new attempt begins from nothing again. An endpoint's failure ends the iteration; `parsed()` raises it.
        """
        parser = PartialParser(self._response_model)
        async for event in self:
            if isinstance(event, TextDelta) and event.choice == 0:
                if (partial := parser.feed(event.text)) is not None:
                    yield partial
            elif isinstance(event, Meta):
                parser = PartialParser(self._response_model)
        if (partial := parser.finish()) is not None:
            yield partial

    async def result(self) -> LLMResult:
        """Read what is left, and give the whole answer."""
        async with aclosing(self._folded) as events:
            async for _ in events:
                pass
        result = self._completion.result()
        if result.status == "running":
            raise ClosedError("The stream was left before its end.")
        return result

    async def parsed(self) -> T:
        """Read what is left, and give the object.

        Raises:
            EndpointError: The endpoint gave no whole answer.
            StructuredOutputError: The answer is not such an object; its subclass says why.
        """
        return self._response_model.parse((await self.result()).raise_for_status())


async def _folded(events: AsyncGenerator[LLMEvent, None], completion: Completion) -> AsyncGenerator[LLMEvent, None]:
    async with aclosing(events):
        async for event in events:
            completion.add(event)
            yield event
