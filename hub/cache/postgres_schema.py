"""The schema of the cache's record in PostgreSQL, and its migrations."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncpg

    Connection = asyncpg.Connection[asyncpg.Record] | asyncpg.pool.PoolConnectionProxy[asyncpg.Record]

__all__ = ("MIGRATIONS", "SCHEMA_NAME", "SCHEMA_NAME_RULE", "in_schema", "is_made", "lock_id", "migrate")

SCHEMA_NAME = r"(?!pg_|public$|information_schema$)[a-z_][a-z0-9_]{0,62}"
"""What a schema of ours may be called.

63 bytes are PostgreSQL's limit, and names with `pg_` are its own (manual of PostgreSQL 18, 4.1.1 and 5.10.5, read
2026-11-21).
"""

SCHEMA_NAME_RULE = (
    "a schema's name has small letters, digits and _, at most 63, does not begin with a digit or pg_, and is neither "
    "public nor information_schema"
)
"""The same in words."""

MIGRATIONS = (
    # A namespace is bytea, as text can't hold the character 0. Which of a key's older entries came first, `id` tells.
    """
    CREATE TABLE $schema.entry (
        key text COLLATE "C" PRIMARY KEY,
        namespace bytea NOT NULL,
        created_at double precision NOT NULL,
        revision bigint NOT NULL,
        body bytea NOT NULL
    );
    CREATE INDEX entry_namespace ON $schema.entry (namespace, key);
    CREATE TABLE $schema.older_entry (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        key text COLLATE "C" NOT NULL,
        body bytea NOT NULL
    );
    CREATE INDEX older_entry_key ON $schema.older_entry (key, id);
    """,
)
"""Each is applied once, in this order. They have to leave what an earlier release needs: both may run at once."""

# Asked of the catalog's tables: `to_regclass` answers from a cache of the session's, which within a transaction may not
# have heard of what another one has just created.
_HAS_MIGRATIONS = (
    "SELECT 1 FROM pg_catalog.pg_class JOIN pg_catalog.pg_namespace ON pg_namespace.oid = relnamespace"
    " WHERE nspname = $1 AND relname = 'migration'"
)


def in_schema(sql: str, schema: str) -> str:
    """A statement with the name of the schema, which has been checked, in place of `$schema`."""
    return sql.replace("$schema", f'"{schema}"')


async def migrate(connection: Connection, schema: str) -> None:
    """Bring the schema up to date; any number of processes may do so at once.

    A schema that is up to date is only read, so the role that serves needs no right to create anything once an
    operator's role has run this. A schema of a later release is left as it is.
    """
    if await _version(connection, schema) >= len(MIGRATIONS):
        return
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", lock_id(schema))
        version = await _version(connection, schema)  # another process may have been quicker
        if version == 0:
            await _create(connection, schema)
        for number, sql in enumerate(MIGRATIONS[version:], start=version + 1):
            await connection.execute(in_schema(sql, schema))
            await connection.execute(in_schema("INSERT INTO $schema.migration (version) VALUES ($1)", schema), number)


async def is_made(connection: Connection, schema: str) -> bool:
    """Whether some release has made the schema's tables. Nothing is changed."""
    return await connection.fetchval(_HAS_MIGRATIONS, schema) is not None


async def _create(connection: Connection, schema: str) -> None:
    # `IF NOT EXISTS` would ask for the right to create schemas even where the schema exists.
    if await connection.fetchval("SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = $1", schema) is None:
        await connection.execute(in_schema("CREATE SCHEMA $schema", schema))
    await connection.execute(
        in_schema(
            "CREATE TABLE IF NOT EXISTS $schema.migration"
            " (version integer PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now())",
            schema,
        )
    )


async def _version(connection: Connection, schema: str) -> int:
    """The last migration applied; 0 where there was none."""
    if not await is_made(connection, schema):
        return 0
    version = await connection.fetchval(in_schema("SELECT coalesce(max(version), 0) FROM $schema.migration", schema))
    return int(version)


def lock_id(schema: str) -> int:
    """An advisory lock of this schema's own, the same in every process."""
    digest = hashlib.sha256(f"llm-stream-hub cache {schema}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)
