"""A sink whose readers are subscribed to a Pusher channel."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections import deque
from collections.abc import Callable, Sequence
from random import random as random_number
from typing import Self

from hub.errors import ClosedError, InvalidRequestError, SinkError
from hub.events import LLMEvent
from hub.sink.base import CLOSE_TIMEOUT, with_trouble
from sinks.pusher.api import MAX_BATCH, PusherApi
from sinks.pusher.app import PusherApp
from sinks.pusher.messages import CHUNK, MIN_EVENT_BYTES, Message, messages_of
from sinks.pusher.names import check_channels, check_event_name
from sinks.pusher.pace import Pace
from sinks.pusher.queue import Queue

__all__ = ("PusherSink",)

MAX_BODY_BYTES = 200_000
"""Data in one request, but for a message that is larger by itself: signing it must not hold up the loop."""

log = logging.getLogger(__name__)


class PusherSink:
    """Sends each event to one or several Pusher channels, as one message whose data is the event's JSON.

    The message's name is the event's type. The first delta goes at once; after it, what comes within
    1 / `max_messages_per_second` is merged into one event. Any other event goes at once with what is held before it, up
    to ten messages in one request. One request is under way at a time, so messages leave in order. An event whose JSON
    is larger than `max_event_bytes` goes in parts, named `chunk`, which an `Assembler` joins.

    What can't be sent is repeated for `max_outage` seconds, while events gather, merged, in a bounded queue; when that
    is full, `send` waits. Then the sink has failed: the next `send` raises, else `aclose`, and nothing more is sent. A
    repeat may deliver a message twice; readers know it by its `seq`.

    Use it as an async context manager; leaving it sends what is held. It may be closed by another task than entered it.

    Args:
        channel: Where to, or up to 100 of them; a message to each counts as one.
        app_id: Else `PUSHER_APP_ID`.
        key: Else `PUSHER_AUTH_KEY`.
        secret: Else `PUSHER_AUTH_SECRET`.
        cluster: Else `PUSHER_APP_CLUSTER`.
        host: Host name of a compatible server; else `PUSHER_HOST`, else the cluster's.
        port: Else `PUSHER_PORT`, else 443, or 80 without TLS.
        ssl: Whether to use TLS; else what `PUSHER_SCHEME` says (`https` or `http`), else True.
        auth_version: Else `PUSHER_AUTH_VERSION`, else 1.0.
        app: All of these in one, instead of them.
        event_name: One name for every message, parts included, in place of the event's type.
        max_messages_per_second: To each channel in the long run; ten more may go after a pause. May be infinite.
        max_event_bytes: UTF-8 bytes of one message's data. Pusher takes 10 KB; a server of your own may take more.
        max_queue: Events that don't merge and wait to be sent, at most.
        max_queue_bytes: Bytes of JSON among them, at most, but for the last one's.
        timeout: Seconds that one request may take.
        max_outage: Seconds that Pusher may be away.
        clock: Unix seconds, for the signatures.
        random: From 0 to 1, spreads repeats.

    Raises:
        ConfigurationError: The app is not configured; the message names all that is missing.
        InvalidRequestError: A channel or an event name that Pusher would refuse, or a number out of range.
    """

    def __init__(
        self,
        channel: str | Sequence[str],
        *,
        app_id: str | None = None,
        key: str | None = None,
        secret: str | None = None,
        cluster: str | None = None,
        host: str | None = None,
        port: int | None = None,
        ssl: bool | None = None,
        auth_version: str | None = None,
        app: PusherApp | None = None,
        event_name: str | None = None,
        max_messages_per_second: float = 10.0,
        max_event_bytes: int = 10_000,
        max_queue: int = 1_000,
        max_queue_bytes: int = 16_000_000,
        timeout: float = 10.0,
        max_outage: float = 30.0,
        clock: Callable[[], float] = time.time,
        random: Callable[[], float] = random_number,
    ) -> None:
        self._channels = check_channels(channel)
        self._event_name = None if event_name is None else check_event_name(event_name)
        if max_event_bytes < MIN_EVENT_BYTES:
            raise InvalidRequestError(f"max_event_bytes is at least {MIN_EVENT_BYTES:,}; it is {max_event_bytes:,}.")
        if app is None:
            app = PusherApp.configured(
                app_id=app_id,
                key=key,
                secret=secret,
                cluster=cluster,
                host=host,
                port=port,
                ssl=ssl,
                auth_version=auth_version,
            )
        self._api = PusherApi(app, timeout=timeout, max_outage=max_outage, clock=clock, random=random)
        self._max_event_bytes = max_event_bytes
        self._pace = Pace(max_messages_per_second, MAX_BATCH)
        self._interval = 1.0 / max_messages_per_second
        # A batch names its channel message by message; to several channels, a message goes in a request of its own.
        self._batch = MAX_BATCH if len(self._channels) == 1 else 1
        self._queue = Queue(max_events=max_queue, max_bytes=max_queue_bytes, max_merged_bytes=max_event_bytes)
        self._outgoing: deque[Message] = deque()
        self._chunked = 0
        self._id = secrets.token_hex(6)
        self._sent_at = float("-inf")
        self._wake = asyncio.Event()
        self._room = asyncio.Event()
        self._failure: SinkError | None = None
        self._told = False
        self._tasks: asyncio.TaskGroup | None = None
        self._sender: asyncio.Task[None] | None = None
        self._closed = False

    async def __aenter__(self) -> Self:
        if self._tasks is not None or self._closed:
            raise ClosedError("a PusherSink is entered once")
        # The one child never raises, so whoever entered is never cancelled for it.
        self._tasks = await asyncio.TaskGroup().__aenter__()
        self._sender = self._tasks.create_task(self._send_all())
        return self

    async def __aexit__(self, exc_type: type[BaseException] | None, *exc_info: object) -> None:
        if exc_type is None:
            await self.aclose()
            return
        try:
            await self._close(CLOSE_TIMEOUT)
        except SinkError as exc:
            # Its own error would hide the one that ends the block, which may be a cancellation.
            log.warning("A PusherSink was left early. %s", exc)

    async def send(self, event: LLMEvent) -> None:
        """Queue the event, waiting while the queue is full.

        Raises:
            MalformedEventError: The event has no JSON; others may follow.
            SinkError: Sending has failed.
            ClosedError: Outside the `async with` block.
        """
        self._check()
        item = self._queue.prepare(event)
        if item is None:
            return
        while not self._queue.takes(item):
            self._room.clear()
            await self._room.wait()
            self._check()
        if self._queue.put(item):
            self._wake.set()

    @property
    def trouble(self) -> str | None:
        """What the last request failed with, while it is sent again; None where none did."""
        return self._api.trouble

    async def aclose(self) -> None:
        """Send what is held and let the connection go; a second call does nothing.

        Raises:
            SinkError: Sending has failed, and no `send` has said so.
        """
        await self._close(None)

    def _check(self) -> None:
        if self._tasks is None or self._closed:
            raise ClosedError("a PusherSink takes events inside its `async with` block only")
        self._raise_failure()

    def _raise_failure(self) -> None:
        if self._failure is not None:
            self._told = True
            raise self._failure

    async def _close(self, timeout: float | None) -> None:
        if self._closed:
            return
        self._closed = True
        self._wake.set()
        self._room.set()
        if self._tasks is None or self._sender is None:
            return
        try:
            await asyncio.wait([self._sender], timeout=timeout)
            if not self._sender.done():
                words = f"What was held could not be sent within {timeout:g} s"
                self._failure = SinkError(f"{with_trouble(words, self.trouble)}.")
        finally:
            self._sender.cancel()
            try:
                await self._tasks.__aexit__(None, None, None)
            finally:
                await self._api.aclose()
        if not self._told:
            self._raise_failure()

    async def _send_all(self) -> None:
        try:
            while await self._is_due():
                batch = self._next_batch()
                await self._api.publish(self._channels, batch)
                self._sent_at = asyncio.get_running_loop().time()
        except SinkError as exc:
            self._fail(exc)
        except Exception as exc:
            # A defect of ours or of the HTTP client's. It must not cancel whoever entered, who has to learn of it.
            # Its words may quote the address, signature included.
            log.debug("sending to Pusher failed", exc_info=exc)
            failure = SinkError(f"Sending to Pusher failed from within ({type(exc).__name__}); nothing more is sent.")
            failure.__cause__ = exc
            self._fail(failure)
        finally:
            self._room.set()

    def _fail(self, exc: SinkError) -> None:
        self._failure = exc
        self._outgoing.clear()
        self._queue.clear()

    async def _is_due(self) -> bool:
        """Wait until something may go; False once nothing will come any more."""
        loop = asyncio.get_running_loop()
        while True:
            now = loop.time()
            if self._outgoing or self._queue.is_urgent or (self._queue and self._closed):
                wait = self._pace.wait(now)
            elif self._queue:
                wait = max(self._pace.wait(now), self._sent_at + self._interval - now)
            elif self._closed:
                return False
            else:
                wait = None
            if wait is not None and wait <= 0:
                return True
            self._wake.clear()
            try:
                async with asyncio.timeout(wait):
                    await self._wake.wait()
            except TimeoutError:
                pass

    def _next_batch(self) -> list[Message]:
        """The messages that go now."""
        most = min(self._pace.room(asyncio.get_running_loop().time()), self._batch)
        while len(self._outgoing) < most and self._queue:
            event_type, data = self._queue.pop()
            self._outgoing.extend(self._messages(event_type, data))
            self._room.set()
        batch = [self._outgoing.popleft()]
        size = len(batch[0].data)
        while len(batch) < most and self._outgoing and (size := size + len(self._outgoing[0].data)) <= MAX_BODY_BYTES:
            batch.append(self._outgoing.popleft())
        self._pace.take(len(batch))
        return batch

    def _messages(self, event_type: str, data: bytes) -> list[Message]:
        self._chunked += 1
        return messages_of(
            data,
            self._event_name or event_type,
            max_bytes=self._max_event_bytes,
            chunk_id=f"{self._id}-{self._chunked}",
            chunk_name=self._event_name or CHUNK,
        )
