"""The servers that the fan-out compares, each as a process: `python -m bench.fanout_server edge|asgi|queues`.

All serve one paced stream at an address they tell: the hub's own application with its edge, the same without, and
what one writes by hand: a queue a subscriber, each emptied into sse-starlette's response.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import uvicorn
from sse_starlette import EventSourceResponse
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from bench.children import Usage, obey_async, raise_file_limit, resident_bytes
from bench.words import WORDS
from hub.answerer import Answering
from hub.config import HubSettings
from hub.events import Done, EndStatus, LLMEvent, Meta, TextDelta, encode_event, new_stream_id
from hub.events import Usage as UsageEvent
from hub.hub import Hub
from hub.result import Failure
from hub.server.app import create_app
from hub.server.edge import Edge
from hub.server.protocol import EdgeProtocol
from hub.server.serve import SEND_BUFFER_BYTES


class PacedGeneration:
    """An answer of so many events, one each interval, that begins when it is told to."""

    def __init__(self, stream_id: str, events: int, interval: float, begin: asyncio.Event) -> None:
        self.stream_id = stream_id
        self._events = events
        self._interval = interval
        self._begin = begin

    async def batches(self) -> AsyncGenerator[list[LLMEvent], None]:
        """The events, each by itself as a model's tokens come."""
        await self._begin.wait()
        loop = asyncio.get_running_loop()
        due = loop.time()
        for event in self._all():
            await asyncio.sleep(due - loop.time())
            due += self._interval
            yield [event]

    def stop(self) -> None:
        """Nobody stops it."""

    def ending(self, status: EndStatus, failure: Failure | None = None) -> list[LLMEvent]:
        """Nothing is due: the process ends with it."""
        return []

    def _all(self) -> list[LLMEvent]:
        stream_id, last = self.stream_id, self._events - 1
        return [
            Meta(stream_id=stream_id, seq=0, model="bench"),
            *(TextDelta(stream_id=stream_id, seq=seq, text=WORDS[seq % len(WORDS)]) for seq in range(1, last - 1)),
            UsageEvent(
                stream_id=stream_id, seq=last - 1, input_tokens=9, output_tokens=last - 2, total_tokens=last + 7
            ),
            Done(stream_id=stream_id, seq=last, status="completed", finish_reason="stop"),
        ]


class PacedGenerator:
    """What the hub asks; the messages are ignored."""

    def __init__(self, begin: asyncio.Event) -> None:
        self._begin = begin

    def stream(self, *, stream_id: str, messages: Any, **params: Any) -> PacedGeneration:
        """An answer of `events` events, `interval` seconds apart."""
        return PacedGeneration(stream_id, params["events"], params["interval"], self._begin)


class Queues:
    """The peer: a queue for each subscriber, into which one task puts every event, encoded once."""

    def __init__(self) -> None:
        self._queues: set[asyncio.Queue[dict[str, str] | None]] = set()

    def app(self) -> ASGIApp:
        """The application."""
        return Starlette(routes=[Route("/v1/streams/{stream_id}/events", self.events)])

    async def events(self, request: Request) -> Response:
        """Subscribe."""
        queue: asyncio.Queue[dict[str, str] | None] = asyncio.Queue()
        self._queues.add(queue)
        return EventSourceResponse(self._drain(queue), sep="\n")

    async def publish(self, generation: PacedGeneration) -> None:
        """Give every subscriber every event."""
        async for (event,) in generation.batches():
            item = {"id": str(event.seq), "event": event.type, "data": encode_event(event).decode()}
            for queue in self._queues:
                queue.put_nowait(item)
        for queue in self._queues:
            queue.put_nowait(None)

    async def _drain(self, queue: asyncio.Queue[dict[str, str] | None]) -> AsyncIterator[dict[str, str]]:
        try:
            while (item := await queue.get()) is not None:
                yield item
        finally:
            self._queues.discard(queue)


async def main(kind: str) -> None:
    """Serve until the parent is gone."""
    begin = asyncio.Event()
    listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
    if kind != "queues":
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
    listener.setblocking(False)
    peer = Queues()
    async with Hub(PacedGenerator(begin)) as hub, asyncio.TaskGroup() as tasks:
        answering = Answering(model="bench", models=None, source="scripted", notice="")
        app = peer.app() if kind == "queues" else create_app(hub, Edge(), HubSettings(), answering)
        config = uvicorn.Config(
            app,
            http=EdgeProtocol if kind == "edge" else "httptools",
            ws="none",
            lifespan="off",
            log_level="error",
            access_log=False,
            timeout_keep_alive=75,
        )
        tasks.create_task(uvicorn.Server(config).serve(sockets=[listener]))

        usage = Usage()

        async def carry_out(command: dict[str, Any]) -> dict[str, Any]:
            nonlocal usage
            match command["command"]:
                case "prepare":
                    begin.clear()
                    events, interval = command["events"], command["interval"]
                    if kind == "queues":
                        generation = PacedGeneration(new_stream_id(), events, interval, begin)
                        tasks.create_task(peer.publish(generation))
                        return {"stream_id": generation.stream_id, "resident": resident_bytes()}
                    stream = await hub.start(messages=[], events=events, interval=interval)
                    return {"stream_id": stream.stream_id, "resident": resident_bytes()}
                case "begin":
                    resident = resident_bytes()
                    usage = Usage()
                    begin.set()
                    return {"resident": resident}
                case _:
                    return usage.so_far()

        await obey_async({"port": listener.getsockname()[1], "files": raise_file_limit()}, carry_out)


if __name__ == "__main__":
    import uvloop

    uvloop.run(main(sys.argv[1]))
