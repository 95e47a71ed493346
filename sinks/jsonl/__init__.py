"""Events in a file, one a line."""

from __future__ import annotations

from sinks.jsonl.reader import read_events
from sinks.jsonl.sink import Fsync, JSONLSink

__all__ = ("Fsync", "JSONLSink", "read_events")
