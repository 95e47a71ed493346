"""Runs the benchmarks and prints their tables."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import msgspec

from bench import (
    caches,
    clients,
    embeddings,
    events,
    fanout,
    first_token,
    import_time,
    joining,
    limits,
    memory,
    stores,
    takeovers,
    web_processes,
    workers,
)
from bench.report import Table, machine
from bench.sinks import tables as sinks

BENCHMARKS: dict[str, Callable[[bool], Iterable[Table]]] = {
    "client_burst": clients.burst,
    "client_paced": clients.paced,
    "fanout": fanout.run,
    "first_token": first_token.run,
    "import_time": import_time.run,
    "events": events.run,
    "embeddings": embeddings.run,
    "memory": memory.run,
    "caches": caches.run,
    "limits": limits.run,
    "stores": stores.run,
    "sinks": sinks.run,
    "workers": workers.run,
    "web_processes": web_processes.run,
    "joining": joining.run,
    "takeovers": takeovers.run,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command with these arguments, or the process's own."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Benchmarks beside their peers.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(BENCHMARKS)} (default: all)")
    parser.add_argument("--quick", action="store_true", help="a smoke run, with rough figures")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, every round's")
    options = parser.parse_args(arguments)
    if unknown := [name for name in options.names if name not in BENCHMARKS]:
        parser.error(f"no benchmark {', '.join(unknown)}; there is: {', '.join(BENCHMARKS)}")
    host = machine()
    print(*(f"{name}: {value}" for name, value in host.items()), sep="\n", flush=True)
    figures: dict[str, list[Table]] = {}
    for name in options.names or BENCHMARKS:
        print(f"\n## {name}", flush=True)
        figures[name] = []
        for table in BENCHMARKS[name](options.quick):
            figures[name].append(table)
            print(f"\n{table.render()}", flush=True)
    if options.json is not None:
        document = {"machine": host, "quick": options.quick, "benchmarks": figures}
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(document)) + b"\n")


if __name__ == "__main__":
    main()
