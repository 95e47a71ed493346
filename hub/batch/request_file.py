"""A file of requests, one JSON object a line."""

from __future__ import annotations

from collections.abc import Iterator
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

    def check(self) -> None:
        """Pass over a file whose every line is a request.

        Raises:
            InvalidRequestError: It can't be read, is empty, or has a line that is none; the message names it.
        """
        complaints: list[str] = []
        count = 0
        for number, line in self._lines():
            try:
                self._parse(line, count)
            except InvalidRequestError as exc:
                complaints.append(f"line {number}: {exc}")
                if len(complaints) == MAX_COMPLAINTS:
                    break
            count += 1
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

    def _parse(self, line: bytes, index: int) -> BatchRequest:
        try:
            value = msgspec.json.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
            raise InvalidRequestError("it is no JSON") from exc
        return parse_request(value, index, profile=self._profile)

    def _lines(self) -> Iterator[tuple[int, bytes]]:
        try:
            with self.path.open("rb") as file:
                for number, line in enumerate(file, 1):
                    if text := line.strip():
                        yield number, text
        except OSError as exc:
            raise InvalidRequestError(f"{self.path} can't be read: {exc.strerror or type(exc).__name__}.") from exc
