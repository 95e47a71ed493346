"""Pusher channels, and servers of the same protocol: the sink, and what readers need."""

from __future__ import annotations

from sinks.pusher.app import PusherApp
from sinks.pusher.assembler import Assembler
from sinks.pusher.names import check_channel
from sinks.pusher.signing import channel_auth
from sinks.pusher.sink import PusherSink

__all__ = ("Assembler", "PusherApp", "PusherSink", "channel_auth", "check_channel")
