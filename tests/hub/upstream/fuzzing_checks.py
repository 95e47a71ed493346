"""What must hold for every body, whatever is in it. Each check raises `AssertionError`, or whatever the code raised."""

from __future__ import annotations

import math
import re
import time
import tracemalloc
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from random import Random
from typing import TypeVar, assert_never

import msgspec

from hub.completion import fold
from hub.errors import ERROR_CODES, EndpointError
from hub.events import LLMEvent
from hub.result import LLMResult
from hub.upstream import failures
from hub.upstream.embedding.body import decode_embeddings
from hub.upstream.wire.chat import ChatDecoder
from hub.upstream.wire.responses import ResponsesDecoder
from hub.upstream.wire.sse import Frame, SSEDecoder

from .fuzzing_seeds import Kind
from .responses_support import events_of
from .support import events_of as answer_of

__all__ = ("MAX_CPU_SECONDS", "Case", "check")

MAX_CPU_SECONDS = 2.0
"""Of one decoding."""

PEAK_BYTES, PEAK_BYTES_PER_BYTE = 8_000_000, 150
"""Memory at the most while a body is decoded and its events are kept; a list in JSON takes some 90 bytes a byte."""

MEMORY_SHARE = 0.03
"""Of the cases whose memory is measured: tracemalloc keeps a little at each start, and an hour has millions of them."""

MAX_BYTE_BY_BYTE = 3_000

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Case:
    """One body and how to read it.

    Attributes:
        kind: Which decoder it is for.
        body: What came.
        seed: Decides the slices, and all else that is drawn.
    """

    kind: Kind
    body: bytes
    seed: str


async def check(case: Case) -> None:
    """Pass over a case in which everything holds."""
    rand = Random(case.seed)
    match case.kind:
        case "sse":
            _check_frames(case.body, rand)
        case "embeddings":
            _check_embeddings(case.body, rand)
        case "chat" | "responses":
            await _check_stream(case, rand)
        case _:
            assert_never(case.kind)


def slices_of(body: bytes, rand: Random) -> list[bytes]:
    """The body in some slices, now and then empty ones among them, or byte by byte."""
    if len(body) <= MAX_BYTE_BY_BYTE and rand.random() < 0.25:
        return [body[at : at + 1] for at in range(len(body))]
    if rand.random() < 0.3:
        size = rand.choice((1_000, 4_096, 65_536)) if len(body) > 20_000 else rand.randrange(2, 200)
        return [body[at : at + size] for at in range(0, len(body), size)]
    cuts = sorted(rand.randrange(len(body) + 1) for _ in range(rand.randrange(1, 30)))
    return [body[start:end] for start, end in zip([0, *cuts], [*cuts, len(body)], strict=True)]


async def _check_stream(case: Case, rand: Random) -> None:
    body, slices = case.body, slices_of(case.body, rand)
    count, is_lax = rand.choice((1, 1, 2)), rand.random() < 0.2
    kind = ChatDecoder if case.kind == "chat" else ResponsesDecoder

    def decoded(pieces: Sequence[bytes]) -> list[LLMEvent]:
        decoder = kind(
            stream_id="str_1", model="asked-for", expected_choices=count, allows_missing_finish_reason=is_lax
        )
        events = events_of(pieces, decoder)  # the grammar, and that each event can be written and read again
        assert decoder.failure is None or decoder.failure.code in ERROR_CODES
        assert decoder.feed(b'data: {"choices":[{"delta":{"content":"x"}}]}\n\n') == [] or not _is_over(decoder)
        return events

    whole = _timed(lambda: decoded([body]), "whole")
    in_slices = _timed(lambda: decoded(slices), "in slices")
    _check_same(fold(whole), fold(in_slices), "in slices the answer differs")
    assert whole == in_slices, "in slices the events are others"
    if case.kind == "chat" and body.startswith(b"data: ") and _is_fit_for_both_ways(body):
        # A frame with a name doesn't take the lean way.
        named = re.sub(rb"(?:\A|(?<=\n\n))data: (?=[^\r\n]*(?:\n\n|\Z))", b"event: chunk\ndata: ", body)
        _check_same(fold(whole), fold(decoded([named])), "by the lean way the answer differs")
    if rand.random() < MEMORY_SHARE:
        _check_memory(lambda: decoded([body]), len(body))
    if rand.random() < 0.2:
        params = {"n": count} if case.kind == "chat" else {}
        answered = await answer_of(slices, api=case.kind, params=params, allows_missing_finish_reason=is_lax)
        _check_same(_bare(fold(whole)), _bare(fold(answered)), "through `Answer` it differs")


def _is_fit_for_both_ways(body: bytes) -> bool:
    """Without what the lean way passes over and the other doesn't.

    That is, in members it doesn't know: bytes that are no text, numbers too long for Python, an `object` of "error"
    beside choices, which no endpoint sends.
    """
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return re.search(rb'"object"\s*:\s*"error"|\d{4300}', body) is None


def _is_over(decoder: ChatDecoder | ResponsesDecoder) -> bool:
    return decoder.ended or decoder.failure is not None


def _check_same(one: LLMResult, other: LLMResult, what: str) -> None:
    one, other = (msgspec.structs.replace(each, last_seq=0) for each in (one, other))
    if msgspec.json.encode(one) != msgspec.json.encode(other):
        fields = [
            name for name in LLMResult.__struct_fields__ if repr(getattr(one, name)) != repr(getattr(other, name))
        ]
        differences = "; ".join(
            f"{name}: {getattr(one, name)!r:.300} / {getattr(other, name)!r:.300}" for name in fields
        )
        raise AssertionError(f"{what} in {', '.join(fields)}: {differences}")


def _bare(result: LLMResult) -> LLMResult:
    """Without the usage, which only an `Answer` estimates and prices, and what only it says of an error."""
    error = result.error
    if error is not None:
        error = msgspec.structs.replace(error, retryable=False, message=failures.shortened(error.message))
    return msgspec.structs.replace(result, usage=None, error=error)


def _timed(work: Callable[[], T], how: str) -> T:
    began_at = time.process_time()
    result = work()
    seconds = time.process_time() - began_at
    assert seconds <= MAX_CPU_SECONDS, f"{how}: {seconds:.1f} s of CPU"
    return result


def _check_memory(work: Callable[[], object], size: int) -> None:
    tracemalloc.start()
    try:
        work()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak <= PEAK_BYTES + PEAK_BYTES_PER_BYTE * size, f"{peak} bytes of memory for a body of {size}"


def _check_frames(body: bytes, rand: Random) -> None:
    """The frames are those of the standard, read the plain way, in any slices."""
    expected = _plain_frames(body)
    assert _timed(lambda: _frames([body]), "whole") == expected, "the frames are not those of the standard"
    slices = slices_of(body, rand)
    assert _timed(lambda: _frames(slices), "in slices") == expected, "in slices the frames are others"


def _frames(slices: Iterable[bytes]) -> list[Frame]:
    decoder = SSEDecoder()
    frames = [frame for piece in slices for frame in decoder.feed(piece)]
    return frames + decoder.flush()


def _plain_frames(body: bytes) -> list[Frame]:
    """By https://html.spec.whatwg.org/multipage/server-sent-events.html (read 2026-11-21), and our two deviations."""
    frames: list[Frame] = []
    data: list[bytes] = []
    name = ""
    for line in (*re.split(rb"\r\n|\n|\r", body.removeprefix(b"\xef\xbb\xbf")), b""):
        if not line:
            if data:
                frames.append(Frame(b"\n".join(data), name))
            data, name = [], ""
            continue
        field, _, value = line.partition(b":")
        value = value[1:] if value[:1] == b" " else value
        if field in (b"data", b"error"):
            data.append(value)
        if field in (b"event", b"error"):
            name = "error" if field == b"error" else value.decode("utf-8", "replace")
    return frames


def _check_embeddings(body: bytes, rand: Random) -> None:
    count = rand.choice((1, 2, 3))
    outcomes = [_timed(lambda given=given: _embedded(given, count), "whole") for given in (body, bytearray(body))]
    assert outcomes[0] == outcomes[1], "a bytearray gives something else than bytes"
    if rand.random() < MEMORY_SHARE:
        _check_memory(lambda: _embedded(body, count), len(body))


def _embedded(body: bytes | bytearray, count: int) -> bytes:
    """What came of it, as bytes that can be compared."""
    try:
        made = decode_embeddings(body, count)
    except EndpointError as exc:
        return msgspec.json.encode([exc.code, exc.message, exc.status])
    assert len(made.buffers) == count
    assert len({len(buffer) for buffer in made.buffers}) == 1
    for buffer in made.buffers:
        assert buffer
        assert len(buffer) % 4 == 0
        assert all(map(math.isfinite, memoryview(buffer).cast("f")))
    return msgspec.json.encode([made.buffers, made.model, made.usage])
