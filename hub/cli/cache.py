"""`hub cache stats | clear | export`: the cache that a client with the same settings would have."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

from hub.cache.base import CacheStats
from hub.cache.entry import encode_entry
from hub.cli.cache_place import CachePlace
from hub.cli.new_file import new_file
from hub.errors import InvalidRequestError

__all__ = ("run",)

_PROGRESS_INTERVAL = 0.1


def run(options: argparse.Namespace) -> int:
    """Do what was asked for with the cache."""
    place = CachePlace.of(options)
    match options.action:
        case "stats":
            return _stats(place, options)
        case "clear":
            return _clear(place, options)
        case _:
            return _export(place, options)


def _stats(place: CachePlace, options: argparse.Namespace) -> int:
    stats = asyncio.run(_counted(place, options.namespace))
    if options.json:
        facts = {"backend": place.backend, "where": dict(place.where), "namespace": options.namespace}
        print(json.dumps({**facts, "entries": stats.entries, "size_bytes": stats.size_bytes}))
        return 0
    shown = {"backend": place.backend, **place.where}
    if options.namespace is not None:
        shown["namespace"] = repr(options.namespace)
    shown |= {"entries": f"{stats.entries:,}", "size": _size(stats.size_bytes)}
    for name, value in shown.items():
        print(f"{name:<11} {value}")
    return 0


def _clear(place: CachePlace, options: argparse.Namespace) -> int:
    namespace = None if options.all else place.namespace
    wanted = True
    if not options.yes:
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise InvalidRequestError(
                "There is no terminal to ask at: pass --yes to remove entries without a question."
            )
        # Asked outside the event loop, in which Ctrl-C would wait for the answer.
        found = asyncio.run(_counted(place, namespace)).entries
        wanted = found > 0
        if wanted and not _confirmed(f"Remove {_entries(found)} {_of(namespace)} from {place}? [y/N] "):
            print("· nothing removed", file=sys.stderr)
            return 1
    removed = asyncio.run(_removed(place, namespace)) if wanted else 0
    print(f"{_entries(removed)} removed")
    if not removed and namespace is not None and (left := asyncio.run(_counted(place, None)).entries):
        what = f"{_entries(left)}, damaged or of other namespaces: --all removes them"
        print(f"· none is {_of(namespace)}; there {'is' if left == 1 else 'are'} {what}", file=sys.stderr)
    return 0


def _export(place: CachePlace, options: argparse.Namespace) -> int:
    namespace = None if options.all else place.namespace
    to_stdout = options.file == "-"
    progress = _Progress(is_shown=sys.stderr.isatty() and not (to_stdout and sys.stdout.isatty()))
    if to_stdout:
        left_out = asyncio.run(_written(place, namespace, _write_out, progress))
        sys.stdout.flush()
    else:
        with new_file(Path(options.file), overwrite=options.force) as file:
            left_out = asyncio.run(_written(place, namespace, file.write, progress))
    parts = [_entries(progress.count) + ("" if to_stdout else f" in {options.file}")]
    if left_out:
        why = "damaged" if namespace is None else "damaged, or of other namespaces, which --all takes too"
        parts.append(f"{left_out:,} left out: {why}")
    print(f"· {'; '.join(parts)}", file=sys.stderr)
    return 0


async def _counted(place: CachePlace, namespace: str | None) -> CacheStats:
    """How many entries a namespace has, and what they take; of the whole cache where it is None."""
    async with place.opened() as cache:
        if namespace is None:
            return await cache.stats()
        sizes = [len(encode_entry(entry)) async for entry in cache.entries(namespace)]
        return CacheStats(len(sizes), sum(sizes))


async def _removed(place: CachePlace, namespace: str | None) -> int:
    """Remove the entries of a namespace, or all; how many they were."""
    async with place.opened() as cache:
        return await cache.clear(namespace)


async def _written(
    place: CachePlace, namespace: str | None, write: Callable[[bytes], object], progress: _Progress
) -> int:
    """Write the entries of a namespace, or all; how many others there are."""
    async with place.opened() as cache:
        there = (await cache.stats()).entries
        try:
            progress.show()
            async for entry in cache.entries(namespace):
                write(encode_entry(entry) + b"\n")
                progress.add()
        finally:
            progress.clear()
    return max(0, there - progress.count)


def _write_out(data: bytes) -> None:
    """Write all of it to standard output, which with PYTHONUNBUFFERED may take a part at a time."""
    left = memoryview(data)
    while left:
        left = left[sys.stdout.buffer.write(left) :]


def _confirmed(question: str) -> bool:
    print(question, end="", flush=True, file=sys.stderr)
    try:
        return sys.stdin.readline().strip().lower() in ("y", "yes")
    except KeyboardInterrupt:
        print(file=sys.stderr)
        raise


class _Progress:
    """Counts entries, on a line of standard error that is written over."""

    def __init__(self, *, is_shown: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self.count = 0
        self._is_shown = is_shown
        self._clock = clock
        self._shown_at = clock()

    def show(self) -> None:
        """Show how many there are."""
        if self._is_shown:
            self._shown_at = self._clock()
            print(f"\r· {_entries(self.count)}", end="", flush=True, file=sys.stderr)

    def add(self) -> None:
        """Count one, and show it where the last time is a while ago."""
        self.count += 1
        if self._is_shown and self._clock() - self._shown_at >= _PROGRESS_INTERVAL:
            self.show()

    def clear(self) -> None:
        """The line is empty."""
        if self._is_shown:
            print("\r\x1b[K", end="", flush=True, file=sys.stderr)


def _of(namespace: str | None) -> str:
    if namespace is None:
        return "of every namespace"
    return f"of the namespace {namespace!r}" if namespace else "without a namespace"


def _entries(count: int) -> str:
    return "1 entry" if count == 1 else f"{count:,} entries"


def _size(size_bytes: int) -> str:
    if size_bytes < 1000:
        return f"{size_bytes} bytes"
    size = float(size_bytes)
    for unit in ("KB", "MB", "GB"):
        size /= 1000
        if size < 999.95:  # else it would be shown as 1000.0
            return f"{size:.1f} {unit}"
    return f"{size / 1000:,.1f} TB"
