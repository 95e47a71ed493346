"""The mirror and a server that misbehaves; what it does with a real one is in tests/real."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from hub.cache.postgres import Stored
from hub.cache.redis_mirror import RedisMirror
from tests.hub.redis_io.support import HANG, STEPS, ScriptedRedis, heeds_cancellation

VALUE = b"%020d%b" % (7, b"entry")
BULK = b"$%d\r\n%b\r\n" % (len(VALUE), VALUE)


class Faults(list[str]):
    """What a mirror reports."""

    def mirror(self, url: str, **options: Any) -> RedisMirror:
        known: dict[str, Any] = {"prefix": "hub:", "ttl": 60, "timeout": 0.5, "cool_down_delay": 0}
        return RedisMirror(url, on_fault=lambda error: self.append(str(error)), **{**known, **options})


async def gives(command: list[bytes]) -> bytes:
    return BULK


async def test_a_read_that_is_cancelled_at_any_moment_is_cancelled() -> None:
    async with ScriptedRedis(gives) as server:
        mirror = Faults().mirror(server.url)
        for step in STEPS:
            assert await heeds_cancellation(step, mirror.get("key")), step
            await mirror.ping()  # the next one finds a connection made
        await mirror.aclose()


async def test_a_write_that_is_cancelled_at_any_moment_is_cancelled() -> None:
    async with ScriptedRedis() as server:
        mirror = Faults().mirror(server.url)
        for step in STEPS:
            assert await heeds_cancellation(step, mirror.put("key", Stored(b"entry", 7))), step
            await mirror.ping()
        await mirror.aclose()


async def test_a_read_that_gets_no_turn_in_time_goes_without_and_the_server_is_not_left_alone() -> None:
    async with ScriptedRedis(gives) as server:
        faults = Faults()
        mirror = faults.mirror(f"{server.url}?max_connections=1", timeout=0.2, cool_down_delay=60)
        async with mirror._availability.turn():  # another's, which takes long
            assert await mirror.get("key") is None
        assert faults == [f"{mirror.server} is too slow for all who ask at once."]
        assert await mirror.get("key") == b"entry"
        await mirror.aclose()


async def test_a_copy_of_what_was_read_is_not_waited_for_in_a_crowd() -> None:
    async with ScriptedRedis() as server:
        mirror = Faults().mirror(f"{server.url}?max_connections=1", timeout=60)
        async with mirror._availability.turn():
            await mirror.copy("key", Stored(b"entry", 7))
        assert server.connections == 0
        await mirror.copy("key", Stored(b"entry", 7))
        assert server.connections == 1
        await mirror.aclose()


async def test_to_wait_for_one_of_a_few_connections_takes_none_of_the_operations_time() -> None:
    async def slowly(command: list[bytes]) -> bytes:
        await asyncio.sleep(0.3)
        return BULK

    async with ScriptedRedis(slowly) as server:
        faults = Faults()
        mirror = faults.mirror(f"{server.url}?max_connections=1", timeout=0.4)
        reads = await asyncio.gather(*(mirror.get("key") for _ in range(3)))  # the third ends after 0.9 s
        assert (reads, faults, server.connections) == ([b"entry"] * 3, [], 1)
        await mirror.aclose()


@pytest.mark.parametrize(
    "answer",
    [
        b":5\r\n",
        b":five\r\n",
        b"$five\r\n",
        b"*2\r\n:1\r\n:2\r\n",
        b"+\xff\r\n",
        b"-\xff\r\n",
        b"HTTP/1.1 400 Bad Request\r\n",
        b"\r\n",
        b"%1\r\n*0\r\n:1\r\n",
        b"$-7\r\n",
        HANG,
    ],
)
@pytest.mark.parametrize("password", ["", ":s3cr3t@"])
async def test_what_is_no_answer_of_redis_is_no_copy_and_no_error(answer: bytes, password: str) -> None:
    async def answers(command: list[bytes]) -> bytes:
        return answer

    async with ScriptedRedis(answers) as server:
        faults = Faults()
        mirror = faults.mirror(server.url.replace("//", f"//{password}"), timeout=0.1)
        assert await mirror.get("key") is None
        await mirror.put("key", Stored(b"entry", 7))
        await mirror.aclose()
    assert "s3cr3t" not in "".join(faults)
