"""The sink that posts to a URL, and a receiver that checks each signature."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from hub.events import LLMEvent
from hub.testing import Gate, RecordedRequest, Reply, ScriptedEndpoint
from sinks.webhook import WebhookSink, new_secret, verify

from .sink_sides import Side

IS_REAL = True
SECRET = new_secret()


class Receiver:
    """Takes signed batches; while held, it answers none and takes none."""

    def __init__(self) -> None:
        self.events: list[LLMEvent] = []
        self._gate: Gate | None = None

    def __call__(self, request: RecordedRequest) -> Reply:
        """The answer to one batch."""
        taken = verify(request.headers, request.body, SECRET)
        self.events += taken
        return Reply(framing="length", before=() if self._gate is None else (self._gate,))

    def hold(self, held: bool) -> None:
        """Answer nothing while `held`."""
        if held:
            self._gate = Gate()
        elif self._gate is not None:
            self._gate.open()
            self._gate = None


@asynccontextmanager
async def webhook() -> AsyncIterator[Side]:
    receiver = Receiver()
    async with (
        ScriptedEndpoint(handler=receiver) as endpoint,
        WebhookSink(endpoint.base_url, secret=SECRET, max_delay=0.01, max_held_bytes=400) as sink,
    ):
        yield Side(sink, lambda: receiver.events, receiver.hold, bound=6)
        receiver.hold(False)
        await sink.aclose()


@asynccontextmanager
async def failing_webhook() -> AsyncIterator[Any]:
    """Its receiver wants no more."""
    async with ScriptedEndpoint(handler=lambda request: Reply(status=410, framing="length")) as endpoint:
        sink = WebhookSink(endpoint.base_url, secret=SECRET)
        await sink.__aenter__()
        try:
            yield sink
        finally:
            await sink.aclose()


def unentered_webhook() -> Any:
    return WebhookSink("https://example.com", secret=SECRET)


SIDES = (webhook,)
FAILING = (failing_webhook,)
UNENTERED = (unentered_webhook,)
