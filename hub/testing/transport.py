"""The scripted endpoint without sockets: a transport of httpx2, the SDK's HTTP library."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, assert_never

import httpx2

from hub.testing.replies import Close, Gate, Hang, Pause, Reply, Reset
from hub.testing.request import RecordedRequest
from hub.testing.script import Handler, Script
from hub.testing.steps import Wait, head_fields, phrase, sliced, wait

__all__ = ("ScriptedTransport", "wait_within")


class ScriptedTransport(httpx2.AsyncBaseTransport):
    """Answers as a `ScriptedEndpoint` would, in the process, for any host.

        transport = ScriptedTransport(chat_reply("Hello"))
        client = OpenAIClient("any", base_url="http://scripted/v1", api_key="EMPTY", http_client=transport.client())

    A reply's steps are carried out as the client reads: a gate is reached when the client waits there, and a client
    that reads nothing gets nothing ready. `Reset` is an `httpx2.ReadError`; `Close` and bytes before the status
    line, which are no HTTP here whatever they say, are an `httpx2.RemoteProtocolError`; the client's read time-out
    holds. Closing a response before its end sets its request's `left`; closing the client, that of every request.

    Args:
        replies: The first replies, as with `enqueue`.
        handler: As in `ScriptedEndpoint`.
        max_requests: As in `ScriptedEndpoint`.

    Attributes:
        requests: What was asked, in order of arrival.
    """

    def __init__(self, *replies: Reply, handler: Handler | None = None, max_requests: int = 10_000) -> None:
        self._script = Script(*replies, handler=handler, max_requests=max_requests)
        self.requests: list[RecordedRequest] = self._script.requests

    def client(self, **options: Any) -> httpx2.AsyncClient:
        """A client that sends over this transport, for `http_client=`; options as for `httpx2.AsyncClient`."""
        return httpx2.AsyncClient(transport=self, **options)

    def enqueue(self, *replies: Reply) -> None:
        """Add replies to the script."""
        self._script.enqueue(*replies)

    async def received(self, count: int = 1) -> RecordedRequest:
        """Return the latest request once `count` have arrived since the start."""
        return await self._script.received(count)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """The head of the reply to this request; its body comes as it is read."""
        recorded = RecordedRequest(
            method=request.method,
            path=request.url.raw_path.decode("ascii"),
            version="HTTP/1.1",
            headers=dict(request.headers.items()),
            body=await request.aread(),
            left=asyncio.Event(),
        )
        reply = self._script.answer(recorded)
        body = _Body(reply, request, recorded.left)
        await body.before()
        return httpx2.Response(
            status_code=reply.status,
            headers=list(body.headers.items()),
            stream=body,
            request=request,
            extensions={"http_version": b"HTTP/1.1", "reason_phrase": phrase(reply.status).encode("ascii")},
        )

    async def aclose(self) -> None:
        """Close every connection, as far as there were any: each request counts as left."""
        for request in self.requests:
            request.left.set()


class _Body(httpx2.AsyncByteStream):
    """One reply under way.

    Args:
        reply: What to carry out.
        request: For the exceptions.
        left: Set when the client goes before the end.
    """

    def __init__(self, reply: Reply, request: httpx2.Request, left: asyncio.Event) -> None:
        self.headers = head_fields(reply, keep_alive=reply.framing != "close")
        self._reply = reply
        self._request = request
        self._left = left
        self._over = False
        self._length = self._told_length()

    async def before(self) -> None:
        """Carry out what stands before the status line."""
        try:
            for step in self._reply.before:
                match step:
                    case bytes():
                        pass
                    case Pause() | Gate() | Hang():
                        await self._wait(step)
                    case Reset():
                        raise self._broken_off()
                    case Close():
                        raise self._closed("before it answered")
                    case _:
                        assert_never(step)
            if any(isinstance(step, bytes) for step in self._reply.before):
                self._over = True
                raise httpx2.RemoteProtocolError("The server sent no HTTP.", request=self._request)
        except asyncio.CancelledError:
            await self.aclose()
            raise

    async def __aiter__(self) -> AsyncIterator[bytes]:
        sent = 0
        for step in sliced(self._reply.steps, self._reply.slice_bytes):
            if sent == self._length:
                break
            match step:
                case bytes():
                    piece = step if self._length is None else step[: self._length - sent]
                    sent += len(piece)
                    # Over a socket, other tasks have their turn between two pieces.
                    await asyncio.sleep(0)
                    yield piece
                case Pause() | Gate() | Hang():
                    await self._wait(step)
                case Reset():
                    raise self._broken_off()
                case Close() if self._reply.framing == "close":
                    break
                case Close():
                    raise self._closed("in the middle of the body")
                case _:
                    assert_never(step)
        if self._length is not None and sent < self._length:
            await self._wait(Hang())  # the rest of a length that is a lie
        self._over = True

    async def aclose(self) -> None:
        if not self._over:
            self._over = True
            self._left.set()

    def _told_length(self) -> int | None:
        """How long the body is by its head; None where its end is told in another way."""
        if self._reply.framing != "length":
            return None
        return int(next(value for name, value in self.headers.items() if name.lower() == "content-length"))

    async def _wait(self, step: Wait) -> None:
        try:
            await wait_within(step, self._request)
        except httpx2.ReadTimeout:
            await self.aclose()
            raise

    def _broken_off(self) -> httpx2.ReadError:
        self._over = True
        return httpx2.ReadError("The server reset the connection.", request=self._request)

    def _closed(self, when: str) -> httpx2.RemoteProtocolError:
        self._over = True
        return httpx2.RemoteProtocolError(f"The server closed the connection {when}.", request=self._request)


async def wait_within(step: Wait, request: httpx2.Request) -> None:
    """Wait as the step says, as long as the request's read time-out lets.

    Raises:
        httpx2.ReadTimeout: It ran out.
    """
    try:
        async with asyncio.timeout(request.extensions.get("timeout", {}).get("read")):
            await wait(step)
    except TimeoutError:
        raise httpx2.ReadTimeout("The client's read time-out ran out.", request=request) from None
