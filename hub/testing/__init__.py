"""A testing kit: a scripted OpenAI-compatible endpoint on loopback, and checks on streams of events.

    async with ScriptedEndpoint(chat_reply("Hello world")) as endpoint:
        client = AsyncOpenAI(base_url=endpoint.base_url, api_key="EMPTY")

The endpoint answers with what a test scripts for it, byte by byte where that matters, so it can misbehave in every
way that real ones do. With no script it answers by itself, under its own name. As a process it is
`python -m hub.testing --port 8001`.
"""

from __future__ import annotations

from hub.testing.chat import chat_chunk, chat_reply, completion_reply
from hub.testing.echo import EchoHandler
from hub.testing.endpoint import Handler, ScriptedEndpoint
from hub.testing.grammar import check_grammar, collect
from hub.testing.replies import (
    Close,
    Framing,
    Gate,
    Hang,
    Pause,
    Reply,
    Reset,
    Step,
    json_reply,
    never_answer,
    raw_reply,
    recorded_reply,
    refuse,
    sse,
    status_reply,
)
from hub.testing.request import RecordedRequest

__all__ = (
    "Close",
    "EchoHandler",
    "Framing",
    "Gate",
    "Handler",
    "Hang",
    "Pause",
    "RecordedRequest",
    "Reply",
    "Reset",
    "ScriptedEndpoint",
    "Step",
    "chat_chunk",
    "chat_reply",
    "check_grammar",
    "collect",
    "completion_reply",
    "json_reply",
    "never_answer",
    "raw_reply",
    "recorded_reply",
    "refuse",
    "sse",
    "status_reply",
)
