"""Which flights the calls of a client share, by what is configured."""

from __future__ import annotations

from hub.cache.shared import SharedFlights

__all__ = ("open_flights",)


def open_flights(place: str) -> SharedFlights | None:
    """What brings equal calls of several processes together; None for `process`. Nothing is connected yet.

    Args:
        place: `process`, or a URL of Redis, as in `CACHE_FLIGHTS`.

    Raises:
        ConfigurationError: It is neither.
        MissingExtraError: The driver is not installed.
    """
    if place == "process":
        return None
    from hub.flights.redis import redis_flights  # its driver is an extra

    return redis_flights(place)
