"""Connections to Redis: what a URL may say, what a connection costs, and what becomes of one that is lost."""

from __future__ import annotations

import asyncio
import traceback

import pytest
from redis.exceptions import ConnectionError  # noqa: A004 - redis-py's name

from hub.errors import ConfigurationError
from hub.redis_io import connect
from tests.hub.redis_io.support import HANG_UP, ScriptedRedis


@pytest.mark.parametrize(
    "url",
    [
        "http://:s3cr3t@cache",
        "redis://:s3cr3t/more@cache",
        "redis://:s3cr3t℀@cache",
        "redis://:more?s3cr3t=1@cache",
        "redis://[s3cr3t@cache",
        "redis://:s3cr3t@cache:port",
        "redis://:s3cr3t@cache?protocol=s3cr3t",
        "redis://:s3cr3t@cache?protocol=9",
        "redis://:s3cr3t@cache?max_connections=-1",
        "redis://:s3cr3t@cache?retry=s3cr3t",
        "redis://:s3cr3t@cache?credential_provider=s3cr3t",
        "s3cr3t",
        "",
    ],
)
def test_a_url_that_makes_no_sense_is_named_and_nowhere_repeated(url: str) -> None:
    with pytest.raises(ConfigurationError, match="REDIS_URL") as caught:
        connect(url)
    error = caught.value
    assert error.__cause__ is error.__context__ is None
    assert "s3cr3t" not in f"{error.args} {vars(error)} {''.join(traceback.format_exception(error))}"


async def test_a_new_connection_costs_no_greeting() -> None:
    async with ScriptedRedis() as server, connect(server.url) as client:
        await client.get("key")
        assert server.commands == [[b"GET", b"key"]]


async def test_answers_are_bytes_though_the_url_asks_for_text() -> None:
    async with ScriptedRedis() as server, connect(f"{server.url}?decode_responses=true") as client:
        assert await client.get("key") == b"OK"


async def test_commands_wait_where_all_connections_are_in_use() -> None:
    async with ScriptedRedis() as server, connect(server.url, max_connections=2) as client:
        assert await asyncio.gather(*(client.get("key") for _ in range(20))) == [b"OK"] * 20
        assert server.connections == 2


@pytest.mark.parametrize("retries", [0, 1])
async def test_a_command_whose_connection_is_lost_is_sent_again_only_where_that_was_allowed(retries: int) -> None:
    answers = [b"+OK\r\n", HANG_UP]

    async def answer(command: list[bytes]) -> bytes:
        return answers.pop()

    async with ScriptedRedis(answer) as server, connect(server.url, retries=retries) as client:
        if retries:
            assert await client.get("key") == b"OK"
        else:
            with pytest.raises(ConnectionError):
                await client.get("key")
    assert len(server.commands) == 1 + retries
