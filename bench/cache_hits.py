"""What a caller pays for a stored answer, beside LiteLLM's cache on the same back end."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from bench.cache_servers import Servers
from bench.children import Child
from bench.report import Row, Table

__all__ = ("compare",)

UNITS = {"cpu": "CPU, µs a hit", "wall": "wall, µs a hit"}


@dataclass(frozen=True, slots=True)
class Contender:
    """One row.

    Attributes:
        shown: Its name in the table.
        maker: Its name in `bench.cache_contenders`.
        options: What its cache is opened with.
        cold: What it holds beside the back end is forgotten before each reading.
        requires: The packages it needs.
    """

    shown: str
    maker: str
    options: dict[str, Any]
    cold: bool = False
    requires: tuple[str, ...] = ()

    def can_take_part(self) -> bool:
        """Its packages are installed."""
        return all(find_spec(package) is not None for package in self.requires)


def compare(pieces: int, servers: Servers, *, answers: int, times: int, rounds: int) -> Iterator[Table]:
    """A table for each back end that runs: so many answers of so many pieces, each read so many times a round.

    LiteLLM's memory holds 200 answers, so there have to be fewer.
    """
    title = f"A stored answer of {pieces} pieces read again out of"
    with tempfile.TemporaryDirectory() as folder:
        for backend, contenders, note in _backends(Path(folder), servers):
            present = [contender for contender in contenders if contender.can_take_part()]
            rows = _measure(present, pieces, answers, times, rounds)
            yield Table(f"{title} {backend}", UNITS, rows, [note] if note else [], has_ratios=len(rows) > 1)


def _backends(folder: Path, servers: Servers) -> Iterator[tuple[str, list[Contender], str]]:
    """Each back end that runs: its name, the contenders, ours first, and a note or nothing."""
    yield "memory", [_ours("memory"), _litellm("local")], ""
    disk = _litellm("disk", disk_cache_dir=str(folder / "disk"), requires=("diskcache",))
    yield "files of this machine", [_ours("fs", cache_dir=str(folder / "fs")), disk], ""
    if servers.can_serve("postgres", "redis"):
        redis = servers.addresses["redis"]
        ours = _ours("pg_redis", pg_dsn=servers.addresses["postgres"], redis_url=redis)
        # Theirs expire after a minute by default, ours after an hour.
        cold = _litellm("redis", url=redis, ttl=3600.0, cold=True)
        warm = replace(cold, shown=f"{cold.shown}, out of its copy in this process", cold=False)
        note = "LiteLLM keeps 200 answers of Redis in its process for ten minutes, whatever becomes of them in Redis."
        yield "Redis, which has it", [ours, cold, warm], note
    if servers.can_serve("qdrant"):
        note = "LiteLLM's `qdrant-semantic` asks for an embedding before each look-up and is no peer."
        yield "Qdrant", [_ours("qdrant", qdrant_url=servers.addresses["qdrant"])], note


def _ours(backend: str, **options: Any) -> Contender:
    return Contender(f"`client.stream()`, `{backend}`", "hub", {"cache_backend": backend, **options})


def _litellm(kind: str, *, cold: bool = False, requires: tuple[str, ...] = (), **options: Any) -> Contender:
    return Contender(f"LiteLLM, `{kind}`", "litellm", {"type": kind, **options}, cold, ("litellm", *requires))


def _measure(contenders: list[Contender], pieces: int, answers: int, times: int, rounds: int) -> list[Row]:
    hits = answers * times
    with ExitStack() as stack:
        with Child("bench.endpoint") as endpoint:
            entrants = [(one, _filled(stack, one, endpoint.hello["base_url"], pieces, answers)) for one in contenders]
        present = [(one, Row(one.shown), reader) for one, reader in entrants if reader is not None]
        # The endpoint is gone: what is no hit stops the benchmark.
        for _ in range(rounds):
            for contender, row, reader in present:
                figures = reader.ask("measure", answers=answers, times=times, cold=contender.cold)
                row.add(cpu=figures["cpu"] / hits * 1e6, wall=figures["wall"] / hits * 1e6)
                row.facts["comes in"] = f"{figures['pieces']} pieces" if figures["pieces"] > 1 else "1 piece"
    return [row for _, row, _ in present]


def _filled(stack: ExitStack, contender: Contender, base_url: str, pieces: int, answers: int) -> Child | None:
    """Its process, with all answers in its cache; None for a peer whose version can't do that, which is said."""
    try:
        reader = stack.enter_context(Child("bench.cache_contenders", contender.maker, base_url, str(pieces)))
        reader.ask("open", options=contender.options)
        reader.ask("measure", answers=answers, times=1, cold=False)
    except RuntimeError as exc:
        if not contender.requires:
            raise
        print(f"\n{contender.shown} is left out: {exc}")
        return None
    return reader
