"""What the benchmark of sinks compares: each sink, and what one writes in its place with the library of the transport.

Every contender takes events one at a time, and the next once the call for the last one has returned. By hand that is
once the event has arrived; a sink of ours returns sooner. A contender's library is imported where it is opened.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
import uuid
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeAlias

from pydantic import BaseModel

from bench.sinks.servers import sse_by_hand, sse_sink, websocket_by_hand, websocket_sink
from hub.events import LLMEvent, encode_event

__all__ = ("CONTENDERS", "TRANSPORTS", "Contender", "Put", "Transport")

Put: TypeAlias = Callable[[Any], Awaitable[object]]
"""Sends one event."""

Open: TypeAlias = Callable[[str], AbstractAsyncContextManager[Put]]
"""Opens a contender: to a port, a file, or a channel and a URL with a space between."""

CHANNEL = "chat-42"
APP = {"app_id": "1234", "key": "the-key", "secret": "the-secret", "host": "127.0.0.1", "ssl": False}
SECRET = "whsec_" + b64encode(bytes(range(24))).decode()


def plain(event: LLMEvent) -> dict[str, Any]:
    """The event as whoever has no events of ours would have it."""
    found: dict[str, Any] = json.loads(encode_event(event))
    return found


class Model(BaseModel, extra="allow"):
    """The same as a pydantic model."""

    type: str
    stream_id: str
    seq: int
    text: str = ""


def model(event: LLMEvent) -> Model:
    """The event as such a model."""
    return Model(**plain(event))


# Ours


def _event(event: LLMEvent) -> LLMEvent:
    return event


@asynccontextmanager
async def memory_sink(_: str) -> AsyncIterator[Put]:
    """The floor: a list."""
    from sinks.memory import MemorySink

    async with MemorySink() as sink:
        yield sink.send


def redis_sink(*, has_log: bool) -> Open:
    """On a channel, with a log beside it or without."""

    @asynccontextmanager
    async def opened(address: str) -> AsyncIterator[Put]:
        from sinks.redis import RedisSink, Replay

        channel, _, url = address.partition(" ")
        async with RedisSink(channel, url=url, replay=Replay() if has_log else None) as sink:
            yield sink.send

    return opened


def pusher_sink(rate: float) -> Open:
    """At most so many messages a second."""

    @asynccontextmanager
    async def opened(port: str) -> AsyncIterator[Put]:
        from sinks.pusher import PusherApp, PusherSink

        app = PusherApp(**APP, port=int(port))  # type: ignore[arg-type]
        async with PusherSink(CHANNEL, app=app, max_messages_per_second=rate) as sink:
            yield sink.send

    return opened


def webhook_sink(**options: Any) -> Open:
    """To the URL."""

    @asynccontextmanager
    async def opened(port: str) -> AsyncIterator[Put]:
        from sinks.webhook import WebhookSink

        async with WebhookSink(f"http://127.0.0.1:{port}/events", secret=SECRET, **options) as sink:
            yield sink.send

    return opened


def jsonl_sink(**options: Any) -> Open:
    """Into the file."""

    @asynccontextmanager
    async def opened(path: str) -> AsyncIterator[Put]:
        from sinks.jsonl import JSONLSink

        async with JSONLSink(path, **options) as sink:
            yield sink.send

    return opened


# By hand


@asynccontextmanager
async def redis_publish(address: str) -> AsyncIterator[Put]:
    """A `PUBLISH` an event."""
    from redis.asyncio import Redis

    channel, _, url = address.partition(" ")
    async with Redis.from_url(url) as redis:
        yield lambda item: redis.publish(channel, json.dumps(item))


@asynccontextmanager
async def redis_log(address: str) -> AsyncIterator[Put]:
    """A pipeline of `XADD` and `PUBLISH` an event."""
    from redis.asyncio import Redis

    channel, _, url = address.partition(" ")
    async with Redis.from_url(url) as redis:

        async def put(item: dict[str, Any]) -> None:
            data = json.dumps(item)
            async with redis.pipeline(transaction=False) as pipeline:
                pipeline.xadd(f"{channel}:log", {"event": data}, maxlen=10_000)
                pipeline.publish(channel, data)
                await pipeline.execute()

        yield put


@asynccontextmanager
async def pusher_async(port: str) -> AsyncIterator[Put]:
    """A message an event by the SDK, in the event loop."""
    from pusher import Pusher
    from pusher.aiohttp import AsyncIOBackend

    client = Pusher(**APP, port=int(port), backend=AsyncIOBackend)
    yield lambda item: client.trigger(CHANNEL, item["type"], item)


@asynccontextmanager
async def pusher_thread(port: str) -> AsyncIterator[Put]:
    """A message an event by the SDK, as it comes, in a thread."""
    from pusher import Pusher

    client = Pusher(**APP, port=int(port))
    yield lambda item: asyncio.to_thread(client.trigger, CHANNEL, item["type"], item)


def http_post(*, is_signed: bool) -> Open:
    """A request an event, over one kept connection."""

    @asynccontextmanager
    async def opened(port: str) -> AsyncIterator[Put]:
        import aiohttp

        url = f"http://127.0.0.1:{port}/events"
        async with aiohttp.ClientSession() as session:

            async def put(item: dict[str, Any]) -> None:
                async with session.post(url, json=item) as response:
                    response.raise_for_status()

            yield _signing(session, url) if is_signed else put

    return opened


def _signing(session: Any, url: str) -> Put:
    from datetime import UTC, datetime

    from standardwebhooks import Webhook

    webhook = Webhook(SECRET)

    async def put(item: dict[str, Any]) -> None:
        data, id_, at = json.dumps(item), f"msg_{uuid.uuid4()}", time.time()
        headers = {"webhook-id": id_, "webhook-timestamp": str(int(at))}
        headers["webhook-signature"] = webhook.sign(id_, datetime.fromtimestamp(at, UTC), data)
        headers["content-type"] = "application/json"
        async with session.post(url, data=data, headers=headers) as response:
            response.raise_for_status()

    return put


def file_write(*, in_thread: bool = False, has_fsync: bool = False) -> Open:
    """A line an event, flushed; blocking unless in a thread."""

    @asynccontextmanager
    async def opened(path: str) -> AsyncIterator[Put]:
        with Path(path).open("a") as file:  # noqa: ASYNC230 - blocking is what is compared

            def write(item: dict[str, Any]) -> None:
                file.write(json.dumps(item) + "\n")
                file.flush()
                if has_fsync:
                    os.fsync(file.fileno())

            async def put(item: dict[str, Any]) -> None:
                write(item)

            yield (lambda item: asyncio.to_thread(write, item)) if in_thread else put

    return opened


@dataclass(frozen=True, slots=True)
class Contender:
    """One row.

    Attributes:
        shown: Its name in the table.
        open: Opens it.
        form: What an event is to it, which is made beforehand.
        requires: The packages it needs.
    """

    shown: str
    open: Open
    form: Callable[[LLMEvent], Any] = plain
    requires: tuple[str, ...] = ()

    def can_take_part(self) -> bool:
        """Its packages are installed."""
        return all(find_spec(package) is not None for package in self.requires)


def _ours(shown: str, opened: Open) -> Contender:
    return Contender(shown, opened, _event)


CONTENDERS: dict[str, Contender] = {
    "memory": _ours("`MemorySink`", memory_sink),
    "sse": _ours("`SSESink` as the body of a response", sse_sink),
    "sse-by-hand": Contender("a queue, `json.dumps` and sse-starlette", sse_by_hand),
    "websocket": _ours("`WebSocketSink`", websocket_sink),
    "websocket-json": Contender("`send_text(json.dumps(…))`", websocket_by_hand(json.dumps)),
    "websocket-pydantic": Contender(
        "`send_text(model.model_dump_json())`", websocket_by_hand(lambda item: item.model_dump_json()), model
    ),
    "redis": _ours("`RedisSink`", redis_sink(has_log=False)),
    "redis-log": _ours("`RedisSink(replay=Replay())`", redis_sink(has_log=True)),
    "redis-publish": Contender("redis-py, `await publish(…)`", redis_publish),
    "redis-pipeline": Contender("redis-py, `XADD` and `PUBLISH` in a pipeline", redis_log),
    "pusher-at-once": _ours("`PusherSink(max_messages_per_second=inf)`", pusher_sink(float("inf"))),
    "pusher": _ours("`PusherSink`", pusher_sink(10.0)),
    "pusher-2": _ours("`PusherSink(max_messages_per_second=2)`", pusher_sink(2.0)),
    "pusher-50": _ours("`PusherSink(max_messages_per_second=50)`", pusher_sink(50.0)),
    "pusher-async": Contender("the SDK, `await trigger(…)`, its aiohttp back end", pusher_async, requires=("pusher",)),
    "pusher-thread": Contender("the SDK, `trigger(…)` in a thread", pusher_thread, requires=("pusher",)),
    "webhook-at-once": _ours("`WebhookSink(max_delay=0)`", webhook_sink(max_delay=0)),
    "webhook": _ours("`WebhookSink`", webhook_sink()),
    "post-signed": Contender("aiohttp, a signed request an event", http_post(is_signed=True)),
    "post": Contender("aiohttp, a request an event", http_post(is_signed=False)),
    "jsonl-at-once": _ours('`JSONLSink(max_delay=0, fsync="never")`', jsonl_sink(max_delay=0, fsync="never")),
    "jsonl": _ours("`JSONLSink`", jsonl_sink()),
    "file": Contender("`write` and `flush`, which block the loop", file_write()),
    "file-thread": Contender("`write` and `flush` in a thread", file_write(in_thread=True)),
    "jsonl-always": _ours('`JSONLSink(max_delay=0, fsync="always")`', jsonl_sink(max_delay=0, fsync="always")),
    "file-fsync": Contender("`write`, `flush` and `fsync`, which block the loop", file_write(has_fsync=True)),
    "file-fsync-thread": Contender(
        "`write`, `flush` and `fsync` in a thread", file_write(in_thread=True, has_fsync=True)
    ),
}
"""By the names that processes are told."""


@dataclass(frozen=True, slots=True)
class Transport:
    """What is compared with one another.

    Attributes:
        shown: Where the events go.
        receiver: What is at the other end: `redis`, `http`, `websocket`, `sse`, `file` or `memory`.
        contenders: Their names, ours first.
        pause: Seconds after a burst, in which it is delivered.
        drain: Seconds after the last one, in which whatever waits for others has left too.
        times: How many times as many bursts as usual, where an event costs next to nothing.
    """

    shown: str
    receiver: str
    contenders: tuple[str, ...]
    pause: float = 0.003
    drain: float = 0.1
    times: int = 1


TRANSPORTS = (
    Transport("memory", "memory", ("memory",), pause=0.0, times=30),
    Transport("SSE", "sse", ("sse", "sse-by-hand")),
    Transport("WebSocket", "websocket", ("websocket", "websocket-json", "websocket-pydantic")),
    Transport("Redis", "redis", ("redis", "redis-publish")),
    Transport("Redis with a log", "redis", ("redis-log", "redis-pipeline")),
    Transport("Pusher", "http", ("pusher-at-once", "pusher", "pusher-async", "pusher-thread"), 0.005, drain=0.3),
    Transport("a webhook", "http", ("webhook-at-once", "webhook", "post-signed", "post"), 0.005, drain=0.3),
    Transport("a file", "file", ("jsonl-at-once", "jsonl", "file", "file-thread")),
    Transport("a file, to the disk each time", "file", ("jsonl-always", "file-fsync", "file-fsync-thread"), 0.01),
)
