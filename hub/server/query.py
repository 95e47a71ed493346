"""What the query and the headers of a request may say: streams, positions, limits."""

from __future__ import annotations

from starlette.requests import HTTPConnection, Request

from hub.server.positions import MAX_ID_BYTES, MAX_STREAMS, could_outgrow, parse_position, parse_positions
from hub.server.problem import ProblemError

__all__ = ("read_limit", "read_position", "read_positions", "read_streams", "wants_event_stream", "wants_snapshot")

DEFAULT_LIMIT = 100
MAX_LIMIT = 1_000


def read_position(request: HTTPConnection) -> int:
    """The last event the reader has: `Last-Event-ID`, else `?after=`; -1 for none.

    Raises:
        ProblemError: 400 where it is no number.
    """
    name, text = _resume(request)
    if not text:
        return -1
    position = parse_position(text)
    if position is None:
        raise ProblemError(400, f"{name} must be the number of an event, from 0; it is {text[:40]!r}.")
    return position


def read_positions(request: Request, count: int) -> list[int]:
    """The last event the reader has of each of `count` streams: `Last-Event-ID`, else `?after=`; -1 for none.

    Raises:
        ProblemError: 400 where they are no positions, or not as many.
    """
    name, text = _resume(request)
    if not text:
        return [-1] * count
    positions = parse_positions(text)
    if positions is None:
        detail = f"{name} must be the numbers of events joined by '.', with '~' before the first; it is {text[:160]!r}."
        raise ProblemError(400, detail)
    if len(positions) != count:
        detail = f"{name} has {len(positions)} positions for {count} streams: give one for each, in their order."
        raise ProblemError(400, detail)
    return positions


def read_streams(request: Request) -> list[str]:
    """The streams that `?stream=A&stream=B` names, in that order.

    Raises:
        ProblemError: 400 where there are none, one of them twice, or more than one `id` has room for.
    """
    streams = request.query_params.getlist("stream")
    if not any(streams):
        raise ProblemError(400, "Name the streams to read: '/v1/events?stream=A&stream=B'.")
    if could_outgrow([-1] * len(streams)):
        raise ProblemError(
            400,
            f"{len(streams)} streams are too many for one connection, at most {MAX_STREAMS}: "
            f"their positions could grow beyond the {MAX_ID_BYTES} bytes of an id.",
        )
    for number, stream_id in enumerate(streams):
        if stream_id in streams[:number]:
            raise ProblemError(400, f"The stream {stream_id[:100]!r} is named twice.")
    return streams


def read_limit(request: Request) -> int:
    """How many streams `?limit=` asks for: 100 where it doesn't say.

    Raises:
        ProblemError: 400 where it is no number from 1 to 1,000.
    """
    text = request.query_params.get("limit", str(DEFAULT_LIMIT)).strip()
    limit = parse_position(text)
    if limit is None or not 1 <= limit <= MAX_LIMIT:
        raise ProblemError(400, f"limit must be a number from 1 to {MAX_LIMIT:,}; it is {text[:40]!r}.")
    return limit


def wants_snapshot(request: HTTPConnection) -> bool:
    """Whether the reader asks for a snapshot in the place of what it lacks."""
    return request.query_params.get("snapshot", "").lower() in ("1", "true")


def wants_event_stream(request: Request) -> bool:
    """Whether the answer to a POST is to be the stream itself."""
    return "text/event-stream" in request.headers.get("accept", "").lower()


def _resume(request: HTTPConnection) -> tuple[str, str]:
    """Where to resume, as the reader says it, and the name it says it by.

    The header wins: a browser sends it when it connects again to an address that still says where it began.
    """
    text = request.headers.get("last-event-id", "").strip()
    if text:
        return "Last-Event-ID", text
    return "after", request.query_params.get("after", "").strip()
