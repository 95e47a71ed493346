"""The checkpoint of a batch: a file with a line for each item that is done, so that a later run does the rest.

    {"checkpoint": 1, "keyed": true, "about": "", "created_at": "2026-11-21T12:00:00Z"}
    {"index": 0, "key": "a", "failed": false, "result": …}

Lines stand in the order in which items were done. Of several for one item, the last one counts.
"""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from hashlib import blake2b
from os import PathLike
from pathlib import Path
from typing import Any, Self

import msgspec

from hub.batch.journal import Journal, in_thread
from hub.batch.results import as_json, is_failure
from hub.errors import CheckpointError, InvalidRequestError

__all__ = ("Checkpoint", "DoneItem")

VERSION = 1
_KIND = "checkpoint of a batch"
_BEGINNING = b'{"checkpoint":%d,"keyed":' % VERSION
_MAX_INDEX = 100_000_000
_ABSENT = -1


class _Header(msgspec.Struct, kw_only=True):
    checkpoint: int
    keyed: bool
    about: str = ""
    created_at: datetime


class _Line(msgspec.Struct, kw_only=True):
    index: int
    key: str | None = None
    failed: bool = False
    result: msgspec.Raw


class _LineHead(msgspec.Struct):
    """What of a line is needed at the start; the result is passed over."""

    index: int
    key: str | None = None
    failed: bool = False


class DoneItem(msgspec.Struct, frozen=True):
    """An item of a checkpoint: its position in the input from 0, its key or None, its result as JSON gives it."""

    index: int
    key: str | None
    result: Any


class Checkpoint:
    """What is done of one batch, in a file; inside `async with` the file is open and locked.

    In memory it takes 25 bytes for each item that is done, whatever the results take in the file.

    Args:
        path: The file. Made where it is missing, for its owner alone to read; its folder is not. What is no
            checkpoint is refused and left as it is.
        about: What the results depend on beside the input, such as a model's name. A file about something else is
            refused.
        name_item: What the caller calls the item of an index, for the message that the input is another one. By
            default it is named by its index and its key.
        fsync_interval: Seconds between two waits for the disk, 0 for one after each item. A line that is written
            outlives the process in any case; this is for power cuts.
        clock: Seconds, for `fsync_interval`.
        now: The instant for the file's first line.

    Raises:
        InvalidRequestError: `fsync_interval` is negative.
    """

    def __init__(
        self,
        path: str | PathLike[str],
        *,
        about: str = "",
        name_item: Callable[[int], str] | None = None,
        fsync_interval: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        if fsync_interval < 0:
            raise InvalidRequestError(
                f"fsync_interval must be a number of seconds, at least 0, not {fsync_interval!r}."
            )
        self.path = Path(path)
        self._about = about
        self._name_item = name_item
        self._fsync_interval = fsync_interval
        self._clock = clock
        self._now = now
        self._journal = Journal(self.path, kind=_KIND, beginning=_BEGINNING)
        self._synced_at = clock()
        self._is_synced = True
        self._forget()

    def _forget(self) -> None:
        self._header: _Header | None = None
        self._positions = array("q")
        self._sizes = array("q")
        self._keys = array("Q")
        self._failed = bytearray()

    async def __aenter__(self) -> Self:
        try:
            await in_thread(self._open)
        except BaseException:
            self._journal.close()
            raise
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        try:
            if not self._is_synced:
                await in_thread(self._journal.sync)
        finally:
            self._journal.close()

    def holds(self, index: int, key: str | None, *, even_failed: bool = True) -> bool:
        """Whether an item is done.

        Args:
            index: Its position in the input.
            key: Its key; None where items have none.
            even_failed: Also where its result is a failure.

        Raises:
            InvalidRequestError: The file is that of another input: another item stood there.
        """
        self._check_kind(key)
        if index >= len(self._positions) or self._positions[index] == _ABSENT:
            return False
        if self._keys[index] != _digest(key):
            raise self._other_input(
                f"item {index} had another key than {key!r}"
                if self._name_item is None
                else f"{self._name_item(index)} is another than the one that was done"
            )
        return even_failed or not self._failed[index]

    def result(self, index: int) -> Any:
        """The result of an item that is done, as JSON gives it."""
        line = self._journal.read(self._positions[index], self._sizes[index])
        return msgspec.json.decode(msgspec.json.decode(line, type=_Line).result)

    def put(self, index: int, key: str | None, result: Any) -> Any:
        """Write an item's result, and give it as a later run will find it.

        Raises:
            InvalidRequestError: JSON can't hold it.
            CheckpointError: The file can't be written.
        """
        self._check_kind(key)
        data = as_json(result)
        value = msgspec.json.decode(data)
        if self._header is None:
            self._header = _Header(checkpoint=VERSION, keyed=key is not None, about=self._about, created_at=self._now())
            self._journal.append(msgspec.json.encode(self._header))
        failed = is_failure(value)
        line = msgspec.json.encode(_Line(index=index, key=key, failed=failed, result=msgspec.Raw(data)))
        self._note(index, key, failed, self._journal.append(line), len(line))
        self._is_synced = False
        return value

    async def sync(self) -> bool:
        """Wait for the disk where `fsync_interval` has passed since the last time; whether that was so."""
        now = self._clock()
        if self._is_synced or now - self._synced_at < self._fsync_interval:
            return False
        self._synced_at, self._is_synced = now, True
        await in_thread(self._journal.sync)
        return True

    def check_end(self, count: int) -> None:
        """Pass over an input of `count` items.

        Raises:
            InvalidRequestError: The file has more: it is that of another input.
        """
        if len(self._positions) > count:
            raise self._other_input(
                f"it has an item {len(self._positions) - 1}, and the input ends after {count} items"
            )

    def items(self) -> Iterator[DoneItem]:
        """What is done, in the input's order. Blocks while it reads."""
        for index, position in enumerate(self._positions):
            if position != _ABSENT:
                line = msgspec.json.decode(self._journal.read(position, self._sizes[index]), type=_Line)
                yield DoneItem(index, line.key, msgspec.json.decode(line.result))

    def _open(self) -> None:
        self._forget()
        self._journal.open(self._read_header)
        damaged: tuple[int, int] | None = None
        for number, (position, line) in enumerate(self._journal.lines(), 1):
            if damaged is not None:
                raise CheckpointError(
                    f"Line {damaged[0]} of {self.path} is damaged: delete that line, and its item will be done again."
                )
            if number == 1:
                continue  # the header
            try:
                head = msgspec.json.decode(line, type=_LineHead)
                if not 0 <= head.index <= _MAX_INDEX:
                    raise msgspec.ValidationError("no index")
                msgspec.json.decode(line, type=_Line)
            except (msgspec.DecodeError, UnicodeDecodeError):
                damaged = number, position
            else:
                self._note(head.index, head.key, head.failed, position, len(line))
        if damaged is not None:  # the last line alone: a power cut may leave it so
            self._journal.cut(damaged[1])

    def _read_header(self, line: bytes) -> None:
        try:
            header = msgspec.json.decode(line, type=_Header)
        except (msgspec.DecodeError, UnicodeDecodeError) as exc:
            raise CheckpointError(f"{self.path} is no {_KIND}: name another file.") from exc
        if header.checkpoint != VERSION:
            raise CheckpointError(
                f"{self.path} is a checkpoint of version {header.checkpoint}, and {VERSION} is what is known here."
            )
        if header.about != self._about:
            raise self._other_input(f"it is about {header.about!r}, this run about {self._about!r}")
        self._header = header

    def _note(self, index: int, key: str | None, failed: bool, position: int, size_bytes: int) -> None:
        missing = index + 1 - len(self._positions)
        if missing > 0:
            self._positions.extend([_ABSENT] * missing)
            self._sizes.extend([0] * missing)
            self._keys.extend([0] * missing)
            self._failed.extend(bytes(missing))
        self._positions[index] = position
        self._sizes[index] = size_bytes
        self._keys[index] = _digest(key)
        self._failed[index] = failed

    def _check_kind(self, key: str | None) -> None:
        if self._header is not None and self._header.keyed != (key is not None):
            raise self._other_input("its items have keys" if self._header.keyed else "its items have no keys")

    def _other_input(self, why: str) -> InvalidRequestError:
        return InvalidRequestError(
            f"{self.path} is the checkpoint of another input ({why}). Give the items it was begun with, in their "
            "order, or name another file."
        )


def _digest(key: str | None) -> int:
    if key is None:
        return 0
    return int.from_bytes(blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8).digest())
