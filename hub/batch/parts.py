"""Cuts requests into files that OpenAI's Batch API takes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from hashlib import sha256
from tempfile import TemporaryFile
from typing import IO, Any

from hub.batch.requests import BatchRequest, Url
from hub.errors import InvalidRequestError

__all__ = ("Limits", "Part", "Partition")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one batch may hold.

    OpenAI's: 50,000 requests, 200 MB, and 50,000 inputs of embeddings over all requests
    (the docstrings of the SDK 3.54 and Microsoft's reference, read 2026-11-21). All requests of a batch go to one
    URL and one model (the guide, "each input file can only include requests to a single model").
    """

    max_requests: int = 50_000
    max_file_bytes: int = 200_000_000
    max_inputs: int = 50_000


@dataclass(slots=True)
class Part:
    """What goes into one batch.

    Attributes:
        url: What of the API it is for.
        model: The model of all its requests.
        file: The lines; empty where the part was read from a file that tells of an earlier run.
        indices: The requests' positions in the input.
        custom_ids: Their names, in the same order.
    """

    url: Url
    model: str
    file: IO[bytes] | None = None
    indices: list[int] = field(default_factory=list)
    custom_ids: list[str] = field(default_factory=list)
    size_bytes: int = 0
    inputs: int = 0

    def takes(self, size_bytes: int, inputs: int, limits: Limits) -> bool:
        """Whether a request of that size still fits."""
        return (
            len(self.indices) < limits.max_requests
            and self.size_bytes + size_bytes <= limits.max_file_bytes
            and self.inputs + inputs <= limits.max_inputs
        )


class Partition:
    """The parts of an input, their lines in temporary files; a context manager that removes them.

    Args:
        limits: What one part may hold.

    Attributes:
        parts: In the order of their first requests.
        count: Requests in all.
    """

    def __init__(self, limits: Limits) -> None:
        self.parts: list[Part] = []
        self.count = 0
        self._limits = limits
        self._open: dict[tuple[Url, str], Part] = {}
        self._ids: set[str] = set()
        self._digest = sha256()
        self._stack = ExitStack()

    def __enter__(self) -> Partition:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stack.close()

    @property
    def digest(self) -> str:
        """Tells this input from any other."""
        return self._digest.hexdigest()

    def add(self, request: BatchRequest) -> None:
        """Put a request into its part.

        Raises:
            InvalidRequestError: Its `custom_id` is that of an earlier one, or no batch takes anything so large.
        """
        custom_id = f"request-{request.index}" if request.custom_id is None else request.custom_id
        if custom_id in self._ids:
            raise InvalidRequestError(f"Request {request.index}: custom_id {custom_id!r} was there before.")
        self._ids.add(custom_id)
        line = request.line(custom_id) + b"\n"
        inputs = _inputs(request)
        key = (request.url, request.model)
        part = self._open.get(key)
        if part is None or not part.takes(len(line), inputs, self._limits):
            part = self._open[key] = Part(request.url, request.model, self._new_file())
            if not part.takes(len(line), inputs, self._limits):
                raise InvalidRequestError(
                    f"Request {request.index} is too large for a batch: it has {len(line)} bytes"
                    f"{f' and {inputs} inputs' if inputs else ''}."
                )
            self.parts.append(part)
        assert part.file is not None
        part.file.write(line)
        part.indices.append(request.index)
        part.custom_ids.append(custom_id)
        part.size_bytes += len(line)
        part.inputs += inputs
        self.count += 1
        self._digest.update(line)

    def _new_file(self) -> IO[bytes]:
        return self._stack.enter_context(TemporaryFile())

    def __iter__(self) -> Iterator[Part]:
        return iter(self.parts)


def _inputs(request: BatchRequest) -> int:
    if request.url != "/v1/embeddings":
        return 0
    given: Any = request.body.get("input")
    is_one = not isinstance(given, list) or (bool(given) and isinstance(given[0], int))
    return 1 if is_one else len(given)
