"""Every exception this project raises, grouped by who has to act.

    Exception
    ├── HubError                      base: `except HubError` catches all of ours
    │   ├── ConfigurationError        the operator: a setting is missing or makes no sense
    │   │   ├── MissingKeyError       no API key where the endpoint needs one
    │   │   └── MissingExtraError     a backend whose packages are not installed
    │   ├── RequestError              the caller: this request can't be served as it is
    │   │   ├── InvalidRequestError   wrong or missing arguments (also a ValueError)
    │   │   ├── StreamNotFoundError   no such stream, or its retention has passed
    │   │   ├── StreamExistsError     a stream of that id is there already
    │   │   └── PositionError         a position beyond the end of the stream
    │   ├── EndpointError             the endpoint: wait, or go elsewhere
    │   │   ├── EndpointStatusError   it answered with an error status
    │   │   ├── EndpointConnectionError   it can't be reached, or went away
    │   │   ├── EndpointTimeoutError  one of the four clocks ran out
    │   │   └── EndpointStreamError   what it sent is no answer: truncated, malformed, refused in mid-stream
    │   ├── StructuredOutputError     the model: its answer is not the object that was asked for
    │   │   ├── RefusalError          it refused
    │   │   ├── OutputTruncatedError  it reached its limit of tokens first
    │   │   └── OutputValidationError it said something else
    │   ├── LimitError                a budget is used up
    │   │   ├── HubBusyError          the hub takes no further stream or subscriber now
    │   │   ├── RequestTooLargeError  a request wants more than a whole minute's budget
    │   │   ├── LimiterBusyError      as many requests wait for the rate limit as may
    │   │   └── LimitTimeoutError     a request waited for the rate limit as long as it may
    │   └── BackendError              a store, cache or sink below us failed
    │       ├── MalformedEventError   bytes that are no event of ours
    │       ├── SequenceGapError      events are missing between two that arrived
    │       ├── StoreError
    │       │   └── StaleWriterError  another writer has taken the stream over
    │       ├── SinkError             a sink can't take further events
    │       │   ├── SinkUnavailableError  where it sends to is away, slow, or has failed: later may work
    │       │   └── SinkRejectedError     where it sends to refuses what was sent: the same fails again
    │       ├── CheckpointError       the file of a batch
    │       └── CacheError
    │           └── CacheEntryError   what is kept is damaged, or of another format
    └── RuntimeError
        └── ClosedError               misuse: used after it was closed

Each `EndpointError` carries the `code` of the `error` event it stands for, so code that reads events and
code that catches exceptions see the same word.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

__all__ = (
    "ERROR_CODES",
    "BackendError",
    "CacheEntryError",
    "CacheError",
    "CheckpointError",
    "ClosedError",
    "ConfigurationError",
    "EndpointConnectionError",
    "EndpointError",
    "EndpointStatusError",
    "EndpointStreamError",
    "EndpointTimeoutError",
    "ErrorCode",
    "HubBusyError",
    "HubError",
    "InvalidRequestError",
    "LimitError",
    "LimitTimeoutError",
    "LimiterBusyError",
    "MalformedEventError",
    "MissingExtraError",
    "MissingKeyError",
    "OutputTruncatedError",
    "OutputValidationError",
    "PositionError",
    "RefusalError",
    "RequestError",
    "RequestTooLargeError",
    "SequenceGapError",
    "SinkError",
    "SinkRejectedError",
    "SinkUnavailableError",
    "StaleWriterError",
    "StoreError",
    "StreamExistsError",
    "StreamNotFoundError",
    "StructuredOutputError",
    "endpoint_error",
)

ErrorCode = Literal[
    "invalid_request",
    "unauthorized",
    "not_found",
    "rate_limited",
    "endpoint_error",
    "connection_failed",
    "not_a_stream",
    "truncated",
    "malformed",
    "connect_timeout",
    "first_token_timeout",
    "stall_timeout",
    "total_timeout",
    "content_filter",
    "budget_exceeded",
    "worker_lost",
    "interrupted",
    "store_unavailable",
]
"""The stable words of an `error` event's `code`."""

ERROR_CODES: tuple[str, ...] = get_args(ErrorCode)


class HubError(Exception):
    """Base of every error of this project that is not misuse."""


class ConfigurationError(HubError):
    """A setting is missing or makes no sense; the message names it."""


class MissingKeyError(ConfigurationError):
    """No API key is known for an endpoint that needs one."""

    def __init__(self, base_url: str, variable: str | None) -> None:
        setting = "Pass" if variable is None else f"Set the environment variable {variable}, or pass"
        super().__init__(f"No API key for {base_url}. {setting} api_key=… ('EMPTY' for a server that asks for none).")
        self.base_url = base_url
        self.variable = variable


class MissingExtraError(ConfigurationError):
    """A feature was asked for whose packages are not installed."""

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(
            f"{feature} needs packages that are not installed: the extra {extra!r} of llm-stream-hub "
            f"(in a checkout: pip install -e '.[{extra}]')."
        )
        self.extra = extra


class RequestError(HubError):
    """This request can't be served as it is; the caller has to change it."""


class InvalidRequestError(RequestError, ValueError):
    """Arguments are missing or wrong; raised at the call, before anything is sent."""


class StreamNotFoundError(RequestError):
    """No stream of that id is known here, or its retention has passed."""

    def __init__(self, stream_id: str) -> None:
        super().__init__(f"No stream {stream_id!r} is known here; it may have passed its retention.")
        self.stream_id = stream_id


class StreamExistsError(RequestError):
    """A stream of that id is there already."""

    def __init__(self, stream_id: str) -> None:
        super().__init__(f"A stream {stream_id!r} exists already.")
        self.stream_id = stream_id


class PositionError(RequestError):
    """A reader asked to resume beyond the last event of a stream."""

    def __init__(self, after: int, last_seq: int) -> None:
        super().__init__(f"Position {after} lies beyond the stream's last event, {last_seq}.")
        self.after = after
        self.last_seq = last_seq


class EndpointError(HubError):
    """The endpoint did not give a whole answer.

    Attributes:
        code: The word that the `error` event carries.
        status: HTTP status, where the endpoint sent one.
        retryable: Whether the same request may succeed if sent again.
        retry_after: Seconds the endpoint asked to wait; None where it didn't say.
        result: What had come until then, usage and cost included, as an `LLMResult`; None where that isn't known.
    """

    result: Any = None

    def __init__(
        self,
        message: str,
        *,
        code: ErrorCode,
        status: int | None = None,
        retryable: bool = False,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code: ErrorCode = code
        self.status = status
        self.retryable = retryable
        self.retry_after = retry_after


class EndpointStatusError(EndpointError):
    """The endpoint answered with an error status."""


class EndpointConnectionError(EndpointError):
    """The endpoint can't be reached, or the connection was lost."""


class EndpointTimeoutError(EndpointError):
    """One of the four clocks ran out: connect, first content, gap between content, total."""


class EndpointStreamError(EndpointError):
    """The endpoint's answer is broken: truncated, malformed, no stream at all, or an error inside it."""


class StructuredOutputError(HubError):
    """The model's answer is not the object that was asked for.

    Attributes:
        text: What the model said, as it came.
        result: The whole answer as an `LLMResult`, usage and cost included.
    """

    def __init__(self, message: str, *, text: str, result: Any) -> None:
        super().__init__(message)
        self.text = text
        self.result = result


class RefusalError(StructuredOutputError):
    """The model refused, or a filter did.

    Attributes:
        refusal: The refusal in the model's words; empty where it gave none.
    """

    def __init__(self, message: str, *, text: str, result: Any, refusal: str) -> None:
        super().__init__(message, text=text, result=result)
        self.refusal = refusal


class OutputTruncatedError(StructuredOutputError):
    """The answer reached its limit of tokens before the object was whole."""


class OutputValidationError(StructuredOutputError):
    """The answer is no JSON, or not of the model asked for.

    Attributes:
        errors: What is wrong: dictionaries with `loc`, `msg` and `type`, as pydantic gives them.
    """

    def __init__(self, message: str, *, text: str, result: Any, errors: Sequence[Mapping[str, Any]]) -> None:
        super().__init__(message, text=text, result=result)
        self.errors = list(errors)


class LimitError(HubError):
    """A budget is used up."""


class HubBusyError(LimitError):
    """The hub takes no further stream or subscriber now.

    Attributes:
        retry_after: Seconds after which a new try makes sense.
    """

    def __init__(self, message: str, *, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class RequestTooLargeError(LimitError):
    """A request wants more than a whole minute's budget, so it would wait for ever.

    Attributes:
        wanted: Tokens or requests that it wants.
        capacity: As many as the budget has at most.
    """

    def __init__(self, budget: str, wanted: float, capacity: float) -> None:
        super().__init__(
            f"The request wants {wanted:,.0f} {budget}; the budget has {capacity:,.0f} at most. "
            "Make the request smaller, or raise the rate limits of the model's profile."
        )
        self.budget = budget
        self.wanted = wanted
        self.capacity = capacity


class LimiterBusyError(LimitError):
    """As many requests wait for their turn as may.

    Attributes:
        retry_after: Seconds after which a new try makes sense.
    """

    def __init__(self, waiting: int, retry_after: float) -> None:
        super().__init__(f"{waiting:,} requests wait for the rate limit already. Try again in {retry_after:.0f} s.")
        self.retry_after = retry_after


class LimitTimeoutError(LimitError):
    """A request waited for its turn as long as it may.

    Attributes:
        waited: Seconds that it waited.
        retry_after: Seconds after which a new try makes sense.
    """

    def __init__(self, waited: float, retry_after: float) -> None:
        super().__init__(
            f"The rate limit left no room within {waited:.1f} s. "
            f"Try again in {retry_after:.0f} s, or allow a longer wait."
        )
        self.waited = waited
        self.retry_after = retry_after


class BackendError(HubError):
    """Something below us failed: a store, a cache, a sink, or the bytes they gave back."""


class MalformedEventError(BackendError, ValueError):
    """Bytes or a mapping that is no event of this project."""


class SequenceGapError(BackendError):
    """Events are missing between two that arrived."""

    def __init__(self, expected: int, got: int) -> None:
        super().__init__(
            f"Event {expected} was due, {got} arrived: the events between them are missing."
            if got > expected
            else f"Event {expected} was due, and one arrived that merges it with what was before it, from {got} on."
        )
        self.expected = expected
        self.got = got


class StoreError(BackendError):
    """The store of the streams' logs failed."""


class StaleWriterError(StoreError):
    """Another writer has taken the stream over: nothing of this one's goes into its log any more.

    Attributes:
        stream_id: The stream.
        epoch: Whose writer was refused.
    """

    def __init__(self, stream_id: str, epoch: int) -> None:
        super().__init__(f"Epoch {epoch} is not the writer's of stream {stream_id!r}.")
        self.stream_id = stream_id
        self.epoch = epoch


class SinkError(BackendError):
    """A sink can't take further events.

    Attributes:
        retryable: Whether the same may succeed later.
        status: HTTP status, where the other side sent one.
        retry_after: Seconds the other side asked to wait; None where it didn't say.
    """

    retryable: bool = False

    def __init__(self, message: str, *, status: int | None = None, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after


class SinkUnavailableError(SinkError):
    """Where a sink sends to can't be reached, took too long, asks for patience, or has failed itself."""

    retryable = True


class SinkRejectedError(SinkError):
    """Where a sink sends to refuses what was sent, or who sends it; the same would be refused again."""


class CacheError(BackendError):
    """The cache of the answers failed. A call never sees it: it goes on, and the fault is reported."""


class CheckpointError(BackendError):
    """A batch's file can't be read or written, is damaged, or belongs to a run that is under way."""


class CacheEntryError(CacheError):
    """What the cache keeps under a key is no entry of ours: cut short, damaged, or of another format."""


class ClosedError(RuntimeError):
    """Something was used after it was closed."""


_CLASS_BY_CODE: dict[str, type[EndpointError]] = {
    "invalid_request": EndpointStatusError,
    "unauthorized": EndpointStatusError,
    "not_found": EndpointStatusError,
    "rate_limited": EndpointStatusError,
    "budget_exceeded": EndpointStatusError,
    "content_filter": EndpointStatusError,
    "endpoint_error": EndpointStatusError,
    "connection_failed": EndpointConnectionError,
    "connect_timeout": EndpointTimeoutError,
    "first_token_timeout": EndpointTimeoutError,
    "stall_timeout": EndpointTimeoutError,
    "total_timeout": EndpointTimeoutError,
}


def endpoint_error(
    message: str,
    *,
    code: ErrorCode,
    status: int | None = None,
    retryable: bool = False,
    retry_after: float | None = None,
) -> EndpointError:
    """The exception for an error code, of the class that `code` belongs to."""
    cls = _CLASS_BY_CODE.get(code, EndpointStreamError)
    return cls(message, code=code, status=status, retryable=retryable, retry_after=retry_after)
