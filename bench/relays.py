"""Servers between an endpoint and a browser: `python -m bench.relays hub|by-hand BASE_URL`.

`by-hand` is what one writes with the SDK and sse-starlette: each request reads its own stream and passes it on.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import AsyncIterator
from typing import Any

import uvicorn
from openai import AsyncOpenAI, DefaultAioHttpClient
from sse_starlette import EventSourceResponse
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from bench.children import Usage, obey_async
from hub.answerer import Answering
from hub.client import OpenAIClient
from hub.config import HubSettings
from hub.hub import Hub
from hub.server.app import create_app
from hub.server.edge import Edge
from hub.server.protocol import EdgeProtocol


def relay_by_hand(base_url: str) -> ASGIApp:
    """The application without a hub."""
    client = AsyncOpenAI(base_url=base_url, api_key="EMPTY", http_client=DefaultAioHttpClient(), max_retries=0)

    async def start(request: Request) -> Response:
        body = await request.json()
        stream = await client.chat.completions.create(stream=True, **body)

        async def texts() -> AsyncIterator[dict[str, str]]:
            async for chunk in stream:
                if chunk.choices and chunk.choices[0].delta.content:
                    yield {"event": "text_delta", "data": chunk.choices[0].delta.content}

        return EventSourceResponse(texts())

    return Starlette(routes=[Route("/v1/streams", start, methods=["POST"])])


async def main(kind: str, base_url: str) -> None:
    """Serve until the parent is gone."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
    listener.setblocking(False)
    client = OpenAIClient("bench", base_url=base_url, api_key="EMPTY")
    async with client, Hub(client) as hub, asyncio.TaskGroup() as tasks:
        answering = Answering(model="bench", models=None, source="endpoint", notice="")
        config = uvicorn.Config(
            create_app(hub, Edge(), HubSettings(), answering) if kind == "hub" else relay_by_hand(base_url),
            http=EdgeProtocol if kind == "hub" else "httptools",
            ws="none",
            lifespan="off",
            log_level="error",
            access_log=False,
        )
        tasks.create_task(uvicorn.Server(config).serve(sockets=[listener]))
        usage = Usage()

        async def carry_out(command: dict[str, Any]) -> dict[str, Any]:
            return usage.so_far()

        await obey_async({"port": listener.getsockname()[1]}, carry_out)


if __name__ == "__main__":
    import uvloop

    uvloop.run(main(*sys.argv[1:]))
