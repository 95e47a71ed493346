"""Who shares answers under way, as a client and the hub are configured."""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest
from pydantic import SecretStr

from hub.answerer import EndpointChoice
from hub.cache.core import CacheCore
from hub.client import OpenAIClient
from hub.config import Settings
from hub.errors import ConfigurationError
from hub.flights.opening import open_flights
from hub.flights.over_streams import StreamFlights
from hub.flights.register import MemoryRegister
from hub.opening import open_generator
from hub.streams.memory import MemoryStreamStore


def shares(cache: CacheCore | None) -> object:
    assert cache is not None
    return cache._shared


def test_by_default_the_calls_of_one_client_share() -> None:
    assert open_flights("process") is None
    assert shares(OpenAIClient("m", api_key="k", cache_backend="memory").cache) is None


def test_a_url_has_all_processes_share() -> None:
    client = OpenAIClient("m", api_key="k", cache_backend="memory", cache_flights="redis://localhost:1")
    assert isinstance(shares(client.cache), StreamFlights)


def test_the_environment_says_who_shares_and_an_argument_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CACHE_FLIGHTS", "redis://localhost:1")
    monkeypatch.setenv("CACHE_BACKEND", "memory")
    assert isinstance(shares(OpenAIClient("m", api_key="k").cache), StreamFlights)
    assert shares(OpenAIClient("m", api_key="k", cache_flights="process").cache) is None


def test_flights_of_ones_own_are_taken_as_they_are() -> None:
    own = StreamFlights(MemoryStreamStore(), MemoryRegister())
    assert shares(OpenAIClient("m", api_key="k", cache_backend="memory", cache_flights=own).cache) is own


def test_what_is_no_place_is_refused_without_being_repeated() -> None:
    with pytest.raises(ConfigurationError, match="CACHE_FLIGHTS") as caught:
        OpenAIClient("m", api_key="k", cache_backend="memory", cache_flights="http://me:secret@host")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("wrong", [5, object()])
def test_what_shares_nothing_is_refused(wrong: object) -> None:
    with pytest.raises(ConfigurationError, match="cache_flights"):
        OpenAIClient("m", api_key="k", cache_backend="memory", cache_flights=wrong)  # type: ignore[arg-type]


def test_without_a_cache_there_is_nothing_to_share() -> None:
    with pytest.raises(ConfigurationError, match="There is no cache for cache_flights"):
        OpenAIClient("m", api_key="k", cache_flights="redis://localhost:1")


@pytest.mark.parametrize(
    ("store", "flights", "expected"),
    [
        ("redis://localhost:1", None, StreamFlights),
        ("redis://localhost:1", "process", type(None)),
        ("memory", None, type(None)),
        (None, None, type(None)),
    ],
)
async def test_the_hub_s_calls_share_over_its_own_redis(store: str | None, flights: str | None, expected: type) -> None:
    settings = Settings.load()
    cache = settings.cache.model_copy(
        update={"backend": "memory", "flights": None if flights is None else SecretStr(flights)}
    )
    settings = settings.model_copy(
        update={"cache": cache, "hub": settings.hub.model_copy(update={"store": store, "app": None})}
    )
    async with AsyncExitStack() as stack:
        client, _ = await open_generator(stack, settings, EndpointChoice("http://localhost:1/v1", "m", None))
        assert isinstance(client, OpenAIClient)
        assert isinstance(shares(client.cache), expected)
