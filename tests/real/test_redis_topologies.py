"""Streams in a cluster whose slots move and whose nodes fail, and behind sentinels that replace the master."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator

import pytest
from redis.cluster import key_slot  # type: ignore[attr-defined]

from hub.streams.redis import RedisStreamStore
from hub.testing import collect
from tests.contracts.samples import a_stream
from tests.real.redis_cluster import ClusterServer
from tests.real.redis_sentinel import SentinelServers
from tests.real.redis_server import redis_binaries
from tests.real.redis_streams_support import STREAMS, exactly_once, long_stream, opening, read, write

pytestmark = pytest.mark.skipif(not redis_binaries(), reason="no server of the Redis protocol is installed")


@pytest.fixture(scope="module", params=redis_binaries())
def cluster(request: pytest.FixtureRequest) -> Iterator[ClusterServer]:
    with ClusterServer(redis_binaries()[request.param]) as running:
        yield running


@pytest.fixture(autouse=True)
def empty(request: pytest.FixtureRequest) -> None:
    if "cluster" in request.fixturenames:
        for client in request.getfixturevalue("cluster").clients():
            client.flushall()


async def test_a_cluster_s_connections_are_killed(cluster: ClusterServer) -> None:
    async def disturb() -> None:
        for _ in range(10):
            for client in cluster.clients():
                client.client_kill_filter(_type=random.choice(("pubsub", "normal")), skipme=True)
            await asyncio.sleep(random.uniform(0.0, 0.05))

    async with opening(cluster.url) as open_store:
        await exactly_once(open_store, disturb)


async def test_slots_move_to_another_node_while_their_streams_are_written_and_followed(
    cluster: ClusterServer,
) -> None:
    slots = [key_slot(b"hub:{str_%d}:log" % n) for n in range(STREAMS)]

    async def disturb() -> None:
        for slot in slots[:5]:
            await asyncio.to_thread(move, cluster, slot)

    async with opening(cluster.url) as open_store:
        await exactly_once(open_store, disturb, pace=0.01)


def move(cluster: ClusterServer, slot: int) -> None:
    """Move a slot with its keys from its first node to the next one, as the tool of Redis does."""
    clients = cluster.clients()
    names = [str(client.cluster("MYID"), "ascii") for client in clients]
    source = cluster.node_of(slot)
    target = (source + 1) % len(clients)
    clients[target].execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", names[source])
    clients[source].execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", names[target])
    while keys := clients[source].execute_command("CLUSTER", "GETKEYSINSLOT", slot, 100):
        clients[source].execute_command(
            "MIGRATE", "127.0.0.1", cluster.nodes[target].port, "", 0, 5000, "REPLACE", "KEYS", *keys
        )
    for client in (clients[target], clients[source], *clients):
        client.execute_command("CLUSTER", "SETSLOT", slot, "NODE", names[target])


async def test_a_node_of_the_cluster_is_away_for_a_while(cluster: ClusterServer) -> None:
    async def disturb() -> None:
        with cluster.nodes[0].held_still():
            await asyncio.sleep(1.5)

    async with opening(cluster.url) as open_store:
        await exactly_once(open_store, disturb)


async def test_a_cluster_s_stream_can_be_stopped_from_another_process(cluster: ClusterServer) -> None:
    async with opening(cluster.url) as open_store:
        writer, other = open_store(), open_store()
        for n in range(5):
            await writer.create(f"str_{n}")
            stopped = asyncio.Event()
            await writer.watch_cancel(f"str_{n}", stopped.set)
            await other.cancel(f"str_{n}")
            async with asyncio.timeout(1):
                await stopped.wait()


@pytest.mark.parametrize("binary", redis_binaries().values(), ids=redis_binaries())
async def test_the_master_is_lost_and_a_replica_takes_its_place(binary: str) -> None:
    with SentinelServers(binary) as servers:
        async with opening(servers.url) as open_store:
            await exactly_once(open_store, lambda: asyncio.to_thread(servers.fail_over), pace=0.01)


async def test_a_master_that_fell_silent_is_left_for_the_new_one() -> None:
    events = long_stream("str_1", 100)
    with SentinelServers(next(iter(redis_binaries().values()))) as servers:
        async with opening(servers.url) as open_store:
            writer, follower = open_store(), open_store()
            await writer.create("str_1")
            log = await follower.open("str_1")
            reading = asyncio.create_task(collect(log.read()))
            await write(writer, "str_1", events[:50])
            with servers.master.held_still():
                async with asyncio.timeout(30):
                    await write(writer, "str_1", events[50:])
                    assert await reading == events
                    assert await read(open_store(), "str_1") == events


async def test_a_cluster_is_asked_for_nothing_before_the_first_call(cluster: ClusterServer) -> None:
    store = RedisStreamStore.from_url(cluster.url)
    await store.aclose()
    async with opening(cluster.url) as open_store:
        one = open_store()
        await one.create("str_1")
        await one.append("str_1", a_stream("a"), epoch=1)
        assert [info.stream_id for info in await open_store().list()] == ["str_1"]
