"""Entries as points of Qdrant, and the filters that find them; pure."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any, Literal
from uuid import UUID

from hub.cache.entry import CacheEntry, decode_entry, encode_entry
from hub.errors import CacheEntryError, MissingExtraError

try:
    from qdrant_client import models
except ImportError as exc:
    raise MissingExtraError("The cache in Qdrant", "qdrant") from exc

__all__ = (
    "INDEXED_FIELDS",
    "entry_filter",
    "newest_point",
    "older_point",
    "payload_entry",
    "point_id",
    "sound_entry",
    "upsert_operation",
    "written_at",
)

INDEXED_FIELDS = ("key", "namespace", "cache_role")
"""What is filtered by; a server in strict mode refuses to filter by others."""

_Role = Literal["newest", "older"]


def point_id(*parts: str) -> str:
    """An id made of these texts, the same in every process."""
    return str(UUID(bytes=blake2b("\0".join(parts).encode("utf-8", "surrogatepass"), digest_size=16).digest()))


def newest_point(entry: CacheEntry, *, written_at: float) -> models.PointStruct:
    """The point of a key's newest entry.

    Args:
        entry: What it holds.
        written_at: When it is written, in Unix seconds.

    Raises:
        CacheEntryError: The entry can't be encoded.
    """
    body = encode_entry(entry)
    payload = {
        "key": entry.key,
        "namespace": entry.namespace,
        "cache_role": "newest",
        "created_at": entry.created_at,
        "written_at": written_at,
        "size_bytes": len(body),
        # As text, since a JSON object would come back with other bytes than the checksum's.
        "entry": body.decode(),
    }
    return models.PointStruct(id=point_id(entry.key), vector=[0.0], payload=payload)


def older_point(payload: dict[str, Any]) -> models.PointStruct:
    """What was the newest point as an older one, the same from whoever makes it."""
    own_id = point_id(str(payload.get("key")), str(payload.get("written_at")), str(payload.get("entry")))
    return models.PointStruct(id=own_id, vector=[0.0], payload={**payload, "cache_role": "older"})


def upsert_operation(*points: models.PointStruct) -> models.UpsertOperation:
    """The write of these points, each in place of what has its id."""
    return models.UpsertOperation(upsert=models.PointsList(points=list(points)))


def entry_filter(*, role: _Role | None = None, key: str | None = None, namespace: str | None = None) -> models.Filter:
    """Finds points of ours and no others: those of a role, a key, a namespace, where it is not None."""
    roles: list[str] = ["newest", "older"] if role is None else [role]
    must: list[models.Condition] = [models.FieldCondition(key="cache_role", match=models.MatchAny(any=roles))]
    if key is not None:
        must.append(models.FieldCondition(key="key", match=models.MatchValue(value=key)))
    if namespace is not None:
        must.append(models.FieldCondition(key="namespace", match=models.MatchValue(value=namespace)))
    return models.Filter(must=must)


def payload_entry(payload: dict[str, Any], key: str) -> CacheEntry:
    """The entry of a key in a point's payload.

    Raises:
        CacheEntryError: It is damaged, or another key's.
    """
    body = payload.get("entry")
    if not isinstance(body, str):
        raise CacheEntryError("The point has no entry in its payload.")
    entry = decode_entry(body.encode("utf-8", "surrogatepass"))
    if entry.key != key:
        raise CacheEntryError("What the cache keeps under this key is another key's entry.")
    return entry


def sound_entry(payload: dict[str, Any]) -> CacheEntry | None:
    """The entry in a payload; None where it is damaged."""
    try:
        return payload_entry(payload, str(payload.get("key")))
    except CacheEntryError:
        return None


def written_at(payload: dict[str, Any]) -> float:
    """When a point was written, in Unix seconds; 0 where it doesn't say."""
    value = payload.get("written_at")
    return float(value) if isinstance(value, int | float) else 0.0
