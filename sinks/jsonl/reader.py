"""What reads the files that a `JSONLSink` writes."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import BinaryIO

from hub.errors import MalformedEventError
from hub.events import LLMEvent, decode_event
from sinks.jsonl.file import checked_path, file_error, rotated_files

__all__ = ("read_events",)

_AHEAD = 64
"""Files that are open at once: a writer deletes the oldest first, and a process may open some thousand."""


def read_events(path: str | PathLike[str]) -> Iterator[LLMEvent]:
    """The events of a file and of those that it was before, the oldest first. Blocks while it reads.

    They are those that are there when it begins, also where a writer deletes old files meanwhile. A last line without
    end is passed over: its writer is at it, or was killed. Streams that were written at the same time come mixed, told
    apart by their `stream_id`, and an event may come twice.

    Raises:
        MalformedEventError: A line is no event; the message says which of which file.
        SinkError: A file can't be read, or was deleted while more than 64 older ones were still to be read.
        ConfigurationError: No file can have that path.
    """
    current = checked_path(path)
    try:
        with ExitStack() as stack:
            # Opened before the others are listed: what rotates meanwhile is read once.
            last = _opened(current)
            if last is not None:
                stack.enter_context(last)
            for file, each in stack.enter_context(closing(_opened_ahead(rotated_files(current)))):
                if last is None or not os.path.samestat(os.fstat(file.fileno()), os.fstat(last.fileno())):
                    yield from _events(file, each)
            if last is not None:
                yield from _events(last, current)
    except OSError as exc:
        raise file_error(current, "read", exc) from exc


def _opened_ahead(paths: Sequence[Path]) -> Generator[tuple[BinaryIO, Path]]:
    """Each file in turn, opened while many before it are still to be read; closed once the next one is asked for."""
    ahead: deque[tuple[BinaryIO, Path]] = deque()
    rest = iter(paths)
    try:
        for path in islice(rest, _AHEAD):
            with suppress(FileNotFoundError):  # deleted since it was listed: before the reading began
                ahead.append((path.open("rb"), path))
        while ahead:
            file, path = ahead.popleft()
            with file:
                yield file, path
            ahead.extend((following.open("rb"), following) for following in islice(rest, 1))
    finally:
        for file, _ in ahead:
            file.close()


def _opened(path: Path) -> BinaryIO | None:
    """The file; None where there are only those that it was before: its writer was killed while it rotated."""
    try:
        return path.open("rb")
    except FileNotFoundError:
        if rotated_files(path):
            return None
        raise


def _events(file: BinaryIO, path: Path) -> Iterator[LLMEvent]:
    for number, line in enumerate(file, 1):
        if not line.endswith(b"\n"):
            return
        try:
            yield decode_event(line)
        except MalformedEventError as exc:
            raise MalformedEventError(f"Line {number} of {path} is damaged. {exc}") from exc
