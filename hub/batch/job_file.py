"""The file of a batch job: what was handed to the endpoint and under which ids, so that nothing is handed over twice.

    {"batch_job": 1, "input": "9f…", "count": 2, "parts": 1, "base_url": "https://api.openai.com/v1"}
    {"part": 0, "url": "/v1/chat/completions", "model": "gpt-5.1", "indices": [0, 1], "custom_ids": ["a", "b"]}
    {"part": 0, "file_id": "file-1"}
    {"part": 0, "batch_id": "batch_1"}

Each line is on the disk before the next step is taken.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from hub.batch.journal import Journal
from hub.batch.parts import Part, Partition
from hub.batch.requests import Url
from hub.errors import CheckpointError, InvalidRequestError

__all__ = ("JobFile", "SubmittedPart")

VERSION = 1
_KIND = "file of a batch job"
_BEGINNING = b'{"batch_job":%d,"input":"' % VERSION
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, IndexError, TypeError)


class _Header(msgspec.Struct, kw_only=True):
    batch_job: int
    input: str
    count: int
    parts: int
    base_url: str


class _PartLine(msgspec.Struct, kw_only=True, omit_defaults=True):
    part: int
    url: Url | None = None
    model: str | None = None
    indices: list[int] | None = None
    custom_ids: list[str] | None = None
    file_id: str | None = None
    batch_id: str | None = None


class SubmittedPart(msgspec.Struct):
    """A part, and the ids under which the endpoint knows its file and its batch; None where it doesn't yet."""

    number: int
    part: Part
    file_id: str | None = None
    batch_id: str | None = None


class JobFile:
    """The file, open and locked between `open` and `close`. Everything here blocks, briefly.

    Attributes:
        parts: What the file tells; empty where nothing was handed over yet.
        count: Requests in all.
    """

    def __init__(self, path: Path, *, base_url: str) -> None:
        self._journal = Journal(path, kind=_KIND, beginning=_BEGINNING)
        self._base_url = base_url
        self._clear()

    def _clear(self) -> None:
        self._input: str | None = None
        self._expected_parts = 0
        self.parts: list[SubmittedPart] = []
        self.count = 0

    @property
    def has_begun(self) -> bool:
        """An input was handed over, or a part of it."""
        return self._input is not None

    @property
    def is_submitted(self) -> bool:
        """The endpoint has all of it."""
        return self.has_begun and all(each.batch_id is not None for each in self.parts)

    def open(self) -> None:
        """Read what an earlier run wrote.

        Raises:
            CheckpointError: The file is damaged, no file of a job (it is then left as it is), or in use by another run.
            InvalidRequestError: It is the file of a job at another endpoint.
        """
        self._clear()
        self._journal.open(self._check_header)
        try:
            self._read()
        except _UNREADABLE as exc:
            self.close()
            raise self._unreadable() from exc
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let go of the file."""
        self._journal.close()

    def begin(self, partition: Partition) -> None:
        """Write what is to be handed over; where it was written before, check that it is the same.

        Raises:
            InvalidRequestError: It is another input.
        """
        if self._input is not None:
            if self._input != partition.digest:
                raise InvalidRequestError(
                    f"{self._journal.path} is the file of a job with other requests. Give those it was begun with, or "
                    "name another file."
                )
            for known, part in zip(self.parts, partition, strict=True):
                known.part = part
            return
        self._input, self.count = partition.digest, partition.count
        self.parts = [SubmittedPart(number, part) for number, part in enumerate(partition)]
        self._write(
            _Header(
                batch_job=VERSION,
                input=self._input,
                count=self.count,
                parts=len(self.parts),
                base_url=self._base_url,
            )
        )
        for each in self.parts:
            part = each.part
            line = _PartLine(
                part=each.number, url=part.url, model=part.model, indices=part.indices, custom_ids=part.custom_ids
            )
            self._write(line)
        self._journal.sync()

    def uploaded(self, part: SubmittedPart, file_id: str) -> None:
        """The endpoint has the part's lines."""
        part.file_id = file_id
        self._write(_PartLine(part=part.number, file_id=file_id))
        self._journal.sync()  # before the batch is begun: by this id it is found again

    def created(self, part: SubmittedPart, batch_id: str) -> None:
        """The endpoint has begun the part's batch."""
        part.batch_id = batch_id
        self._write(_PartLine(part=part.number, batch_id=batch_id))
        self._journal.sync()

    def _check_header(self, line: bytes) -> None:
        try:
            header = msgspec.json.decode(line, type=_Header)
        except _UNREADABLE as exc:
            raise self._unreadable() from exc
        if header.batch_job != VERSION:
            raise CheckpointError(f"{self._journal.path} is of version {header.batch_job}; {VERSION} is known here.")
        if header.base_url != self._base_url:
            raise InvalidRequestError(f"{self._journal.path} is the file of a job at {header.base_url}.")

    def _read(self) -> None:
        lines = [line for _, line in self._journal.lines()]
        if not lines:
            return
        header = msgspec.json.decode(lines[0], type=_Header)
        described = 0
        for line in (msgspec.json.decode(each, type=_PartLine) for each in lines[1:]):
            if line.url is not None:
                described += 1
                self.parts.append(SubmittedPart(line.part, _described(line)))
            if line.file_id is not None:
                self.parts[line.part].file_id = line.file_id
            if line.batch_id is not None:
                self.parts[line.part].batch_id = line.batch_id
        if described < header.parts:
            # Killed while it wrote them, before anything was handed over.
            self.parts = []
            self._journal.cut(0)
            return
        self._input, self.count = header.input, header.count

    def _unreadable(self) -> CheckpointError:
        return CheckpointError(f"{self._journal.path} is no {_KIND}, or damaged: name another file.")

    def _write(self, value: Any) -> None:
        self._journal.append(msgspec.json.encode(value))


def _described(line: _PartLine) -> Part:
    if line.url is None or line.model is None or line.indices is None or line.custom_ids is None:
        raise TypeError("a part without its members")
    return Part(line.url, line.model, None, line.indices, line.custom_ids)
