"""What the tests of the Responses API share: events, bodies, and whole streams made of them."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec

from hub.completion import closing_events, fold
from hub.events import LLMEvent, ToolCallDelta, decode_event, encode_event
from hub.result import Failure, LLMResult, TokenUsage
from hub.testing.grammar import check_grammar
from hub.testing.replies import Reply
from hub.testing.responses import response_event
from hub.upstream.wire.chat import ChatDecoder
from hub.upstream.wire.responses import ResponsesDecoder

RESPONSE = {"id": "resp_1", "object": "response", "created_at": 1_795_000_000, "status": "in_progress", "model": "m-1"}
USAGE = {"input_tokens": 7, "output_tokens": 2, "total_tokens": 9}


def event(type_: str, **members: Any) -> bytes:
    """An event of a response; its frame has no number, as llama.cpp's have none."""
    return response_event(f"response.{type_}", **members)


def created(**members: Any) -> bytes:
    return event("created", response=RESPONSE | members)


def text(delta: str, **members: Any) -> bytes:
    """A piece of the answer."""
    return event(
        "output_text.delta", **({"item_id": "msg_1", "output_index": 0, "content_index": 0} | members), delta=delta
    )


def added(index: int = 0, **item: Any) -> bytes:
    return event("output_item.added", output_index=index, item=item)


def done(index: int = 0, **item: Any) -> bytes:
    return event("output_item.done", output_index=index, item=item)


def call(arguments: str = "", **members: Any) -> dict[str, Any]:
    """An item that is a call."""
    return {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "f", "arguments": arguments} | members


def message(*texts: str, **members: Any) -> dict[str, Any]:
    """An item that is a message."""
    content = [{"type": "output_text", "text": each, "annotations": []} for each in texts]
    return {"type": "message", "id": "msg_1", "role": "assistant", "content": content} | members


def completed(*output: dict[str, Any], **members: Any) -> bytes:
    return event("completed", response={**RESPONSE, "status": "completed", "output": output, "usage": USAGE, **members})


def body_of(reply: Reply) -> bytes:
    """The bytes of a reply."""
    return b"".join(step for step in reply.steps if isinstance(step, bytes))


def events_of(slices: Iterable[bytes], decoder: ChatDecoder | ResponsesDecoder) -> list[LLMEvent]:
    """The whole stream that a body makes which arrives in these slices."""
    events: list[LLMEvent] = []
    for piece in slices:
        events += decoder.feed(piece)
    events += decoder.finish()
    error = decoder.failure
    is_whole = error is None
    events += decoder.open()
    events += closing_events(
        stream_id="str_1",
        first_seq=decoder.next_seq,
        status="completed" if is_whole else "failed",
        error=None if error is None else Failure(code=error.code, message=error.message, status=error.status),
        usage=decoder.usage or TokenUsage(),
        earlier_usage=None,
        meta=None,
        step=0,
        attempt=1,
        finish_reason=decoder.finish_reasons.reason(is_whole=is_whole),
        finish_reasons=decoder.finish_reasons.reasons(is_whole=is_whole),
        raw_finish_reason=decoder.finish_reasons.raw(is_whole=is_whole),
    )
    check_grammar(events)
    for each in events:  # whatever was in the body, the events can be written and read again
        assert decode_event(encode_event(each)).seq == each.seq
    return events


def decoded(*pieces: bytes, **options: Any) -> list[LLMEvent]:
    """The whole stream of a body of these pieces, in one read."""
    return events_of([b"".join(pieces)], ResponsesDecoder(**{"stream_id": "str_1", "model": "asked-for", **options}))


def result(*pieces: bytes, **options: Any) -> LLMResult:
    """The fold of the stream of a body of these pieces; the same in whatever slices it arrives."""
    body = b"".join(pieces)
    results = [
        fold(events_of(slices, ResponsesDecoder(**{"stream_id": "str_1", "model": "asked-for", **options})))
        for slices in slicings(body)
    ]
    for other in results[1:]:
        assert msgspec.structs.replace(other, last_seq=0) == msgspec.structs.replace(results[0], last_seq=0)
    return results[0]


def slicings(body: bytes, *, count: int = 3) -> Iterator[Sequence[bytes]]:
    """The body whole, byte by byte, and in slices drawn from its length."""
    yield [body]
    if len(body) <= 6_000:
        yield [body[at : at + 1] for at in range(len(body))]
    rand = random.Random(len(body))
    for _ in range(count):
        cuts = sorted(rand.randrange(len(body) + 1) for _ in range(rand.randrange(1, 12)))
        yield [body[start:end] for start, end in zip([0, *cuts], [*cuts, len(body)], strict=True)]


def parts_of_calls(events: Iterable[LLMEvent]) -> list[tuple[int, str | None, str | None, str]]:
    """Index, id, name and arguments of each delta of a call."""
    return [(each.index, each.id, each.name, each.arguments) for each in events if isinstance(each, ToolCallDelta)]
