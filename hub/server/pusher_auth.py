"""`POST /pusher/auth`: lets who may read a stream subscribe to its Pusher channel."""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qsl

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from hub.config import HubSettings, PusherSettings
from hub.errors import InvalidRequestError
from hub.hub import Hub
from hub.server.problem import ProblemError
from hub.server.requests import read_body
from sinks.pusher import PusherApp, channel_auth, check_channel

__all__ = ("CHANNELS", "PusherAuth", "pusher_app")

CHANNELS = ("private-{stream_id}", "presence-{stream_id}")
"""How the channels are named whose streams are known by their names."""

MAX_BODY_BYTES = 16_384
# What Pusher takes of a member (pusher.com/docs/channels/using_channels/presence-channels, read 2026-11-21).
MAX_USER_ID_CHARS = 128
MAX_MEMBER_BYTES = 1_024


def pusher_app(settings: PusherSettings) -> PusherApp | None:
    """The app that is configured; None where neither id, key nor secret is.

    Raises:
        ConfigurationError: Part of it is missing, or makes no sense.
    """
    secret = settings.auth_secret.get_secret_value() if settings.auth_secret else None
    if not (settings.app_id or settings.auth_key or secret):
        return None
    return PusherApp.configured(
        app_id=settings.app_id,
        key=settings.auth_key,
        secret=secret,
        cluster=settings.app_cluster,
        host=settings.host,
        port=settings.port,
        ssl=settings.scheme == "https",
        auth_version=settings.auth_version,
        environ={},
    )


class PusherAuth:
    """Signs subscriptions to private and presence channels of streams that are here.

    Who asks has been checked as for the stream's events, by the same key; whoever may read those may subscribe.

    Args:
        hub: Knows the streams.
        app: Signs.
        settings: Bounds.
        channels: Patterns of channel names, each with one `{stream_id}`.
    """

    def __init__(self, hub: Hub, app: PusherApp, settings: HubSettings, *, channels: Sequence[str] = CHANNELS) -> None:
        self._hub = hub
        self._app = app
        self._timeout = settings.request_timeout
        self._channels = [_pattern(template) for template in channels]

    def routes(self) -> list[BaseRoute]:
        """For Starlette."""
        return [Route("/pusher/auth", self.authorize, methods=["POST"])]

    async def authorize(self, request: Request) -> Response:
        """Sign one subscription: 403 for a channel of no stream, 404 where the stream is unknown."""
        asked = await _read(request, self._timeout)
        socket_id, channel = _text(asked, "socket_id"), _text(asked, "channel_name")
        stream_id = self._stream_of(channel)
        await self._hub.log(stream_id)
        channel_data = _member(asked) if channel.startswith("presence-") else None
        signed = channel_auth(self._app, socket_id=socket_id, channel=channel, channel_data=channel_data)
        return JSONResponse(signed, headers={"Cache-Control": "no-store"})

    def _stream_of(self, channel: str) -> str:
        check_channel(channel)
        for pattern in self._channels:
            if found := pattern.fullmatch(channel):
                return found["stream_id"]
        raise ProblemError(403, f"The channel {channel!r} belongs to no stream of this hub.")


def _pattern(template: str) -> re.Pattern[str]:
    before, _, behind = template.partition("{stream_id}")
    return re.compile(f"{re.escape(before)}(?P<stream_id>.+){re.escape(behind)}")


async def _read(request: Request, timeout: float) -> dict[str, Any]:
    """The members of the body, which `pusher-js` sends as a form; programs may send JSON."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    body = await read_body(request, max_bytes=MAX_BODY_BYTES, timeout=timeout)
    try:
        if media_type == "application/x-www-form-urlencoded":
            return dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=50, errors="strict"))
        if media_type == "application/json":
            return msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.DecodeError, ValueError, RecursionError) as exc:
        raise ProblemError(400, f"The body can't be read: {exc}") from exc
    raise ProblemError(415, "Send socket_id and channel_name as a form, as pusher-js does, or as JSON.")


def _text(asked: dict[str, Any], name: str) -> str:
    value = asked.get(name)
    if not isinstance(value, str) or not value:
        raise InvalidRequestError(f"{name} is missing, or no text.")
    return value


def _member(asked: dict[str, Any]) -> str:
    """Who is there, as the page says it; where it doesn't, someone else at each connection."""
    user_id = asked.get("user_id") or secrets.token_hex(8)
    if not isinstance(user_id, str) or len(user_id) > MAX_USER_ID_CHARS:
        raise InvalidRequestError(f"user_id is a text of at most {MAX_USER_ID_CHARS} characters.")
    # soketi (1.6.1) tells nobody of a member without user_info, not even itself.
    info = asked.get("user_info", {})
    if isinstance(info, str):
        try:
            info = msgspec.json.decode(info)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as exc:
            raise InvalidRequestError("user_info is a JSON object.") from exc
    if not isinstance(info, dict):
        # Pages read members' names out of it, and one member must not break those of the others.
        raise InvalidRequestError("user_info is a JSON object.")
    data = msgspec.json.encode({"user_id": user_id, "user_info": info})
    if len(data) > MAX_MEMBER_BYTES:
        raise InvalidRequestError(f"user_id and user_info have at most {MAX_MEMBER_BYTES:,} bytes as JSON.")
    return data.decode()
