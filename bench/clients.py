"""CPU a token of reading streams: ours, the SDK's, and a floor that nobody could use."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

from bench.children import Child
from bench.contenders import installed
from bench.report import Row, Table

__all__ = ("burst", "paced")

UNITS = {"cpu": "CPU, µs a token", "system": "of it in the kernel", "wall": "wall, s"}


def burst(quick: bool) -> Iterator[Table]:
    """One stream whose tokens all come at once: what decoding costs."""
    tokens = 2_000 if quick else 20_000
    title = f"One stream, {tokens:,} tokens in a burst"
    yield _compare(title, f"burst-{tokens}", streams=1, tokens=tokens, rounds=2 if quick else 7)


def paced(quick: bool) -> Iterator[Table]:
    """Many streams at a model's pace: what a token costs that comes alone."""
    streams, tokens, rounds = (20, 50, 1) if quick else (100, 500, 2)
    title = f"{streams} streams at once, {tokens} tokens each, one each 30 ms"
    ways = (("paced", "out of step", "asyncio"), ("paced", "out of step", "uvloop"), ("step", "in step", "asyncio"))
    for kind, how, loop in ways[:1] if quick else ways:
        model = f"{kind}-{tokens}-30"
        yield _compare(f"{title}, {how}, {loop}", model, streams=streams, tokens=tokens, rounds=rounds, loop=loop)


def _compare(title: str, model: str, *, streams: int, tokens: int, rounds: int, loop: str = "asyncio") -> Table:
    rows = {name: Row(shown) for name, shown in installed(is_burst=model.startswith("burst")).items()}
    with ExitStack() as stack:
        endpoint = stack.enter_context(Child("bench.endpoint"))
        endpoint.ask("prepare", tokens=tokens)
        base_url = endpoint.hello["base_url"]
        readers = {name: stack.enter_context(Child("bench.contenders", name, base_url, loop)) for name in rows}
        for reader in readers.values():
            reader.ask("measure", model="burst-500", streams=2)
        for _ in range(rounds):
            for name, reader in readers.items():
                figures = reader.ask("measure", model=model, streams=streams)
                units = streams * tokens
                in_kernel = figures["system"] / units * 1e6
                rows[name].add(cpu=figures["cpu"] / units * 1e6, system=in_kernel, wall=figures["wall"])
    return Table(title, UNITS, list(rows.values()))
