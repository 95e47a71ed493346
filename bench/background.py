"""Readers that only keep a server busy: `python -m bench.background`; each asks for a stream and throws it away."""

from __future__ import annotations

import asyncio
from typing import Any

import uvloop

from bench.children import obey_async
from bench.first_token import request


async def read(port: int, model: str, first: asyncio.Event) -> None:
    """Ask, say when the first bytes have come, and read to the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request("/v1/streams", model))
    while await reader.read(65_536):
        first.set()


async def main() -> None:
    """Keep a server busy as told."""
    async with asyncio.TaskGroup() as tasks:

        async def carry_out(command: dict[str, Any]) -> dict[str, Any]:
            begun = [asyncio.Event() for _ in range(command["streams"])]
            for first in begun:
                tasks.create_task(read(command["port"], command["model"], first))
            for first in begun:
                await first.wait()
            return {}

        await obey_async({}, carry_out)


if __name__ == "__main__":
    uvloop.run(main())
