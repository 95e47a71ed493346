"""The Sink protocol, and what works for every sink: `pump`, `FanOut`, `Coalesce`, `Filter`."""

from __future__ import annotations

from hub.sink.base import Endable, OpenableSink, Sink, Troubled
from hub.sink.coalesce import Coalesce
from hub.sink.fan_out import FanOut
from hub.sink.filter import Filter, FilterType
from hub.sink.pump import pump

__all__ = ("Coalesce", "Endable", "FanOut", "Filter", "FilterType", "OpenableSink", "Sink", "Troubled", "pump")
