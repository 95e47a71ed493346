"""What a scripted endpoint can answer: a `Reply` is a status, headers, and steps to carry out one after another.

A step is bytes to send, or one of `Pause`, `Gate`, `Hang`, `Reset` and `Close`. The steps of a reply can be taken
apart and put together anew:

    whole = chat_reply("Hello world")
    cut = replace(whole, steps=(*whole.steps[:2], Close()))
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import Literal, TypeAlias

import msgspec

__all__ = (
    "Close",
    "Framing",
    "Gate",
    "Hang",
    "Pause",
    "Reply",
    "Reset",
    "Step",
    "json_reply",
    "never_answer",
    "raw_reply",
    "recorded_reply",
    "refuse",
    "sse",
    "status_reply",
)

Framing = Literal["chunked", "length", "close"]
"""How a body's end is told: chunked coding, `Content-Length`, or the end of an HTTP/1.0 connection."""

_EVENT_STREAM = "text/event-stream; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Pause:
    """Send nothing for `seconds`."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Hang:
    """Send nothing more, and keep the connection open until the client leaves."""


@dataclass(frozen=True, slots=True)
class Reset:
    """Break the connection off with a TCP reset; what was sent before has left."""


@dataclass(frozen=True, slots=True)
class Close:
    """Close the connection as it is, with no end of the body: the client sees a clean end of TCP alone."""


class Gate:
    """Holds a reply at this point until the test opens it; one gate may hold many replies.

    gate = Gate()
    endpoint.enqueue(chat_reply(["Hello", gate, " world"]))
    ...
    await gate.reached()  # "Hello" has been sent by now, and nothing after it
    gate.open()
    """

    def __init__(self) -> None:
        self._opened = asyncio.Event()
        self._arrivals = 0
        self._arrival = asyncio.Event()

    async def reached(self, count: int = 1) -> None:
        """Return once `count` replies have come to this gate; what stands before it has been sent."""
        while self._arrivals < count:
            self._arrival.clear()
            await self._arrival.wait()

    def open(self) -> None:
        """Let every reply pass, now and later."""
        self._opened.set()

    async def pass_through(self) -> None:
        """Report an arrival, then wait for the opening; the endpoint calls this."""
        self._arrivals += 1
        self._arrival.set()
        await self._opened.wait()


Step: TypeAlias = bytes | Pause | Gate | Hang | Reset | Close


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer to one request.

    Attributes:
        steps: What to do after the head has been sent. With chunked framing each piece of bytes is one chunk; with
            every framing it is one write.
        status: The HTTP status.
        headers: Headers of the answer. Those that tell the framing are added, unless they are here: a
            `Content-Length` given here is sent as it is, also where it is a lie.
        framing: How the end of the body is told.
        slice_bytes: Send each piece of bytes in slices of this size, each in a chunk and a write of its own.
        before: What to do before the status line. Bytes here go out as they are, outside any framing, so a whole
            answer that is no HTTP can be scripted.
    """

    steps: Sequence[Step] = ()
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    framing: Framing = "chunked"
    slice_bytes: int | None = None
    before: Sequence[Step] = ()

    def __post_init__(self) -> None:
        """Refuse what could never be sent.

        Raises:
            ValueError: `slice_bytes` is below 1.
        """
        if self.slice_bytes is not None and self.slice_bytes < 1:
            raise ValueError(f"slice_bytes must be 1 or more, not {self.slice_bytes}")

    def joined(self) -> Reply:
        """The same reply with neighbouring pieces of bytes as one, so each run leaves in a single write."""
        return replace(self, steps=tuple(_join_bytes(self.steps)))


def _join_bytes(steps: Iterable[Step]) -> Iterator[Step]:
    for is_bytes, run in groupby(steps, key=lambda step: isinstance(step, bytes)):
        if is_bytes:
            yield b"".join(step for step in run if isinstance(step, bytes))
        else:
            yield from run


def raw_reply(
    *steps: Step,
    status: int = 200,
    content_type: str = _EVENT_STREAM,
    headers: Mapping[str, str] | None = None,
    framing: Framing = "chunked",
    slice_bytes: int | None = None,
) -> Reply:
    """A reply of exactly these steps."""
    return Reply(
        steps=steps,
        status=status,
        headers={"Content-Type": content_type, **(headers or {})},
        framing=framing,
        slice_bytes=slice_bytes,
    )


def json_reply(value: object, status: int = 200, *, headers: Mapping[str, str] | None = None) -> Reply:
    """A reply whose body is `value` as JSON."""
    body = msgspec.json.encode(value)
    return raw_reply(body, status=status, content_type="application/json", headers=headers, framing="length")


def status_reply(
    status: int,
    message: str | None = None,
    *,
    code: str | None = None,
    param: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Reply:
    """An error status with a body such as OpenAI sends: `{"error": {"message", "type", "param", "code"}}`."""
    kind = "server_error" if status >= 500 else "invalid_request_error"
    text = f"Scripted status {status}." if message is None else message
    return json_reply(
        {"error": {"message": text, "type": kind, "param": param, "code": code}}, status=status, headers=headers
    )


def never_answer() -> Reply:
    """The request is read, and nothing is ever sent back."""
    return Reply(before=(Hang(),))


def refuse() -> Reply:
    """The request is read, and the connection is closed before any byte of an answer."""
    return Reply(before=(Close(),))


def recorded_reply(
    sse_path: str | Path, headers_path: str | Path | None = None, *, slice_bytes: int | None = None
) -> Reply:
    """Recorded bytes, sent again with the status and the content type they came with.

    Args:
        sse_path: The recorded body.
        headers_path: The recorded head, from the status line on; None means beside the body, ending in `.headers`.
        slice_bytes: As in `Reply`.
    """
    body_file = Path(sse_path)
    head_file = body_file.with_suffix(".headers") if headers_path is None else Path(headers_path)
    status_line, *lines = head_file.read_text("latin-1").splitlines()
    recorded = {name.lower(): value.strip() for name, colon, value in (line.partition(":") for line in lines) if colon}
    return raw_reply(
        body_file.read_bytes(),
        status=int(status_line.split()[1]),
        content_type=recorded["content-type"],
        # A recorded length is not used: a body whose private parts were blotted out no longer has it.
        framing="chunked" if recorded.get("transfer-encoding") == "chunked" else "length",
        slice_bytes=slice_bytes,
    )


def sse(*data: object, done: bool = True) -> bytes:
    """The `data:` frames of an event stream: text as it is, anything else as JSON, then `[DONE]` unless told not to."""
    frames = [_frame(each.encode() if isinstance(each, str) else msgspec.json.encode(each)) for each in data]
    if done:
        frames.append(_frame(b"[DONE]"))
    return b"".join(frames)


def _frame(data: bytes) -> bytes:
    return b"".join(b"data: %b\n" % line for line in data.split(b"\n")) + b"\n"
