"""The record: entries in PostgreSQL, in a schema of their own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from hub.cache.postgres_schema import SCHEMA_NAME, SCHEMA_NAME_RULE, in_schema, is_made, migrate
from hub.cache.servers import Availability, check_collection, check_url, shown_address
from hub.errors import CacheError, ClosedError, MissingExtraError

try:
    import asyncpg
except ImportError as exc:
    raise MissingExtraError("The cache in PostgreSQL and Redis", "postgres") from exc

if TYPE_CHECKING:
    Pool = asyncpg.Pool[asyncpg.Record]
    Connection = asyncpg.pool.PoolConnectionProxy[asyncpg.Record]

__all__ = ("PostgresRecord", "Stored")

_T = TypeVar("_T")

_MAX_CONNECTIONS = 10

_GET = "SELECT revision, body FROM $schema.entry WHERE key = $1"
_OLDER = "SELECT key, body FROM $schema.older_entry WHERE key = ANY($1) ORDER BY key, id DESC"
_PAGE = (
    "SELECT key, body FROM $schema.entry WHERE key > $1 AND ($2::bytea IS NULL OR namespace = $2) ORDER BY key LIMIT $3"
)
_KEYS = "SELECT key FROM $schema.entry WHERE $1::bytea IS NULL OR namespace = $1 LIMIT $2"
_COUNTS = (
    "SELECT count(*), coalesce(sum(octet_length(body)), 0)::bigint"
    " FROM (SELECT body FROM $schema.entry UNION ALL SELECT body FROM $schema.older_entry) AS every"
)
_DELETE = (
    "WITH newest AS (DELETE FROM $schema.entry WHERE key = ANY($1) RETURNING 1),"
    " older AS (DELETE FROM $schema.older_entry WHERE key = ANY($1) RETURNING 1)"
    " SELECT (SELECT count(*) FROM newest) + (SELECT count(*) FROM older)"
)
_KEEP = "INSERT INTO $schema.older_entry (key, body) SELECT key, body FROM $schema.entry WHERE key = $1 FOR UPDATE"
# The revision grows with each write of a key, also across a deletion: microseconds since 1970, or one more than the
# last where the clock stood still or went back.
_PUT = (
    "INSERT INTO $schema.entry AS kept (key, namespace, created_at, revision, body)"
    " VALUES ($1, $2, $3, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint, $4)"
    " ON CONFLICT (key) DO UPDATE SET namespace = EXCLUDED.namespace, created_at = EXCLUDED.created_at,"
    " body = EXCLUDED.body, revision = greatest(EXCLUDED.revision, kept.revision + 1)"
    " RETURNING revision"
)
_PUT_ONLY = " ".join(("WITH gone AS (DELETE FROM $schema.older_entry WHERE key = $1)", _PUT))

_LOST = (
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.InterfaceError,
    ConnectionResetError,
    BrokenPipeError,
)
"""What a connection says that was lost while it lay in the pool; a new one may be well."""

_UNREACHABLE = (
    *_LOST,
    OSError,  # the time-out among them
    asyncpg.CannotConnectNowError,
    asyncpg.InsufficientResourcesError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
)
"""What says that the next call will fare no better, so that the server is left alone for a while."""


@dataclass(frozen=True, slots=True)
class Stored:
    """An entry's bytes, and the revision that orders the writes of its key."""

    body: bytes
    revision: int


class PostgresRecord:
    """Entries as bytes in one PostgreSQL schema; the pool is made at the first use, the schema at the first write.

    Every method raises `CacheError` where PostgreSQL can't serve, after `timeout` seconds at most, and `ClosedError`
    after `aclose`. A call that finds its connection lost tries once more on another.

    Args:
        dsn: Address in the form `postgresql://user:password@host:port/database`.
        schema: Name of the schema; it is created where it isn't there.
        timeout: Seconds for one operation in all, connecting and migrating included.
        cool_down_delay: Seconds an unreachable server is left alone.

    Raises:
        ConfigurationError: The address or the name can't be used.
    """

    def __init__(self, dsn: str, *, schema: str, timeout: float, cool_down_delay: float) -> None:
        self._dsn = check_url(dsn, name="PG_DSN", schemes=("postgresql", "postgres"))
        self._schema = check_collection(schema, SCHEMA_NAME, rule=SCHEMA_NAME_RULE)
        self._timeout = timeout
        self.server = f"PostgreSQL at {shown_address(dsn)}".removesuffix(" at ")
        self._availability = Availability(self.server, cool_down_delay=cool_down_delay, max_at_once=_MAX_CONNECTIONS)
        self._lock = asyncio.Lock()
        self._pool: Pool | None = None
        self._is_migrated = False
        self._closed = False

    async def open(self) -> None:
        """Connected, and the schema up to date; this may take ten times as long as other operations."""
        await self._run(lambda connection: connection.fetchval("SELECT 1"), timeout=10 * self._timeout)

    async def get(self, key: str) -> Stored | None:
        """The newest entry of a key; None where there is none."""
        row = await self._read(lambda connection: connection.fetchrow(self._sql(_GET), key))
        return None if row is None else Stored(row["body"], row["revision"])

    async def put(self, key: str, namespace: str, created_at: float, body: bytes, *, keep_older: bool) -> int:
        """Write an entry as its key's only or newest one; returns its revision."""
        row = (key, _encoded(namespace), created_at, body)

        async def write(connection: Connection) -> int:
            if not keep_older:
                return int(await connection.fetchval(self._sql(_PUT_ONLY), *row))
            async with connection.transaction():
                # Without the lock, two that come at once would keep the same entry twice, and lose each other's.
                await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", key)
                await connection.execute(self._sql(_KEEP), key)
                return int(await connection.fetchval(self._sql(_PUT), *row))

        return await self._run(write)

    async def older(self, keys: Sequence[str]) -> list[tuple[str, bytes]]:
        """The keys and bytes of these keys' entries but the newest; those of one key together, newest first."""
        rows = await self._read(lambda connection: connection.fetch(self._sql(_OLDER), keys))
        return [(row["key"], row["body"]) for row in rows or ()]

    async def page(self, after: str, namespace: str | None, limit: int) -> list[tuple[str, bytes]]:
        """The keys and newest entries of a namespace, or of all, in the order of the keys, behind `after`."""
        given = (after, _encoded(namespace), limit)
        rows = await self._read(lambda connection: connection.fetch(self._sql(_PAGE), *given))
        return [(row["key"], row["body"]) for row in rows or ()]

    async def keys(self, namespace: str | None, limit: int) -> list[str]:
        """So many keys of a namespace, or of all, in no order."""
        rows = await self._read(lambda connection: connection.fetch(self._sql(_KEYS), _encoded(namespace), limit))
        return [row["key"] for row in rows or ()]

    async def delete(self, keys: Sequence[str]) -> int:
        """Delete all entries of these keys, older ones too; returns how many they were."""
        return int(await self._run(lambda connection: connection.fetchval(self._sql(_DELETE), keys)))

    async def counts(self) -> tuple[int, int]:
        """How many entries there are, older ones too, and how many bytes they have."""
        row = await self._read(lambda connection: connection.fetchrow(self._sql(_COUNTS)))
        return (0, 0) if row is None else (row[0], row[1])

    async def aclose(self) -> None:
        """Close the connections; those in use have `timeout` seconds to come back."""
        self._closed = True
        pool, self._pool = self._pool, None
        if pool is None:
            return
        try:
            async with asyncio.timeout(self._timeout):
                await pool.close()
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            pool.terminate()

    def _sql(self, statement: str) -> str:
        return in_schema(statement, self._schema)

    async def _read(self, work: Callable[[Connection], Awaitable[_T]]) -> _T | None:
        """What is there; None where there is no schema, which one who only reads doesn't make."""

        async def read(connection: Connection) -> _T | None:
            if not self._is_migrated:
                if not await is_made(connection, self._schema):
                    return None
                await self._migrate(connection)
            return await work(connection)

        return await self._run(read, migrates=False)

    async def _run(
        self, work: Callable[[Connection], Awaitable[_T]], *, timeout: float | None = None, migrates: bool = True
    ) -> _T:
        timeout = self._timeout if timeout is None else timeout
        if self._closed:
            raise ClosedError("The cache is closed.")
        try:
            async with self._availability.turn(), asyncio.timeout(timeout):
                result = await self._with_connection(self._after_migrating(work) if migrates else work)
        except ValueError:
            # The driver's words may quote the address, password and all.
            raise CacheError("The cache can't use PG_DSN: the driver doesn't understand the address.") from None
        except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError) as exc:
            raise self._failed(exc, timeout) from exc
        self._availability.succeeded()
        return result

    def _failed(self, exc: Exception, timeout: float) -> CacheError:
        if self._closed:
            raise ClosedError("The cache is closed.") from exc
        if isinstance(exc, TimeoutError):
            error = CacheError(f"{self.server} gave no answer within {timeout:g} s.")
        elif isinstance(exc, asyncpg.PostgresError):
            error = CacheError(f"{self.server} answered with an error: {exc} ({exc.sqlstate}).")
        else:
            error = CacheError(f"{self.server} can't be reached ({type(exc).__name__}).")
        if isinstance(exc, _UNREACHABLE):
            self._availability.failed(error)
        if isinstance(exc, asyncpg.UndefinedTableError | asyncpg.InvalidSchemaNameError):
            self._is_migrated = False  # another database stands in this one's place; the next call sets it up
        return error

    async def _with_connection(self, work: Callable[[Connection], Awaitable[_T]]) -> _T:
        pool = await self._opened_pool()
        try:
            return await self._use(pool, work)
        except _LOST:
            return await self._use(pool, work)

    async def _use(self, pool: Pool, work: Callable[[Connection], Awaitable[_T]]) -> _T:
        connection = await pool.acquire()
        is_done = False
        try:
            result = await work(connection)
            is_done = True
        finally:
            if not is_done:
                # Else the driver asks the server to cancel, and waits for one that hangs (asyncpg issue 1356).
                connection.terminate()
            await pool.release(connection)
        return result

    def _after_migrating(self, work: Callable[[Connection], Awaitable[_T]]) -> Callable[[Connection], Awaitable[_T]]:
        async def migrate_and_work(connection: Connection) -> _T:
            await self._migrate(connection)
            return await work(connection)

        return migrate_and_work

    async def _migrate(self, connection: Connection) -> None:
        """The schema is there and up to date."""
        if self._is_migrated:
            return
        async with self._lock:
            if not self._is_migrated:
                await migrate(connection, self._schema)
                self._is_migrated = True

    async def _opened_pool(self) -> Pool:
        if self._pool is None:
            async with self._lock:
                if self._pool is None:
                    self._pool = await asyncpg.create_pool(
                        self._dsn,
                        min_size=0,
                        max_size=_MAX_CONNECTIONS,
                        timeout=10 * self._timeout,  # what counts is the operation's
                        reset=_leave,
                        server_settings={"application_name": "llm-stream-hub"},
                    )
        return self._pool


async def _leave(connection: object) -> None:
    """No reset between two uses: nothing here changes a session, and it would cost a round trip a call."""


def _encoded(namespace: str | None) -> bytes | None:
    return None if namespace is None else namespace.encode("utf-8", "surrogatepass")
