"""From the parts of a URL to what makes its sink."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import SplitResult, unquote, urlencode

from hub.errors import ConfigurationError, InvalidRequestError
from hub.sink import OpenableSink
from sinks.jsonl import JSONLSink
from sinks.jsonl.file import is_rotated_name
from sinks.opening.connections import SinkConnections, imported
from sinks.opening.filling import PLACEHOLDER, Fill, filled_text, filled_url
from sinks.opening.filtered import FilteredSink
from sinks.opening.options import Options, without_none

__all__ = ("MAKERS", "Make")

Make: TypeAlias = Callable[[Fill, SinkConnections | None], OpenableSink]
"""Makes a sink, on connections that are shared where there are."""

_REDIS_DRIVER_OPTIONS = (
    *("ssl_ca_certs", "ssl_cert_reqs", "ssl_certfile", "ssl_keyfile", "ssl_check_hostname"),
    *("sentinel_username", "sentinel_password"),
)
"""Options that stay in the URL, for the driver."""


def _redis(parts: SplitResult) -> Make:
    options = Options(
        f"{parts.scheme}://", parts.query, ("types", "sharded", "replay", "replay_ttl", "merge", *_REDIS_DRIVER_OPTIONS)
    )
    path, channel = _redis_path(parts)
    _require_fixed_host(parts)
    flags = without_none({"sharded": options.flag("sharded"), "merge": options.flag("merge")})
    bounds = without_none({"max_events": options.integer("replay"), "ttl": options.number("replay_ttl")})
    if bounds.keys() == {"ttl"}:
        raise ConfigurationError("The option replay_ttl of a sink redis://… goes with replay=EVENTS.")
    # Here, so that a server whose list of sinks has it does not start.
    replay = imported("sinks.redis", "RedisSink", "redis").Replay(**bounds) if bounds else None
    query = urlencode(options.given(_REDIS_DRIVER_OPTIONS))
    url = parts._replace(path=f"/{path}", query=query, fragment="").geturl() if parts.netloc else None

    def make(fill: Fill, connections: SinkConnections | None) -> OpenableSink:
        redis = imported("sinks.redis", "RedisSink", "redis")
        where = {"url": url} if connections is None else {"connections": connections.redis(url)}
        sink: OpenableSink = redis.RedisSink(filled_text(fill, channel), **where, replay=replay, **flags)
        return sink

    return _filtered(make, options)


def _redis_path(parts: SplitResult) -> tuple[str, str]:
    """What of the path is the driver's, and the channel."""
    segments = parts.path.removeprefix("/").split("/")
    before = [segments.pop(0)] if parts.scheme.endswith("+sentinel") else []  # the service
    if len(segments) > 1 and segments[0].isdecimal():
        before.append(segments.pop(0))
    channel, path = "/".join(segments), "/".join(before)
    if not channel or (channel.isdecimal() and not path) or PLACEHOLDER.search(path):
        raise ConfigurationError(
            "A sink's URL of Redis ends in its channel: redis://HOST:6379/CHANNEL, redis://HOST:6379/DB/CHANNEL or "
            "redis+sentinel://HOST:26379/SERVICE/CHANNEL. A channel of digits alone stands behind a DB."
        )
    return path, channel


def _pusher(parts: SplitResult) -> Make:
    options = Options(
        "pusher://", parts.query, ("types", "max_messages_per_second", "max_event_bytes", "event_name", "max_outage")
    )
    # Not quoted: it may be the key and the secret that stand before a host.
    if not parts.netloc or parts.path.strip("/") or ":" in parts.netloc:
        raise ConfigurationError(
            "A sink's URL of Pusher is pusher://CHANNEL. The app is that of PUSHER_APP_ID and so on."
        )
    arguments: dict[str, Any] = without_none(
        {
            "max_messages_per_second": options.number("max_messages_per_second"),
            "max_event_bytes": options.integer("max_event_bytes"),
            "event_name": options.text("event_name"),
            "max_outage": options.number("max_outage"),
        }
    )

    def make(fill: Fill, connections: SinkConnections | None) -> OpenableSink:
        from sinks.pusher import PusherSink  # which loads an HTTP client

        return PusherSink(filled_text(fill, parts.netloc), **arguments)

    return _filtered(make, options)


def _file(parts: SplitResult) -> Make:
    options = Options("file://", parts.query, ("types", "max_bytes", "max_files", "fsync"))
    if parts.netloc not in ("", "localhost") or not parts.path or parts.path.endswith("/"):
        raise ConfigurationError(
            "A sink's URL of a file is file:///PATH, with three slashes, or file:PATH from the working folder."
        )
    arguments: dict[str, Any] = without_none(
        {
            "max_bytes": options.integer("max_bytes"),
            "max_files": options.integer("max_files"),
            "fsync": options.text("fsync", ("never", "end", "always")),
        }
    )

    def make(fill: Fill, connections: SinkConnections | None) -> OpenableSink:
        path = Path(filled_text(fill, parts.path))
        if is_rotated_name(path.name) and not is_rotated_name(Path(unquote(parts.path)).name):
            raise InvalidRequestError(
                "A sink's file can't have a name that ends in a point and six digits or more: another one gets it when "
                "it rotates."
            )
        return JSONLSink(path, **arguments)

    return _filtered(make, options)


def _webhook(parts: SplitResult) -> Make:
    _require_fixed_host(parts)
    url = parts._replace(fragment="").geturl()

    def make(fill: Fill, connections: SinkConnections | None) -> OpenableSink:
        webhook = imported("sinks.webhook", "WebhookSink", "webhook")
        sink: OpenableSink = webhook.WebhookSink(filled_url(fill, url))
        return sink

    return make


def _filtered(make: Make, options: Options) -> Make:
    """The same, with a `Filter` before the sink where the option `types` says so."""
    types = options.text("types")
    if types is None:
        return make
    return lambda fill, connections: FilteredSink(make(fill, connections), types.split(","))


def _require_fixed_host(parts: SplitResult) -> None:
    if PLACEHOLDER.search(parts.netloc):
        raise ConfigurationError(f"The host of a sink {parts.scheme}://… can't be filled in, only what follows it.")


MAKERS: dict[str, Callable[[SplitResult], Make]] = {
    **dict.fromkeys(
        ("redis", "rediss", "redis+cluster", "rediss+cluster", "redis+sentinel", "rediss+sentinel"), _redis
    ),
    "pusher": _pusher,
    "file": _file,
    "http": _webhook,
    "https": _webhook,
}
"""By scheme."""
