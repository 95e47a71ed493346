"""Some of a stream's events for a sink that is not to have all."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, Self, TypeAlias, TypeVar, get_args

import msgspec

from hub.errors import ClosedError, ConfigurationError
from hub.events import Done, LLMEvent, Snapshot
from hub.result import ChoiceResult, LLMResult, StepResult
from hub.sink.base import Sink, trouble_of

__all__ = ("Filter", "FilterType")

FilterType: TypeAlias = Literal[
    "text_delta", "reasoning_delta", "refusal_delta", "tool_call_delta", "tool_result", "approval_request", "usage"
]

_KNOWN: tuple[str, ...] = get_args(FilterType)

_FIELDS: dict[str, dict[str, Any]] = {
    "text_delta": {"text": "", "logprobs": ()},
    "reasoning_delta": {"reasoning": ""},
    "refusal_delta": {"refusal": ""},
    "tool_call_delta": {"tool_calls": ()},
    "tool_result": {"tool_outputs": ()},
    "usage": {"usage": None},
}
"""What the events of a type come to in a result, and what stands there without them."""

T = TypeVar("T", LLMResult, ChoiceResult, StepResult)


class Filter:
    """A sink in front of another that passes events of some types only.

    `meta`, `snapshot`, `error` and `done` always pass, so a stream has its beginning, its end and its reason. What is
    held back does not get out in them either: a `snapshot` goes without what such events had said, and without `usage`
    the `done` has no sum.

    The positions stay those of the whole stream, and have no holes: an event that passes stands, by its `span`, for
    those before it that were held back. So `fold` takes what comes out, and a reader still notices what is lost. Who
    goes over from a filtered stream to the whole one, or back, does so with a `snapshot`.

    It need not be entered. It closes the sink behind, which its owner enters where that has to be entered.

    Args:
        sink: Where the events go.
        types: The types that pass, beside those that always do.

    Raises:
        ConfigurationError: There is no such type.
    """

    def __init__(self, sink: Sink, types: Iterable[FilterType]) -> None:
        named = [types] if isinstance(types, str) else list(types)
        if unknown := [each for each in named if each not in _KNOWN]:
            raise ConfigurationError(
                f"Filter can't let {', '.join(map(repr, unknown))} pass; there are {', '.join(_KNOWN)}, and meta, "
                "snapshot, error and done always pass."
            )
        self._sink = sink
        self._held_back = frozenset(_KNOWN) - frozenset(named)
        self._emptied = {name: value for each in self._held_back for name, value in _FIELDS.get(each, {}).items()}
        self._sent_seq = -1
        self._covered: int | None = None
        self._closed = False

    async def __aenter__(self) -> Self:
        if self._closed:
            raise ClosedError("the Filter is closed")
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    async def send(self, event: LLMEvent) -> None:
        """Send the event on, or pass over it."""
        if self._closed:
            raise ClosedError("the Filter is closed")
        if event.seq <= self._sent_seq:
            return  # sent again with another span than before, it could not be told from a new one
        if event.type in self._held_back:
            if self._covered is None:
                self._covered = event.seq - event.span
            return
        # Remembered until the event is through: after a cancelled call it has to go again as it was.
        await self._sink.send(self._passing(event))
        self._sent_seq, self._covered = event.seq, None

    @property
    def trouble(self) -> str | None:
        """As the sink behind says."""
        return trouble_of(self._sink)

    async def aclose(self) -> None:
        """Close the sink behind; a second call does nothing."""
        if self._closed:
            return
        self._closed = True
        await self._sink.aclose()

    def _passing(self, event: LLMEvent) -> LLMEvent:
        """The event as it goes on: standing for what was held back before it, and without what is held back."""
        if self._covered is not None:
            # A snapshot may reach back further than what was held back.
            event = msgspec.structs.replace(event, span=max(event.span, event.seq - self._covered))
        match event:
            case Snapshot():
                return msgspec.structs.replace(event, result=self._reduced(event.result))
            case Done() if "usage" in self._held_back:
                return msgspec.structs.replace(event, usage=None)
            case _:
                return event

    def _reduced(self, result: LLMResult) -> LLMResult:
        return msgspec.structs.replace(
            self._without(result),
            choices=tuple(self._without(choice) for choice in result.choices),
            steps=tuple(self._without(step) for step in result.steps),
        )

    def _without(self, said: T) -> T:
        fields = {name: value for name, value in self._emptied.items() if name in said.__struct_fields__}
        return msgspec.structs.replace(said, **fields)
