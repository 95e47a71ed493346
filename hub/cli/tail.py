"""`hub tail`."""

from __future__ import annotations

import argparse
import asyncio
import sys
from urllib.parse import quote

import httpx2

from hub.cli.running_hub import authorization, hub_url
from hub.errors import HubError
from hub.events import Done, Error, LLMEvent, RefusalDelta, Snapshot, TextDelta, decode_event, encode_event
from hub.upstream.wire.sse import FrameTooLongError, SSEDecoder

__all__ = ("run",)

RECONNECT_DELAY = 1.0
MAX_RECONNECT_DELAY = 15.0
SILENCE_TIMEOUT = 60.0
"""Seconds without a byte, of several heartbeats, after which a connection is taken for dead."""


def run(options: argparse.Namespace) -> int:
    """Follow the stream and print it."""
    return asyncio.run(_Tail(options).follow())


class _Tail:
    """A reader of one stream over HTTP that knows its position."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._hub = hub_url(options)
        self._stream_url = f"{self._hub}/v1/streams/{quote(options.stream_id, safe='')}"
        self._key_env = options.key_env
        self._was_connected = False
        self._as_json = options.json
        self._after = options.after
        self._status: str | None = None
        self._line_begun = False
        self._headers = {"Accept": "text/event-stream"} | authorization(options)

    async def follow(self) -> int:
        delay = RECONNECT_DELAY
        timeout = httpx2.Timeout(10.0, read=SILENCE_TIMEOUT)
        async with httpx2.AsyncClient(timeout=timeout, headers=self._headers) as client:
            while self._status is None:
                before = self._after
                trouble = f"the connection to {self._hub} is lost"
                try:
                    trouble = await self._read_once(client) or trouble
                except httpx2.TransportError as exc:
                    if not self._was_connected:
                        raise HubError(
                            f"No hub answers at {self._hub}: is `hub serve` running? Name another with --url."
                        ) from exc
                except (httpx2.HTTPError, FrameTooLongError) as exc:
                    raise self._no_hub() from exc
                if self._status is None:
                    delay = RECONNECT_DELAY if self._after > before else delay
                    start = "\n" if self._line_begun else ""  # not to standard output: the line goes on
                    print(f"{start}hub: {trouble}, next try in {delay:g} s", file=sys.stderr)
                    await asyncio.sleep(delay)
                    delay = min(MAX_RECONNECT_DELAY, delay * 2)
        return {"completed": 0, "cancelled": 130}.get(self._status, 1)

    async def _read_once(self, client: httpx2.AsyncClient) -> str | None:
        """Read to the end of one connection; where the hub can't serve it now, say so."""
        headers = {"Last-Event-ID": str(self._after)} if self._after >= 0 else {}
        async with client.stream("GET", f"{self._stream_url}/events", headers=headers) as response:
            self._was_connected = True
            if response.status_code == 204:  # it has ended before; only how is left to tell
                self._status = self._ended_status(await client.get(self._stream_url))
                return None
            if response.status_code in (502, 503, 504):
                return f"{self._hub} answers with status {response.status_code}"
            if response.status_code != 200:
                await response.aread()
                hint = f" Set {self._key_env} to the hub's key." if response.status_code == 401 else ""
                raise HubError(_detail(response) + hint)
            if response.headers.get("Content-Type", "").partition(";")[0].strip().lower() != "text/event-stream":
                raise self._no_hub()
            decoder = SSEDecoder()
            async for data in response.aiter_bytes():
                for frame in decoder.feed(data):
                    self._show(decode_event(frame.data))
        return None

    def _ended_status(self, response: httpx2.Response) -> str:
        try:
            return str(response.json()["status"])
        except (ValueError, KeyError, TypeError):
            raise self._no_hub() from None

    def _no_hub(self) -> HubError:
        return HubError(f"What answers at {self._hub} is no hub: name the hub's address with --url.")

    def _show(self, event: LLMEvent) -> None:
        if event.seq <= self._after:
            return
        self._after = event.seq
        if self._as_json:
            print(encode_event(event).decode(), flush=True)
        match event:
            case TextDelta() | RefusalDelta() if not self._as_json:
                self._print(event.text)
            case Snapshot() if not self._as_json:
                self._print(event.result.text)
            case Error():
                self._end_line()
                print(f"hub: {event.message} ({event.code})", file=sys.stderr)
            case Done():
                self._status = event.status
                self._end_line()

    def _print(self, text: str) -> None:
        print(text, end="", flush=True)
        self._line_begun = self._line_begun or bool(text)

    def _end_line(self) -> None:
        if self._line_begun:
            print(flush=True)
        self._line_begun = False


def _detail(response: httpx2.Response) -> str:
    try:
        return str(response.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return f"{response.url} answered with status {response.status_code}."
