"""Records what an endpoint really says, to a file that a test can replay."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path

import httpx2

from hub.testing.exchange import ERRORS, Exchange, RequestRecord, ResponseRecord, piece_of, save
from hub.testing.redact import Secrets, kept_headers, request_record
from hub.upstream.transport import READ_EXTENSION, AiohttpTransport

__all__ = ("RecordingTransport",)


class RecordingTransport(httpx2.AsyncBaseTransport):
    """Sends over another transport and records every exchange; closing writes them to a file.

    Kept are the request's method, path and body, the response's status, the few headers that clients read, and its
    body piece by piece with the times between them; error statuses, lost connections and streams that the client
    left as well. Not kept are hosts, request headers, and the secrets that a request brings (`Authorization`,
    `api-key`, cookies, keys in the query or anywhere in the body): where their values are quoted, the file has
    `***`. What the conversation itself says is kept: look before you commit it.

    The request asks for an uncompressed body, so that the file can be read.

    Args:
        path: The file; an older one is replaced. With nothing recorded it stays as it is.
        inner: What sends; by default the client's own transport. It is closed with this one.
        secrets: Further texts to hide, of at least 8 characters.
        clock: Seconds, for the times.
    """

    def __init__(
        self,
        path: str | Path,
        inner: httpx2.AsyncBaseTransport | None = None,
        *,
        secrets: Iterable[str] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = Path(path)
        self._inner = AiohttpTransport() if inner is None else inner
        self._secrets = tuple(secrets)
        self._clock = clock
        self._tapes: list[_Tape] = []

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send it and record what comes."""
        content = await request.aread()
        request.headers["Accept-Encoding"] = "identity"
        secrets = Secrets.of(request, self._secrets)
        tape = _Tape(request_record(request, content, secrets), secrets, self._clock)
        try:
            response = await self._inner.handle_async_request(request)
        except (httpx2.RequestError, asyncio.CancelledError) as exc:
            tape.broke(exc)
            self._tapes.append(tape)
            raise
        tape.answered(ResponseRecord(status=response.status_code, headers=kept_headers(response.headers, secrets)))
        self._tapes.append(tape)
        assert isinstance(response.stream, httpx2.AsyncByteStream)
        return httpx2.Response(
            status_code=response.status_code,
            headers=response.headers,
            stream=_RecordedBody(response.stream, tape),
            request=request,
            # Through it a body would be read past this transport.
            extensions={name: value for name, value in response.extensions.items() if name != READ_EXTENSION},
        )

    def discard(self) -> None:
        """Forget what was recorded so far."""
        self._tapes.clear()

    async def aclose(self) -> None:
        """Close the inner transport, and write the file."""
        await self._inner.aclose()
        if self._tapes:
            await asyncio.to_thread(save, self._path, [tape.exchange() for tape in self._tapes])


class _Tape:
    """One exchange while it is going on."""

    def __init__(self, request: RequestRecord, secrets: Secrets, clock: Callable[[], float]) -> None:
        self._request = request
        self._secrets = secrets
        self._clock = clock
        self._last_at = clock()
        self._seconds_to_head = 0.0
        self._response: ResponseRecord | None = None
        self._pieces: list[tuple[float, bytes]] = []
        self._ending: str | None = None
        self._message = ""

    def answered(self, response: ResponseRecord) -> None:
        """The head came."""
        self._seconds_to_head = self._elapsed()
        self._response = response

    def piece(self, data: bytes) -> None:
        """A part of the body came."""
        self._pieces.append((self._elapsed(), data))

    def end(self, ending: str) -> None:
        """It has ended so; how it ended first counts."""
        if self._ending is None:
            self._ending = ending
            if self._response is None:
                self._seconds_to_head = self._elapsed()

    def broke(self, exc: httpx2.RequestError | asyncio.CancelledError) -> None:
        """It has ended with an exception: the transport's, or the client's giving up the wait."""
        if isinstance(exc, asyncio.CancelledError):
            self.end("waiting")
            return
        self._message = self._secrets.hide(str(exc))
        self.end(next((kind.__name__ for kind in type(exc).__mro__ if kind.__name__ in ERRORS), "ReadError"))

    def exchange(self) -> Exchange:
        """What is kept of it."""
        pieces = self._secrets.hide_in_pieces(self._pieces)
        return Exchange(
            request=self._request,
            response=self._response,
            seconds_to_head=self._seconds_to_head,
            pieces=tuple((round(seconds, 4), piece_of(data)) for seconds, data in pieces),
            ending=self._ending or "left",
            message=self._message,
        )

    def _elapsed(self) -> float:
        now = self._clock()
        elapsed, self._last_at = now - self._last_at, now
        return round(elapsed, 4)


class _RecordedBody(httpx2.AsyncByteStream):
    """A body that goes on to the client and onto the tape."""

    def __init__(self, body: httpx2.AsyncByteStream, tape: _Tape) -> None:
        self._body = body
        self._tape = tape

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for data in self._body:
                self._tape.piece(data)
                yield data
        except (httpx2.RequestError, asyncio.CancelledError) as exc:
            self._tape.broke(exc)
            raise
        self._tape.end("complete")

    async def aclose(self) -> None:
        self._tape.end("left")
        await self._body.aclose()
