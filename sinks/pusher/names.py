"""Which names Pusher takes (pusher.com/docs/channels/library_auth_reference/rest-api, read 2026-11-21)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from hub.errors import InvalidRequestError

__all__ = ("MAX_CHANNELS", "check_channel", "check_channels", "check_event_name", "check_socket_id")

MAX_CHANNELS = 100
"""Channels that one request may name."""

_CHANNEL = re.compile(r"[-a-zA-Z0-9_=@,.;]{1,200}")
_SOCKET_ID = re.compile(r"[0-9]{1,32}\.[0-9]{1,32}")


def check_channels(channels: str | Sequence[str]) -> tuple[str, ...]:
    """One or several channels as a tuple.

    Raises:
        InvalidRequestError: There are none, too many, one of them twice, or one that Pusher would refuse.
    """
    if not _is_iterable(channels):
        raise InvalidRequestError(
            f"A PusherSink takes the name of a channel, or a list of such names; not {_shown(channels)}."
        )
    listed = (channels,) if isinstance(channels, str) else tuple(channels)
    if not 1 <= len(listed) <= MAX_CHANNELS:
        raise InvalidRequestError(f"A PusherSink sends to 1 to {MAX_CHANNELS} channels; {len(listed)} are named.")
    for number, channel in enumerate(listed):
        check_channel(channel)
        if channel in listed[:number]:
            raise InvalidRequestError(f"The channel {channel!r} is named twice.")
    return listed


def check_channel(channel: str) -> str:
    """The name of a channel, as it was given.

    Raises:
        InvalidRequestError: Pusher would refuse it, or it is an encrypted channel's.
    """
    _check_text("channel", channel)
    if not _CHANNEL.fullmatch(channel):
        raise InvalidRequestError(
            f"{channel[:100]!r} is no name of a Pusher channel: that has 1 to 200 letters, digits and '-_=@,.;'."
        )
    if channel.startswith("private-encrypted-"):
        raise InvalidRequestError(
            f"The channel {channel!r} is an encrypted one, and the hub does not encrypt. Use 'private-…'."
        )
    return channel


def check_event_name(name: str) -> str:
    """The name of an event, as it was given.

    Raises:
        InvalidRequestError: Pusher would refuse it, or keeps it for itself.
    """
    _check_text("event", name)
    if not 1 <= len(name) <= 200 or not name.isprintable():
        raise InvalidRequestError(f"{name[:100]!r} is no name of a Pusher event: it may have 1 to 200 characters.")
    if name.startswith(("pusher:", "pusher_internal:", "client-")):
        raise InvalidRequestError(f"Pusher keeps event names such as {name[:100]!r} for itself. Choose another.")
    return name


def check_socket_id(socket_id: str) -> str:
    """The id of a connection, as it was given.

    Raises:
        InvalidRequestError: It is none.
    """
    if not _SOCKET_ID.fullmatch(socket_id):
        raise InvalidRequestError(f"{socket_id[:100]!r} is no socket_id: that is two numbers joined by a dot.")
    return socket_id


def _is_iterable(value: object) -> bool:
    return isinstance(value, Iterable)


def _check_text(what: str, name: object) -> None:
    if not isinstance(name, str):
        raise InvalidRequestError(f"The name of a Pusher {what} must be a string; it is {_shown(name)}.")


def _shown(value: object) -> str:
    return repr(value)[:100]
