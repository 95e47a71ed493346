"""What a cache did so far, in numbers."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ("CacheCounts",)


@dataclass(slots=True)
class CacheCounts:
    """What the cache did so far.

    Attributes:
        hits: Answers that came out of it.
        misses: Calls that found nothing, faults included, and asked.
        joined: Calls that read another call's answer while it came.
        stored: Answers that went into it.
        faults: How often it failed.
    """

    hits: int = 0
    misses: int = 0
    joined: int = 0
    stored: int = 0
    faults: int = 0
