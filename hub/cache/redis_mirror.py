"""The mirror: copies of entries in Redis that expire by themselves."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from hub.cache.postgres import Stored
from hub.cache.servers import Availability, FaultHandler, LeftAloneError, check_url, shown_address
from hub.errors import CacheError, ClosedError, MissingExtraError

try:
    import redis.exceptions
    from redis.asyncio import Redis

    from hub.redis_io import connect, keeping_cancellation  # after the driver, whose extra is another one's there
except ImportError as exc:
    raise MissingExtraError("The cache in PostgreSQL and Redis", "postgres") from exc

__all__ = ("RedisMirror",)

_T = TypeVar("_T")

_MAX_CONNECTIONS = 20
_REVISION_BYTES = 20

# Time-outs for which an operation may wait for its turn.
_MAX_WAIT = 2

# Of two writers that come from the record at different speeds, the later revision stays. Compared as numbers: as
# strings, Lua would ask the server's locale. What is no string is nobody's copy, and gives way.
_PUT_SCRIPT = f"""
local head = redis.pcall('GETRANGE', KEYS[1], 0, {_REVISION_BYTES - 1})
local kept = type(head) == 'string' and tonumber(head)
if kept and kept > tonumber(string.sub(ARGV[1], 1, {_REVISION_BYTES})) then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""

_UNREACHABLE = (redis.exceptions.ConnectionError, redis.exceptions.TimeoutError, OSError)

# What the driver raises over an answer that isn't Redis's. It takes some of them apart unchecked.
_UNREADABLE = (ValueError, TypeError, AttributeError)

_FAULTS = (redis.exceptions.RedisError, OSError, *_UNREADABLE)


class RedisMirror:
    """Copies of the record's entries, each for `ttl` seconds.

    Reading and writing never fail: with Redis away there is no copy, and nothing is kept; the fault is reported.
    Connections are made at the first use. A value is the revision in 20 digits, then the entry's bytes.

    Args:
        url: Address, `redis://user:password@host:port/0`; `rediss://` for TLS, `unix://` for a socket.
        prefix: What the names of the keys begin with.
        ttl: Seconds a copy stays.
        timeout: Seconds for one operation in all. It waits for its turn no longer than twice that, where many ask at
            once; then it goes without Redis, and a server that is slow for them all is not taken for one that is away.
        cool_down_delay: Seconds an unreachable server is left alone.
        on_fault: Is told of faults; None logs them.

    Raises:
        ConfigurationError: The address can't be used.
    """

    def __init__(
        self,
        url: str,
        *,
        prefix: str,
        ttl: float,
        timeout: float,
        cool_down_delay: float,
        on_fault: FaultHandler | None = None,
    ) -> None:
        check_url(url, name="REDIS_URL", schemes=("redis", "rediss", "unix"))
        self.server = f"Redis at {shown_address(url)}".removesuffix(" at ")
        self._prefix = prefix
        self._ttl_ms = max(1, round(ttl * 1000))
        self._timeout = timeout
        # Once more and at once: a connection that a restart cut may be found out only in use.
        self._redis: Redis = connect(url, timeout=timeout, retries=1, max_connections=_MAX_CONNECTIONS)
        self._availability = Availability(
            self.server,
            cool_down_delay=cool_down_delay,
            max_at_once=self._redis.connection_pool.max_connections,  # the address may say another number
            on_fault=on_fault,
        )
        self._put_script = self._redis.register_script(_PUT_SCRIPT)
        self._closed = False

    async def get(self, key: str) -> bytes | None:
        """The copy of an entry, None where there is none; a value that isn't ours is removed."""
        value = await self._attempt(lambda: self._value(key))
        if not isinstance(value, bytes):
            return None
        revision, body = value[:_REVISION_BYTES], value[_REVISION_BYTES:]
        if body and revision.isdigit():
            return body
        await self.discard(key)
        return None

    async def put(self, key: str, stored: Stored) -> None:
        """Copy an entry, unless a later revision of it is there."""
        value = b"%020d%b" % (stored.revision, stored.body)
        await self._attempt(lambda: self._put_script(keys=[self._name(key)], args=[value, self._ttl_ms]))

    async def copy(self, key: str, stored: Stored) -> None:
        """The same for one who has only read it, and must not wait in a crowd: then without."""
        if not self._availability.is_crowded:
            await self.put(key, stored)

    async def discard(self, key: str) -> None:
        """Remove a copy that is damaged; a later read copies it anew."""
        self._availability.report(CacheError(f"{self.server} held a damaged entry; it is copied anew."))
        await self._attempt(lambda: self._redis.unlink(self._name(key)))

    async def remove(self, keys: Sequence[str]) -> None:
        """Remove copies.

        Raises:
            CacheError: Redis can't be reached; some may be there still.
        """
        await self._run(lambda: self._redis.unlink(*map(self._name, keys)))

    async def ping(self) -> None:
        """Connect ahead of the first use; where that fails, the fault is reported."""
        await self._attempt(lambda: self._redis.ping())

    async def aclose(self) -> None:
        """Close the connections."""
        self._closed = True
        try:
            async with asyncio.timeout(self._timeout):
                await self._redis.aclose()
        except (redis.exceptions.RedisError, OSError):
            pass  # the connection was lost before it could be closed

    async def _value(self, key: str) -> Any:
        """What stands there; empty bytes where it is no string, which Redis refuses to give."""
        try:
            return await self._redis.get(self._name(key))
        except redis.exceptions.ResponseError as exc:
            if not str(exc).startswith("WRONGTYPE"):
                raise
            return b""

    def _name(self, key: str) -> str:
        return f"{self._prefix}{key}"

    async def _attempt(self, work: Callable[[], Awaitable[Any]]) -> Any:
        """What Redis answers; None where it can't."""
        try:
            return await self._run(work)
        except LeftAloneError:
            return None
        except CacheError as error:
            self._availability.report(error)
            return None

    async def _run(self, work: Callable[[], Awaitable[_T]]) -> _T:
        if self._closed:
            raise ClosedError("The cache is closed.")
        loop, is_its_turn = asyncio.get_running_loop(), False
        try:
            with keeping_cancellation():
                async with asyncio.timeout(_MAX_WAIT * self._timeout) as limit, self._availability.turn():
                    is_its_turn = True
                    limit.reschedule(loop.time() + self._timeout)
                    result = await work()
        except _FAULTS as exc:
            if not is_its_turn:
                raise CacheError(f"{self.server} is too slow for all who ask at once.") from exc
            raise self._failed(exc) from exc
        self._availability.succeeded()
        return result

    def _failed(self, exc: Exception) -> CacheError:
        if isinstance(exc, TimeoutError | redis.exceptions.TimeoutError):
            error = CacheError(f"{self.server} gave no answer within {self._timeout:g} s.")
        elif isinstance(exc, redis.exceptions.AuthenticationError):
            error = CacheError(f"{self.server} refused the user name or the password of REDIS_URL.")
        elif isinstance(exc, redis.exceptions.ResponseError):
            error = CacheError(f"{self.server} answered with an error: {exc}")
        elif isinstance(exc, _UNREADABLE):
            error = CacheError(f"{self.server} gave an answer that is not Redis's ({type(exc).__name__}).")
        else:
            error = CacheError(f"{self.server} can't be reached ({type(exc).__name__}).")
        if isinstance(exc, _UNREACHABLE):
            self._availability.failed(error)
        return error
