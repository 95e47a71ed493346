"""Pusher's HTTP API on loopback, as strict as its documentation.

It checks signature, body digest, time, limits and names of every request, and answers with the statuses that Pusher
documents (pusher.com/docs/channels/library_auth_reference/rest-api, read 2026-11-21).
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Self

from aiohttp import web

from hub.events import LLMEvent
from sinks.pusher import Assembler, PusherApp

APP_ID, KEY, SECRET = "1234", "the-key", "the-secret"
CHANNEL = re.compile(r"[-a-zA-Z0-9_=@,.;]{1,200}")

Answer = Callable[[], Awaitable[web.StreamResponse]]


@dataclass
class Sent:
    """One message as it was published."""

    channel: str
    name: str
    data: str
    at: float


@dataclass
class Asked:
    """One request, as it came."""

    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes
    connection: Any
    messages: int = 0


def refuse(status: int, words: str) -> web.Response:
    """What Pusher says when it takes nothing: a status and a sentence, as plain text."""
    return web.Response(status=status, text=words)


def answering(status: int = 200, text: str = "{}", **headers: str) -> Answer:
    """An answer for `StrictPusher.next_answers`."""

    async def answer() -> web.StreamResponse:
        return web.Response(status=status, text=text, headers=headers)

    return answer


@dataclass
class StrictPusher:
    """The server of one app, which keeps what is published for the tests to look at.

    Attributes:
        clock: Its own, in Unix seconds.
        max_event_bytes: Of one message's data.
        asked: Every request that came.
        sent: Every message that was taken.
        refused: Every request that was not, as status and words.
        next_answers: What it does with the next requests instead of taking them, one each.
        most_under_way: How many requests were there at once, at most.
        port: Where it listens.
    """

    clock: Callable[[], float] = time.time
    max_event_bytes: int = 10_240
    asked: list[Asked] = field(default_factory=list)
    sent: list[Sent] = field(default_factory=list)
    refused: list[tuple[int, str]] = field(default_factory=list)
    next_answers: list[Answer] = field(default_factory=list)

    async def __aenter__(self) -> Self:
        self._free = asyncio.Event()
        self._free.set()
        self._arrived = asyncio.Event()
        self._under_way = 0
        self.most_under_way = 0
        self.port = 0
        await self.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """It takes connections, on the port it had before."""
        app = web.Application(client_max_size=64_000_000)
        app.router.add_post("/{path:.*}", self._post)
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """It is away: it has cut what there was, and refuses what comes."""
        await self._runner.cleanup()

    @property
    def app(self) -> PusherApp:
        """How a sink reaches it."""
        return PusherApp(app_id=APP_ID, key=KEY, secret=SECRET, host="127.0.0.1", port=self.port, ssl=False)

    async def has(self, messages: int) -> None:
        """Return once so many messages have come; fails where they don't within 5 s."""
        async with asyncio.timeout(5):
            while len(self.sent) < messages:
                self._arrived.clear()
                await self._arrived.wait()

    def paces(self) -> list[float]:
        """Seconds of the loop's clock at which messages came."""
        return [sent.at for sent in self.sent]

    def hold(self, held: bool) -> None:
        """Take nothing, and answer nothing, while `held`."""
        (self._free.clear if held else self._free.set)()

    def events(self, channel: str) -> list[LLMEvent]:
        """What a subscriber of the channel has read."""
        assembler = Assembler()
        return [event for sent in self.sent if sent.channel == channel for event in assembler.add(sent.data)]

    async def _post(self, request: web.Request) -> web.StreamResponse:
        self._under_way += 1
        self.most_under_way = max(self.most_under_way, self._under_way)
        try:
            body = await request.read()
            asked = Asked(request.path, dict(request.query), dict(request.headers), body, id(request.transport))
            self.asked.append(asked)
            await self._free.wait()
            if self.next_answers:
                return await self.next_answers.pop(0)()
            answer = self.take(asked)
            if answer.status != 200:
                self.refused.append((answer.status, answer.text or ""))
            return answer
        finally:
            self._under_way -= 1

    def take(self, asked: Asked) -> web.Response:
        """What it answers to a request, whose messages it has taken if that is 200."""
        refusal = self._check_signature(asked) or self._check_path(asked.path)
        if refusal is not None:
            return refusal
        try:
            body = json.loads(asked.body.decode())
        except ValueError:
            return refuse(400, "The body is no JSON in UTF-8.")
        if asked.path.endswith("/batch_events"):
            batch = body["batch"]
            if not 1 <= len(batch) <= 10:
                return refuse(400, f"A batch has 1 to 10 events; this one has {len(batch)}.")
        else:
            channels = body["channels"]
            if not 1 <= len(channels) <= 100:
                return refuse(400, f"An event goes to 1 to 100 channels; this one to {len(channels)}.")
            batch = [{**body, "channel": channel} for channel in channels]
        for message in batch:
            if (refusal := self._check_message(message)) is not None:
                return refusal
        asked.messages = len(batch)
        now = asyncio.get_running_loop().time()
        self.sent += [Sent(message["channel"], message["name"], message["data"], now) for message in batch]
        self._arrived.set()
        return web.json_response({"batch": [{} for _ in batch]} if "batch" in body else {})

    def _check_signature(self, asked: Asked) -> web.Response | None:
        query = dict(asked.query)
        signature = query.pop("auth_signature", "")
        if set(query) != {"auth_key", "auth_timestamp", "auth_version", "body_md5"}:
            return refuse(401, f"The query has {sorted(query)}.")
        if query["auth_key"] != KEY:
            return refuse(401, "Unknown auth_key")
        if query["auth_version"] != "1.0":
            return refuse(401, "Unknown auth_version")
        # usedforsecurity: Pusher's scheme has it so.
        if query["body_md5"] != hashlib.md5(asked.body, usedforsecurity=False).hexdigest():
            return refuse(401, "Invalid body_md5")
        text = "\n".join(["POST", asked.path, "&".join(f"{name}={query[name]}" for name in sorted(query))])
        expected = hmac.new(SECRET.encode(), text.encode(), hashlib.sha256).hexdigest()
        if not hmac.compare_digest(expected, signature):
            return refuse(401, f"Invalid signature: you should have sent {expected} for {text!r}")
        if abs(self.clock() - int(query["auth_timestamp"])) > 600:
            return refuse(401, "Timestamp expired: given timestamp is not within 600s of server time")
        return None

    def _check_path(self, path: str) -> web.Response | None:
        if path in (f"/apps/{APP_ID}/events", f"/apps/{APP_ID}/batch_events"):
            return None
        return refuse(404, f"There is nothing at {path}.")

    def _check_message(self, message: Any) -> web.Response | None:
        if not CHANNEL.fullmatch(message["channel"]):
            return refuse(400, f"Invalid channel name {message['channel']!r}")
        if not 1 <= len(message["name"]) <= 200:
            return refuse(400, "Invalid event name")
        if not isinstance(message["data"], str) or not message["data"]:
            return refuse(400, "The data must be a string")
        if len(message["data"].encode()) > self.max_event_bytes:
            return refuse(
                413, f"The data content of this event exceeds the allowed maximum ({self.max_event_bytes} bytes)."
            )
        return None
