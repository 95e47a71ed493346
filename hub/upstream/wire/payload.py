"""The JSON that frames and whole bodies hold, whatever the wire format; where there is none, the error that it is.

Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hub.errors import EndpointError
from hub.upstream import failures
from hub.upstream.wire.body import BodyDecoder
from hub.upstream.wire.loose_json import decode_json
from hub.upstream.wire.sse import Frame

__all__ = ("check_entries", "frame_value", "no_answer", "not_an_answer", "whole_value")

MAX_ENTRIES = 10_000
"""Of what an answer lists (tool calls, parts of a content, items of an output): in one message, at most."""


def frame_value(frame: Frame) -> Mapping[str, Any]:
    """The object of a frame that has data.

    Raises:
        EndpointError: It has none, or it is named an error.
    """
    is_error = frame.event == "error"
    try:
        value = decode_json(frame.data.strip())
    except ValueError as exc:
        # A name of an error tells more than that its body is no JSON.
        text = frame.data.strip().decode("utf-8", "replace")
        raise failures.from_payload(text) if is_error else failures.malformed("a chunk that is no JSON") from exc
    if is_error:
        raise failures.from_payload(value)
    if not isinstance(value, Mapping):
        raise failures.malformed("a chunk is no object")
    return value


def check_entries(value: Any, what: str, most: int = MAX_ENTRIES) -> None:
    """Pass over a list of an answer that is no longer than any real one, and what is no list.

    Args:
        value: Anything.
        what: What it lists, for the message.
        most: Its entries, at most.

    Raises:
        EndpointError: It has more, which would take seconds to go through.
    """
    if isinstance(value, list) and len(value) > most:
        raise failures.malformed(f"more than {most} {what} in one message")


def whole_value(body: bytes) -> Any:
    """The value that came instead of a stream; of a list with one value, that one.

    Raises:
        EndpointError: It is no JSON.
    """
    try:
        value = decode_json(body.strip())
    except ValueError as exc:
        kind = "a web page" if body.startswith(b"<") else "something that is no JSON"
        raise failures.not_a_stream(kind) from exc
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def not_an_answer(value: Any) -> EndpointError:
    """The error for a whole value that is no answer: the one it holds, if it holds one."""
    if isinstance(value, Mapping) and (value.keys() & {"error", "detail"} or value.get("object") == "error"):
        return failures.from_payload(value)
    return failures.not_a_stream("JSON that is no answer")


def no_answer(body: BodyDecoder) -> EndpointError:
    """The error for a body that is over and had nothing of an answer in it."""
    if body.is_empty:
        return failures.truncated("the body is empty")
    if body.is_whole or body.looks_like_a_stream():
        return failures.truncated("the body has no chunk of an answer")
    return failures.not_a_stream("text without any event")
