"""A file of requests, one JSON object a line."""

from __future__ import annotations

import json
import stat
from codecs import BOM_UTF8
from collections.abc import Generator, Iterator
from hashlib import blake2b
from pathlib import Path

import msgspec

from hub.batch.requests import BatchRequest, parse_request
from hub.errors import InvalidRequestError
from hub.models.profile import ModelProfile

__all__ = ("RequestFile",)

MAX_COMPLAINTS = 5
"""Lines that are complained of by name."""


class RequestFile:
    """The requests of a file, read anew each time they are asked for: they may be many. Empty lines count for nothing.

    A byte order mark before the first line is passed over.

    Args:
        path: The file.
        profile: The model to ask where a request names none.

    Attributes:
        count: How many there are, once `check` has counted them.
    """

    def __init__(self, path: Path, profile: ModelProfile) -> None:
        self.path = path
        self.count = 0
        self._profile = profile

    def check(self) -> Generator[int, None, None]:
        """Pass over a file whose every line is a request; gives, after each line, how many requests it has so far.

        Raises:
            InvalidRequestError: It can't be read, is empty, or has a line that is no request or has the `custom_id`
                of an earlier one; the message names the line.
        """
        complaints: list[str] = []
        count = 0
        seen: set[int] = set()  # hashes: a million of the names themselves would take twice the memory
        for number, line in self._lines():
            try:
                _require_new(self._parse(line, count).custom_id, seen)
            except InvalidRequestError as exc:
                complaints.append(f"line {number}: {exc}")
                if len(complaints) == MAX_COMPLAINTS:
                    break
            count += 1
            yield count
        if complaints:
            raise InvalidRequestError(
                f"Nothing was sent, since {self.path} has lines that are no requests: {'; '.join(complaints)}."
            )
        if not count:
            raise InvalidRequestError(f"{self.path} has no requests.")
        self.count = count

    def __iter__(self) -> Iterator[tuple[str, BatchRequest]]:
        """Each request, and a key that tells its line from any other."""
        for index, (_, line) in enumerate(self._lines()):
            yield blake2b(line, digest_size=16).hexdigest(), self._parse(line, index)

    def name_of(self, index: int) -> str:
        """The request at a position, from 0, as its author knows it: by its line and its `custom_id`."""
        for count, (number, line) in enumerate(self._lines()):
            if count == index:
                custom_id = self._parse(line, index).custom_id
                return f"line {number}" if custom_id is None else f"line {number} (custom_id {custom_id!r})"
        return f"request {index}"

    def _parse(self, line: bytes, index: int) -> BatchRequest:
        try:
            value = msgspec.json.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
            raise InvalidRequestError(_complaint(line)) from exc
        return parse_request(value, index, profile=self._profile)

    def _lines(self) -> Iterator[tuple[int, bytes]]:
        try:
            if not stat.S_ISREG(self.path.stat().st_mode):
                raise InvalidRequestError(f"{self.path} is no ordinary file, and it is read more than once: name one.")
            with self.path.open("rb") as file:
                for number, line in enumerate(file, 1):
                    if number == 1:
                        line = line.removeprefix(BOM_UTF8)
                    if text := line.strip():
                        yield number, text
        except OSError as exc:
            raise InvalidRequestError(f"{self.path} can't be read: {exc.strerror or type(exc).__name__}.") from exc


def _require_new(custom_id: str | None, seen: set[int]) -> None:
    if custom_id is None:
        return
    if (digest := hash(custom_id)) in seen:
        raise InvalidRequestError(f"custom_id {custom_id!r} was there before")
    seen.add(digest)


def _complaint(line: bytes) -> str:
    """Why a line that can't be decoded can't."""
    try:
        json.dumps(json.loads(line), ensure_ascii=False).encode()  # this decoder takes what no text can hold
    except UnicodeEncodeError:
        return r"it has half a character, an escape from \ud800 to \udfff without its other half"
    except (ValueError, RecursionError):
        pass
    return "it is no JSON"
