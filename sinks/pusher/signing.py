"""Pusher's two signatures: of a request to the HTTP API, and of a subscription.

Both are HMAC-SHA256 with the app's secret (pusher.com/docs/channels/library_auth_reference, read 2026-11-21). The
official `pusher` package signs the same; it isn't used because importing it takes a third of a second, half of that
for the cryptography of encrypted channels, and because it writes every body as ASCII. The tests compare the two.
"""

from __future__ import annotations

import hashlib
import hmac

from hub.errors import InvalidRequestError
from sinks.pusher.app import PusherApp
from sinks.pusher.names import check_channel, check_socket_id

__all__ = ("channel_auth", "signed_target")


def signed_target(app: PusherApp, path: str, body: bytes, *, at: int) -> str:
    """The path with the signed query of a POST.

    Args:
        app: Whose key and secret sign.
        path: From the host on, without a query.
        body: Exactly the bytes that are sent.
        at: Unix seconds; Pusher takes a request within 600 s of them.
    """
    query = "&".join(
        (
            f"auth_key={app.key}",
            f"auth_timestamp={at}",
            f"auth_version={app.auth_version}",
            f"body_md5={hashlib.md5(body, usedforsecurity=False).hexdigest()}",
        )
    )
    signature = _sign(app, f"POST\n{path}\n{query}")
    return f"{path}?{query}&auth_signature={signature}"


def channel_auth(app: PusherApp, *, socket_id: str, channel: str, channel_data: str | None = None) -> dict[str, str]:
    """What lets one connection subscribe to a private or presence channel, as `pusher-js` wants it answered.

    Args:
        app: Whose key and secret sign.
        socket_id: The connection.
        channel: The channel, `private-…` or `presence-…`.
        channel_data: JSON with `user_id`, and `user_info` if you like; a presence channel needs it, others have none.

    Raises:
        InvalidRequestError: The socket id or the channel is none, or the data don't fit the channel.
    """
    check_socket_id(socket_id)
    check_channel(channel)
    is_presence = channel.startswith("presence-")
    if not is_presence and not channel.startswith("private-"):
        raise InvalidRequestError(f"The channel {channel!r} is public: subscribing to it takes no signature.")
    if is_presence != (channel_data is not None):
        raise InvalidRequestError("A presence channel needs channel_data, and no other channel has any.")
    if channel_data is None:
        return {"auth": f"{app.key}:{_sign(app, f'{socket_id}:{channel}')}"}
    signature = _sign(app, f"{socket_id}:{channel}:{channel_data}")
    return {"auth": f"{app.key}:{signature}", "channel_data": channel_data}


def _sign(app: PusherApp, text: str) -> str:
    return hmac.digest(app.secret.encode(), text.encode(), "sha256").hex()
