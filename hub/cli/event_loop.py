"""The event loop of a command that runs for long."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

__all__ = ("loop_factory",)


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """What makes the loop: uvloop's, where it is installed; None for asyncio's own."""
    try:
        import uvloop  # not on Windows, and not without the extra `server`
    except ImportError:
        return None
    return uvloop.new_event_loop
