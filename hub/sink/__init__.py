"""The Sink protocol, and what works for every sink: `pump`, `FanOut`, `Coalesce`."""

from __future__ import annotations

from hub.sink.base import Endable, Sink
from hub.sink.coalesce import Coalesce
from hub.sink.fan_out import FanOut
from hub.sink.pump import pump

__all__ = ("Coalesce", "Endable", "FanOut", "Sink", "pump")
