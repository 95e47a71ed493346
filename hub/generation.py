"""What answers: a generator, and the generation that it gives for one stream. Both may be anybody's code."""

from __future__ import annotations

import inspect
import logging
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, Protocol

from hub.errors import ConfigurationError
from hub.events import EndStatus, LLMEvent
from hub.result import Failure

__all__ = ("Generation", "Generator", "MisfitError", "begin", "check_events", "misshapen", "stop")

log = logging.getLogger(__name__)

_SHAPE = (
    "`stream` has to be a plain function that returns a generation at once: an object with `stream_id`, `batches`, "
    "`stop` and `ending`"
)


class Generation(Protocol):
    """An answer under way: what `OpenAIClient.stream` returns."""

    stream_id: str

    def batches(self) -> AsyncGenerator[list[LLMEvent], None]:
        """The events from `meta` to `done`, in lists of what came together."""
        ...

    def stop(self) -> None:
        """End it as `cancelled`."""
        ...

    def ending(self, status: EndStatus, failure: Failure | None = None) -> list[LLMEvent]:
        """The events still due after the last batch, where `batches` can't go on."""
        ...


class Generator(Protocol):
    """What the hub asks for answers: an `OpenAIClient`, or anything with its `stream`."""

    def stream(self, *, stream_id: str, messages: Any, **params: Any) -> Generation:
        """Begin an answer; raises `RequestError` where the arguments are wrong."""
        ...


class MisfitError(Exception):
    """What a generation gives can't be the next events of its stream."""


def begin(generator: Generator, stream_id: str, arguments: Mapping[str, Any]) -> Generation:
    """A generation, begun and looked at once: what nobody could read to its end would stay open for ever.

    Raises:
        RequestError: The arguments are wrong.
        ConfigurationError: What `stream` returns is no generation of this stream; the message says what one is.
        RuntimeError: The generator tried to end the process, or a task.
    """
    try:
        made: Any = generator.stream(stream_id=stream_id, **arguments)
    except (Exception, KeyboardInterrupt):
        raise
    except BaseException as exc:
        # Nothing waits in a plain function, so nobody can have cancelled it.
        raise RuntimeError(f"The generator's `stream` raised {type(exc).__name__}.") from exc
    if inspect.iscoroutine(made):
        made.close()  # else Python warns that nobody awaited it
    if not all(callable(getattr(made, name, None)) for name in ("batches", "stop", "ending")):
        raise ConfigurationError(f"The generator's {_SHAPE}. It returned {_kind(made)}.")
    if getattr(made, "stream_id", None) != stream_id:
        raise ConfigurationError(f"The generator's {_SHAPE}. The `stream_id` is not the one that it was given.")
    return made  # type: ignore[no-any-return]


def misshapen(generator: object) -> str | None:
    """What can be seen to be wrong with a generator's `stream` before it is asked; None where nothing is."""
    stream = getattr(generator, "stream", None)
    if inspect.isasyncgenfunction(stream) or inspect.isgeneratorfunction(stream):
        return f"{_SHAPE}. This one yields events by itself."
    return f"{_SHAPE}. This one is `async def`." if inspect.iscoroutinefunction(stream) else None


def stop(generation: Generation, stream_id: str) -> None:
    """Have a stream's generation end as `cancelled`. What its own code raises is logged: who asks is not to blame."""
    try:
        generation.stop()
    except (Exception, SystemExit):
        log.exception("the generation of stream %s can't be stopped", stream_id)


def check_events(events: Sequence[LLMEvent], stream_id: str, last_seq: int) -> int:
    """The position of the last of these events, which follow position `last_seq` of a stream without a hole.

    Raises:
        MisfitError: They don't, or aren't events, or another stream's.
    """
    try:
        for event in events:
            if event.seq - event.span != last_seq or event.stream_id != stream_id:
                raise MisfitError(
                    f"{event.type} at position {event.seq} (span {event.span}) of stream {event.stream_id} after "
                    f"position {last_seq} of stream {stream_id}"
                )
            last_seq = event.seq
    except (AttributeError, TypeError) as exc:
        raise MisfitError(f"{_kind(events)} with something in it that is no event, or no list") from exc
    return last_seq


def _kind(value: object) -> str:
    return "None" if value is None else f"an object of type {type(value).__name__}"
