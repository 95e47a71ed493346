"""Watching the client's calls: the hooks, and what hangs on them by default (log records, OpenTelemetry)."""

from __future__ import annotations

from hub.observe.base import Call, Observer, Observers, Outcome
from hub.observe.defaults import default_observers
from hub.observe.logs import LogObserver

__all__ = ("Call", "LogObserver", "Observer", "Observers", "Outcome", "default_observers")
