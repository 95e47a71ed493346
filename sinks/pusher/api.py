"""Pusher's HTTP API over one kept connection: signed, repeated where that is safe, errors as our own."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from itertools import count

import aiohttp
import msgspec
from yarl import URL

from hub.errors import InvalidRequestError, SinkUnavailableError
from sinks.pusher.app import PusherApp
from sinks.pusher.messages import Message
from sinks.pusher.replies import refusal
from sinks.pusher.signing import signed_target

__all__ = ("MAX_BATCH", "PusherApi")

log = logging.getLogger(__name__)

MAX_BATCH = 10
"""Messages in one request (pusher.com/docs/channels/library_auth_reference/rest-api, read 2026-11-21)."""

MAX_ANSWER_BYTES = 65_536
FIRST_DELAY, MAX_DELAY = 0.1, 5.0


class PusherApi:
    """Publishes to the channels of one app. Use it in one task at a time.

    What fails and may succeed later (no connection, no answer, 408, 429, 5xx) is repeated, with growing pauses, as long
    as `max_outage` allows. A repeat after an answer that was lost delivers messages twice.

    Args:
        app: Identity and address.
        timeout: Seconds that one request may take.
        max_outage: Seconds from the first failure of a request to giving it up.
        clock: Unix seconds.
        random: From 0 to 1, spreads the repeats of many senders.

    Attributes:
        trouble: What the last request failed with, without a full stop; None where it went well, or there was none.

    Raises:
        InvalidRequestError: A number of seconds makes no sense.
    """

    def __init__(
        self,
        app: PusherApp,
        *,
        timeout: float,
        max_outage: float,
        clock: Callable[[], float],
        random: Callable[[], float],
    ) -> None:
        if not timeout > 0 or not max_outage >= 0:
            raise InvalidRequestError("timeout is above 0 seconds, and max_outage at least 0.")
        self._app = app
        self._timeout = timeout
        self._max_outage = max_outage
        self._clock = clock
        self._random = random
        self._session: aiohttp.ClientSession | None = None
        self.trouble: str | None = None

    async def publish(self, channels: Sequence[str], messages: Sequence[Message]) -> None:
        """Send messages in order: one to all of the channels, or up to `MAX_BATCH` to a single one.

        Raises:
            SinkRejectedError: Pusher refuses them.
            SinkUnavailableError: Pusher was away, failed or asked for patience for longer than `max_outage`.
        """
        path, body = _request(self._app.app_id, channels, messages)
        loop = asyncio.get_running_loop()
        give_up_at: float | None = None
        for attempt in count():
            began = loop.time()
            try:
                await self._post(path, body)
                self.trouble = None
                return
            except SinkUnavailableError as exc:
                self.trouble = str(exc).rstrip(".")
                if give_up_at is None:
                    give_up_at = began + self._max_outage
                delay = self._delay(attempt, exc.retry_after)
                if loop.time() + delay > give_up_at:
                    raise SinkUnavailableError(
                        f"Given up, since max_outage is {self._max_outage:g} s: {exc}",
                        status=exc.status,
                        retry_after=exc.retry_after,
                    ) from exc
                log.info("%s The request is sent again in %.1f s.", exc, delay)
            await asyncio.sleep(delay)

    async def aclose(self) -> None:
        """Let the connection go; a second call does nothing."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _post(self, path: str, body: bytes) -> None:
        now = self._clock()
        target = signed_target(self._app, path, body, at=int(now))
        try:
            # Encoded: what was signed must not be quoted anew.
            url = URL(self._app.url + target, encoded=True)
            async with self._open().post(url, data=body, allow_redirects=False) as response:
                answer = await _beginning(response)
                headers = {name.lower(): value for name, value in response.headers.items()}
        except TimeoutError as exc:
            raise SinkUnavailableError(f"Pusher at {self._app.host} did not answer in {self._timeout:g} s.") from exc
        except (aiohttp.ClientError, OSError) as exc:
            raise SinkUnavailableError(_connection_words(self._app, exc)) from exc
        if error := refusal(self._app, response.status, headers, answer, now=now):
            raise error

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=1, keepalive_timeout=60),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"Content-Type": "application/json", "X-Pusher-Library": "llm-stream-hub"},
                timeout=aiohttp.ClientTimeout(total=self._timeout),
                raise_for_status=False,
            )
        return self._session

    def _delay(self, attempt: int, retry_after: float | None) -> float:
        spread: float = FIRST_DELAY * 2 ** min(attempt, 10) * (0.5 + self._random() / 2)
        return max(min(spread, MAX_DELAY), retry_after or 0.0)


def _request(app_id: str, channels: Sequence[str], messages: Sequence[Message]) -> tuple[str, bytes]:
    """Path and body of what publishes these messages."""
    if len(messages) == 1:
        (message,) = messages
        body = {"name": message.name, "channels": list(channels), "data": message.data.decode()}
        return f"/apps/{app_id}/events", msgspec.json.encode(body)
    (channel,) = channels
    batch = [{"channel": channel, "name": message.name, "data": message.data.decode()} for message in messages]
    return f"/apps/{app_id}/batch_events", msgspec.json.encode({"batch": batch})


async def _beginning(response: aiohttp.ClientResponse) -> bytes:
    """The body, or as much of it as makes sense."""
    parts: list[bytes] = []
    size = 0
    async for part in response.content.iter_any():
        parts.append(part)
        size += len(part)
        if size > MAX_ANSWER_BYTES:
            response.close()
            break
    return b"".join(parts)


def _connection_words(app: PusherApp, exc: Exception) -> str:
    # Some of aiohttp's quote the whole address, signature included.
    reason = exc.strerror if isinstance(exc, OSError) and exc.strerror else type(exc).__name__
    return f"Pusher at {app.url} can't be reached: {reason}."
