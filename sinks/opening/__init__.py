"""Sinks by URL, for the command line and for the server's list of sinks.

    redis://HOST:6379/CHANNEL    also redis://HOST/DB/CHANNEL, rediss, redis+sentinel and redis+cluster;
                                 redis:///CHANNEL goes to the server of REDIS_URL
    pusher://CHANNEL             the app is that of PUSHER_*
    file:///PATH                 one event a line; file:PATH from the working folder
    https://HOST/PATH            a webhook, signed with WEBHOOK_SECRET

`{stream_id}` and `{channel}` in a channel or a path are filled in when the sink is opened; a brace that is meant is
written %7B or %7D. Options stand in the query, but for a webhook, whose query is its receiver's.
"""

from __future__ import annotations

from sinks.opening.connections import SinkConnections
from sinks.opening.template import SinkTemplate, open_sink

__all__ = ("SinkConnections", "SinkTemplate", "open_sink")
