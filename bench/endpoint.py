"""An endpoint that is no bottleneck: bodies of both APIs made beforehand, in a process of its own.

The model's name says what comes: `burst-20000` is that many tokens at once, `paced-500-30` one each 30 ms, the
streams out of step, as from a provider's many machines; `step-500-30` the same with all streams in step, as vLLM's
are, which makes a token for each in one go; `prompt-500-30` with the first token at once; `stamped-500-30` as `paced`,
each token saying when it was sent, in seconds of the monotonic clock; `held-4000` that many at once, and then silence.
The request's path says in which form: `/v1/responses` is the Responses API's, any other Chat Completions'; the former
comes in bursts alone.
"""

from __future__ import annotations

import asyncio
import time
from functools import cache
from typing import Any

import msgspec
import uvloop

from bench.children import obey_async
from bench.words import words
from hub.testing.responses import responses_reply, responses_usage

__all__ = ("frames",)

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"
GOLDEN_RATIO = 0.618034
STAMP_LENGTH = 18


@cache
def frames(tokens: int) -> list[bytes]:
    """The SSE frames of an answer as OpenAI sends it: the role, the tokens, the finish, the usage, the end."""
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": "", "refusal": None}]
    deltas += [{"content": word} for word in words(tokens)]
    usage = {"prompt_tokens": 9, "completion_tokens": tokens, "total_tokens": tokens + 9}
    return [
        *(_frame([{"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}]) for delta in deltas),
        _frame([{"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"}]),
        _frame([], usage),
        b"data: [DONE]\n\n",
    ]


def _frame(choices: list[Any], usage: Any = None) -> bytes:
    chunk = {
        "id": "chatcmpl-CeGkTgW1u8QJtZ3xYb6mN0pLr5sVd",
        "object": "chat.completion.chunk",
        "created": 1_763_700_000,
        "model": "gpt-5.1-2025-11-13",
        "service_tier": "default",
        "system_fingerprint": None,
        "choices": choices,
        "usage": usage,
    }
    return b"data: %b\n\n" % msgspec.json.encode(chunk)


def _response_frames(tokens: int) -> list[bytes]:
    """The frames of the same answer from the Responses API, which tells the whole text three times more at its end."""
    usage = responses_usage(9, tokens)
    reply = responses_reply(words(tokens), model="gpt-5.1-2025-11-13", usage=usage, response_id="resp_" + "0" * 48)
    return [step for step in reply.steps if isinstance(step, bytes)]


def _chunked(frames: list[bytes]) -> list[bytes]:
    return [b"%x\r\n%b\r\n" % (len(frame), frame) for frame in frames]


@cache
def _chunks(tokens: int) -> list[bytes]:
    return _chunked(frames(tokens))


@cache
def _burst(tokens: int, *, responses: bool = False) -> bytes:
    chunks = _chunked(_response_frames(tokens)) if responses else _chunks(tokens)
    return HEAD + b"".join(chunks) + b"0\r\n\r\n"


@cache
def _around_the_stamp() -> tuple[bytes, bytes]:
    stamp = "0" * STAMP_LENGTH
    frame = _frame([{"index": 0, "delta": {"content": stamp}, "logprobs": None, "finish_reason": None}])
    (chunk,) = _chunked([frame])
    before, _, after = chunk.partition(stamp.encode())
    return before, after


def _stamped() -> bytes:
    before, after = _around_the_stamp()
    return b"%b%0*.6f %b" % (before, STAMP_LENGTH - 1, time.monotonic(), after)


class Connection(asyncio.Protocol):
    """One connection: requests in, bodies out."""

    served = 0
    sent = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Remember whom to write to."""
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._unread = b""

    def data_received(self, data: bytes) -> None:
        """Answer once the request is whole."""
        self._unread += data
        head, blank, body = self._unread.partition(b"\r\n\r\n")
        if not blank:
            return
        length = next(
            int(line.partition(b":")[2]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")
        )
        if len(body) < length:
            return
        self._unread = body[length:]
        kind, *numbers = msgspec.json.decode(body[:length])["model"].split("-")
        if kind == "burst":
            self._transport.write(_burst(int(numbers[0]), responses=b"/responses " in head.partition(b"\r\n")[0]))
        elif kind == "held":
            self._transport.write(HEAD + b"".join(_chunks(int(numbers[0]))[: int(numbers[0]) + 1]))
        else:
            self._begin(int(numbers[0]), int(numbers[1]) / 1000, kind)

    def _begin(self, tokens: int, interval: float, kind: str) -> None:
        Connection.served += 1
        phase = 0.0
        self._is_stamped = kind == "stamped"
        if kind in ("paced", "stamped"):
            phase = interval * (Connection.served * GOLDEN_RATIO % 1)
        elif kind == "step":
            phase = interval - self._loop.time() % interval
        self._transport.write(HEAD + _chunks(tokens)[0])
        self._loop.call_later(phase, self._go_on, tokens, 1, self._loop.time() + phase, interval)

    def _go_on(self, tokens: int, number: int, due: float, interval: float) -> None:
        if self._transport.is_closing():
            return
        chunks = _chunks(tokens)
        if number > tokens:
            self._transport.write(b"".join(chunks[number:]) + b"0\r\n\r\n")
            return
        Connection.sent += 1
        self._transport.write(_stamped() if self._is_stamped else chunks[number])
        self._loop.call_at(due + interval, self._go_on, tokens, number + 1, due + interval, interval)


async def main() -> None:
    """Serve on any free port until the parent is gone."""
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", 0, backlog=4096)
    port = server.sockets[0].getsockname()[1]

    async def prepare(command: dict[str, Any]) -> dict[str, Any]:
        if command["command"] == "sent":
            return {"sent": Connection.sent}
        return {"bytes": [len(_burst(command["tokens"], responses=responses)) for responses in (False, True)]}

    await obey_async({"base_url": f"http://127.0.0.1:{port}/v1"}, prepare)


if __name__ == "__main__":
    uvloop.run(main())
