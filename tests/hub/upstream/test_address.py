"""Where an endpoint is, and by what key it opens."""

from __future__ import annotations

from typing import Any

import pytest

from hub.config import EndpointSettings, OpenAISettings, Settings
from hub.errors import ConfigurationError, MissingKeyError
from hub.upstream.address import find_address

VARIABLES = ("OPENAI_API_KEY", "OPENAI_BASE_URL", "LLM_API_KEY", "LLM_BASE_URL")


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def settings(**values: str) -> Settings:
    return Settings(openai=OpenAISettings.model_validate(values), llm=EndpointSettings.model_validate(values))


OPENAI = {"OPENAI_API_KEY": "openai-key"}
LLM = {"LLM_BASE_URL": "http://own/v1", "LLM_API_KEY": "own-key"}
PROXY = {"OPENAI_BASE_URL": "http://proxy/v1"}


@pytest.mark.parametrize(
    ("environment", "given", "url", "key"),
    [
        (OPENAI, {}, "https://api.openai.com/v1", "openai-key"),
        (OPENAI | PROXY, {}, "http://proxy/v1", "openai-key"),
        (LLM, {}, "http://own/v1", "own-key"),
        (OPENAI | LLM, {}, "http://own/v1", "own-key"),
        (OPENAI | PROXY | LLM, {}, "http://proxy/v1", "openai-key"),
        (OPENAI, {"base_url": "http://given/v1"}, "http://given/v1", "openai-key"),
        (OPENAI | LLM, {"base_url": "http://own/v1/"}, "http://own/v1/", "own-key"),
        (OPENAI | LLM, {"base_url": "http://given/v1", "api_key": "given"}, "http://given/v1", "given"),
        (OPENAI, {"api_key": "given"}, "https://api.openai.com/v1", "given"),
        ({}, {"base_url": "http://localhost:8000/v1"}, "http://localhost:8000/v1", "EMPTY"),
        ({}, {"base_url": "http://127.0.0.1/v1"}, "http://127.0.0.1/v1", "EMPTY"),
        ({}, {"base_url": "http://[::1]:1/v1"}, "http://[::1]:1/v1", "EMPTY"),
        ({}, {"base_url": "http://vllm.localhost/v1"}, "http://vllm.localhost/v1", "EMPTY"),
    ],
    ids=str,
)
def test_arguments_win_over_the_environment(environment: Any, given: Any, url: str, key: str) -> None:
    address = find_address(settings(**environment), **given)
    assert (address.url, address.api_key) == (url, key)


@pytest.mark.parametrize(
    ("environment", "given", "variable"),
    [
        ({}, {}, "OPENAI_API_KEY"),
        (LLM, {"base_url": "https://api.openai.com/v1"}, "OPENAI_API_KEY"),
        (OPENAI | {"LLM_BASE_URL": "http://own/v1"}, {}, "LLM_API_KEY"),
        (OPENAI | {"LLM_BASE_URL": "http://own/v1"}, {"base_url": "http://own/v1"}, "LLM_API_KEY"),
        (PROXY | LLM, {}, "OPENAI_API_KEY"),
    ],
    ids=str,
)
def test_a_key_goes_to_its_own_endpoint_only_and_a_missing_one_is_named(
    environment: Any, given: Any, variable: str
) -> None:
    with pytest.raises(MissingKeyError, match=variable):
        find_address(settings(**environment), **given)


def test_user_and_password_become_a_header() -> None:
    address = find_address(settings(), "http://me:p%40ss@own:81/v1")
    assert (address.url, address.api_key) == ("http://own:81/v1", "EMPTY")
    assert address.headers == {"Authorization": "Basic bWU6cEBzcw=="}


def test_an_address_shows_no_secret() -> None:
    assert "secret" not in repr(find_address(settings(), "http://me:secret@own/v1", "secret-key"))


@pytest.mark.parametrize(
    "url",
    [
        "",
        "nonsense",
        "ftp://u:secret@host/v1",
        "http://",
        "http://u:secret@h:port/v1",
        "http://h/v1?key=secret",
        "http://[",
    ],
)
def test_a_url_that_makes_no_sense_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        find_address(settings(), url, "k")
    assert "secret" not in str(raised.value)
    assert "base URL" in str(raised.value)


@pytest.mark.parametrize("key", ["", "  "])
def test_an_empty_key_is_refused(key: str) -> None:
    with pytest.raises(ConfigurationError, match="EMPTY"):
        find_address(settings(), "http://own/v1", key)


def test_blanks_round_a_key_do_no_harm() -> None:
    assert find_address(settings(OPENAI_API_KEY=" k \n")).api_key == "k"
