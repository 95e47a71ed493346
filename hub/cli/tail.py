"""`hub tail`."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys

import httpx2

from hub.errors import HubError
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
        self._url = f"{options.url.rstrip('/')}/v1/streams/{options.stream_id}/events"
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
                    print(f"hub: connection lost ({type(exc).__name__}), trying again in {delay:g} s", file=sys.stderr)
                if self._status is None:
                    delay = RECONNECT_DELAY if self._after > before else delay
                    await asyncio.sleep(delay)
                    delay = min(MAX_RECONNECT_DELAY, delay * 2)
        return {"completed": 0, "cancelled": 130}.get(self._status, 1)

    async def _read_once(self, client: httpx2.AsyncClient) -> None:
        headers = {"Last-Event-ID": str(self._after)} if self._after >= 0 else {}
        async with client.stream("GET", self._url, headers=headers) as response:
            if response.status_code == 204:
                self._status = "completed"
                return
            if response.status_code in (502, 503, 504):
                return
            if response.status_code != 200:
                body = await response.aread()
                raise HubError(_detail(response, body))
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


def _detail(response: httpx2.Response, body: bytes) -> str:
    try:
        return str(response.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return f"{response.url} answered with status {response.status_code}."
