"""Bodies that fuzzing starts from: the recorded ones, and some of each kind that nobody has recorded."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Literal, TypeAlias

from hub.result import ToolCall
from hub.testing import Reply, chat_reply, embeddings_reply, responses_reply, sse
from hub.testing.chat import completion_reply
from hub.testing.responses import whole_response_reply

from .support import answer, call, calls, chunk

__all__ = ("Kind", "seeds")

Kind: TypeAlias = Literal["chat", "responses", "embeddings", "sse"]
"""Which decoder a body is for."""

FIXTURES = Path(__file__).parents[2] / "fixtures/upstream"

TOOL_CALLS = (ToolCall(id="call_a", name="get", arguments='{"city":"Bern"}'), ToolCall(id="b", name="g", arguments=""))
TEXT = 'Grüezi \N{WAVING HAND SIGN} – one two\n\nthree \\ "four" \N{LINE SEPARATOR} five'


@cache
def seeds(kind: Kind) -> tuple[bytes, ...]:
    """Whole, good bodies of this kind; `sse` stands for the frames alone, so any stream is one."""
    match kind:
        case "chat":
            return (*_recorded("*.sse"), *_chat())
        case "responses":
            return (*_recorded("responses-llamacpp/*.sse"), *_responses())
        case "embeddings":
            return tuple(_embeddings())
        case "sse":
            return (*seeds("chat"), *seeds("responses"), b"data\ndata:x\nid: 1\n\n: c\n\nevent: a\rdata: b\r\r")


def _recorded(pattern: str) -> list[bytes]:
    return [path.read_bytes() for path in sorted(FIXTURES.glob(pattern))]


def _body(reply: Reply) -> bytes:
    return b"".join(step for step in reply.steps if isinstance(step, bytes))


def _chat() -> list[bytes]:
    several = answer(
        chunk(delta={"role": "assistant", "content": ""}),
        chunk("Hello", usage={"prompt_tokens": 3, "completion_tokens": 1, "cost": 0.5}),
        chunk("Other", choice={"index": 1}),
        chunk(delta={"reasoning": "a", "refusal": "b"}),
        chunk(delta={"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "t"}]}, {"text": "u"}]}),
        calls(call("{", name="f", index=0, id="a", extra_content={"google": {"thought_signature": "s"}})),
        calls(call('{"x":1}', name="g", index=1), call("}", index=0)),
        chunk(delta={"function_call": {"name": "old", "arguments": "{}"}}),
        chunk(choice={"index": 1}, finish_reason="length"),
    )
    error = sse(chunk("Hi"), {"error": {"message": "no", "type": "server_error", "code": 503}}, done=False)
    named = b'event: message\ndata: {"choices":[{"delta":{"content":"a"}}]}\n\n' + b'error: {"code":500}\n\n'
    return [
        several,
        error,
        named,
        _body(chat_reply(TEXT, usage=True, reasoning="I think so.")),
        _body(chat_reply("", usage=True, tool_calls=TOOL_CALLS)),
        _body(completion_reply(TEXT)),
    ]


def _responses() -> list[bytes]:
    return [
        _body(responses_reply(TEXT, reasoning="I think so.", tool_calls=TOOL_CALLS)),
        _body(responses_reply("", refusal="I won't.", incomplete_reason="content_filter")),
        _body(responses_reply("Hi", error={"code": "server_error", "message": "no"})),
        _body(whole_response_reply(TEXT, tool_calls=TOOL_CALLS)),
    ]


def _embeddings() -> list[bytes]:
    shapes = [
        b'{"embedding":[0.1,-2,3e4]}',
        b"[[0.5,0.25],[1,2]]",
        b'{"embeddings":[[0.5,0.25]],"model":"m","usage":{"total_tokens":3}}',
        b'{"data":[{"embedding":{"float":[1,2]},"index":1},{"embedding":{"base64":"AACAPw=="},"index":0}]}',
        b'[{"index":0,"embedding":[[1,2],[3,4]]}]',
        b'{"error":{"message":"no","code":400}}',
    ]
    replies = [embeddings_reply(count, dimensions=4, base64=base64) for count in (1, 3) for base64 in (True, False)]
    return [*map(_body, replies), _body(embeddings_reply(2, dimensions=256)), *shapes]
