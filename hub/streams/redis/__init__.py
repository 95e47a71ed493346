"""Streams in Redis or Valkey."""

from __future__ import annotations

from hub.streams.redis.store import RedisStreamStore

__all__ = ("RedisStreamStore",)
