"""`hub tail`."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from urllib.parse import quote, urlsplit

import httpx2

from hub.errors import HubError, InvalidRequestError
from hub.events import Done, Error, LLMEvent, RefusalDelta, Snapshot, TextDelta, decode_event, encode_event
from hub.upstream.sse import SSEDecoder

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
        self._hub = options.url.rstrip("/")
        if urlsplit(self._hub).scheme not in ("http", "https"):
            raise InvalidRequestError(f"The hub's address should be of the form http://host:port; it is {self._hub!r}.")
        self._stream_url = f"{self._hub}/v1/streams/{quote(options.stream_id, safe='')}"
        self._key_env = options.key_env
        self._was_connected = False
        self._as_json = options.json
        self._after = options.after
        self._status: str | None = None
        key = os.environ.get(options.key_env)
        self._headers = {"Accept": "text/event-stream"} | ({"Authorization": f"Bearer {key}"} if key else {})

    async def follow(self) -> int:
        delay = RECONNECT_DELAY
        timeout = httpx2.Timeout(10.0, read=SILENCE_TIMEOUT)
        async with httpx2.AsyncClient(timeout=timeout, headers=self._headers) as client:
            while self._status is None:
                before = self._after
                try:
                    await self._read_once(client)
                except httpx2.TransportError as exc:
                    if not self._was_connected:
                        raise HubError(
                            f"No hub answers at {self._hub}: is `hub serve` running? Name another with --url."
                        ) from exc
                    print(f"hub: the connection to {self._hub} is lost, next try in {delay:g} s", file=sys.stderr)
                if self._status is None:
                    delay = RECONNECT_DELAY if self._after > before else delay
                    await asyncio.sleep(delay)
                    delay = min(MAX_RECONNECT_DELAY, delay * 2)
        return {"completed": 0, "cancelled": 130}.get(self._status, 1)

    async def _read_once(self, client: httpx2.AsyncClient) -> None:
        headers = {"Last-Event-ID": str(self._after)} if self._after >= 0 else {}
        async with client.stream("GET", f"{self._stream_url}/events", headers=headers) as response:
            self._was_connected = True
            if response.status_code == 204:  # it has ended before; only how is left to tell
                self._status = (await client.get(self._stream_url)).json()["status"]
                return
            if response.status_code in (502, 503, 504):
                return
            if response.status_code != 200:
                await response.aread()
                hint = f" Set {self._key_env} to the hub's key." if response.status_code == 401 else ""
                raise HubError(_detail(response) + hint)
            decoder = SSEDecoder()
            async for data in response.aiter_bytes():
                for frame in decoder.feed(data):
                    self._show(decode_event(frame.data))

    def _show(self, event: LLMEvent) -> None:
        if event.seq <= self._after:
            return
        self._after = event.seq
        if self._as_json:
            print(encode_event(event).decode(), flush=True)
        match event:
            case TextDelta() | RefusalDelta() if not self._as_json:
                print(event.text, end="", flush=True)
            case Snapshot() if not self._as_json:
                print(event.result.text, end="", flush=True)
            case Error():
                print(f"\nhub: {event.message} ({event.code})", file=sys.stderr)
            case Done():
                self._status = event.status
                if not self._as_json:
                    print(flush=True)


def _detail(response: httpx2.Response) -> str:
    try:
        return str(response.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return f"{response.url} answered with status {response.status_code}."
