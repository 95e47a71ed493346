"""The calls of OpenAI's files and batches that a batch job needs, their failures as ours."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable
from contextlib import aclosing
from typing import IO, Any, TypeVar

from openai.types import Batch

from hub.client import OpenAIClient
from hub.errors import EndpointError
from hub.upstream import failures
from hub.upstream.endpoint import Endpoint

__all__ = ("BatchApi",)

T = TypeVar("T")

MAX_BATCHES_LOOKED_THROUGH = 1_000
MAX_LINE_BYTES = 64 * 1024 * 1024


class BatchApi:
    """Files and batches at a client's endpoint. Every method raises `EndpointError` where a call fails.

    Args:
        client: Whose endpoint, key and connections are used.
    """

    def __init__(self, client: OpenAIClient) -> None:
        self._sdk = client.client
        # What can be asked twice without harm is asked again by the SDK; to begin a batch is not of that kind.
        self._patient = client.client.with_options(max_retries=3)
        self._endpoint = Endpoint(client.client)

    def prepare_prices(self) -> None:
        """Load what the costs need, in a thread, while the endpoint is at work."""
        self._endpoint.prepare_prices()

    async def upload(self, file: IO[bytes], name: str) -> str:
        """Upload the lines of a batch, and give the file's id."""
        file.seek(0)
        uploaded = await self._call(self._patient.files.create(file=(name, file.read()), purpose="batch"))
        return uploaded.id

    async def create(self, file_id: str, url: Any, metadata: dict[str, str]) -> Batch:
        """Begin a batch of a file's lines."""
        return await self._call(
            self._sdk.batches.create(input_file_id=file_id, endpoint=url, completion_window="24h", metadata=metadata)
        )

    async def find(self, file_id: str) -> Batch | None:
        """The batch of a file's lines; None where none of the latest thousand is."""
        try:
            looked_through = 0
            async for batch in self._patient.batches.list(limit=100):
                if batch.input_file_id == file_id:
                    return batch
                looked_through += 1
                if looked_through >= MAX_BATCHES_LOOKED_THROUGH:
                    break
        except Exception as exc:
            raise self._translated(exc) from None
        return None

    async def retrieve(self, batch_id: str) -> Batch:
        """A batch as it is now."""
        return await self._call(self._patient.batches.retrieve(batch_id))

    async def cancel(self, batch_id: str) -> Batch:
        """Ask the endpoint to give a batch up; what is done of it stays."""
        return await self._call(self._patient.batches.cancel(batch_id))

    async def lines(self, file_id: str) -> AsyncGenerator[bytes, None]:
        """The lines of a file, as they arrive."""
        rest = b""
        async with aclosing(self._pieces(file_id)) as pieces:
            async for piece in pieces:
                # Not by `iter_lines`: it takes characters for line ends that JSON has in the middle of texts.
                *whole, rest = (rest + piece).split(b"\n")
                for line in whole:
                    if line.strip():
                        yield line
                if len(rest) > MAX_LINE_BYTES:
                    raise failures.malformed(f"a line of more than {MAX_LINE_BYTES} bytes")
        if rest.strip():
            yield rest

    async def _pieces(self, file_id: str) -> AsyncGenerator[bytes, None]:
        try:
            async with self._patient.files.with_streaming_response.content(file_id) as response:
                async for piece in response.iter_bytes():
                    yield piece
        except Exception as exc:
            raise self._translated(exc) from None

    async def _call(self, call: Awaitable[T]) -> T:
        try:
            return await call
        except Exception as exc:
            raise self._translated(exc) from None  # the SDK's own words may quote the key

    def _translated(self, exc: Exception) -> EndpointError:
        return self._endpoint.redact(failures.from_exception(exc, url=self._endpoint.url))
