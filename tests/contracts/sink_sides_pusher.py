"""A PusherSink before the strict endpoint of tests/sinks."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from sinks.pusher import PusherApp, PusherSink
from tests.sinks.strict_pusher import StrictPusher, answering

from .sink_sides import Side

IS_REAL = True
QUEUE = 20


@asynccontextmanager
async def pusher() -> AsyncIterator[Side]:
    async with (
        StrictPusher() as server,
        PusherSink("chat", app=server.app, max_messages_per_second=math.inf, max_queue=QUEUE) as sink,
    ):
        # What the sender has taken is no longer in the queue: the messages of one request.
        yield Side(sink, lambda: server.events("chat"), server.hold, bound=QUEUE + 10)


@asynccontextmanager
async def pusher_at_a_slow_rate() -> AsyncIterator[Side]:
    async with (
        StrictPusher() as server,
        PusherSink("chat", app=server.app, max_messages_per_second=200) as sink,
    ):
        yield Side(sink, lambda: server.events("chat"), server.hold)


@asynccontextmanager
async def failing_pusher() -> AsyncIterator[Any]:
    async with StrictPusher() as server:
        server.next_answers.append(answering(403, "over quota"))
        yield await PusherSink("chat", app=server.app).__aenter__()


def unentered_pusher() -> Any:
    app = PusherApp(app_id="1", key="key", secret="secret", host="127.0.0.1", port=9, ssl=False)
    return PusherSink("chat", app=app)


SIDES = (pusher, pusher_at_a_slow_rate)
FAILING = (failing_pusher,)
UNENTERED = (unentered_pusher,)
