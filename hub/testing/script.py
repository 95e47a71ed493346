"""What is answered to which request: replies in order, then a handler, and a record of what was asked."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import TypeAlias

from hub.testing.echo import EchoHandler
from hub.testing.replies import Reply, status_reply
from hub.testing.request import RecordedRequest

__all__ = ("Handler", "Script")

log = logging.getLogger(__name__)

Handler: TypeAlias = Callable[[RecordedRequest], Reply]
"""Answers a request that no scripted reply is left for."""


class Script:
    """Scripted replies in order, one a request; when none is left, `handler` answers.

    Args:
        replies: The first replies.
        handler: Answers when no reply is left. Without one an `EchoHandler` does, unless there was a script: then a
            request beyond its end gets a 500 that says so. Where the handler raises, the reply is a 500 too.
        max_requests: How many requests are kept, at least 1; the oldest go first.

    Attributes:
        requests: What was asked, in order of arrival.

    Raises:
        ValueError: `max_requests` is below 1.
    """

    def __init__(self, *replies: Reply, handler: Handler | None = None, max_requests: int = 10_000) -> None:
        if max_requests < 1:
            raise ValueError(f"max_requests must be 1 or more, not {max_requests}")
        self.requests: list[RecordedRequest] = []
        self._replies = deque(replies)
        self._handler: Handler = EchoHandler() if handler is None else handler
        self._has_handler = handler is not None
        self._may_improvise = self._has_handler or not replies
        self._max_requests = max_requests
        self._received = 0
        self._arrival = asyncio.Event()

    def enqueue(self, *replies: Reply) -> None:
        """Add replies to the script."""
        self._replies.extend(replies)
        self._may_improvise = self._has_handler

    def answer(self, request: RecordedRequest) -> Reply:
        """Record the request, and give the reply to it."""
        self.requests.append(request)
        del self.requests[: -self._max_requests]
        self._received += 1
        arrival, self._arrival = self._arrival, asyncio.Event()
        arrival.set()
        if self._replies:
            return self._replies.popleft()
        if not self._may_improvise:
            return status_reply(500, f"The script has no reply for request {self._received}: enqueue one.")
        try:
            return self._handler(request)
        except Exception as exc:
            log.exception("the handler of a scripted endpoint failed")
            return status_reply(500, f"The scripted endpoint's handler raised {type(exc).__name__}: {exc}")

    async def received(self, count: int = 1) -> RecordedRequest:
        """Return the latest request once `count` have arrived since the start."""
        while self._received < count:
            await self._arrival.wait()
        return self.requests[-1]
