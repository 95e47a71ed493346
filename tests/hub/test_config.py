"""Settings: what is read from the environment, and that `.env.example` tells all of it."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from openai import AsyncOpenAI
from pydantic import AliasChoices, BaseModel, SecretStr

import hub
from hub.client import AsyncOpenAIClient, OpenAIClient
from hub.config import EndpointSettings, Settings
from hub.errors import ConfigurationError
from hub.llm_client import LLMClient
from hub.models.profile import ModelProfile
from hub.testing import ScriptedEndpoint, chat_reply

HELLO: Any = [{"role": "user", "content": "Hello"}]
KEY = "kEy.withNoKnownPrefix.0123456789"

EXAMPLE = Path(__file__).parents[2] / ".env.example"


def fields() -> Iterator[tuple[str, Any]]:
    """Every variable, and the default of its field."""
    for section in Settings.model_fields.values():
        model = section.annotation
        assert isinstance(model, type)
        assert issubclass(model, BaseModel)
        for field in model.model_fields.values():
            alias = field.validation_alias
            name = alias.choices[0] if isinstance(alias, AliasChoices) else alias
            yield str(name), field.get_default(call_default_factory=True, validated_data={})


VARIABLES = dict(fields())


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in (*VARIABLES, "PORT"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def example() -> dict[str, tuple[str, str]]:
    """Each variable of the example: its default, and the comment above it."""
    found: dict[str, tuple[str, str]] = {}
    comment: list[str] = []
    for line in EXAMPLE.read_text().splitlines():
        if match := re.fullmatch(r"#\s?([A-Z][A-Z0-9_]+)=(.*)", line):
            found[match[1]] = (match[2], " ".join(comment))
        elif line.startswith("#"):
            comment.append(line.removeprefix("#").strip())
        else:
            comment = []
    return found


def test_the_example_lists_every_variable_and_no_other() -> None:
    assert list(example()) == list(VARIABLES)


@pytest.mark.parametrize("name", VARIABLES)
def test_the_example_gives_each_variable_a_comment_and_its_default(name: str) -> None:
    default, comment = example()[name]
    assert comment
    expected = VARIABLES[name]
    if isinstance(expected, bool):
        expected = str(expected).lower()
    elif isinstance(expected, float):
        expected = f"{expected:g}"
    assert default == ("" if expected is None else str(expected))


def test_the_example_copied_as_it_is_changes_nothing(environment: pytest.MonkeyPatch) -> None:
    before = Settings.load()
    for name, (default, _) in example().items():
        environment.setenv(name, default)
    assert Settings.load() == before


def test_every_bounded_setting_refuses_what_lies_beyond(environment: pytest.MonkeyPatch) -> None:
    for name, value in (
        ("LLM_MAX_TOKENS", "-1"),
        ("LLM_TEMPERATURE", "3"),
        ("LLM_STALL_TIMEOUT", "0"),
        ("LLM_ATTEMPTS", "0"),
        ("HUB_PORT", "70000"),
    ):
        with environment.context() as patch:
            patch.setenv(name, value)
            with pytest.raises(ConfigurationError, match=name):
                Settings.load()


def test_a_wrong_value_is_named_and_not_shown(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("LLM_MAX_TOKENS", "sk-put-in-the-wrong-place")
    with pytest.raises(ConfigurationError, match="LLM_MAX_TOKENS") as raised:
        Settings.load()
    assert "sk-put" not in str(raised.value)


def test_an_empty_variable_is_one_that_is_not_set(environment: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        environment.setenv(name, "")
    assert Settings.load().llm == EndpointSettings()


def test_keys_are_not_shown(environment: pytest.MonkeyPatch) -> None:
    secrets = {
        "OPENAI_API_KEY": "secret-1",
        "LLM_API_KEY": "secret-2",
        "HUB_API_KEYS": "secret-3",
        "LLM_BASE_URL": "http://me:secret-4@own/v1",
        "OPENAI_BASE_URL": "http://me:secret-5@own/v1",
        "HUB_SINKS": "live=redis://:secret-6@own/live",
        "PUSHER_AUTH_SECRET": "secret-7",
        "WEBHOOK_SECRET": "secret-8",
    }
    for name, value in secrets.items():
        environment.setenv(name, value)
    assert "secret-" not in repr(Settings.load())
    assert isinstance(Settings.load().openai.api_key, SecretStr)


def test_settings_do_not_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings.load().llm.model = "other"


# What a client makes of them


@pytest.fixture
async def endpoint() -> AsyncIterator[ScriptedEndpoint]:
    async with ScriptedEndpoint(handler=lambda _: chat_reply("Hi there")) as running:
        yield running


def body(endpoint: ScriptedEndpoint) -> Any:
    return endpoint.requests[-1].json()


async def test_what_the_client_was_given_is_sent(endpoint: ScriptedEndpoint) -> None:
    async with OpenAIClient("m-2", base_url=endpoint.base_url, api_key=KEY, max_tokens=5, temperature=0.5) as client:
        await client.invoke(messages=HELLO, top_p=0.9)
    sent = body(endpoint)
    assert (sent["model"], sent["max_tokens"], sent["temperature"], sent["top_p"]) == ("m-2", 5, 0.5, 0.9)
    assert endpoint.requests[-1].headers["authorization"] == f"Bearer {KEY}"


async def test_a_call_wins_over_the_client_and_the_client_over_the_environment(
    endpoint: ScriptedEndpoint, environment: pytest.MonkeyPatch
) -> None:
    for name, value in (("LLM_MODEL", "env"), ("LLM_MAX_TOKENS", "1"), ("LLM_TEMPERATURE", "1")):
        environment.setenv(name, value)
    async with OpenAIClient(base_url=endpoint.base_url) as client:
        await client.invoke(messages=HELLO)
        assert [body(endpoint)[name] for name in ("model", "max_tokens", "temperature")] == ["env", 1, 1]
        await client.invoke(messages=HELLO, model=ModelProfile(model_name="call"), max_tokens=2, temperature=0.2)
        assert [body(endpoint)[name] for name in ("model", "max_tokens", "temperature")] == ["call", 2, 0.2]
    async with OpenAIClient("given", base_url=endpoint.base_url, max_tokens=0, temperature=0) as client:
        await client.invoke(messages=HELLO)
        assert [body(endpoint)[name] for name in ("model", "max_tokens", "temperature")] == ["given", 0, 0]


async def test_nought_is_a_value(endpoint: ScriptedEndpoint, environment: pytest.MonkeyPatch) -> None:
    environment.setenv("LLM_MAX_TOKENS", "0")
    environment.setenv("LLM_TEMPERATURE", "0")
    async with LLMClient(base_url=endpoint.base_url) as client:
        await client.invoke(messages=HELLO)
        assert (body(endpoint)["max_tokens"], body(endpoint)["temperature"]) == (0, 0)
        await client.invoke(messages=HELLO, max_tokens=9, temperature=1)
        assert (body(endpoint)["max_tokens"], body(endpoint)["temperature"]) == (9, 1)


async def test_what_no_one_set_is_left_to_the_endpoint(endpoint: ScriptedEndpoint) -> None:
    async with OpenAIClient("m", base_url=endpoint.base_url) as client:
        await client.invoke(messages=HELLO)
    assert not body(endpoint).keys() & {"max_tokens", "max_completion_tokens", "temperature"}


async def test_the_newer_name_of_the_limit_stands_in_for_the_older(endpoint: ScriptedEndpoint) -> None:
    async with OpenAIClient("m", base_url=endpoint.base_url, max_tokens=5) as client:
        await client.invoke(messages=HELLO, max_completion_tokens=7)
    assert body(endpoint).keys() & {"max_tokens", "max_completion_tokens"} == {"max_completion_tokens"}


def test_an_llm_client_with_nothing_set_asks_a_server_on_this_machine() -> None:
    client = LLMClient()
    assert (client.base_url, client.client.api_key) == ("http://localhost:8000/v1", "EMPTY")
    assert (client.model, client.max_tokens, client.temperature) == ("google/gemma-3-27b-it", 256, 0.7)


def test_an_llm_client_reads_its_own_variables_alone(environment: pytest.MonkeyPatch) -> None:
    for name, value in (
        ("OPENAI_API_KEY", "not-this"),
        ("OPENAI_BASE_URL", "http://not-this/v1"),
        ("LLM_BASE_URL", "http://own/v1"),
        ("LLM_API_KEY", "own-key"),
        ("LLM_MODEL", "own-model"),
        ("LLM_MAX_TOKENS", "10"),
        ("LLM_TEMPERATURE", "0.1"),
    ):
        environment.setenv(name, value)
    client = LLMClient()
    assert (client.base_url, client.client.api_key) == ("http://own/v1", "own-key")
    assert (client.model, client.max_tokens, client.temperature) == ("own-model", 10, 0.1)
    given = LLMClient("m", base_url="http://given/v1", api_key="given", max_tokens=0, temperature=0)
    assert (given.base_url, given.client.api_key) == ("http://given/v1", "given")
    assert (given.model, given.max_tokens, given.temperature) == ("m", 0, 0)


def test_the_client_is_an_openai_client_beneath() -> None:
    client = OpenAIClient("m", base_url="http://localhost/v1")
    assert isinstance(client.client, AsyncOpenAI)
    assert client.client.max_retries == 0
    assert AsyncOpenAIClient is OpenAIClient


# The package


async def run(*code: str, **variables: str) -> str:
    """What a fresh interpreter prints."""
    root = str(Path(hub.__file__).parents[1])
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        "\n".join(code),
        env={"PYTHONPATH": root, "PATH": "", **{name: value for name, value in variables.items() if name != "cwd"}},
        cwd=variables.get("cwd"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    output, _ = await asyncio.wait_for(process.communicate(), 30)
    return output.decode().strip()


async def test_importing_the_package_loads_neither_the_sdk_nor_the_server() -> None:
    heavy = "openai httpx2 aiohttp pydantic msgspec starlette uvicorn sse_starlette"
    code = f"import sys, hub; print([name for name in {heavy.split()} if name in sys.modules])"
    assert await run(code, HUB_NO_DOTENV="1") == "[]"


async def test_every_public_name_loads() -> None:
    code = "import hub; print(all(getattr(hub, name) is not None for name in hub.__all__))"
    assert await run(code, HUB_NO_DOTENV="1") == "True"


async def test_the_nearest_env_file_is_loaded_and_overrides_nothing(tmp_path: Path) -> None:
    below = tmp_path / "a/b"
    below.mkdir(parents=True)
    (tmp_path / ".env").write_text("LLM_MODEL=from-file\nLLM_MAX_TOKENS=9\n")
    code = "import os, hub; print(os.environ.get('LLM_MODEL'), os.environ.get('LLM_MAX_TOKENS'))"
    assert await run(code, cwd=str(below), LLM_MAX_TOKENS="1") == "from-file 1"
    assert await run(code, cwd=str(below), HUB_NO_DOTENV="1") == "None None"


async def test_a_client_takes_its_settings_from_the_env_file(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("OPENAI_API_KEY=k\nOPENAI_BASE_URL=http://proxy/v1\nLLM_MODEL=m\n")
    code = "from hub import OpenAIClient; c = OpenAIClient(); print(c.model, c.base_url, c.client.api_key)"
    assert await run(code, cwd=str(tmp_path)) == "m http://proxy/v1 k"


async def test_a_client_may_be_used_by_one_event_loop_after_another() -> None:
    async with ScriptedEndpoint(handler=lambda _: chat_reply("Hi")) as endpoint:
        code = (
            "import asyncio, hub",
            f"client = hub.OpenAIClient('m', base_url={endpoint.base_url!r})",
            f"first = asyncio.run(client.invoke(messages={HELLO!r}))",
            f"second = asyncio.run(client.invoke(messages={HELLO!r}))",
            "print(first.status, second.status)",
        )
        output = await run(*code, HUB_NO_DOTENV="1")
    assert "completed completed" in output.splitlines()
    assert "Traceback" not in output


@pytest.mark.parametrize("page", ["client", "endpoints"])
async def test_the_examples_of_the_pages_run(page: str, endpoint: ScriptedEndpoint) -> None:
    text = (EXAMPLE.parent / f"docs/{page}.md").read_text()
    examples = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert examples
    output = await run(*examples, OPENAI_BASE_URL=endpoint.base_url, OPENAI_API_KEY=KEY, HUB_NO_DOTENV="1")
    assert "Error" not in output
    assert page != "client" or output.startswith("Hi there")
