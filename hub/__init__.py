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
    from hub.batch import BatchJob as BatchJob
    from hub.batch import Checkpoint as Checkpoint
    from hub.batch import iter_batch as iter_batch
    from hub.batch import run_batch as run_batch
    from hub.cache.base import Cache as Cache
    from hub.cache.core import CacheCore as CacheCore
    from hub.cache.entry import CacheEntry as CacheEntry
    from hub.cache.filesystem import FilesystemCache as FilesystemCache
    from hub.cache.memory import MemoryCache as MemoryCache
    from hub.client import AsyncOpenAIClient as AsyncOpenAIClient
    from hub.client import EventStream as EventStream
    from hub.client import OpenAIClient as OpenAIClient
    from hub.completion import Completion as Completion
    from hub.completion import fold as fold
    from hub.completion import fold_streams as fold_streams
    from hub.embeddings import Embeddings as Embeddings
    from hub.errors import BackendError as BackendError
    from hub.errors import CacheEntryError as CacheEntryError
    from hub.errors import CacheError as CacheError
    from hub.errors import CheckpointError as CheckpointError
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
    from hub.errors import LimiterBusyError as LimiterBusyError
    from hub.errors import LimitError as LimitError
    from hub.errors import LimitTimeoutError as LimitTimeoutError
    from hub.errors import MalformedEventError as MalformedEventError
    from hub.errors import MissingExtraError as MissingExtraError
    from hub.errors import MissingKeyError as MissingKeyError
    from hub.errors import OutputTruncatedError as OutputTruncatedError
    from hub.errors import OutputValidationError as OutputValidationError
    from hub.errors import PositionError as PositionError
    from hub.errors import RefusalError as RefusalError
    from hub.errors import RequestError as RequestError
    from hub.errors import RequestTooLargeError as RequestTooLargeError
    from hub.errors import SequenceGapError as SequenceGapError
    from hub.errors import SinkError as SinkError
    from hub.errors import SinkRejectedError as SinkRejectedError
    from hub.errors import SinkUnavailableError as SinkUnavailableError
    from hub.errors import StaleWriterError as StaleWriterError
    from hub.errors import StoreError as StoreError
    from hub.errors import StreamExistsError as StreamExistsError
    from hub.errors import StreamNotFoundError as StreamNotFoundError
    from hub.errors import StructuredOutputError as StructuredOutputError
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
    from hub.jobs.queue import RedisJobQueue as RedisJobQueue
    from hub.jobs.remote import RemoteWorkers as RemoteWorkers
    from hub.limits.base import Permit as Permit
    from hub.limits.base import RateLimiter as RateLimiter
    from hub.limits.limiter import Limiter as Limiter
    from hub.limits.token_bucket import TokenBucket as TokenBucket
    from hub.llm import LLM as LLM
    from hub.llm import AnswerStream as AnswerStream
    from hub.llm import ObjectAnswerStream as ObjectAnswerStream
    from hub.llm_client import LLMClient as LLMClient
    from hub.models.catalog import GPT5 as GPT5
    from hub.models.catalog import GPT5Mini as GPT5Mini
    from hub.models.catalog import GPT5Nano as GPT5Nano
    from hub.models.catalog import GPT5Point1 as GPT5Point1
    from hub.models.catalog import GPT5Point2 as GPT5Point2
    from hub.models.catalog import GPT6Point1Sol as GPT6Point1Sol
    from hub.models.catalog import GPT6Point1Terra as GPT6Point1Terra
    from hub.models.catalog import TextEmbedding3Large as TextEmbedding3Large
    from hub.models.catalog import TextEmbedding3Small as TextEmbedding3Small
    from hub.models.pricing import UsageCosts as UsageCosts
    from hub.models.profile import ModelDeprecationWarning as ModelDeprecationWarning
    from hub.models.profile import ModelProfile as ModelProfile
    from hub.models.profile import RateLimits as RateLimits
    from hub.models.tokens import TokenCount as TokenCount
    from hub.named_sinks import NamedSinks as NamedSinks
    from hub.object_stream import ObjectStream as ObjectStream
    from hub.observe.base import Call as Call
    from hub.observe.base import Observer as Observer
    from hub.observe.base import Observers as Observers
    from hub.observe.base import Outcome as Outcome
    from hub.observe.defaults import default_observers as default_observers
    from hub.observe.logs import LogObserver as LogObserver
    from hub.observe.telemetry import OpenTelemetryObserver as OpenTelemetryObserver
    from hub.relaying import Relays as Relays
    from hub.result import ChoiceResult as ChoiceResult
    from hub.result import Failure as Failure
    from hub.result import LLMResult as LLMResult
    from hub.result import StepResult as StepResult
    from hub.result import TokenUsage as TokenUsage
    from hub.result import ToolCall as ToolCall
    from hub.result import ToolOutput as ToolOutput
    from hub.sink import Coalesce as Coalesce
    from hub.sink import FanOut as FanOut
    from hub.sink import Filter as Filter
    from hub.sink import Sink as Sink
    from hub.sink import pump as pump
    from hub.streams.base import StreamInfo as StreamInfo
    from hub.streams.base import StreamStore as StreamStore
    from hub.streams.log import StreamLog as StreamLog
    from hub.streams.memory import MemoryStreamStore as MemoryStreamStore
    from hub.streams.opening import open_stream_store as open_stream_store
    from hub.streams.redis import RedisStreamStore as RedisStreamStore
    from hub.streams.sqlite import SqliteStreamStore as SqliteStreamStore
    from hub.structured import PartialParser as PartialParser
    from hub.structured import ResponseModel as ResponseModel
    from hub.upstream.clocks import Timeouts as Timeouts
    from hub.upstream.connections import Fallback as Fallback
    from hub.upstream.retry import RetryPolicy as RetryPolicy
    from hub.worker import Worker as Worker

_MODULES = {
    "hub.batch": (
        "BatchJob",
        "Checkpoint",
        "iter_batch",
        "run_batch",
    ),
    "hub.cache.base": ("Cache",),
    "hub.cache.core": ("CacheCore",),
    "hub.cache.entry": ("CacheEntry",),
    "hub.cache.filesystem": ("FilesystemCache",),
    "hub.cache.memory": ("MemoryCache",),
    "hub.client": (
        "AsyncOpenAIClient",
        "EventStream",
        "OpenAIClient",
    ),
    "hub.completion": (
        "Completion",
        "fold",
        "fold_streams",
    ),
    "hub.embeddings": ("Embeddings",),
    "hub.errors": (
        "BackendError",
        "CacheEntryError",
        "CacheError",
        "CheckpointError",
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
        "LimitTimeoutError",
        "LimiterBusyError",
        "MalformedEventError",
        "MissingExtraError",
        "MissingKeyError",
        "OutputTruncatedError",
        "OutputValidationError",
        "PositionError",
        "RefusalError",
        "RequestError",
        "RequestTooLargeError",
        "SequenceGapError",
        "SinkError",
        "SinkRejectedError",
        "SinkUnavailableError",
        "StaleWriterError",
        "StoreError",
        "StreamExistsError",
        "StreamNotFoundError",
        "StructuredOutputError",
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
    "hub.limits": (),
    "hub.limits.base": (
        "Permit",
        "RateLimiter",
    ),
    "hub.limits.limiter": ("Limiter",),
    "hub.limits.token_bucket": ("TokenBucket",),
    "hub.jobs.queue": ("RedisJobQueue",),
    "hub.jobs.remote": ("RemoteWorkers",),
    "hub.llm": (
        "AnswerStream",
        "LLM",
        "ObjectAnswerStream",
    ),
    "hub.llm_client": ("LLMClient",),
    "hub.models.catalog": (
        "GPT5",
        "GPT5Mini",
        "GPT5Nano",
        "GPT5Point1",
        "GPT5Point2",
        "GPT6Point1Sol",
        "GPT6Point1Terra",
        "TextEmbedding3Large",
        "TextEmbedding3Small",
    ),
    "hub.models.pricing": ("UsageCosts",),
    "hub.models.profile": (
        "ModelDeprecationWarning",
        "ModelProfile",
        "RateLimits",
    ),
    "hub.models.tokens": ("TokenCount",),
    "hub.object_stream": ("ObjectStream",),
    "hub.named_sinks": ("NamedSinks",),
    "hub.observe.base": (
        "Call",
        "Observer",
        "Observers",
        "Outcome",
    ),
    "hub.observe.defaults": ("default_observers",),
    "hub.observe.logs": ("LogObserver",),
    "hub.observe.telemetry": ("OpenTelemetryObserver",),
    "hub.relaying": ("Relays",),
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
        "Filter",
        "Sink",
        "pump",
    ),
    "hub.streams.base": (
        "StreamInfo",
        "StreamStore",
    ),
    "hub.streams.log": ("StreamLog",),
    "hub.streams.memory": ("MemoryStreamStore",),
    "hub.streams.opening": ("open_stream_store",),
    "hub.streams.redis": ("RedisStreamStore",),
    "hub.streams.sqlite": ("SqliteStreamStore",),
    "hub.structured": (
        "PartialParser",
        "ResponseModel",
    ),
    "hub.upstream.clocks": ("Timeouts",),
    "hub.upstream.connections": ("Fallback",),
    "hub.upstream.retry": ("RetryPolicy",),
    "hub.worker": ("Worker",),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}

# `from hub import *` loads each name, and must work where no extra is installed: these are imported by name.
_OF_EXTRAS = frozenset(("OpenTelemetryObserver", "RedisJobQueue", "RedisStreamStore"))

__all__ = tuple(sorted(_HOME.keys() - _OF_EXTRAS))


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
