"""Signatures after the Standard Webhooks scheme, and what checks them.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md (read 2026-11-21): the
headers `webhook-id`, `webhook-timestamp` (Unix seconds) and `webhook-signature`, which has `v1,` and the base64 of
HMAC-SHA256 over `id.timestamp.body` for each key, separated by spaces. Signed by the scheme's own package.
"""

from __future__ import annotations

import binascii
import hmac
import secrets
import time
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

from hub.errors import ConfigurationError, InvalidRequestError, MissingExtraError
from hub.events import LLMEvent
from sinks.webhook.payload import Batch, events_of

try:
    from standardwebhooks import Webhook
except ImportError as exc:
    raise MissingExtraError("A WebhookSink", "webhook") from exc

__all__ = ("Signer", "new_secret", "verify")

TOLERANCE = 300.0
"""Seconds by which the clocks of the two sides may differ, the way of the request included."""

_PREFIX = "whsec_"
_KEY_BYTES = range(24, 65)
_MAX_DIGITS = 11
"""Of a time that a calendar can say: with twelve, its year may have five."""

_HEADERS = ("webhook-id", "webhook-timestamp", "webhook-signature")


def new_secret() -> str:
    """A fresh secret for both sides: `whsec_` and the base64 of 32 random bytes."""
    return _PREFIX + b64encode(secrets.token_bytes(32)).decode()


class Signer:
    """Signs with each of its secrets, so that one can be exchanged while receivers still have the other.

    Args:
        given: One secret or several, each `whsec_` and the base64 of 24 to 64 bytes; in one text, spaces separate them.

    Raises:
        ConfigurationError: There is none, or one is of another form.
    """

    def __init__(self, given: str | Sequence[str]) -> None:
        texts = given.split() if isinstance(given, str) else [text for each in given for text in each.split()]
        if not texts:
            raise ConfigurationError("A webhook needs a secret: whsec_ and the base64 of 24 to 64 random bytes.")
        self._keys = [Webhook(_key(text)) for text in texts]

    def headers(self, batch: Batch, now: float) -> dict[str, str]:
        """The headers under which a batch is sent at `now`, in Unix seconds."""
        timestamp = int(now)
        signatures = self.signatures(batch.id, timestamp, batch.body.decode())
        return dict(zip(_HEADERS, (batch.id, str(timestamp), " ".join(signatures)), strict=True))

    def signatures(self, message_id: str, timestamp: int, body: str) -> list[str]:
        """The signature by each secret."""
        signed_at = datetime.fromtimestamp(timestamp, UTC)
        return [key.sign(message_id, signed_at, body) for key in self._keys]


def verify(
    headers: Mapping[str, str],
    body: bytes,
    secret: str | Sequence[str],
    *,
    tolerance: float = TOLERANCE,
    now: Callable[[], float] = time.time,
) -> list[LLMEvent]:
    """The events of a request that a `WebhookSink` sent, once its signature is checked.

    A request may come twice, and so may its events: they are known by their `seq`, and a fold passes repeats over.

    Args:
        headers: The request's, in whatever case.
        body: The request's, as it came: parsed and written anew, its signature is lost.
        secret: What the sink signs with; of several, one has to be among its own.
        tolerance: Seconds by which the request's time may differ from `now`. Older ones may be replays.
        now: The time in Unix seconds.

    Raises:
        InvalidRequestError: The request is not signed with the secret, or not now. Answer 401.
        MalformedEventError: It is, but says something else than events. Answer 400.
        ConfigurationError: The secret is none.
    """
    signer = Signer(secret)
    message_id, timestamp, given = _signed(headers)
    if abs(now() - timestamp) > tolerance:
        raise InvalidRequestError(
            f"The webhook was signed at {timestamp}, more than {tolerance:g} s from now: it is a replay, or a clock is "
            "wrong."
        )
    try:
        expected = signer.signatures(message_id, timestamp, body.decode())
    except UnicodeDecodeError as exc:
        raise InvalidRequestError("The webhook's body is no UTF-8, as all signed ones are.") from exc
    offered = [each.encode(errors="replace") for each in given.split(" ")]
    # Compared in constant time, each with each.
    if not any([hmac.compare_digest(ours.encode(), theirs) for ours in expected for theirs in offered]):  # noqa: C419
        raise InvalidRequestError("The webhook is not signed with the secret that is known here.")
    return events_of(body)


def _signed(headers: Mapping[str, str]) -> tuple[str, int, str]:
    found = {name.lower(): value for name, value in headers.items()}
    missing = [name for name in _HEADERS if not found.get(name)]
    if missing:
        raise InvalidRequestError(f"No signed webhook: {', '.join(missing)} is missing.")
    message_id, timestamp, signature = (found[name] for name in _HEADERS)
    if not message_id.isascii():  # what a server makes of other bytes may have no UTF-8 to be signed
        raise InvalidRequestError("No signed webhook: webhook-id is no ASCII, as all that are sent are.")
    if not (timestamp.isascii() and timestamp.isdecimal() and len(timestamp) <= _MAX_DIGITS):
        raise InvalidRequestError("No signed webhook: webhook-timestamp is no number of seconds.")
    return message_id, int(timestamp), signature


def _key(text: str) -> bytes:
    try:
        key = b64decode(text.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) not in _KEY_BYTES:
        # Without the text: it may be a secret with a slip of the pen.
        raise ConfigurationError(
            "A webhook's secret is whsec_ and the base64 of 24 to 64 random bytes; this one isn't."
        )
    return key
