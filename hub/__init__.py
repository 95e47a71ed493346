"""Streams LLM output to people: typed events from any OpenAI-compatible endpoint, kept as a log, resumed exactly once.

    from hub import OpenAIClient

    async with OpenAIClient("gpt-5.1") as client:
        async for event in client.stream(messages=[{"role": "user", "content": "Hello"}]):
            ...

Names load on first use: importing `hub` costs neither the SDK nor the server. The one thing that runs is loading
the nearest `.env` into the environment, overriding nothing; `HUB_NO_DOTENV=1` turns that off.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hub.client import AsyncOpenAIClient as AsyncOpenAIClient
    from hub.client import EventStream as EventStream
    from hub.client import LLMClient as LLMClient
    from hub.client import OpenAIClient as OpenAIClient
    from hub.completion import Completion as Completion
    from hub.completion import fold as fold
    from hub.errors import BackendError as BackendError
    from hub.errors import ClosedError as ClosedError
    from hub.errors import ConfigurationError as ConfigurationError
    from hub.errors import EndpointConnectionError as EndpointConnectionError
    from hub.errors import EndpointError as EndpointError
    from hub.errors import EndpointStatusError as EndpointStatusError
    from hub.errors import EndpointStreamError as EndpointStreamError
    from hub.errors import EndpointTimeoutError as EndpointTimeoutError
    from hub.errors import HubBusyError as HubBusyError
    from hub.errors import HubError as HubError
    from hub.errors import InvalidRequestError as InvalidRequestError
    from hub.errors import LimitError as LimitError
    from hub.errors import MalformedEventError as MalformedEventError
    from hub.errors import MissingExtraError as MissingExtraError
    from hub.errors import MissingKeyError as MissingKeyError
    from hub.errors import PositionError as PositionError
    from hub.errors import RequestError as RequestError
    from hub.errors import SequenceGapError as SequenceGapError
    from hub.errors import SinkError as SinkError
    from hub.errors import StoreError as StoreError
    from hub.errors import StreamExistsError as StreamExistsError
    from hub.errors import StreamNotFoundError as StreamNotFoundError
    from hub.events import ApprovalRequest as ApprovalRequest
    from hub.events import Done as Done
    from hub.events import Error as Error
    from hub.events import LLMEvent as LLMEvent
    from hub.events import Meta as Meta
    from hub.events import ReasoningDelta as ReasoningDelta
    from hub.events import RefusalDelta as RefusalDelta
    from hub.events import Snapshot as Snapshot
    from hub.events import TextDelta as TextDelta
    from hub.events import ToolCallDelta as ToolCallDelta
    from hub.events import ToolResult as ToolResult
    from hub.events import Usage as Usage
    from hub.events import decode_event as decode_event
    from hub.events import encode_event as encode_event
    from hub.events import event_schema as event_schema
    from hub.events import new_stream_id as new_stream_id
    from hub.hub import Generation as Generation
    from hub.hub import Generator as Generator
    from hub.hub import Hub as Hub
    from hub.models.profile import ModelProfile as ModelProfile
    from hub.result import ChoiceResult as ChoiceResult
    from hub.result import Failure as Failure
    from hub.result import LLMResult as LLMResult
    from hub.result import StepResult as StepResult
    from hub.result import TokenUsage as TokenUsage
    from hub.result import ToolCall as ToolCall
    from hub.result import ToolOutput as ToolOutput
    from hub.sink import Coalesce as Coalesce
    from hub.sink import FanOut as FanOut
    from hub.sink import Sink as Sink
    from hub.sink import pump as pump
    from hub.streams.base import StreamInfo as StreamInfo
    from hub.streams.base import StreamStore as StreamStore
    from hub.streams.log import StreamLog as StreamLog
    from hub.streams.memory import MemoryStreamStore as MemoryStreamStore
    from hub.upstream.clocks import Timeouts as Timeouts
    from hub.upstream.retry import RetryPolicy as RetryPolicy

_MODULES = {
    "hub.client": (
        "AsyncOpenAIClient",
        "EventStream",
        "LLMClient",
        "OpenAIClient",
    ),
    "hub.completion": (
        "Completion",
        "fold",
    ),
    "hub.errors": (
        "BackendError",
        "ClosedError",
        "ConfigurationError",
        "EndpointConnectionError",
        "EndpointError",
        "EndpointStatusError",
        "EndpointStreamError",
        "EndpointTimeoutError",
        "HubBusyError",
        "HubError",
        "InvalidRequestError",
        "LimitError",
        "MalformedEventError",
        "MissingExtraError",
        "MissingKeyError",
        "PositionError",
        "RequestError",
        "SequenceGapError",
        "SinkError",
        "StoreError",
        "StreamExistsError",
        "StreamNotFoundError",
    ),
    "hub.events": (
        "ApprovalRequest",
        "Done",
        "Error",
        "LLMEvent",
        "Meta",
        "ReasoningDelta",
        "RefusalDelta",
        "Snapshot",
        "TextDelta",
        "ToolCallDelta",
        "ToolResult",
        "Usage",
        "decode_event",
        "encode_event",
        "event_schema",
        "new_stream_id",
    ),
    "hub.hub": (
        "Generation",
        "Generator",
        "Hub",
    ),
    "hub.models.profile": ("ModelProfile",),
    "hub.result": (
        "ChoiceResult",
        "Failure",
        "LLMResult",
        "StepResult",
        "TokenUsage",
        "ToolCall",
        "ToolOutput",
    ),
    "hub.sink": (
        "Coalesce",
        "FanOut",
        "Sink",
        "pump",
    ),
    "hub.streams.base": (
        "StreamInfo",
        "StreamStore",
    ),
    "hub.streams.log": ("StreamLog",),
    "hub.streams.memory": ("MemoryStreamStore",),
    "hub.upstream.clocks": ("Timeouts",),
    "hub.upstream.retry": ("RetryPolicy",),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}

__all__ = tuple(sorted(_HOME))


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("llm-stream-hub")
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOME[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})


def _has_dotenv() -> bool:
    """Whether a `.env` lies in the working folder or above it; python-dotenv takes longer to load than all else."""
    try:
        folder = os.getcwd()
    except OSError:  # the working folder is gone
        return False
    while not os.path.exists(os.path.join(folder, ".env")):
        parent = os.path.dirname(folder)
        if parent == folder:
            return False
        folder = parent
    return True


if not os.environ.get("HUB_NO_DOTENV") and _has_dotenv():
    from dotenv import find_dotenv, load_dotenv

    # Searched from the working directory: the default would search from this package's own folder.
    load_dotenv(find_dotenv(usecwd=True))
