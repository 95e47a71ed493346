"""Servers that are away: who is told, and how often."""

from __future__ import annotations

import asyncio

import pytest
from redis.exceptions import AuthenticationError
from redis.exceptions import ConnectionError as LostConnectionError

from hub.errors import StoreError
from hub.redis_io.calls import Calls
from hub.redis_io.faults import reason
from hub.redis_io.outages import Outages
from hub.redis_io.script import pack
from hub.redis_io.servers import open_servers
from hub.streams.redis import RedisStreamStore
from tests.hub.redis_io.support import HANG_UP, ScriptedRedis, hang

NOWHERE = "redis://somebody:secret@127.0.0.1:1/0"
REFUSED = LostConnectionError("Error 111 connecting to somewhere.")


def fail(outages: Outages, now: float, exc: Exception = REFUSED, server: str = "one:6379") -> None:
    outages.failed(server, exc, now=now, outage_timeout=30.0)


def test_an_outage_is_told_once_and_its_end_once(caplog: pytest.LogCaptureFixture) -> None:
    outages = Outages(told_after=0.5)
    for now in (0.0, 0.4, 0.6, 5.0):
        fail(outages, now)
    outages.answered("one:6379", now=12.0)
    outages.answered("one:6379", now=13.0)
    assert caplog.messages == [
        "Redis at one:6379 can't be reached (Error 111 connecting to somewhere). It is tried again, for up to 30 s.",
        "Redis at one:6379 is back, after 12 s.",
    ]


def test_a_server_that_is_back_at_once_is_not_worth_a_word(caplog: pytest.LogCaptureFixture) -> None:
    outages = Outages(told_after=0.5)
    fail(outages, 0.0)
    outages.answered("one:6379", now=0.4)
    fail(outages, 100.0)
    assert caplog.messages == []


def test_who_was_silent_for_a_whole_time_out_is_told_at_once(caplog: pytest.LogCaptureFixture) -> None:
    fail(Outages(), 0.0, TimeoutError())
    assert caplog.messages == [
        "Redis at one:6379 can't be reached (it does not answer). It is tried again, for up to 30 s."
    ]


def test_each_server_of_a_cluster_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    outages = Outages(told_after=0.0)
    fail(outages, 0.0, server="one:6379")
    fail(outages, 0.0, server="two:6379")
    outages.answered("two:6379", now=3.0)
    assert [message.split()[2] for message in caplog.messages] == ["one:6379", "two:6379", "two:6379"]
    assert outages.is_any


def test_the_reason_is_the_system_s_word_or_the_server_s() -> None:
    wrapped = LostConnectionError("Error connecting to redis://somewhere.")
    wrapped.__cause__ = OSError(111, "Connect call failed ('127.0.0.1', 6379)")
    assert reason(wrapped) == "Connection refused"
    assert reason(AuthenticationError("invalid username-password pair.")) == "invalid username-password pair"
    assert reason(TimeoutError()) == "it does not answer"


async def test_a_call_that_tries_again_says_so_and_says_when_it_got_through(caplog: pytest.LogCaptureFixture) -> None:
    waiting = [HANG_UP] * 3

    async def answer(command: list[bytes]) -> bytes:
        return waiting.pop() if waiting else b"+OK\r\n"

    async with ScriptedRedis(answer) as server:
        servers = open_servers(server.url, timeout=1.0)
        calls = Calls(servers, timeout=1.0, outage_timeout=10.0, outages=Outages(told_after=0.0))
        assert await calls.run(b"key", pack(b"GET", b"key")) == b"OK"
        await calls.aclose()
        await servers.aclose()
    away, back = caplog.messages
    assert away.startswith(f"Redis at {servers.address} can't be reached")
    assert back.startswith(f"Redis at {servers.address} is back")


async def test_calls_whose_owner_speaks_for_itself_say_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async with ScriptedRedis(hang) as server:
        servers = open_servers(server.url, timeout=0.05)
        calls = Calls(servers, timeout=0.05, outage_timeout=0.05)
        with pytest.raises(TimeoutError):
            await calls.run(b"key", pack(b"GET", b"key"))
        await calls.aclose()
        await servers.aclose()
    assert caplog.messages == []


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis://somebody:secret@10.0.0.5:7777/1", "10.0.0.5:7777"),
        ("rediss://:secret@[::1]/0", "[::1]:6379"),
        ("unix://:secret@/run/redis.sock", "/run/redis.sock"),
        ("redis+cluster://somebody:secret@10.0.0.5:7000", "10.0.0.5:7000"),
        ("redis+sentinel://:secret@one:1,two/main/0", "main (Sentinel at one:1, two:26379)"),
    ],
)
async def test_an_address_names_the_server_and_neither_user_nor_password(url: str, address: str) -> None:
    servers = open_servers(url, timeout=1.0)
    assert servers.address == address
    await servers.aclose()


async def test_who_waits_for_an_answer_is_told_soon_that_there_is_none() -> None:
    store = RedisStreamStore.from_url(NOWHERE, outage_timeout=60.0, answer_timeout=0.05)
    async with asyncio.timeout(10):
        for question in (store.open("str_1"), store.list(), store.cancel("str_1")):
            with pytest.raises(StoreError) as caught:
                await question
            assert str(caught.value) == "Redis at 127.0.0.1:1 can't serve the streams: Connection refused."
    await store.aclose()


def test_the_trouble_is_that_of_the_server_that_failed_last_and_not_answered_since() -> None:
    outages = Outages()
    assert outages.trouble is None
    fail(outages, 0.0, server="one:6379")
    fail(outages, 0.1, TimeoutError(), server="two:6379")
    assert outages.trouble == "Redis at two:6379 can't be reached (it does not answer)"
    outages.answered("two:6379", now=1.0)
    assert outages.trouble == "Redis at one:6379 can't be reached (Error 111 connecting to somewhere)"
    outages.answered("one:6379", now=1.0)
    assert outages.trouble is None
