"""The other end of a sink: `python -m bench.sinks.receiver redis|http|websocket|sse ADDRESS`.

It only keeps what comes, and looks at it when it is asked, so that it takes little of the time that is measured.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import msgspec
import uvloop

from bench.children import obey_async

__all__ = ("Receiver",)

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"
PATIENCE = 20.0
"""Seconds to wait for what was sent."""


class Receiver:
    """What has come.

    Attributes:
        kept: Each message as bytes, and when it came, by the monotonic clock.
    """

    def __init__(self) -> None:
        self.kept: list[tuple[float, bytes]] = []

    def keep(self, message: bytes) -> None:
        """Keep a message for later."""
        self.kept.append((time.monotonic(), message))

    async def received(self, last_seq: int) -> dict[str, Any]:
        """All that has come since the last time, once the event of that position has.

        Raises:
            TimeoutError: It doesn't come.
        """
        messages: list[tuple[float, list[dict[str, Any]]]] = []
        async with asyncio.timeout(PATIENCE):
            while True:
                kept, self.kept = self.kept, []
                messages += [(at, _events(data)) for at, data in kept]
                if any(event["seq"] >= last_seq for _, events in messages[-3:] for event in events):
                    break
                await asyncio.sleep(0.01)
        events = [event for _, several in messages for event in several]
        return {
            "messages": len(messages),
            "events": len(events),
            "text": "".join([event.get("text", "") for event in events]),
            "arrivals": [
                (event["seq"] - event.get("span", 1) + 1, event["seq"], at)
                for at, several in messages
                for event in several
            ],
        }


def _events(data: bytes) -> list[dict[str, Any]]:
    """The events of a message: itself, or what an envelope of Pusher's or of a webhook has."""
    found: dict[str, Any] = msgspec.json.decode(data)
    if "batch" in found:
        return [msgspec.json.decode(each["data"]) for each in found["batch"]]
    if "channels" in found:
        return [msgspec.json.decode(found["data"])]
    if found["type"] == "llm.events":
        events: list[dict[str, Any]] = found["data"]["events"]
        return events
    return [found]


class _Http(asyncio.Protocol):
    """Answers 200 to whatever is posted, at once."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._unread = b""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Remember whom to answer."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer each request once it is whole."""
        self._unread += data
        while True:
            head, blank, body = self._unread.partition(b"\r\n\r\n")
            if not blank:
                return
            fields = head.lower().split(b"\r\n")
            length = next(int(field.partition(b":")[2]) for field in fields if field.startswith(b"content-length:"))
            if len(body) < length:
                return
            self._unread = body[length:]
            self._transport.write(ANSWER)
            self._receiver.keep(body[:length])


@asynccontextmanager
async def http(receiver: Receiver, _: str) -> AsyncIterator[dict[str, Any]]:
    """A server of Pusher's API, or of a webhook; says its port."""
    server = await asyncio.get_running_loop().create_server(lambda: _Http(receiver), "127.0.0.1", 0)
    async with server:
        yield {"port": server.sockets[0].getsockname()[1]}


@asynccontextmanager
async def redis(receiver: Receiver, address: str) -> AsyncIterator[dict[str, Any]]:
    """A subscriber of the channel."""
    from redis.asyncio import Redis

    channel, _, url = address.partition(" ")
    async with Redis.from_url(url) as client, client.pubsub() as pubsub, asyncio.TaskGroup() as tasks:
        await pubsub.subscribe(channel)
        while (await pubsub.get_message(timeout=5)) is None:
            pass

        async def read() -> None:
            async for message in pubsub.listen():
                receiver.keep(message["data"])

        tasks.create_task(read())
        yield {}


@asynccontextmanager
async def websocket(receiver: Receiver, port: str) -> AsyncIterator[dict[str, Any]]:
    """A client that reads messages."""
    from websockets import ConnectionClosed, connect

    async def read() -> None:
        await _listening(port)
        async with connect(f"ws://127.0.0.1:{port}/") as connection:
            with suppress(ConnectionClosed):  # with the writer's process
                async for message in connection:
                    receiver.keep(message.encode() if isinstance(message, str) else message)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(read())
        yield {}


@asynccontextmanager
async def sse(receiver: Receiver, port: str) -> AsyncIterator[dict[str, Any]]:
    """A client that reads frames."""
    import aiohttp

    async def read() -> None:
        await _listening(port)
        async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/") as response:
            with suppress(aiohttp.ClientError):  # with the writer's process
                async for line in response.content:
                    if line.startswith(b"data: "):
                        receiver.keep(line[6:])

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(read())
        yield {}


KINDS = {"http": http, "redis": redis, "websocket": websocket, "sse": sse}


async def _listening(port: str) -> None:
    """Return once somebody listens there."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", int(port))
            except ConnectionRefusedError:
                await asyncio.sleep(0.05)
            else:
                writer.close()
                return


async def main(kind: str, address: str) -> None:
    """Receive until the parent is gone."""
    receiver = Receiver()

    async def carry_out(command: dict[str, Any]) -> dict[str, Any]:
        return await receiver.received(command["last_seq"])

    async with KINDS[kind](receiver, address) as hello:
        await obey_async(hello, carry_out)


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
