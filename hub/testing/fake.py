"""A fake language model for the tests of code that depends on one: no HTTP, no sockets, no waiting."""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self, TypeVar, overload

from hub.embeddings import Embeddings
from hub.errors import ClosedError, InvalidRequestError, OutputValidationError
from hub.events import Meta, new_stream_id
from hub.models.profile import as_profile
from hub.models.tokens import estimate_input_tokens, estimate_tokens
from hub.object_stream import ObjectStream
from hub.result import LLMResult, TokenUsage
from hub.structured import ResponseModel
from hub.testing.embeddings import DIMENSIONS, fake_vector
from hub.testing.fake_plan import Answer, Reaction, plan
from hub.testing.telling import Telling
from hub.testing.unexpected import UnexpectedCallError
from hub.upstream.clocks import Timeouts
from hub.upstream.embedding.inputs import embedding_inputs
from hub.upstream.request import check_api, check_max_tokens, check_temperature, check_type, model_request
from hub.upstream.stream import EventStream

__all__ = ("FakeCall", "FakeLLM")

T = TypeVar("T")

_NO_LIMITS = Timeouts(connect_timeout=None, first_token_timeout=None, stall_timeout=None, total_timeout=None)
_CHECKED_APART = ("api", "max_tokens", "model", "temperature")
_CLIENT_S_OWN = ("hedge_delay", "identifier", "restart", "retry", "stream_id", "timeouts")
_NOT_PARAMETERS = frozenset((*_CHECKED_APART, *_CLIENT_S_OWN))


@dataclass(frozen=True, slots=True, eq=False)
class FakeCall:
    """One call of a fake.

    Attributes:
        operation: `chat` for `invoke` and `stream`, `embeddings` for `embedding`.
        messages: The messages as they were when the call was made; those that an `input` stands for, where it stands
            for some; none for an embedding.
        params: Every other argument that was given, by its name.
    """

    operation: Literal["chat", "embeddings"]
    messages: list[Any]
    params: dict[str, Any]
    _telling: list[Telling] = field(default_factory=list, repr=False)

    @property
    def left(self) -> bool:
        """Whether the reader of the stream gave it up before `done`."""
        return any(telling.left for telling in self._telling)


class FakeLLM:
    """An `LLM` that answers as it is told.

        llm = FakeLLM("Hello world", EndpointStatusError("Too many.", code="rate_limited"), ToolCall(…))

    Answers are taken in order, one an `invoke` or `stream`; when none is left, `handler` gives them; without one, a
    further call raises an `UnexpectedCallError`. An answer is a text; a list of pieces, such as texts, `ToolCall`s,
    deltas, and `Pause`, `Gate` or `Hang` among them; an `LLMResult`, for which there is `fake_answer`; an
    `EndpointError` or `Failure`, which is an `error` event; any other exception, which the call raises; or a function
    of messages and parameters that returns one of these. Arguments are checked as the client checks them. Streams
    are the client's own: they keep to the grammar, can be stopped and left, and run into the `timeouts` of their
    call; without these there are none. Nothing is tried again: a failure is one answer.

    `embedding` gives the `fake_vector` of each text: equal for equal texts, else unrelated.

    Args:
        answers: The first answers, as with `enqueue`.
        handler: Gives an answer when none is left.
        model: The name that it answers under, unless a call names another.
        dimensions: The length of its vectors, unless a call says another.

    Attributes:
        calls: What was asked, in order.
    """

    def __init__(
        self,
        *answers: Answer | Reaction,
        handler: Reaction | None = None,
        model: str = "fake",
        dimensions: int = DIMENSIONS,
    ) -> None:
        self.model = model
        self.calls: list[FakeCall] = []
        self._answers = deque(answers)
        self._handler = handler
        self._dimensions = dimensions
        self._closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Take no further call: it would raise a `ClosedError`."""
        self._closed = True

    def enqueue(self, *answers: Answer | Reaction) -> None:
        """Add answers."""
        self._answers.extend(answers)

    @overload
    def stream(self, *, response_model: type[T], **params: Any) -> ObjectStream[T]: ...

    @overload
    def stream(self, *, response_model: None = None, **params: Any) -> EventStream: ...

    def stream(self, *, response_model: Any = None, **params: Any) -> EventStream:
        """The next answer's events.

        Args:
            response_model: What the answer is to be read as.
            params: As for the client's `stream`.

        Raises:
            InvalidRequestError: The arguments are missing or wrong.
            ClosedError: The fake is closed.
            UnexpectedCallError: No answer is left.
            Exception: The answer is this exception.
        """
        self._check_open()
        shape = None if response_model is None else ResponseModel.of(response_model)
        given = {name: list(value) if isinstance(value, Iterator) else value for name, value in params.items()}
        messages = _checked_messages(as_profile(params.get("model") or self.model), given)
        told = {name: value for name, value in given.items() if name != "messages"}
        if response_model is not None:
            told["response_model"] = response_model
        call = FakeCall("chat", copy.deepcopy(messages), told)
        self.calls.append(call)
        telling = self._telling(call)
        call._telling.append(telling)
        if shape is None:
            return EventStream(telling, telling.stream_id)
        return ObjectStream(telling, telling.stream_id, shape)

    @overload
    async def invoke(self, *, response_model: type[T], max_reasks: int = 0, **params: Any) -> T: ...

    @overload
    async def invoke(self, *, response_model: None = None, **params: Any) -> LLMResult: ...

    async def invoke(self, *, response_model: Any = None, max_reasks: int = 0, **params: Any) -> Any:
        """The next answer whole; arguments and exceptions as for `stream`.

        Args:
            response_model: What the answer is to be: then the object is returned, and what is none raises.
            max_reasks: How many further answers may be taken where one is not such an object.
            params: As for `stream`.

        Raises:
            EndpointError: With a `response_model`: the answer is a failure.
            StructuredOutputError: With a `response_model`: it is no such object.
        """
        if response_model is None:
            if max_reasks:
                raise InvalidRequestError("max_reasks is for calls with a response_model.")
            return await self.stream(**params).result()
        shape = ResponseModel.of(response_model)
        while True:
            result = await self.stream(response_model=response_model, **params).result()
            try:
                return shape.parse(result.raise_for_status())
            except OutputValidationError as exc:
                if max_reasks < 1:
                    raise
                max_reasks -= 1
                more = shape.ask_again(result, exc)
                params = {**params, "messages": [*self.calls[-1].messages, *more], "input": None}

    async def embedding(self, input: Any, **params: Any) -> Embeddings:  # noqa: A002 - the API's own word
        """A vector for each text, or list of token ids.

        Args:
            input: A text, texts, token ids or lists of token ids.
            params: Recorded; `dimensions` is the length of the vectors.

        Raises:
            InvalidRequestError: There is no text, or something that is none.
            ClosedError: The fake is closed.
        """
        self._check_open()
        input = list(input) if isinstance(input, Iterator) else input  # noqa: A001 - the API's own word
        items = embedding_inputs(input).items
        texts = [item if isinstance(item, str) else " ".join(map(str, item)) for item in items]
        self.calls.append(FakeCall("embeddings", [], {"input": input, **params}))
        tokens = sum(map(estimate_tokens, texts))
        dimensions = params.get("dimensions") or self._dimensions
        return Embeddings.from_vectors(
            [fake_vector(text, dimensions) for text in texts],
            model=as_profile(params.get("model") or self.model).model_name,
            usage=TokenUsage(input_tokens=tokens, total_tokens=tokens, estimated=True),
        )

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedError("the fake is closed")

    def _telling(self, call: FakeCall) -> Telling:
        planned = plan(self._next_answer(call))
        result, params = planned.result, call.params
        meta = Meta(
            stream_id=params.get("stream_id") or new_stream_id(),
            seq=0,
            model=result.model or as_profile(params.get("model") or self.model).model_name,
            response_id=result.response_id,
            created=result.created,
            cached=result.cached or None,
            identifier=params.get("identifier"),
        )
        tokens = estimate_input_tokens(call.messages, params.get("tools"))
        return Telling(planned, meta, input_tokens=tokens, timeouts=params.get("timeouts") or _NO_LIMITS)

    def _next_answer(self, call: FakeCall) -> Answer:
        if self._answers:
            answer = self._answers.popleft()
            return answer(call.messages, call.params) if callable(answer) else answer
        if self._handler is None:
            last = repr(call.messages[-1]) if call.messages else "none"
            raise UnexpectedCallError(
                f"The fake has no answer for call {len(self.calls)}: pass it one more, or a handler. "
                f"The last message of that call was {last:.200}."
            )
        return self._handler(call.messages, call.params)


def _checked_messages(profile: Any, given: Mapping[str, Any]) -> list[Any]:
    """The conversation in Chat Completions' form, all arguments checked as the client checks them.

    Raises:
        InvalidRequestError: One is missing or wrong.
    """
    check_type("stream_id", given.get("stream_id"), str)
    check_type("identifier", given.get("identifier"), str)
    check_type("timeouts", given.get("timeouts"), Timeouts)
    request = model_request(
        profile=profile,
        api=check_api(given.get("api")),
        max_tokens=check_max_tokens(given.get("max_tokens")),
        temperature=check_temperature(given.get("temperature")),
        params={name: value for name, value in given.items() if name not in _NOT_PARAMETERS},
    )
    if request.api == "chat":
        return list(request.params["messages"])
    messages: Iterable[Any] | None = given.get("messages")
    return [] if messages is None else list(messages)
