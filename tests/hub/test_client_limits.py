"""Which limiter a client's calls keep to: by argument, by environment, by endpoint, model and account."""

from __future__ import annotations

import gc
import logging
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from hub import GPT5Nano, LLMClient, ModelProfile, OpenAIClient, RateLimits
from hub.client import Fallback
from hub.config import Settings
from hub.errors import ConfigurationError
from hub.limits import Limiter
from hub.testing import ScriptedTransport
from hub.upstream.quota import Quota
from hub.upstream.quotas import MAX_QUOTAS, Quotas
from tests.hub.limits.support import ManualClock
from tests.hub.upstream.limits_support import answered, ask, client_at, limiter_of, scripted, used, with_headers
from tests.hub.upstream.support import NO_RETRY

OPENAI = {"base_url": "https://api.openai.com/v1", "api_key": "key"}
ONCE = ModelProfile(model_name="m-1", rate_limits=RateLimits(req_per_min=1))
"""One request a minute, as its owner says."""


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REDIS_URL", raising=False)
    monkeypatch.delenv("LLM_LIMITER", raising=False)


async def is_sent(client: OpenAIClient, transport: ScriptedTransport, **options: Any) -> bool:
    """Whether a further call goes out without waiting."""
    before = len(transport.requests)
    call = ask(client, **options)
    await ManualClock().settle()
    call.cancel()
    return len(transport.requests) > before


async def keeps_to_one_request(client: OpenAIClient, transport: ScriptedTransport, **options: Any) -> bool:
    await answered(client, **options)
    return not await is_sent(client, transport, **options)


# Whose limits are known


async def test_limits_of_ones_own_hold_at_any_endpoint() -> None:
    transport = scripted()
    assert await keeps_to_one_request(client_at(transport, model=ONCE), transport)


async def test_limits_of_ones_own_hold_for_a_model_of_the_catalog_too_even_if_they_are_the_same() -> None:
    transport = scripted(used(150_000, 50_000))
    profile = replace(GPT5Nano(), rate_limits=RateLimits(tkn_per_min=200_000, req_per_min=500))
    assert await keeps_to_one_request(client_at(transport, model=profile), transport)


@pytest.mark.parametrize(("options", "holds"), [(OPENAI, True), ({}, False)])
async def test_limits_of_the_catalog_hold_at_openai_s_own_endpoint_alone(options: Any, holds: bool) -> None:
    transport = scripted(used(150_000, 50_000))  # as much as GPT-5 nano has in a minute
    client = client_at(transport, model="gpt-5-nano", **options)
    await answered(client)
    assert await is_sent(client, transport) is not holds


async def test_no_request_is_too_large_by_the_catalog_alone() -> None:
    says = {"x-ratelimit-limit-tokens": "200000"}
    transport = scripted(with_headers(used(1, 1), says))
    client = client_at(transport, model="gpt-5-nano", **OPENAI)
    large = [{"role": "user", "content": "x" * 1_000_000}]
    assert (await answered(client, messages=large)).status == "completed"
    error = (await answered(client, messages=large)).error  # now the endpoint has said so
    assert error is not None
    assert error.code == "invalid_request"


async def test_a_limit_that_the_endpoint_tells_holds_where_none_was_known() -> None:
    says = {"x-ratelimit-limit-requests": "60", "x-ratelimit-remaining-requests": "0"}
    transport = scripted(with_headers(used(1, 1), says))
    assert await keeps_to_one_request(client_at(transport), transport)


async def test_without_any_limit_nobody_waits() -> None:
    transport = scripted()
    assert not await keeps_to_one_request(client_at(transport), transport)


async def test_each_model_has_its_own_budget() -> None:
    transport = scripted()
    client = client_at(transport, model=ONCE)
    await answered(client)
    assert await is_sent(client, transport, model=replace(ONCE, model_name="m-2"))


async def test_a_fallback_has_its_own_budget() -> None:
    transport = scripted(used(1, 1))
    large = [{"role": "user", "content": "x" * 1_000}]
    small = ModelProfile(model_name="m-1", rate_limits=RateLimits(tkn_per_min=10))
    client = client_at(transport, model=small, fallbacks=["m-2"], retry=NO_RETRY)
    assert (await answered(client, messages=large)).status == "completed"
    assert [request.json()["model"] for request in transport.requests] == ["m-2"]


# Which limiter


async def test_none_limits_nothing() -> None:
    transport = scripted()
    assert not await keeps_to_one_request(client_at(transport, "none", model=ONCE), transport)


async def test_a_limiter_of_ones_own_is_for_all_models_of_the_first_endpoint() -> None:
    transport = scripted()
    limiter = limiter_of(ManualClock(), requests=1)
    client = client_at(transport, limiter, fallbacks=[Fallback(base_url="http://second/v1", api_key="EMPTY")])
    await answered(client)
    assert not await is_sent(client, transport, model="m-2")
    assert not await is_sent(client, transport, model=ONCE)


async def test_a_limiter_of_ones_own_stays_open() -> None:
    class Watched(Limiter):
        is_closed = False

        async def aclose(self) -> None:
            self.is_closed = True

    limiter = Watched(RateLimits())
    async with client_at(scripted(), limiter) as client:
        await answered(client)
    assert not limiter.is_closed


async def test_two_clients_may_share_a_limiter_of_ones_own() -> None:
    transport, limiter = scripted(), limiter_of(ManualClock(), requests=1)
    await answered(client_at(transport, limiter))
    assert not await is_sent(client_at(transport, limiter, base_url="http://other/v1"), transport)


@pytest.mark.parametrize(("variable", "argument", "holds"), [("none", None, False), ("none", "memory", True)])
async def test_the_environment_decides_where_the_argument_does_not(
    variable: str, argument: Any, holds: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLM_LIMITER", variable)
    transport = scripted()
    assert await keeps_to_one_request(client_at(transport, argument, model=ONCE), transport) is holds


async def test_a_client_of_a_server_of_ones_own_takes_one_too() -> None:
    transport = scripted()
    client = LLMClient(ONCE, http_client=transport.client(), limiter="none")
    assert not await keeps_to_one_request(client, transport)


@pytest.fixture
def away(unused_tcp_port: int, monkeypatch: pytest.MonkeyPatch) -> str:
    """`REDIS_URL` is set, and nobody listens there."""
    url = f"redis://127.0.0.1:{unused_tcp_port}/0"
    monkeypatch.setenv("REDIS_URL", url)
    return url


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level(logging.WARNING, "hub.limits.outage"):
        yield caplog


@pytest.mark.parametrize("limiter", [None, "redis"])
async def test_where_redis_is_named_it_is_used_and_calls_go_on_without_it(
    limiter: Any, away: str, told: pytest.LogCaptureFixture
) -> None:
    transport = scripted()
    async with client_at(transport, limiter, model=ONCE) as client:
        assert (await answered(client)).status == "completed"
        assert not await is_sent(client, transport)
    assert "Redis is away" in told.text


async def test_redis_is_not_asked_where_memory_will_do(away: str, told: pytest.LogCaptureFixture) -> None:
    await answered(client_at(scripted(), "memory", model=ONCE))
    await answered(client_at(scripted()))  # whose limits nobody knows
    assert not told.records


# What is no limiter


@pytest.mark.parametrize(
    ("limiter", "words"),
    [
        ("memroy", "There is no limiter called 'memroy'; there are memory, redis, none."),
        ("", "There is no limiter called ''"),
        ("redis", "REDIS_URL"),
        (5, "not int"),
        (RateLimits(req_per_min=1), "not RateLimits"),
        (Limiter, "not the class Limiter"),
        (False, "not bool"),
    ],
)
def test_what_is_no_limiter_is_refused_in_words(limiter: Any, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        client_at(scripted(), limiter)


def test_a_variable_that_makes_no_sense_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLM_LIMITER", "memroy")
    with pytest.raises(ConfigurationError, match="LLM_LIMITER"):
        client_at(scripted())


def test_a_redis_url_that_makes_no_sense_is_named_and_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "http://user:hidden@somewhere")
    with pytest.raises(ConfigurationError, match="REDIS_URL") as caught:
        client_at(scripted())
    assert "hidden" not in str(caught.value)
    client_at(scripted(), "memory")  # who doesn't use it doesn't mind


# Names


def quotas_alive() -> int:
    gc.collect()
    return sum(type(each) is Quota for each in gc.get_objects())


def test_names_that_callers_make_up_do_not_fill_the_memory() -> None:
    before = quotas_alive()
    quotas = Quotas("memory", Settings.load())
    endpoint = client_at(scripted())._connections.endpoint
    for number in range(MAX_QUOTAS * 2):
        quotas.of(endpoint, ModelProfile(model_name=f"m-{number}"), is_first=True)
    assert quotas_alive() - before <= MAX_QUOTAS


def test_a_model_that_is_in_use_keeps_its_budget_whatever_names_are_made_up() -> None:
    quotas = Quotas("memory", Settings.load())
    endpoint = client_at(scripted())._connections.endpoint
    used_one = quotas.of(endpoint, ONCE, is_first=True)
    for number in range(MAX_QUOTAS * 2):
        quotas.of(endpoint, ModelProfile(model_name=f"n-{number}"), is_first=True)
        assert quotas.of(endpoint, ONCE, is_first=True) is used_one


def test_threads_that_ask_at_the_same_time_get_the_same_budget() -> None:
    quotas = Quotas("memory", Settings.load())
    endpoint = client_at(scripted())._connections.endpoint
    found: set[Quota | None] = set()

    def ask_often() -> None:
        for _ in range(2_000):
            found.add(quotas.of(endpoint, ONCE, is_first=True))

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # threads take turns as often as they can
    try:
        with ThreadPoolExecutor(4) as threads:
            for _ in range(4):
                threads.submit(ask_often)
    finally:
        sys.setswitchinterval(interval)
    assert len(found) == 1


def test_the_name_of_an_account_tells_neither_address_nor_key() -> None:
    first, second = (client_at(scripted(), api_key=key)._connections.endpoint for key in ("key-one", "key-two"))
    assert first.account != second.account
    assert "key" not in first.account
    assert "scripted" not in first.account
