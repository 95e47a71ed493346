"""What goes wrong, one function a fault. Each leaves to others what a supervisor or an operator would do."""

from __future__ import annotations

import asyncio

from tests.faults.harness import Station
from tests.faults.proxy import FaultProxy
from tests.faults.servers import Cluster, OneServer, WithSentinel
from tests.faults.trial import Fault, Trial

__all__ = ("FAULTS",)

LEASE = 3.0
"""Seconds of silence after which a worker counts as dead, as the queue has it."""


async def _kill_worker(trial: Trial) -> None:
    worker = trial.some(trial.world.workers)
    await worker.process.kill()
    trial.start(worker.process.start())


async def _terminate_worker(trial: Trial) -> None:
    worker = trial.some(trial.world.workers)
    assert await worker.process.terminate() == 0, f"{worker.process.name} ended with an error"
    trial.start(worker.process.start())


async def _hold_worker(trial: Trial) -> None:
    """Long enough for others to take its streams; then it goes on and believes them its own."""
    worker = trial.some(trial.world.workers)
    worker.process.hold()
    await asyncio.sleep(trial.rand.uniform(LEASE + 1.5, LEASE + 3.5))
    worker.process.go_on()


async def _kill_web(trial: Trial) -> None:
    web = trial.some(trial.world.webs)
    await web.process.kill()
    await asyncio.sleep(trial.rand.uniform(0, 1))
    trial.start(web.process.start())


async def _terminate_web(trial: Trial) -> None:
    web = trial.some(trial.world.webs)
    assert await web.process.terminate() == 0, f"{web.process.name} ended with an error"
    trial.start(web.process.start())


async def _restart_server(trial: Trial, policy: str = "everysec", *, lost_bytes: int | None = 0) -> None:
    servers = _one(trial)
    await asyncio.to_thread(servers.sync, policy)
    await asyncio.to_thread(servers.restart, trial.rand.uniform(0, 1.5), lost_bytes=lost_bytes)


async def _restart_server_always(trial: Trial) -> None:
    await _restart_server(trial, "always")


async def _restart_server_empty(trial: Trial) -> None:
    await _restart_server(trial, lost_bytes=None)


async def _restart_machine(trial: Trial) -> None:
    await _restart_server(trial, lost_bytes=_lost_bytes(trial))


async def _restart_machine_with_worker(trial: Trial) -> None:
    """What readers have seen is lost, and so is the writer that could append it again."""
    worker = trial.some(trial.world.workers)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_restart_server(trial, lost_bytes=_lost_bytes(trial)))
        tasks.create_task(worker.process.kill())
    trial.start(worker.process.start())


async def _hold_server(trial: Trial) -> None:
    with _one(trial).server.held_still():
        await asyncio.sleep(10)


async def _cut_worker_from_endpoint(trial: Trial) -> None:
    await _break(trial, trial.some(trial.world.workers).door, 3)


async def _cut_worker_from_server(trial: Trial) -> None:
    await _break(trial, _store(trial.some(trial.world.workers)), LEASE + 3)


async def _cut_web_from_server(trial: Trial) -> None:
    await _break(trial, _store(trial.some(trial.world.webs)), 5)


async def _cut_reader_from_web(trial: Trial) -> None:
    await _break(trial, trial.some(trial.world.webs).door, 4)


async def _slow_everything(trial: Trial) -> None:
    ways = [way for station in trial.world.stations for way in (station.store, station.door) if way is not None]
    for way in ways:
        way.delay = trial.rand.uniform(0, 0.15)
    await asyncio.sleep(trial.rand.uniform(1, 3))
    for way in ways:
        way.heal()


async def _fail_over(trial: Trial) -> None:
    servers = trial.world.servers
    assert isinstance(servers, WithSentinel)
    await asyncio.to_thread(servers.kill_master, trial.rand.choice((0.0, 0.0, 0.3)))


async def _lose_node(trial: Trial) -> None:
    servers = trial.world.servers
    assert isinstance(servers, Cluster)
    masters = await asyncio.to_thread(servers.masters)
    await asyncio.to_thread(servers.replace, trial.rand.choice(masters))
    trial.start(asyncio.to_thread(servers.mend))  # the URL names one node, which whoever comes new has to find


async def _jump_clocks(trial: Trial) -> None:
    for station in trial.world.stations:
        station.process.jump(trial.rand.choice((-1, 1)) * trial.rand.choice((0.0, 5.0, 3_600.0, 1e7)))
    await asyncio.sleep(trial.rand.uniform(0.5, 2))
    trial.some(trial.world.stations).process.jump(0.0)


async def _lose_worker_after_worker(trial: Trial) -> None:
    """Kill whichever worker has the first stream, until its job is given up."""
    asked = trial.streams[0]
    for _ in range(3):
        before = len(trial.world.answering.asked_for(asked.key))
        worker = trial.world.worker_of(asked.key)
        await worker.process.kill()
        await worker.process.start()
        while len(trial.world.answering.asked_for(asked.key)) == before and asked in trial.unfinished():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def _break(trial: Trial, way: FaultProxy, longest: float) -> None:
    """One of the ways in which a network fails, for at most so many seconds."""
    match trial.rand.choice(("reset", "cut", "hold", "hold up", "hold down", "hold, then reset")):
        case "reset":
            way.reset()
            return
        case "cut":
            way.cut()
        case "hold up":
            way.hold("up")
        case "hold down":
            way.hold("down")
        case _:
            way.hold()
    await asyncio.sleep(trial.rand.uniform(0.2, longest))
    if trial.rand.random() < 0.5:
        way.reset()
    way.heal()


def _lost_bytes(trial: Trial) -> int:
    return trial.rand.randint(1, 100_000)


def _store(station: Station) -> FaultProxy:
    assert station.store is not None
    return station.store


def _one(trial: Trial) -> OneServer:
    assert isinstance(trial.world.servers, OneServer)
    return trial.world.servers


_ENDPOINT_CODES = frozenset({"connection_failed", "truncated", "malformed", "endpoint_error"})

FAULTS: tuple[Fault, ...] = (
    Fault("worker killed", _kill_worker),
    Fault("worker told to end", _terminate_worker),
    Fault("worker held beyond its lease", _hold_worker),
    Fault("web killed under 200 readers", _kill_web, streams=8, readers=25, rate=(15.0, 40.0), tokens=(40, 120)),
    Fault("web told to end", _terminate_web),
    Fault("server killed, AOF everysec", _restart_server),
    Fault("server killed, AOF always", _restart_server_always),
    Fault("server killed, comes back empty", _restart_server_empty),
    Fault("server killed, last writes lost", _restart_machine),
    Fault("the same, and a worker killed", _restart_machine_with_worker, may_vanish=True),
    Fault("server held for 10 s", _hold_server, rate=(50.0, 80.0)),
    Fault("worker cut from endpoint", _cut_worker_from_endpoint, may_fail=_ENDPOINT_CODES),
    Fault("worker cut from server", _cut_worker_from_server),
    Fault("web cut from server", _cut_web_from_server),
    Fault("reader cut from web", _cut_reader_from_web, readers=6, through_door=True),
    Fault("everything slow", _slow_everything, through_door=True),
    Fault("clocks jump", _jump_clocks),
    Fault("Sentinel fails over", _fail_over, servers="sentinel"),
    Fault("cluster loses a master", _lose_node, servers="cluster"),
)
"""By name; each may happen at any time to a world that is whole."""

GIVEN_UP = Fault(
    "three workers killed over one stream",
    _lose_worker_after_worker,
    streams=2,
    tokens=(300, 300),
    rate=(30.0, 30.0),
    late=0,
    cancelled=0.0,
    may_fail=frozenset({"worker_lost"}),
    has_aside=True,
)
