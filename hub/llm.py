"""The protocol that code depending on a language model accepts: `OpenAIClient` has it, and the fake for tests."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar, overload

from hub.events import LLMEvent
from hub.result import LLMResult

if TYPE_CHECKING:
    from hub.embeddings import Embeddings

__all__ = ("LLM", "AnswerStream", "ObjectAnswerStream")

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class AnswerStream(Protocol):
    """The events of one answer, to be read once: by `async for`, or as an async context manager and by `async for`.

    The first event is `meta`, the last the only `done`, whatever happened; a failure is an `error` event, never an
    exception.
    """

    @property
    def stream_id(self) -> str:
        """The id that every event bears."""
        ...

    def __aiter__(self) -> AsyncIterator[LLMEvent]:
        """The events, from where an earlier iteration left off."""
        ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *exc_info: object) -> None: ...

    async def aclose(self) -> None:
        """Give the answer up; no further event comes. A second call does nothing."""
        ...

    def batches(self) -> AsyncGenerator[list[LLMEvent], None]:
        """The events in lists of what came together; read either this or the stream itself."""
        ...

    async def result(self) -> LLMResult:
        """The whole answer, of a stream of which nothing has been read."""
        ...

    def stop(self) -> None:
        """End the stream as `cancelled`, in order, from anywhere in the event loop; does nothing after its end."""
        ...


class ObjectAnswerStream(AnswerStream, Protocol[T_co]):
    """The stream of an answer that is to be an object."""

    def partials(self) -> AsyncGenerator[T_co, None]:
        """The object as it grows, without validation."""
        ...

    async def parsed(self) -> T_co:
        """Read what is left, and give the object.

        Raises:
            EndpointError: There is no whole answer.
            StructuredOutputError: It is no such object.
        """
        ...


class LLM(Protocol):
    """What answers. Calls may run side by side; each is independent of the others.

    `params` are those of `OpenAIClient.stream`, `messages` or `input` among them. Wrong ones raise an
    `InvalidRequestError` at the call, before anything is asked.
    """

    @overload
    async def invoke(self, *, response_model: type[T], **params: Any) -> T: ...

    @overload
    async def invoke(self, *, response_model: None = None, **params: Any) -> LLMResult: ...

    async def invoke(self, *, response_model: Any = None, **params: Any) -> Any:
        """The whole answer. A failure is in its `status` and `error`; `raise_for_status()` raises it.

        With a `response_model` it is an object of that type; a failure, and what is no such object, raises.
        """
        ...

    @overload
    def stream(self, *, response_model: type[T], **params: Any) -> ObjectAnswerStream[T]: ...

    @overload
    def stream(self, *, response_model: None = None, **params: Any) -> AnswerStream: ...

    def stream(self, *, response_model: Any = None, **params: Any) -> AnswerStream:
        """The answer's events as they come."""
        ...

    async def embedding(self, input: Any, **params: Any) -> Embeddings:  # noqa: A002 - the API's own word
        """A vector for each text.

        Args:
            input: A text, or several.
            params: Further parameters.

        Raises:
            EndpointError: There is no whole answer.
        """
        ...
