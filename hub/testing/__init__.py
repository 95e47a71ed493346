"""A testing kit: fakes and scripted endpoints for code that depends on a language model, and checks on its streams.

    llm = FakeLLM("Hello world")                                            # in the place of a client
    transport = ScriptedTransport(chat_reply("Hello world"))                # beneath a client, without sockets
    async with ScriptedEndpoint(chat_reply("Hello world")) as endpoint:     # a server on loopback
        client = AsyncOpenAI(base_url=endpoint.base_url, api_key="EMPTY")
    async with recorded("tests/recordings/hello.json") as http_client:      # a real endpoint, recorded once
        ...
    with forbid_real_calls():                                               # and nothing leaves this machine
        ...

Transport and endpoint answer with what a test scripts for them, piece by piece where that matters, so they can
misbehave in every way that real ones do. With no script they answer by themselves, under their own name. As a process
the endpoint is `python -m hub.testing --port 8001`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hub.testing.batches import BatchHandler as BatchHandler
    from hub.testing.batches import Ending as Ending
    from hub.testing.chat import chat_chunk as chat_chunk
    from hub.testing.chat import chat_reply as chat_reply
    from hub.testing.chat import completion_reply as completion_reply
    from hub.testing.echo import EchoHandler as EchoHandler
    from hub.testing.embeddings import embeddings_answer as embeddings_answer
    from hub.testing.embeddings import embeddings_reply as embeddings_reply
    from hub.testing.embeddings import fake_vector as fake_vector
    from hub.testing.endpoint import ScriptedEndpoint as ScriptedEndpoint
    from hub.testing.fake import FakeCall as FakeCall
    from hub.testing.fake import FakeLLM as FakeLLM
    from hub.testing.fake_plan import Answer as Answer
    from hub.testing.fake_plan import Piece as Piece
    from hub.testing.fake_plan import Reaction as Reaction
    from hub.testing.fake_plan import fake_answer as fake_answer
    from hub.testing.grammar import check_grammar as check_grammar
    from hub.testing.grammar import collect as collect
    from hub.testing.guard import forbid_real_calls as forbid_real_calls
    from hub.testing.recording import RecordingTransport as RecordingTransport
    from hub.testing.recordings import recorded as recorded
    from hub.testing.replay import ReplayTransport as ReplayTransport
    from hub.testing.replies import Close as Close
    from hub.testing.replies import Framing as Framing
    from hub.testing.replies import Gate as Gate
    from hub.testing.replies import Hang as Hang
    from hub.testing.replies import Pause as Pause
    from hub.testing.replies import Reply as Reply
    from hub.testing.replies import Reset as Reset
    from hub.testing.replies import Step as Step
    from hub.testing.replies import json_reply as json_reply
    from hub.testing.replies import never_answer as never_answer
    from hub.testing.replies import raw_reply as raw_reply
    from hub.testing.replies import recorded_reply as recorded_reply
    from hub.testing.replies import refuse as refuse
    from hub.testing.replies import sse as sse
    from hub.testing.replies import status_reply as status_reply
    from hub.testing.request import RecordedRequest as RecordedRequest
    from hub.testing.responses import response_event as response_event
    from hub.testing.responses import responses_reply as responses_reply
    from hub.testing.responses import whole_response_reply as whole_response_reply
    from hub.testing.script import Handler as Handler
    from hub.testing.transport import ScriptedTransport as ScriptedTransport
    from hub.testing.unexpected import NotRecordedError as NotRecordedError
    from hub.testing.unexpected import RealCallError as RealCallError
    from hub.testing.unexpected import UnexpectedCallError as UnexpectedCallError

# By the module that defines it: with the endpoint alone, neither the SDK nor an HTTP client has to load.
_MODULES = {
    "batches": ("BatchHandler", "Ending"),
    "chat": (
        "chat_chunk",
        "chat_reply",
        "completion_reply",
    ),
    "echo": ("EchoHandler",),
    "embeddings": (
        "embeddings_answer",
        "embeddings_reply",
        "fake_vector",
    ),
    "endpoint": ("ScriptedEndpoint",),
    "fake": (
        "FakeCall",
        "FakeLLM",
    ),
    "fake_plan": (
        "Answer",
        "Piece",
        "Reaction",
        "fake_answer",
    ),
    "grammar": (
        "check_grammar",
        "collect",
    ),
    "guard": ("forbid_real_calls",),
    "recordings": ("recorded",),
    "recording": ("RecordingTransport",),
    "replay": ("ReplayTransport",),
    "replies": (
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
    ),
    "request": ("RecordedRequest",),
    "responses": (
        "response_event",
        "responses_reply",
        "whole_response_reply",
    ),
    "script": ("Handler",),
    "transport": ("ScriptedTransport",),
    "unexpected": (
        "NotRecordedError",
        "RealCallError",
        "UnexpectedCallError",
    ),
}
_HOME = {name: f"hub.testing.{module}" for module, names in _MODULES.items() for name in names}

__all__ = tuple(sorted(_HOME))


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOME[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
