"""A stream that has a writer in this process."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from hub.streams.log import StreamLog

__all__ = ("RunningStream",)


@dataclass(slots=True, eq=False)
class RunningStream:
    """A stream that may grow; one change of it is under way at a time.

    Attributes:
        key: Its row's.
        log: What readers have.
        epoch: Its writer's.
        is_waiting: Its row says that it waits for a person.
        kept: How many of the log's events are in the file.
        is_busy: A change of it is under way.
    """

    key: int
    log: StreamLog
    epoch: int
    is_waiting: bool
    kept: int = 0
    is_busy: bool = False
    _callers: list[asyncio.Future[None]] = field(default_factory=list)

    async def idle(self) -> None:
        """Return once no change is under way."""
        while self.is_busy:
            caller = asyncio.get_running_loop().create_future()
            self._callers.append(caller)
            await caller

    def settled(self) -> None:
        """The change has been made, or has failed."""
        self.is_busy = False
        callers, self._callers = self._callers, []
        for caller in callers:
            if not caller.done():
                caller.set_result(None)
