"""The keys of requests: the same in every process and every version of Python. Pure.

A key is a digest of the namespace, the endpoint and an identifier, and of which kind that is: the caller's own name for
the request, or a digest of what the request says. Who may name requests can't name another's digest. Both digests are
SHA-256 over canonical JSON: members ordered by the code points of their names, no blanks, characters as they are. Of
numbers, only the value counts: 1 and 1.0 are the same (up to 2**53), and 1 and true are not. Texts count as they stand:
other blanks or another Unicode form are another request.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence, Set
from dataclasses import asdict, is_dataclass
from datetime import date, datetime, time
from enum import Enum
from hashlib import sha256
from typing import Any, Literal, TypeAlias
from uuid import UUID

import msgspec
from pydantic import BaseModel

from hub.errors import InvalidRequestError

__all__ = ("UNHASHED", "KeyKind", "cache_key", "request_digest")

KeyKind: TypeAlias = Literal["identifier", "digest"]
"""What a key is made of: the caller's own name for the request, or the request's digest."""

UNHASHED = frozenset(
    (
        "background",
        "extra_headers",
        "idempotency_key",
        "metadata",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "safety_identifier",
        "service_tier",
        "store",
        "stream",
        "stream_options",
        "timeout",
        "user",
    )
)
"""Parameters that say how an answer is delivered, billed or filed, not what it is to be."""

_KEY_KINDS: dict[KeyKind, str] = {"identifier": "hub cache key 1", "digest": "hub cache key of a digest 1"}

_MAX_EXACT = 2**53
"""Beyond it a float is not the only one for its whole number."""


def cache_key(identifier: str, *, endpoint: str, namespace: str = "", kind: KeyKind = "identifier") -> str:
    """The key of a request, 64 hex digits.

    Args:
        identifier: The request's name, or its digest.
        endpoint: The address of the endpoint that is asked, without a key or a password.
        namespace: The tenant. What one stores no other finds.
        kind: Which of the two it is; a name is never taken for a digest.
    """
    return _digest(_KEY_KINDS[kind], [namespace, endpoint.rstrip("/"), identifier])


def request_digest(params: Mapping[str, Any], *, api: str = "chat") -> str:
    """A digest of everything in a request that matters to the answer, 64 hex digits.

    That is every parameter but those of `UNHASHED`; a parameter that is None counts as not given, and the members of
    `extra_body` count as the parameters they are sent as. Bytes count by their digest; objects of pydantic, msgspec and
    the SDK, and dataclasses, as the JSON they stand for.

    Args:
        params: The parameters as they are sent.
        api: Which API they are for.

    Raises:
        InvalidRequestError: A parameter has no JSON.
    """
    said = {name: value for name, value in params.items() if name != "extra_body"}
    said |= params.get("extra_body") or {}
    said = {name: value for name, value in said.items() if name not in UNHASHED and not _is_left_out(value)}
    try:
        return _digest("hub request 1", [api, {name: _canonical(value, name) for name, value in said.items()}])
    except RecursionError as exc:
        raise InvalidRequestError("The request has no digest: it is nested too deeply, or contains itself.") from exc


def _digest(kind: str, value: Any) -> str:
    text = json.dumps([kind, value], sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _canonical(value: Any, path: str) -> Any:
    """The value in the types of JSON, numbers in one form."""
    match value:
        case Enum():
            return _canonical(value.value, path)
        case None | bool():
            return value
        case str():
            return str(value)
        case int():
            return int(value)
        case float():
            return _number(value, path)
        case Mapping():
            return {_name(name, path): _canonical(member, f"{path}.{name}") for name, member in value.items()}
        case bytes() | bytearray() | memoryview():
            # No text of a request begins with this name, so that no mapping is taken for bytes.
            return {"\x00sha256": sha256(value).hexdigest()}
        case Sequence():
            return [_canonical(member, f"{path}[{number}]") for number, member in enumerate(value)]
        case Set():
            members = [_canonical(member, path) for member in value]
            return sorted(members, key=lambda member: json.dumps(member, sort_keys=True))
        case _:
            return _canonical(_dumped(value, path), path)


def _is_left_out(value: Any) -> bool:
    # The SDK's two words for it are known by their names: what makes keys has no need to load the SDK.
    return value is None or type(value).__name__ in ("NotGiven", "Omit")


def _dumped(value: Any, path: str) -> Any:
    match value:
        case BaseModel():
            # As the client sends it: what is None is left out.
            return value.model_dump(mode="json", exclude_none=True)
        case msgspec.Struct():
            return msgspec.to_builtins(value)
        case UUID():
            return str(value)
        case datetime() | date() | time():
            return value.isoformat()
        case _ if is_dataclass(value) and not isinstance(value, type):
            return asdict(value)
        case _:
            raise InvalidRequestError(
                f"The request has no digest: {path} is of the type {type(value).__name__}, which has no JSON. "
                "Pass an identifier instead of hash_as_identifier, or a value that JSON can hold."
            )


def _number(value: float, path: str) -> int | float:
    if value != value or value in (float("inf"), float("-inf")):
        raise InvalidRequestError(f"The request has no digest: {path} is {value!r}, which JSON can't hold.")
    return int(value) if value.is_integer() and abs(value) < _MAX_EXACT else float(value)


def _name(name: Any, path: str) -> str:
    if not isinstance(name, str):
        raise InvalidRequestError(f"The request has no digest: {path} has a member named {name!r}, which is no text.")
    return str(name)
