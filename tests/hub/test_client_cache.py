"""The client's cache: what is kept, what is told again, and whose it is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from hub.cache.memory import MemoryCache
from hub.client import OpenAIClient
from hub.errors import CacheError, ConfigurationError, InvalidRequestError, OutputValidationError
from hub.events import Meta
from hub.models.pricing import UsageCosts
from hub.models.profile import ModelProfile
from hub.testing import (
    Close,
    ScriptedEndpoint,
    chat_chunk,
    chat_reply,
    check_grammar,
    collect,
    raw_reply,
    sse,
    status_reply,
)
from hub.upstream.retry import RetryPolicy

HELLO: Any = [{"role": "user", "content": "Hello"}]
SERVERS: Any = {"cache_backend": "pg_redis", "pg_dsn": "postgresql://h/d", "redis_url": "redis://h"}
PRICED = ModelProfile(model_name="m", usage_costs=UsageCosts(input=1e-6, output=2e-6))


@pytest.fixture
async def endpoint() -> AsyncIterator[ScriptedEndpoint]:
    async with ScriptedEndpoint(handler=lambda _: chat_reply("Hello there", usage=True)) as running:
        yield running


def client_of(endpoint: ScriptedEndpoint, **options: Any) -> OpenAIClient:
    options = {"cache_backend": "memory", "retry": RetryPolicy(attempts=1), **options}
    return OpenAIClient(PRICED, base_url=endpoint.base_url, api_key="EMPTY", **options)


async def test_an_answer_that_is_kept_is_told_again_as_a_stream_at_no_cost(endpoint: ScriptedEndpoint) -> None:
    async with client_of(endpoint) as client:
        first = await client.invoke(messages=HELLO, identifier="hi", cache_response=True)
        events = await collect(client.stream(messages=HELLO, identifier="hi"))
        again = await client.invoke(messages=HELLO, identifier="hi")
    check_grammar(events)
    assert isinstance(events[0], Meta)
    assert events[0].cached
    assert (again.text, again.cached, first.cached) == (first.text, True, False)
    assert first.usage is not None
    assert again.usage is not None
    assert (again.usage.cost_usd, again.usage.original_cost_usd) == (0, first.usage.cost_usd)
    assert len(endpoint.requests) == 1


async def test_the_dictionary_says_whether_it_was_cached_and_under_which_name(endpoint: ScriptedEndpoint) -> None:
    async with client_of(endpoint) as client:
        call = {"messages": HELLO, "hash_as_identifier": True, "cache_response": True}
        first, again = [await client.get_response(**call) for _ in range(2)]
    assert (first["cached"], again["cached"]) == (False, True)
    assert first["identifier"] == again["identifier"] != first["stream_id"]


async def test_a_digest_tells_requests_apart_and_forgets_keys(endpoint: ScriptedEndpoint) -> None:
    async with client_of(endpoint) as client:
        for more in ({}, {"seed": 1}, {"extra_headers": {"X-Key": "k"}}, {"model": "m-2"}, {"max_tokens": 3}):
            await client.invoke(messages=HELLO, hash_as_identifier=True, cache_response=True, **more)
    assert len(endpoint.requests) == 4


async def test_what_was_not_asked_to_be_kept_is_not(endpoint: ScriptedEndpoint) -> None:
    async with client_of(endpoint) as client:
        for _ in range(2):
            await client.invoke(messages=HELLO, identifier="hi")
            await client.invoke(messages=HELLO)
    assert len(endpoint.requests) == 4


async def test_a_broken_answer_is_not_kept(endpoint: ScriptedEndpoint) -> None:
    endpoint.enqueue(raw_reply(sse(chat_chunk(content="Half"), done=False), Close()))
    async with client_of(endpoint) as client:
        broken = await client.invoke(messages=HELLO, identifier="hi", cache_response=True)
        whole = await client.invoke(messages=HELLO, identifier="hi", cache_response=True)
    assert (broken.status, whole.text, whole.cached) == ("failed", "Hello there", False)


@pytest.mark.parametrize("anew", ["rewrite_cache", "regen_cache"])
async def test_asking_anew_is_asking_anew(endpoint: ScriptedEndpoint, anew: str) -> None:
    async with client_of(endpoint) as client:
        await client.invoke(messages=HELLO, identifier="hi", cache_response=True)
        assert not (await client.invoke(messages=HELLO, identifier="hi", **{anew: True})).cached
    assert len(endpoint.requests) == 2


async def test_many_equal_calls_at_once_make_one(endpoint: ScriptedEndpoint) -> None:
    async with client_of(endpoint) as client:
        call = {"messages": HELLO, "identifier": "hi", "cache_response": True}
        results = await asyncio.gather(*(client.invoke(**call) for _ in range(50)))
    assert {result.text for result in results} == {"Hello there"}
    assert len({result.stream_id for result in results}) == 50
    assert len(endpoint.requests) == 1


async def test_tenants_do_not_share(endpoint: ScriptedEndpoint, tmp_path: Path) -> None:
    for tenant in ("a", "b", "a"):
        options = {"cache_backend": "fs", "cache_dir": tmp_path, "cache_namespace": tenant}
        async with client_of(endpoint, **options) as client:
            await client.warm_cache()
            await client.invoke(messages=HELLO, identifier="hi", cache_response=True)
    assert len(endpoint.requests) == 2


async def test_a_name_is_needed_to_keep_an_answer(endpoint: ScriptedEndpoint) -> None:
    async with client_of(endpoint) as client:
        with pytest.raises(InvalidRequestError, match="hash_as_identifier"):
            client.stream(messages=HELLO, cache_response=True)
        with pytest.raises(InvalidRequestError, match="cache_response"):
            client.stream(messages=HELLO, cache_response="yes", identifier="hi")


class _Broken(MemoryCache):
    async def get(self, key: str) -> Any:
        raise CacheError("gone")


async def test_a_broken_cache_breaks_no_call(endpoint: ScriptedEndpoint, caplog: pytest.LogCaptureFixture) -> None:
    async with client_of(endpoint, cache_backend=_Broken()) as client:
        result = await client.invoke(messages=HELLO, identifier="hi", cache_response=True)
    assert result.text == "Hello there"
    assert "gone" in caplog.text


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"cache_backend": "redis"}, "pg_redis"),
        ({"cache_backend": "pg_redis"}, "PG_DSN"),
        ({"cache_backend": "qdrant"}, "QDRANT_URL"),
        ({"cache_backend": "memory", "cache_replay_speed": -1}, "replay_speed"),
    ],
)
def test_a_cache_that_makes_no_sense_is_refused(options: Any, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PG_DSN", "REDIS_URL", "QDRANT_URL"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigurationError, match=says):
        OpenAIClient("m", base_url="http://localhost/v1", **options)


def test_an_argument_nobody_knows_is_refused() -> None:
    with pytest.raises(TypeError, match="cash_dir"):
        OpenAIClient("m", base_url="http://localhost/v1", cash_dir="x")  # type: ignore[call-arg]


# Answers that are objects


class City(BaseModel):
    """A city."""

    name: str


PARIS = '{"name": "Paris"}'


@pytest.mark.parametrize("how", [{"cache_response": True}, {"rewrite_cache": True}], ids=lambda how: next(iter(how)))
async def test_asking_again_asks_anew_and_what_is_kept_is_the_valid_answer(
    endpoint: ScriptedEndpoint, how: Any
) -> None:
    endpoint.enqueue(chat_reply("{}"), chat_reply(PARIS))
    async with client_of(endpoint) as client:
        call = {"messages": HELLO, "identifier": "city", "response_model": City}
        assert (await client.invoke(**call, **how, max_reasks=2)).name == "Paris"
        assert (await client.invoke(**call)).name == "Paris"
    assert len(endpoint.requests) == 2


async def test_what_another_call_kept_under_the_name_is_replaced_by_the_object(endpoint: ScriptedEndpoint) -> None:
    async with client_of(endpoint) as client:
        await client.invoke(messages=HELLO, identifier="city", cache_response=True)
        endpoint.enqueue(chat_reply(PARIS))
        call = {"messages": HELLO, "identifier": "city", "cache_response": True, "response_model": City}
        assert [(await client.invoke(**call, max_reasks=1)).name for _ in range(2)] == ["Paris"] * 2
    assert len(endpoint.requests) == 2


@pytest.mark.parametrize(
    "name", [{"identifier": "city"}, {"hash_as_identifier": True}], ids=lambda name: next(iter(name))
)
async def test_an_answer_that_is_no_object_is_not_kept(endpoint: ScriptedEndpoint, name: Any) -> None:
    endpoint.enqueue(chat_reply("{}"), chat_reply(PARIS))
    async with client_of(endpoint) as client:
        call = {"messages": HELLO, "cache_response": True, "response_model": City, **name}
        with pytest.raises(OutputValidationError):
            await client.invoke(**call)
        assert [(await client.invoke(**call)).name for _ in range(2)] == ["Paris"] * 2
    assert len(endpoint.requests) == 2


# Whose answer it is


@pytest.mark.parametrize(("name", "kept"), [({"identifier": "hi"}, True), ({"hash_as_identifier": True}, False)])
async def test_a_fallback_s_answer_is_kept_under_a_name_and_not_under_the_first_model_s_digest(
    endpoint: ScriptedEndpoint, name: Any, kept: bool
) -> None:
    endpoint.enqueue(status_reply(400))
    cache, call = MemoryCache(), {"messages": HELLO, "cache_response": True, **name}
    async with client_of(endpoint, cache_backend=cache, fallbacks=["other"], cool_down=0) as client:
        assert (await client.invoke(**call)).status == "completed"
        assert (await client.invoke(**call)).cached is kept
        assert (await client.invoke(**call)).cached


async def test_an_identifier_that_is_another_call_s_digest_finds_nothing(endpoint: ScriptedEndpoint) -> None:
    async with client_of(endpoint) as client:
        first = await client.invoke(messages=HELLO, hash_as_identifier=True, cache_response=True)
        assert not (await client.invoke(messages=HELLO, identifier=first.identifier)).cached


async def test_the_time_of_a_call_covers_the_look_up(endpoint: ScriptedEndpoint) -> None:
    class Hanging(MemoryCache):
        async def get(self, key: str) -> Any:
            await asyncio.Event().wait()

    async with client_of(endpoint, cache_backend=Hanging(), cache_on_fault=lambda _: None) as client:
        response = await client.get_response(messages=HELLO, identifier="hi", timeout=0.05)
    assert response["error_code"] == "total_timeout"
    assert endpoint.requests == []


# Options


async def test_what_the_cache_did_is_told_by_the_client(endpoint: ScriptedEndpoint) -> None:
    faults: list[Any] = []
    async with client_of(endpoint, cache_backend=_Broken(), cache_on_fault=faults.append) as client:
        await client.invoke(messages=HELLO, identifier="hi", cache_response=True)
        assert client.cache is not None
        counts = client.cache.counts
    assert (counts.misses, counts.stored, counts.faults) == (1, 1, 1)
    assert [str(fault.error) for fault in faults] == ["gone"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"cache_backend": "memory", "cache_dir": "x"}, "cache_dir can't be used with cache_backend='memory'"),
        ({"cache_backend": "fs", "pg_dsn": "postgresql://x/y"}, "pg_dsn can't be used"),
        ({"cache_backend": MemoryCache(), "cache_ttl": 3.0}, "cache_ttl can't be used with a cache of your own"),
        ({"cache_dir": "x"}, "There is no cache for cache_dir"),
        ({"cache_backend": "memory", "cache_max_bytes": 0}, "^cache_max_bytes must be above 0, not 0"),
        ({"cache_backend": "fs", "cache_ttl": -1.0}, "^cache_ttl must be above 0"),
        ({"cache_backend": "memory", "cache_get_timeout": 0}, "^cache_get_timeout must be above 0"),
        ({"cache_backend": "memory", "cache_failures": "no"}, "cache_failures must be True or False"),
        ({**SERVERS, "cache_compression": "none"}, "cache_compression must be True or False"),
        ({**SERVERS, "cache_collection": "9"}, "small letters"),
    ],
)
def test_an_option_that_would_have_no_effect_or_another_is_refused_by_its_own_name(
    options: Any, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CACHE_BACKEND", raising=False)
    with pytest.raises(ConfigurationError, match=says):
        OpenAIClient("m", base_url="http://localhost/v1", **options)


def test_options_wait_where_the_environment_chooses_the_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for backend in ("none", "memory"):
        monkeypatch.setenv("CACHE_BACKEND", backend)
        client = OpenAIClient("m", base_url="http://localhost/v1", cache_dir=tmp_path)
        assert (client.cache is None) == (backend == "none")
