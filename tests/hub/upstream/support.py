"""What the tests of the endpoint boundary share: chunks, bodies, and decoding them in every slicing."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Iterator, Sequence
from typing import Any, TypeVar

import msgspec

from hub.client import OpenAIClient
from hub.completion import fold
from hub.events import LLMEvent, decode_event, encode_event
from hub.models.profile import ModelProfile
from hub.result import LLMResult
from hub.testing import Gate, Hang, Reply, ScriptedEndpoint, check_grammar, collect, raw_reply, sse
from hub.upstream.answer import Answer
from hub.upstream.clocks import Timeouts
from hub.upstream.endpoint import Endpoint, Sending
from hub.upstream.plan import Plan
from hub.upstream.request import Request
from hub.upstream.retry import RetryPolicy
from hub.upstream.route import CoolDown, Target
from hub.upstream.stream import EventStream
from hub.upstream.transport import Read

T = TypeVar("T")

HELLO: Any = [{"role": "user", "content": "Hello"}]
NO_RETRY = RetryPolicy(attempts=1)
AT_ONCE = RetryPolicy(backoff=0.0)
TIMEOUT = 10.0

FOREVER = 1e6
"""A time-out for where the clock is moved by hand."""


async def within(awaitable: Awaitable[T], seconds: float = TIMEOUT) -> T:
    """The result, in time."""
    async with asyncio.timeout(seconds):
        return await awaitable


def chunk(content: Any = None, *, finish_reason: Any = None, **more: Any) -> dict[str, Any]:
    """A chunk with one choice; `delta` and `choice` among `more` go where they belong, the rest beside `choices`."""
    delta = more.pop("delta", {} if content is None else {"content": content})
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason, **more.pop("choice", {})}
    return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1_795_000_000, "model": "m-1"} | {
        "choices": [choice],
        **more,
    }


def calls(*entries: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A chunk with these tool call entries."""
    return chunk(delta={"tool_calls": list(entries)}, **more)


def call(arguments: Any = None, *, name: Any = None, **entry: Any) -> dict[str, Any]:
    """An entry of `delta.tool_calls`."""
    function = {"name": name, "arguments": arguments}
    return {**entry, "function": {key: value for key, value in function.items() if value is not None}}


STOP = chunk(finish_reason="stop")


def answer(*chunks: object, done: bool = True) -> bytes:
    """A body of these chunks, a finish reason, and `[DONE]`."""
    return sse(*chunks, STOP, done=done)


class _SlicedResponse:
    """A response whose reads give these slices."""

    def __init__(self, slices: Iterator[bytes]) -> None:
        self._slices = slices
        self.headers: dict[str, str] = {}
        self.read: Read = self._read

    async def _read(self) -> bytes:
        return next((piece for piece in self._slices if piece), b"")

    async def aclose(self) -> None:
        return


class _SlicedEndpoint(Endpoint):
    """An endpoint without a network: each request is answered with the same slices."""

    def __init__(self, slices: Sequence[bytes]) -> None:
        self._slices = slices
        self._secrets = ()
        self.url = "http://sliced"

    async def open(self, request: Request, sending: Sending) -> Any:
        return _SlicedResponse(iter(self._slices))


async def events_of(slices: Sequence[bytes], **options: Any) -> list[LLMEvent]:
    """The whole stream that a body makes which arrives in these slices."""
    params = {"model": "asked-for", "messages": HELLO, **options.pop("params", {})}
    facts = {name: options.pop(name) for name in ("allows_missing_finish_reason",) if name in options}
    request = Request(ModelProfile(model_name="asked-for", **facts), params, options.pop("api", "chat"))
    target = Target(_SlicedEndpoint(slices), request, CoolDown(0.0))
    plan = Plan(timeouts=options.pop("timeouts", Timeouts()), retry=NO_RETRY)
    source = Answer([target], plan, stream_id="str_1", **options)
    events = [event async for batch in source.batches() for event in batch]
    check_grammar(events)
    for event in events:  # whatever was in the body, the events can be written and read again
        assert decode_event(encode_event(event)).seq == event.seq
    return events


def slicings(body: bytes, *, seed: int = 0, count: int = 3) -> Iterator[list[bytes]]:
    """The body whole, byte by byte, and in random slices."""
    yield [body]
    if len(body) <= 20_000:
        yield [body[at : at + 1] for at in range(len(body))]
    rand = random.Random(f"{seed}{len(body)}")
    for _ in range(count):
        cuts = sorted(rand.randrange(len(body) + 1) for _ in range(rand.randrange(1, 12)))
        yield [body[start:end] for start, end in zip([0, *cuts], [*cuts, len(body)], strict=True)]


async def result_of(body: bytes, **options: Any) -> LLMResult:
    """The fold of the stream that a body makes, the same in whatever slices it arrives."""
    results = [fold(await events_of(slices, **options)) for slices in slicings(body)]
    for other in results[1:]:
        assert _comparable(other) == _comparable(results[0])
    return results[0]


def _comparable(result: LLMResult) -> bytes:
    """The result without what may depend on the slices: how many positions the content took."""
    return msgspec.json.encode(msgspec.structs.replace(result, last_seq=0))


def held(before: bytes = b"", *, gate: Gate, head: bool = True) -> Reply:
    """An answer that is held at the gate for ever."""
    return raw_reply(before, gate, Hang()) if head else Reply(before=(gate, Hang()))


def client_of(endpoint: ScriptedEndpoint, **options: Any) -> OpenAIClient:
    """A client of a scripted endpoint."""
    return OpenAIClient(**{"model": "m-1", "base_url": endpoint.base_url, "api_key": "EMPTY", **options})


async def collected(stream: EventStream, *, seconds: float = TIMEOUT) -> list[LLMEvent]:
    """The events of a whole stream, in time and in good order."""
    events = await within(collect(stream), seconds)
    check_grammar(events)
    return events


async def outcome(stream: EventStream, *, seconds: float = TIMEOUT) -> LLMResult:
    """The fold of a whole stream, in time and in good order."""
    return fold(await collected(stream, seconds=seconds))


class MovedClock:
    """The event loop's clock, which a test moves on by hand; timers that fall due go off."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self._passed = 0.0
        real = loop.time
        loop.time = lambda: real() + self._passed  # type: ignore[method-assign]

    async def pass_by(self, seconds: float) -> None:
        """Let so much time pass while the loop runs on: at last in small steps, so that no timer finds itself late."""
        self._passed += seconds - 0.3
        for _ in range(5):
            await asyncio.sleep(0.002)
            self._passed += 0.06
        await asyncio.sleep(0.002)

    def jump(self, seconds: float) -> None:
        """Let so much time pass while the loop stands still, as in a reader that does not yield."""
        self._passed += seconds
