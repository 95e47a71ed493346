"""Every exception that a driver of a cache has is one that the cache translates."""

from __future__ import annotations

import inspect
import sys
from types import ModuleType
from typing import Any

import asyncpg
import pytest
import qdrant_client.common.client_exceptions
import qdrant_client.http.exceptions
import redis.exceptions
from httpx import Headers

from hub.cache.qdrant_faults import FAULTS, is_missing, is_outage, is_taken, translate
from hub.errors import MissingExtraError


def own_exceptions(module: ModuleType) -> set[type[BaseException]]:
    return {kind for _, kind in inspect.getmembers(module, inspect.isclass) if issubclass(kind, Exception)}


def test_asyncpg_raises_nothing_of_a_kind_that_is_not_known() -> None:
    known = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)
    told = (asyncpg.PostgresLogMessage, Warning)  # and never raised
    assert all(issubclass(kind, (*known, *told)) for kind in own_exceptions(asyncpg.exceptions))


def test_redis_raises_nothing_of_a_kind_that_is_not_known() -> None:
    others = {kind.__name__ for kind in own_exceptions(redis.exceptions) if not issubclass(kind, redis.RedisError)}
    # Of clients of clusters, of other processes' connections, and of asking for a policy that no command of ours needs.
    assert others <= {
        "ChildDeadlockedError",
        "CrossSlotTransactionError",
        "IncorrectPolicyType",
        "InvalidPipelineStack",
        "RedisClusterException",
        "SlotNotCoveredError",
    }


@pytest.mark.parametrize("module", [qdrant_client.http.exceptions, qdrant_client.common.client_exceptions])
def test_qdrants_client_raises_nothing_of_a_kind_that_is_not_known(module: ModuleType) -> None:
    assert all(issubclass(kind, FAULTS) for kind in own_exceptions(module))


def response(status: int | None, content: bytes = b"") -> Exception:
    return qdrant_client.http.exceptions.UnexpectedResponse(status, "", content, Headers())


@pytest.mark.parametrize(
    ("exc", "message", "outage"),
    [
        (TimeoutError(), "Qdrant gave no answer within 2 s.", True),
        (response(401), "Qdrant refused the API key (401): check QDRANT_API_KEY.", True),
        (response(404, b'{"status":{"error":"Not found"}}'), "Qdrant has no such collection: Not found.", False),
        (response(400, b'{"status":{"error":"Wrong input."}}'), "Qdrant answered with status 400: Wrong input.", False),
        (response(400, b"<html>"), "Qdrant answered with status 400.", False),
        (response(502, b'{"status":"error"}'), "Qdrant answered with status 502.", True),
        (ValueError("x"), "Qdrant gave an answer that is not Qdrant's (ValueError).", False),
    ],
)
def test_each_of_qdrants_faults_says_what_is_wrong(exc: Exception, message: str, outage: bool) -> None:
    assert (str(translate(exc, "Qdrant", 2)), is_outage(exc)) == (message, outage)


def test_a_missing_and_a_taken_collection_are_told_apart() -> None:
    assert (is_missing(response(404)), is_taken(response(404))) == (True, False)
    assert (is_missing(response(409)), is_taken(response(409))) == (False, True)


def test_long_words_of_a_server_are_cut() -> None:
    assert len(str(translate(response(500, b'{"status":{"error":"%b"}}' % (b"x" * 5000)), "Qdrant", 2))) < 300


@pytest.mark.parametrize(
    ("driver", "module", "extra"),
    [
        ("asyncpg", "hub.cache.postgres", "postgres"),
        ("redis.asyncio", "hub.cache.redis_mirror", "postgres"),
        ("qdrant_client", "hub.cache.qdrant_points", "qdrant"),
    ],
)
def test_without_its_driver_a_cache_says_which_extra_to_install(
    monkeypatch: pytest.MonkeyPatch, driver: str, module: str, extra: str
) -> None:
    loaded: Any = sys.modules
    monkeypatch.setitem(loaded, driver, None)
    monkeypatch.delitem(loaded, module, raising=False)
    with pytest.raises(MissingExtraError, match=rf"pip install -e '\.\[{extra}\]'"):
        __import__(module)
