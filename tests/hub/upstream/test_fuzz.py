"""Bodies damaged at random: each gives a whole stream of good events, the same in whatever slices it arrives.

What has to hold is in `fuzzing_checks`; this is a short share of what `python -m bench.fuzz` goes on with.
"""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from hub.testing import Reset, ScriptedEndpoint, raw_reply

from .fuzzing import broken_by, make_case, smaller
from .fuzzing_checks import Case
from .fuzzing_damage import damage
from .fuzzing_seeds import Kind, seeds
from .support import HELLO, NO_RETRY, client_of, outcome

KINDS: tuple[Kind, ...] = ("chat", "responses", "embeddings", "sse")


@pytest.mark.parametrize("kind", KINDS)
async def test_whole_bodies_keep_every_promise(kind: Kind) -> None:
    for number, body in enumerate(seeds(kind)):
        found = await broken_by(Case(kind, body, f"whole {number}"))
        assert found is None, found.trace


@pytest.mark.parametrize("seed", range(8))
async def test_damaged_bodies_keep_every_promise(seed: int) -> None:
    for number in range(220):
        found = await broken_by(make_case(f"{seed}:{number}"))
        assert found is None, f"seed {found.case.seed}\n{found.trace}"


@pytest.mark.parametrize("api", ["chat", "responses"])
async def test_damaged_bodies_over_a_connection_give_whole_streams(api: Kind) -> None:
    rand = random.Random(1)
    async with ScriptedEndpoint() as endpoint, client_of(endpoint, retry=NO_RETRY) as client:
        for _ in range(40):
            body = damage(rand.choice(seeds(api)), seeds(api), rand)
            end = (Reset(),) if rand.random() < 0.3 else ()
            endpoint.enqueue(raw_reply(body, *end, slice_bytes=rand.choice((None, 7_000, 500))))
            assert (await outcome(client.stream(messages=HELLO, api=api))).status in ("completed", "failed")


async def test_a_seed_gives_the_same_case_again() -> None:
    assert all(make_case(f"s:{number}") == make_case(f"s:{number}") for number in range(50))


async def test_a_finding_is_made_smaller_and_keeps_its_cause() -> None:
    broken = replace(make_case("s:0"), kind="unknown", body=b"x" * 1_000)  # type: ignore[arg-type]
    found = await broken_by(broken)
    assert found is not None
    reduced = await smaller(found)
    assert reduced.key == found.key
    assert len(reduced.case.body) < 10
