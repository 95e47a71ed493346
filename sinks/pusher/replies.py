"""What Pusher's answer to a request means. Pure: the clock is an argument."""

from __future__ import annotations

from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec

from hub.errors import SinkError, SinkRejectedError, SinkUnavailableError
from sinks.pusher.app import PusherApp

__all__ = ("refusal",)

MAX_SKEW = 600
"""Seconds that a request's time may differ from Pusher's own."""

_ADVICE = {
    400: "The request is malformed.",
    401: "Check PUSHER_AUTH_KEY and PUSHER_AUTH_SECRET.",
    403: "The app is disabled, or over its quota of messages.",
    404: "Check PUSHER_APP_ID and PUSHER_APP_CLUSTER: there is no such app.",
    413: "A message is larger than this app may send; pass a smaller max_event_bytes.",
}


def refusal(app: PusherApp, status: int, headers: Mapping[str, str], body: bytes, *, now: float) -> SinkError | None:
    """The error that an answer stands for; None where the messages were taken.

    An answer of 200 whose body has an `error` is one, by the status in its `code`. So is one that no server of this
    protocol gives, such as a proxy's page.

    Args:
        app: Its secret is left out of what is quoted.
        status: HTTP status.
        headers: Of the response, by names in lower case.
        body: Of the response, or the beginning of it.
        now: Unix seconds by this machine's clock.
    """
    answer = _object(body)
    if status in (200, 202) and answer is not None and not answer.get("error"):
        return None
    words = _quoted(answer.get("error") if answer is not None else None, body, app.secret)
    if status in (200, 202):
        code = answer.get("code") if answer is not None else None
        if answer is None:
            return SinkUnavailableError(
                f"What answers at {app.url} is no server of Pusher's protocol{words}", status=status
            )
        status = code if isinstance(code, int) and 400 <= code <= 599 else status
    message = f"Pusher at {app.host} answered {status}{words}"
    if status in (408, 425, 429) or status >= 500:
        return SinkUnavailableError(message, status=status, retry_after=_retry_after(headers))
    advice = _ADVICE.get(status, "Is PUSHER_HOST right?" if status < 400 else "")
    if status == 401 and (skew := _skew(headers, now)) is not None:
        advice = (
            f"This machine's clock is {abs(skew):.0f} s {'ahead' if skew > 0 else 'behind'}; "
            f"Pusher takes no request more than {MAX_SKEW} s off."
        )
    return SinkRejectedError(f"{message} {advice}".rstrip(), status=status)


def _object(body: bytes) -> dict[str, Any] | None:
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None


def _quoted(error: object, body: bytes, secret: str) -> str:
    text = error if isinstance(error, str) else body.decode(errors="replace")
    # Printable only: it ends in logs and terminals, which obey some characters.
    words = "".join(each if each.isprintable() else "?" for each in " ".join(text.replace(secret, "…").split())[:200])
    return f": {words.rstrip('.')}." if words else "."


def _retry_after(headers: Mapping[str, str]) -> float | None:
    text = headers.get("retry-after", "").strip()
    return float(text) if text.isascii() and text.isdecimal() and len(text) < 7 else None


def _skew(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds that our clock is ahead of the server's, where that is more than Pusher bears."""
    try:
        skew = now - parsedate_to_datetime(headers.get("date", "")).timestamp()
    except (ValueError, OverflowError):
        return None
    return skew if abs(skew) > MAX_SKEW else None
