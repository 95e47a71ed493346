"""What reads the files that a `JSONLSink` writes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from os import PathLike
from pathlib import Path
from typing import BinaryIO

from hub.errors import MalformedEventError
from hub.events import LLMEvent, decode_event
from sinks.jsonl.file import file_error, rotated_files

__all__ = ("read_events",)


def read_events(path: str | PathLike[str]) -> Iterator[LLMEvent]:
    """The events of a file and of those that it was before, the oldest first. Blocks while it reads.

    They are those that are there when it begins. A last line without end is passed over: its writer is at it, or was
    killed. Streams that were written at the same time come mixed, told apart by their `stream_id`, and an event may
    come twice.

    Raises:
        MalformedEventError: A line is no event; the message says which of which file.
        SinkError: A file can't be read.
    """
    current = Path(path)
    try:
        with ExitStack() as stack:
            # Opened before the others are listed: what rotates meanwhile is read once.
            last = _opened(current)
            if last is not None:
                stack.enter_context(last)
            for each in rotated_files(current):
                with each.open("rb") as file:
                    if last is None or not os.path.samestat(os.fstat(file.fileno()), os.fstat(last.fileno())):
                        yield from _events(file, each)
            if last is not None:
                yield from _events(last, current)
    except OSError as exc:
        raise file_error(current, "read", exc) from exc


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
