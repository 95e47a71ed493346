"""Subscriptions that tell when they may have missed something."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from redis.exceptions import AuthenticationError

from hub.redis_io.channels import Channels
from hub.redis_io.servers import open_servers
from tests.hub.redis_io.support import HANG, HANG_UP, ScriptedRedis


def message(*parts: bytes) -> bytes:
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts)


def confirmation(channel: bytes, kind: bytes = b"subscribe") -> bytes:
    return b"*3\r\n" + message(kind, channel)[4:] + b":1\r\n"


class Heard:
    """What was heard, in order; and channels that hear it."""

    def __init__(self) -> None:
        self.told: list[tuple[bytes, ...]] = []
        self._changed = asyncio.Event()

    def message(self, channel: bytes, data: bytes) -> None:
        self.told.append((channel, data))
        self._changed.set()

    def confirmed(self, channel: bytes) -> None:
        self.told.append((channel,))
        self._changed.set()

    async def until(self, count: int) -> list[tuple[bytes, ...]]:
        async with asyncio.timeout(5):
            while len(self.told) < count:
                self._changed.clear()
                await self._changed.wait()
        return self.told


@asynccontextmanager
async def hearing(answer: Any, **options: Any) -> AsyncIterator[tuple[Channels, Heard, ScriptedRedis]]:
    heard = Heard()
    async with ScriptedRedis(answer) as server:
        servers = open_servers(server.url, timeout=1.0)
        channels = Channels(
            servers,
            on_message=heard.message,
            on_confirmed=heard.confirmed,
            **{"timeout": 1.0, "outage_timeout": 5.0, **options},
        )
        try:
            yield channels, heard, server
        finally:
            await channels.aclose()
            await servers.aclose()


async def confirm(command: list[bytes]) -> bytes:
    return b"".join(confirmation(channel, command[0].lower()) for channel in command[1:])


async def test_a_channel_is_added_once_the_server_has_confirmed_it() -> None:
    allowed = asyncio.Event()

    async def answer(command: list[bytes]) -> bytes:
        await allowed.wait()
        return await confirm(command)

    async with hearing(answer) as (channels, heard, _):
        adding = asyncio.create_task(channels.add(b"a"))
        await asyncio.sleep(0.02)
        assert not adding.done()
        allowed.set()
        await adding
        assert heard.told == [(b"a",)]


async def test_all_channels_share_a_connection_and_messages_come_in_order() -> None:
    async def answer(command: list[bytes]) -> bytes:
        channel = command[1]
        return await confirm(command) + b"".join(message(b"message", channel, b"%d" % n) for n in range(200))

    async with hearing(answer) as (channels, heard, server):
        for channel in (b"a", b"b"):
            await channels.add(channel)
        told = await heard.until(402)
    assert server.connections == 1
    for channel in (b"a", b"b"):
        assert [each for each in told if each[0] == channel] == [
            (channel,),
            *((channel, b"%d" % n) for n in range(200)),
        ]


async def test_after_a_lost_connection_every_channel_is_confirmed_anew_and_that_is_told() -> None:
    hang_up = True

    async def answer(command: list[bytes]) -> bytes:
        nonlocal hang_up
        if command[1] == b"b" and hang_up:
            hang_up = False
            return HANG_UP
        return await confirm(command)

    async with hearing(answer) as (channels, heard, server):
        await channels.add(b"a")
        await channels.add(b"b")
        assert sorted(await heard.until(3)) == [(b"a",), (b"a",), (b"b",)]
    assert server.connections == 2


async def test_a_channel_that_was_removed_is_not_subscribed_to_again() -> None:
    async with hearing(confirm) as (channels, heard, server):
        await channels.add(b"a")
        await channels.add(b"b")
        channels.remove(b"a")
        channels.remove(b"a")
        await channels.add(b"c")
    assert server.commands[-2:] == [[b"UNSUBSCRIBE", b"a"], [b"SUBSCRIBE", b"c"]]
    assert heard.told == [(b"a",), (b"b",), (b"c",)]


async def test_who_adds_a_channel_while_the_server_is_away_is_told_in_the_end() -> None:
    async def answer(command: list[bytes]) -> bytes:
        return HANG

    async with hearing(answer, outage_timeout=0.1) as (channels, _, _server):
        with pytest.raises(TimeoutError):
            await channels.add(b"a")


async def test_a_channel_that_is_added_twice_is_subscribed_to_once() -> None:
    async with hearing(confirm) as (channels, _, server):
        await asyncio.gather(*(channels.add(b"a") for _ in range(10)))
        assert b"a" in channels
    assert server.commands == [[b"SUBSCRIBE", b"a"]]


async def test_a_channel_that_is_not_heard_for_now_is_told() -> None:
    lost: list[bytes] = []

    async def answer(command: list[bytes]) -> bytes:
        return HANG_UP if command[1] == b"b" and not lost else await confirm(command)

    async with hearing(answer, on_lost=lost.append) as (channels, heard, _):
        await channels.add(b"a")
        await channels.add(b"b")
        await heard.until(3)
    assert sorted(lost[:2]) == [b"a", b"b"]


async def test_sharded_channels_of_one_server_are_subscribed_to_as_such() -> None:
    async with hearing(confirm, is_sharded=True) as (channels, _, server):
        await channels.add(b"a")
    assert server.commands == [[b"SSUBSCRIBE", b"a"]]


async def test_who_adds_a_channel_is_told_at_once_that_the_server_refuses_us() -> None:
    async def answer(command: list[bytes]) -> bytes:
        return b"-WRONGPASS invalid username-password pair or user is disabled.\r\n"

    heard = Heard()
    async with ScriptedRedis(answer) as server:
        servers = open_servers(server.url.replace("//", "//user:password@"), timeout=1.0)
        told = {"on_message": heard.message, "on_confirmed": heard.confirmed}
        channels = Channels(servers, **told, timeout=1.0, outage_timeout=60.0)
        with pytest.raises(AuthenticationError):
            await channels.add(b"a")
        await channels.aclose()
        await servers.aclose()
