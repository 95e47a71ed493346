"""What the cache asks of flights that processes share: one of all equal calls asks the endpoint, the others follow."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias, runtime_checkable

from hub.cache.entry import CacheEntry
from hub.upstream.stream import AnswerSource

__all__ = ("Origin", "Provenance", "SharedCall", "SharedFlights", "SharedSource")

Origin: TypeAlias = Literal["cache", "flight", "endpoint"]
"""Where an answer comes from: what was stored, a call that another one began, or the endpoint."""


class Provenance(Protocol):
    """Whose answer it is that a call gets: it decides whether it may be stored under a digest."""

    @property
    def is_of_first_target(self) -> bool:
        """Whether who was asked first gave the answer, and no fallback."""
        ...

    def follow(self, *, is_of_first_target: bool) -> None:
        """The answer is that of a call in another process, which knows."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedCall:
    """One call that wants to share its answer with equal ones of other processes.

    Attributes:
        key: Calls with one key are equal; it is the tenant's and the endpoint's.
        make: Gives the source that asks the endpoint.
        look: Looks into the cache once more; None where nothing is there. It raises nothing.
        stream_id: Goes into every event.
        identifier: The caller's own name for it.
        model: The model asked for.
        can_restart: The caller can take content back that was given. Where it can't, and the process that asked dies
            after content, the call fails.
        provenance: Is told, or tells, whose answer it is; None where that doesn't matter.
        report: Is told that sharing failed; the call goes on by itself.
    """

    key: str
    make: Callable[[], AnswerSource]
    look: Callable[[], Awaitable[CacheEntry | None]]
    stream_id: str
    identifier: str | None
    model: str | None
    can_restart: bool
    provenance: Provenance | None
    report: Callable[[Exception], None]


@runtime_checkable
class SharedSource(AnswerSource, Protocol):
    """An answer that this process asks for, or that it follows while another one does."""

    @property
    def origin(self) -> Origin:
        """Where the answer comes from, as far as is known."""
        ...

    @property
    def is_final(self) -> bool:
        """Whether a failure before content is everyone's: others have asked already, or mustn't any more."""
        ...

    def settle(self) -> None:
        """The answer was stored, or won't be: a call that comes now may ask anew. Never raises."""
        ...


class SharedFlights(Protocol):
    """Brings equal calls of several processes together. What fails of it fails no call."""

    def source(self, call: SharedCall) -> SharedSource:
        """The answer to a call; nothing happens before it is read.

        Of all equal calls that are under way one asks the endpoint. The others get its events as they come, at no
        cost, under their own `stream_id`.
        """
        ...

    async def aclose(self) -> None:
        """End what is led here, so that other processes go on with it, and release what is held."""
        ...
