"""The observers that a client has without being told: log records, and OpenTelemetry where its API is installed."""

from __future__ import annotations

import logging
from functools import cache
from importlib.util import find_spec

from hub.errors import MissingExtraError
from hub.observe.base import Observer
from hub.observe.logs import LogObserver

__all__ = ("default_observers",)

log = logging.getLogger(__name__)


@cache
def default_observers() -> tuple[Observer, ...]:
    """The log observer, and OpenTelemetry's where `opentelemetry-api` is installed; the same ones at each call.

    They are shared because OpenTelemetry keeps every meter that was ever asked for: one set of instruments a client
    would be a leak in a program that makes many clients.
    """
    return (LogObserver(), *_telemetry())


def _telemetry() -> tuple[Observer, ...]:
    if find_spec("opentelemetry") is None:
        return ()
    try:
        from hub.observe.telemetry import OpenTelemetryObserver
    except MissingExtraError as exc:  # other packages share the name, and old releases lack parts
        log.warning("No telemetry: the installed opentelemetry-api can't be used (%s).", exc.__cause__)
        return ()
    return (OpenTelemetryObserver(),)
