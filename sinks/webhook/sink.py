"""The sink that posts events to a URL."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from ipaddress import ip_address
from typing import Self

import aiohttp
from yarl import URL

from hub.errors import ConfigurationError
from hub.events import LLMEvent, encode_event
from sinks.outbox import Outbox, Waiting
from sinks.webhook.delivery import Delivery
from sinks.webhook.payload import fitting, freeze
from sinks.webhook.signature import Signer

__all__ = ("WebhookSink",)


class WebhookSink:
    """Posts events in signed batches, in order, one request at a time, after the Standard Webhooks scheme.

    What gathers while one request is under way, and for up to `max_delay` seconds, goes in the next, neighbouring
    deltas merged. A request that fails is sent again as it was, signed anew. `send` waits in two cases: with `done`,
    which returns once the receiver has taken the whole stream, and while `max_held_bytes` are held. A receiver that
    refuses or stays away ends the sink: the next `send` raises it, else `aclose`.

    The receiver checks with `verify` what it gets. Use the sink as an async context manager.

    Args:
        url: Where to, over https; http only to this machine, or with `allow_http`.
        secret: One or several to sign with, each `whsec_` and base64; several while one is exchanged for another. By
            default what the environment variable `WEBHOOK_SECRET` has, spaces between several.
        max_delay: Seconds that an event may wait for others.
        max_batch_bytes: Of a request's body. An event that is larger by itself has a request to itself.
        max_batch_events: In a request.
        max_held_bytes: Bytes of events held for the receiver, after which `send` waits.
        request_timeout: Seconds that one request may take.
        give_up_after: Seconds for which a batch is sent again.
        retry_delay: Seconds before the first repeat; later ones wait longer.
        close_timeout: Seconds that `aclose` waits for the last batch.
        allow_http: Also send over http, where anyone on the way can read along.
        session: Used in the place of an own one, and left open: for proxies, or to share connections.
        now: The time in Unix seconds.

    Raises:
        ConfigurationError: The URL, the secret or another argument makes no sense.
    """

    def __init__(
        self,
        url: str,
        *,
        secret: str | Sequence[str] | None = None,
        max_delay: float = 0.25,
        max_batch_bytes: int = 20_000,
        max_batch_events: int = 500,
        max_held_bytes: int = 4_000_000,
        request_timeout: float = 15.0,
        give_up_after: float = 60.0,
        retry_delay: float = 0.5,
        close_timeout: float = 15.0,
        allow_http: bool = False,
        session: aiohttp.ClientSession | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        if max_delay < 0 or min(max_batch_bytes, max_batch_events, max_held_bytes) < 1:
            raise ConfigurationError("max_delay must be 0 or more; the other bounds of a webhook, 1 or more.")
        if min(request_timeout, give_up_after, retry_delay, close_timeout) <= 0:
            raise ConfigurationError("The timeouts of a webhook and its retry_delay must be above 0.")
        self._delivery = Delivery(
            _checked(url, allow_http=allow_http),
            Signer(_secret(secret)),
            request_timeout=request_timeout,
            give_up_after=give_up_after,
            min_delay=retry_delay,
            now=now,
        )
        self._now = now
        self._session = session
        self._own_session: aiohttp.ClientSession | None = None
        self._outbox = Outbox(
            self._delivery.name,
            self._deliver,
            release=self._release,
            fitting=partial(fitting, max_bytes=max_batch_bytes, max_events=max_batch_events),
            max_delay=max_delay,
            eager_bytes=max_batch_bytes,
            max_bytes=max_held_bytes,
            close_timeout=close_timeout,
            trouble=lambda: self._delivery.trouble,
        )

    async def __aenter__(self) -> Self:
        await self._outbox.__aenter__()
        return self

    async def __aexit__(self, exc_type: type[BaseException] | None, *exc_info: object) -> None:
        await self._outbox.__aexit__(exc_type, *exc_info)

    async def send(self, event: LLMEvent) -> None:
        """Hold the event for the next request; a `done`, until the receiver has taken it.

        Raises:
            MalformedEventError: Its text has half a character. The event is left out, and the sink stays usable.
            SinkRejectedError: The receiver refuses the events.
            SinkUnavailableError: It stayed away for `give_up_after` seconds.
            ClosedError: The sink is closed, or was not entered.
        """
        await self._outbox.put(event, encode_event(event))
        if event.type == "done":
            await self._outbox.flush()

    @property
    def trouble(self) -> str | None:
        """What the last request failed with, while it is sent again; None where none did."""
        return self._delivery.trouble

    async def aclose(self) -> None:
        """Send what is held, for at most `close_timeout` seconds; a second call does nothing.

        Raises:
            SinkError: The receiver did not take it, and no `send` has said so.
        """
        await self._outbox.aclose()

    async def _deliver(self, group: list[Waiting]) -> None:
        if self._session is None:
            # Each attempt has its own timeout.
            self._session = self._own_session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None))
        await self._delivery.deliver(self._session, freeze([each.event for each in group], self._now()))

    async def _release(self) -> None:
        if self._own_session is not None:
            await self._own_session.close()


def _secret(given: str | Sequence[str] | None) -> str | Sequence[str]:
    secret = os.environ.get("WEBHOOK_SECRET", "") if given is None else given
    if not secret:
        raise ConfigurationError(
            "Webhooks are signed: set the environment variable WEBHOOK_SECRET (in code, secret=… does as well)."
        )
    return secret


def _checked(url: str, *, allow_http: bool) -> URL:
    try:
        parsed = URL(url)
    except (ValueError, TypeError):
        parsed = URL()
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise ConfigurationError("The URL of a webhook is not of the form https://host/path.")
    if not _can_be_looked_up(parsed.raw_host):
        raise ConfigurationError(
            "The host of a webhook's URL has a label that is empty, or longer than 63 characters: no name has."
        )
    if parsed.scheme == "http" and not allow_http and not _is_this_machine(parsed.host):
        raise ConfigurationError(
            f"The webhook of {parsed.host} has a URL of http, which anyone on the way can read: give one of https (in "
            "code, allow_http=True takes it all the same)."
        )
    return parsed


def _can_be_looked_up(host: str | None) -> bool:
    try:
        (host or "").encode("idna")
    except UnicodeError:
        return False
    return True


def _is_this_machine(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
