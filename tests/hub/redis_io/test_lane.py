"""Commands that leave together, and those that are sent again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from redis.exceptions import ConnectionError, ResponseError  # noqa: A004 - redis-py's name

from hub.errors import ClosedError
from hub.redis_io.calls import Calls
from hub.redis_io.faults import FAULTS
from hub.redis_io.lane import Lane
from hub.redis_io.script import Script, pack
from hub.redis_io.servers import open_servers
from tests.hub.redis_io.support import HANG, HANG_UP, ScriptedRedis

Answer = Callable[[list[bytes]], Any]


@asynccontextmanager
async def lane_to(answer: Answer, *, timeout: float = 5.0) -> AsyncIterator[tuple[Lane, ScriptedRedis]]:
    async with ScriptedRedis(answer) as server:
        servers = open_servers(server.url, timeout=timeout)
        node = servers.node(b"key")
        assert node is not None
        lane = Lane(node, timeout=timeout)
        try:
            yield lane, server
        finally:
            await lane.aclose()
            await servers.aclose()


@asynccontextmanager
async def calls_to(answer: Answer, **options: Any) -> AsyncIterator[tuple[Calls, ScriptedRedis]]:
    async with ScriptedRedis(answer) as server:
        servers = open_servers(server.url, timeout=1.0)
        calls = Calls(servers, **{"timeout": 1.0, "outage_timeout": 10.0, **options})
        try:
            yield calls, server
        finally:
            await calls.aclose()
            await servers.aclose()


async def echo(command: list[bytes]) -> bytes:
    return b"+%b\r\n" % b" ".join(command)


def answers(*given: bytes, last: bytes = b"+OK\r\n") -> Answer:
    """These answers in turn, and then always the last one."""
    waiting = list(given)

    async def answer(command: list[bytes]) -> bytes:
        return waiting.pop(0) if waiting else last

    return answer


async def test_each_call_gets_its_own_reply_over_one_connection() -> None:
    async with lane_to(echo) as (lane, server):
        replies = await asyncio.gather(*(lane.send(pack(b"GET", b"%d" % n)) for n in range(3_000)))
    assert replies == [b"GET %d" % n for n in range(3_000)]
    assert server.connections == 1


async def test_an_error_fails_its_own_call_alone() -> None:
    async with lane_to(answers(b"+OK\r\n", b"-ERR no\r\n")) as (lane, server):
        first, second, third = (lane.send(pack(b"GET")) for _ in range(3))
        assert (await first, await third) == (b"OK", b"OK")
        with pytest.raises(ResponseError, match="no"):
            await second
    assert server.connections == 1


async def test_a_lost_connection_fails_its_group_and_the_next_one_dials_anew() -> None:
    async with lane_to(answers(b"+OK\r\n", HANG_UP)) as (lane, server):
        first, second, third = (lane.send(pack(b"GET")) for _ in range(3))
        assert await first == b"OK"
        for lost in (second, third):
            with pytest.raises(ConnectionError):
                await lost
        assert await lane.send(pack(b"GET")) == b"OK"
    assert server.connections == 2


async def test_a_server_that_hangs_is_left_after_the_time_out() -> None:
    async with lane_to(answers(HANG), timeout=0.1) as (lane, server):
        with pytest.raises(TimeoutError):
            await lane.send(pack(b"GET"))
        assert await lane.send(pack(b"GET")) == b"OK"
    assert server.connections == 2


async def test_what_nobody_waits_for_any_more_is_not_sent() -> None:
    async with lane_to(echo) as (lane, server):
        lane.send(pack(b"GET", b"left")).cancel()
        assert await lane.send(pack(b"GET", b"stayed")) == b"GET stayed"
    assert server.commands == [[b"GET", b"stayed"]]


async def test_a_caller_that_leaves_under_way_disturbs_no_other() -> None:
    async with lane_to(echo) as (lane, _):
        for step in range(20):
            leaving, staying = lane.send(pack(b"GET", b"left")), lane.send(pack(b"GET", b"stayed"))
            for _turn in range(step):
                await asyncio.sleep(0)
            leaving.cancel()
            assert await staying == b"GET stayed"


async def test_closing_ends_what_waits() -> None:
    async with lane_to(answers(HANG)) as (lane, _):
        under_way = lane.send(pack(b"GET"))
        await asyncio.sleep(0.02)
        waiting = lane.send(pack(b"GET"))
        await lane.aclose()
        for each in (under_way, waiting):
            with pytest.raises(ClosedError):
                await each
        with pytest.raises(ClosedError):
            lane.send(pack(b"GET"))


@pytest.mark.parametrize(
    "fault",
    [
        HANG_UP,
        b"-LOADING Redis is loading the dataset in memory\r\n",
        b"-READONLY You can't write against a read only replica.\r\n",
        b"-OOM command not allowed when used memory > 'maxmemory'.\r\n",
        b"-MISCONF Redis is configured to save RDB snapshots\r\n",
        b"-NOREPLICAS Not enough good replicas to write.\r\n",
        b"-CLUSTERDOWN The cluster is down\r\n",
        b"-TRYAGAIN Multiple keys request during rehashing of slot\r\n",
        b"-ERR max number of clients reached\r\n",
    ],
)
async def test_what_passes_by_itself_is_waited_for(fault: bytes) -> None:
    async with calls_to(answers(fault, fault, fault)) as (calls, server):
        assert await calls.run(b"key", pack(b"GET", b"key")) == b"OK"
    assert server.commands == [[b"GET", b"key"]] * 4


@pytest.mark.parametrize(
    "fault",
    [
        b"-ERR unknown command\r\n",
        b"-WRONGTYPE Operation against a key holding the wrong kind of value\r\n",
        b"-NOPERM No permissions\r\n",
        b"-NOAUTH Authentication required.\r\n",
        b"nonsense\r\n",
    ],
)
async def test_what_does_not_pass_is_told_at_once(fault: bytes) -> None:
    async with calls_to(answers(fault)) as (calls, server):
        with pytest.raises(FAULTS):
            await calls.run(b"key", pack(b"GET", b"key"))
        assert len(server.commands) == 1
        assert await calls.run(b"key", pack(b"GET", b"key")) == b"OK"


async def test_a_server_that_stays_away_is_told_after_the_outage_time_out() -> None:
    async with calls_to(answers(last=HANG_UP), outage_timeout=0.2) as (calls, server):
        async with asyncio.timeout(5):
            with pytest.raises(ConnectionError):
                await calls.run(b"key", pack(b"GET", b"key"))
    assert len(server.commands) > 2


async def test_a_script_that_the_server_has_forgotten_is_taught_and_called_again(tmp_path: Path) -> None:
    path = tmp_path / "script.lua"
    path.write_text("return 1", encoding="utf-8")
    script = Script(path, keys=1, arguments=1)
    call = script.call((b"key",), b"value")
    async with calls_to(answers(b"-NOSCRIPT No matching script.\r\n", b"+sha\r\n")) as (calls, server):
        assert await calls.run(b"key", call, script=script) == b"OK"
    first, load, again = server.commands
    assert first == again
    assert (first[0], first[2:]) == (b"EVALSHA", [b"1", b"key", b"value"])
    assert load == [b"SCRIPT", b"LOAD", b"return 1"]


def test_a_script_takes_the_keys_and_arguments_that_it_says(tmp_path: Path) -> None:
    path = tmp_path / "script.lua"
    path.write_text("return 1", encoding="utf-8")
    script = Script(path, keys=1, arguments=1)
    for keys, arguments in (((), (b"a",)), ((b"k",), ()), ((b"k", b"l"), (b"a",))):
        with pytest.raises(ValueError, match="takes"):
            script.call(keys, *arguments)
