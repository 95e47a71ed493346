"""The application that HUB_APP names."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from hub.application import open_application
from hub.config import Settings
from hub.errors import ConfigurationError
from hub.testing import ScriptedEndpoint, chat_reply
from tests.contracts.generations import HELLO

PAGE = Path(__file__).parents[2] / "docs/workers.md"

SOURCE = """
from contextlib import asynccontextmanager

log = []

class Mine:
    def __init__(self, settings=None):
        self.settings = settings
    def stream(self, *, stream_id, messages, **params):
        return (stream_id, messages)

class Closing(Mine):
    async def __aenter__(self):
        log.append("opened")
        return self
    async def __aexit__(self, *exc_info):
        log.append("closed")

mine = Mine()
number = 5

class Box:
    mine = mine

def made(settings):
    return Mine(settings)

def closing(settings):
    return Closing(settings)

async def awaited(settings):
    return Mine(settings)

async def awaited_closing(settings):
    return Closing(settings)

@asynccontextmanager
async def managed(settings):
    log.append("opened")
    try:
        yield Mine(settings)
    finally:
        log.append("closed")

class Awaited:
    async def stream(self, *, stream_id, messages, **params):
        return None

class Yielding:
    async def stream(self, *, stream_id, messages, **params):
        yield None

awaited_stream = Awaited()

def yielding_stream(settings):
    return Yielding()

def empty(settings):
    return None

def a_class(settings):
    return Mine
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "an_application.py").write_text(SOURCE)
    (tmp_path / "a_broken_application.py").write_text("import not_there_anywhere")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "an_application", raising=False)
    return "an_application"


@pytest.mark.parametrize("attribute", ["mine", "Box.mine"])
async def test_a_generator_is_taken_as_it_is(attribute: str, module: str) -> None:
    async with open_application(f"{module}:{attribute}", Settings.load()) as generator:
        assert generator is sys.modules[module].mine


@pytest.mark.parametrize("attribute", ["made", "awaited", "managed", "Mine", "closing", "awaited_closing", "Closing"])
async def test_what_makes_a_generator_is_given_the_settings(attribute: str, module: str) -> None:
    settings = Settings.load()
    async with open_application(f"{module}:{attribute}", settings) as generator:
        assert generator.settings is settings  # type: ignore[attr-defined]
        assert generator.stream(stream_id="str_1", messages=[]) == ("str_1", [])


@pytest.mark.parametrize("attribute", ["managed", "closing", "awaited_closing", "Closing"])
async def test_what_has_to_be_closed_is_open_for_the_length_of_the_block(attribute: str, module: str) -> None:
    async with open_application(f"{module}:{attribute}", Settings.load()):
        assert sys.modules[module].log == ["opened"]
    assert sys.modules[module].log == ["opened", "closed"]


@pytest.mark.parametrize(
    ("app", "words"),
    [
        ("an_application", "module:attribute"),
        (":mine", "module:attribute"),
        ("an_application:", "module:attribute"),
        ("not_there:mine", "no module not_there"),
        ("an_application.below:mine", "no module an_application.below"),
        ("an_application:nothing", "has no nothing"),
        ("an_application:mine.nothing", "has no mine.nothing"),
        ("an_application:number", "int has no method `stream`"),
        ("an_application:empty", "NoneType, has no method `stream`"),
        ("an_application:a_class", "has no method `stream`"),
        ("an_application:awaited_stream", "`stream` has to be a plain function"),
        ("an_application:yielding_stream", "yields"),
    ],
)
async def test_what_is_wrong_is_said(app: str, words: str, module: str) -> None:
    with pytest.raises(ConfigurationError, match="HUB_APP") as raised:
        async with open_application(app, Settings.load()):
            pass
    assert words in str(raised.value)


async def test_an_error_of_the_application_s_own_comes_as_it_is(module: str) -> None:
    with pytest.raises(ModuleNotFoundError, match="not_there_anywhere"):
        async with open_application("a_broken_application:mine", Settings.load()):
            pass


# The page


async def test_the_page_s_application_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    example = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)[0]
    (tmp_path / "mine_of_the_page.py").write_text(example)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    async with ScriptedEndpoint(chat_reply("Hello")) as endpoint:
        monkeypatch.setenv("LLM_BASE_URL", endpoint.base_url)
        monkeypatch.setenv("LLM_MODEL", "m")
        monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
        async with open_application("mine_of_the_page:generator", Settings.load()) as generator:
            batches = generator.stream(stream_id="str_1", messages=HELLO).batches()
            assert [event async for batch in batches for event in batch][-1].type == "done"
        sent = endpoint.requests[-1].json()["messages"]
    assert [message["role"] for message in sent] == ["system", "user"]
