"""What `hub doctor` says of sinks."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from typing import NamedTuple

from hub.config import Settings
from hub.errors import ConfigurationError, MissingExtraError
from hub.named_sinks import NamedSinks, parse_sinks
from sinks.pusher import PusherApp

__all__ = ("Finding", "examine_sinks")

_PUSHER = ("PUSHER_APP_ID", "PUSHER_AUTH_KEY", "PUSHER_AUTH_SECRET", "PUSHER_APP_CLUSTER", "PUSHER_HOST")


class Finding(NamedTuple):
    """One line of the report.

    Attributes:
        what: What was looked at.
        words: How it is.
        is_fine: None where it isn't needed, and isn't there.
    """

    what: str
    words: str
    is_fine: bool | None


async def examine_sinks(settings: Settings) -> AsyncIterator[Finding]:
    """What sinks need, and each of `HUB_SINKS`; they are made and not entered, so nothing is sent anywhere."""
    yield _pusher()
    yield _webhook(settings)
    if not settings.hub.sinks:
        yield Finding("sinks", "none that requests may name: HUB_SINKS is not set", None)
        return
    try:
        urls = parse_sinks(settings.hub.sinks)
    except ConfigurationError as exc:
        yield Finding("sinks", f"HUB_SINKS: {exc}", False)
        return
    for name, url in urls.items():
        try:
            async with NamedSinks({name: url}):
                yield Finding(f"sink {name}", f"{url.partition(':')[0]}://… makes sense (not tried)", True)
        except ConfigurationError as exc:
            yield Finding(f"sink {name}", str(exc).removeprefix(f"The sink {name}: "), False)


def _pusher() -> Finding:
    if not any(os.environ.get(name, "").strip() for name in _PUSHER):
        return Finding("pusher", "not configured: PUSHER_APP_ID and so on are not set", None)
    try:
        app = PusherApp.configured()
    except ConfigurationError as exc:
        return Finding("pusher", str(exc), False)
    return Finding("pusher", f"app {app.app_id} at {app.url} (not tried)", True)


def _webhook(settings: Settings) -> Finding:
    if settings.webhook.secret is None:
        return Finding("webhook", "not configured: WEBHOOK_SECRET is not set", None)
    try:
        from sinks.webhook.signature import Signer  # which needs an extra

        Signer(settings.webhook.secret.get_secret_value())
    except MissingExtraError as exc:
        return Finding("webhook", f"WEBHOOK_SECRET is set. {exc}", None)
    except ConfigurationError as exc:
        return Finding("webhook", f"WEBHOOK_SECRET: {exc}", False)
    return Finding("webhook", "WEBHOOK_SECRET is set", True)
