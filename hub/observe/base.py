"""The hooks of a call: what an observer is told, and the sender that keeps a broken observer from breaking a call."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from inspect import iscoroutinefunction
from typing import Any, Literal

from hub.errors import ConfigurationError, EndpointError
from hub.result import Failure, TokenUsage

__all__ = ("Call", "Observer", "Observers", "Outcome")

log = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True, eq=False)
class Call:
    """One call of the client, as observers see it.

    Every hook of one call gets the same object, which is equal to itself alone: use it as a key for what you keep
    about the call. The client keeps it up to date; observers only read it.

    Attributes:
        operation: What is asked for.
        api: The interface of the endpoint that is used.
        model: The model asked for.
        base_url: The endpoint, without user and password; another one after a fallback.
        stream_id: The id that the call's events bear.
        identifier: The caller's own name for the call; None where it gave none.
        params: What goes into the request, the conversation among it: nothing for logs, and not in the `repr`.
        started_at: When it began, in seconds of `time.perf_counter`.
        first_content_at: When the first content came, by the same clock; None before, or where none came.
        attempts: Tries begun so far, at least 1.
        rate_limit_seconds: For how long its tries have waited for the client's own rate limit, one after the other, so
            far; None for embeddings, whose requests wait side by side.
    """

    operation: Literal["chat", "embeddings"]
    api: Literal["chat", "responses", "embeddings"]
    model: str
    base_url: str
    stream_id: str
    identifier: str | None
    params: Mapping[str, Any] = field(repr=False)
    started_at: float
    first_content_at: float | None = None
    attempts: int = 1
    rate_limit_seconds: float | None = None

    @property
    def first_content_seconds(self) -> float | None:
        """Seconds from the start to the first content, failed tries included; None where none has come."""
        return None if self.first_content_at is None else self.first_content_at - self.started_at


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a call ended.

    Attributes:
        status: Its end; a stream that was left early is `cancelled`.
        model: The model that answered; None where nobody did.
        response_id: The answer's id at the endpoint; None where it gave none.
        finish_reasons: Why each choice ended; empty where none got that far.
        usage: Tokens and cost over all tries; None where unknown.
        failure: Why it failed; None unless `status` is `failed`.
        seconds: From the start to the end.
        text: What was answered, where an observer wants content; else None. Not in the `repr`.
        request_id: The endpoint's `x-request-id`; None where it sent none.
    """

    status: Literal["completed", "cancelled", "failed"]
    model: str | None
    response_id: str | None
    finish_reasons: tuple[str, ...]
    usage: TokenUsage | None
    failure: Failure | None
    seconds: float
    text: str | None = field(repr=False)
    request_id: str | None


class Observer:
    """Something that watches calls: subclass it and override the hooks you need.

    Hooks run in the event loop, between the call's own steps: they must return at once. What they raise is logged
    and goes no further. One observer may watch many calls at a time.

    Attributes:
        wants_content: Whether `on_end` needs `Outcome.text`; looked at once, when the observer is given to a client.
    """

    wants_content: bool = False

    def on_start(self, call: Call) -> None:
        """A call begins; nothing has been sent."""

    def request_headers(self, call: Call) -> Mapping[str, str]:
        """Headers to send with the request, such as a trace's id; asked for after `on_start`."""
        return {}

    def on_first_content(self, call: Call) -> None:
        """The first text, reasoning or tool call came; `call.first_content_at` is set."""

    def on_retry(self, call: Call, error: EndpointError, delay: float) -> None:
        """A try failed and another one follows, perhaps at another endpoint.

        Args:
            call: The call; `call.attempts` still counts the try that failed as the last one.
            error: Why it failed.
            delay: Seconds until the next one.
        """

    def on_end(self, call: Call, outcome: Outcome) -> None:
        """The call is over; comes exactly once for each `on_start`, also where the task was cancelled."""


_HOOKS = ("on_start", "request_headers", "on_first_content", "on_retry", "on_end")

_RESERVED_HEADERS = frozenset(("authorization", "api-key", "x-api-key", "cookie", "host", "content-length"))


class Observers:
    """Tells several observers, in their order. One that raises is logged, and the call and the others go on.

    The same kind of exception from the same hook of an observer is logged once.

    Args:
        observers: Whom to tell. Hooks that an observer's class doesn't override cost nothing.

    Raises:
        ConfigurationError: One of them is no observer, or has a hook that is a coroutine function.

    Attributes:
        wants_content: Whether one of them needs `Outcome.text`.
    """

    def __init__(self, observers: Iterable[Observer] = ()) -> None:
        if not isinstance(observers, Iterable):
            raise ConfigurationError("observers must be a list: observers=[MyObserver()].")
        self._observers = tuple(observers)
        for observer in self._observers:
            if not isinstance(observer, Observer):
                raise ConfigurationError(
                    f"{observer!r} is no observer: observers must be instances of classes derived from hub.Observer."
                )
            for name in _HOOKS:
                if iscoroutinefunction(getattr(observer, name)):
                    raise ConfigurationError(
                        f"{type(observer).__name__}.{name} is a coroutine function, but hooks run between a call's "
                        "steps. Have it put what it learns into a queue that a task of yours reads."
                    )
        self.wants_content = any(observer.wants_content for observer in self._observers)
        self._start = self._overriding("on_start")
        self._headers = self._overriding("request_headers")
        self._first_content = self._overriding("on_first_content")
        self._retry = self._overriding("on_retry")
        self._end = self._overriding("on_end")
        self._reported: set[tuple[int, str, type[Exception]]] = set()

    def on_start(self, call: Call) -> None:
        """A call begins."""
        self._tell(self._start, call)

    def request_headers(self, call: Call) -> dict[str, str]:
        """All their headers for the request; where two set the same, the later observer's stays.

        What is no text is left out, and so is what would stand in the place of a key.
        """
        headers: dict[str, str] = {}
        for hook in self._headers:
            try:
                headers.update(hook(call))
            except Exception as exc:  # as in _tell
                self._report(hook, exc)
        return {
            name: value
            for name, value in headers.items()
            if type(name) is type(value) is str and name.lower() not in _RESERVED_HEADERS
        }

    def on_first_content(self, call: Call) -> None:
        """The first content came."""
        self._tell(self._first_content, call)

    def on_retry(self, call: Call, error: EndpointError, delay: float) -> None:
        """A try failed and another one follows after `delay` seconds."""
        self._tell(self._retry, call, error, delay)

    def on_end(self, call: Call, outcome: Outcome) -> None:
        """The call is over."""
        self._tell(self._end, call, outcome)

    def _overriding(self, name: str) -> tuple[Callable[..., Any], ...]:
        mine = getattr(Observer, name)
        return tuple(getattr(each, name) for each in self._observers if getattr(type(each), name) is not mine)

    def _tell(self, hooks: Iterable[Callable[..., Any]], *args: Any) -> None:
        for hook in hooks:
            try:
                hook(*args)
            except Exception as exc:  # whatever a stranger's code raises: watching a call must not end it
                self._report(hook, exc)

    def _report(self, hook: Callable[..., Any], exc: Exception) -> None:
        observer, name = getattr(hook, "__self__", None), getattr(hook, "__name__", "")
        key = (id(observer), name, type(exc))
        if key not in self._reported:
            self._reported.add(key)
            log.error("%s.%s raised; its call goes on (said once)", type(observer).__name__, name, exc_info=exc)
