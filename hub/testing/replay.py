"""Answers from a recording."""

from __future__ import annotations

import asyncio
import difflib
import json
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Literal, TypeAlias

import httpx2

from hub.testing.exchange import ERRORS, Exchange, RequestRecord, load
from hub.testing.redact import Secrets, request_record
from hub.testing.replies import Hang
from hub.testing.steps import phrase
from hub.testing.transport import wait_within
from hub.testing.unexpected import NotRecordedError

__all__ = ("Pacing", "ReplayTransport")

Pacing: TypeAlias = Literal["none", "recorded"]
"""Whether a replay takes no time, or the time that the recording took."""

MAX_DIFF_LINES = 40
MAX_COMPARED = 50
"""How many recorded requests are compared for the nearest one."""


class ReplayTransport(httpx2.AsyncBaseTransport):
    """Answers requests from a recording, without any connection.

    A request gets the answer to the recorded one of the same method, path and body (JSON in any order of its
    members); one that was recorded several times gets its answers in their order. An error that was recorded is
    raised again; where the client gave up waiting, nothing more comes, until it gives up again.

    Args:
        path: The file, read at once.
        pacing: `recorded` takes the time between the pieces as well.
        secrets: As they were given to the recording.

    Raises:
        ConfigurationError: There is no such file, or it is no recording.
    """

    def __init__(self, path: str | Path, *, pacing: Pacing = "none", secrets: Iterable[str] = ()) -> None:
        self._path = Path(path)
        self._is_paced = pacing == "recorded"
        self._secrets = tuple(secrets)
        self._requests: list[RequestRecord] = []
        self._exchanges: defaultdict[str, deque[Exchange]] = defaultdict(deque)
        for exchange in load(self._path):
            self._requests.append(exchange.request)
            self._exchanges[_canonical(exchange.request)].append(exchange)

    @property
    def unused(self) -> list[RequestRecord]:
        """The recorded requests that have not been made."""
        return [exchange.request for queue in self._exchanges.values() for exchange in queue]

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """The recorded answer.

        Raises:
            NotRecordedError: There is none; the message shows how the nearest recorded request differs.
            httpx2.RequestError: It is an error.
        """
        content = await request.aread()
        asked = request_record(request, content, Secrets.of(request, self._secrets))
        queue = self._exchanges.get(_canonical(asked))
        if not queue:
            raise NotRecordedError(self._explain(asked, is_used_up=queue is not None))
        exchange = queue.popleft()
        if self._is_paced:
            await asyncio.sleep(exchange.seconds_to_head)
        if exchange.response is None:
            await _end(exchange, request)
            raise httpx2.RemoteProtocolError("The recording has no answer.", request=request)
        status = exchange.response.status
        return httpx2.Response(
            status_code=status,
            headers=exchange.response.headers,
            stream=_ReplayedBody(exchange, request, is_paced=self._is_paced),
            request=request,
            extensions={"http_version": b"HTTP/1.1", "reason_phrase": phrase(status).encode("ascii")},
        )

    def _explain(self, asked: RequestRecord, *, is_used_up: bool) -> str:
        what = f"{asked.method} {asked.path}"
        anew = "If that is meant, record it anew (mode='record')."
        if is_used_up:
            return f"The test makes this request more often than {self._path} has it: {what}. {anew}"
        if not self._requests:
            return f"The recording {self._path} is empty, and {what} was asked. {anew}"
        lines = _lines(asked)
        nearest = max(
            map(_lines, self._requests[:MAX_COMPARED]),
            key=lambda known: difflib.SequenceMatcher(None, known, lines, autojunk=False).quick_ratio(),
        )
        diff = list(difflib.unified_diff(nearest, lines, "recorded", "asked", lineterm="", n=1))
        if len(diff) > MAX_DIFF_LINES:
            diff = [*diff[:MAX_DIFF_LINES], "…"]
        shown = "\n".join(diff)
        return f"The recording {self._path} has no such request: {what}. The nearest one differs:\n{shown}\n{anew}"


class _ReplayedBody(httpx2.AsyncByteStream):
    def __init__(self, exchange: Exchange, request: httpx2.Request, *, is_paced: bool) -> None:
        self._exchange = exchange
        self._request = request
        self._is_paced = is_paced

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for seconds, data in self._exchange.body():
            # Even without pacing, others have their turn between two pieces.
            await asyncio.sleep(seconds if self._is_paced else 0)
            yield data
        await _end(self._exchange, self._request)

    async def aclose(self) -> None:
        pass


async def _end(exchange: Exchange, request: httpx2.Request) -> None:
    """End as the recorded exchange did."""
    match exchange.ending:
        case "complete":
            return
        case "waiting":
            await wait_within(Hang(), request)
        case "left":
            raise NotRecordedError(
                f"The recording of {exchange.request.method} {exchange.request.path} ends here, where the client "
                "left the answer; now it reads on. If that is meant, record it anew (mode='record')."
            )
        case name:
            raise ERRORS[name](exchange.message, request=request)


def _canonical(request: RequestRecord) -> str:
    return f"{request.method} {request.path} {json.dumps(request.body, sort_keys=True)}"


def _lines(request: RequestRecord) -> list[str]:
    body = json.dumps(request.body, indent=2, sort_keys=True, ensure_ascii=False)
    return [f"{request.method} {request.path}", *body.splitlines()]
