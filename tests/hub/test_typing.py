"""What type checkers of other projects see."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

EVENTS = """
from hub import LLMEvent, OpenAIClient, TextDelta


async def ask(client: OpenAIClient) -> str:
    parts: list[str] = []
    async for event in client.stream(messages=[]):
        reveal_type(event)
        match event:
            case TextDelta():
                parts.append(event.text)
        if event.type == "done":
            reveal_type(event.status)
    return "".join(parts)
"""

PROFILES = """
import dataclasses

from hub import GPT5, ModelProfile, OpenAIClient


class Mine(ModelProfile):
    model_name = "org/mine-7b"
    context_window = 32_768
    category = "embeddings"


window: int | None = Mine().context_window
known: int | None = GPT5.context_window
count: int = Mine.count_tokens("hi") + GPT5().count_tokens("hi")
replaced: GPT5 = dataclasses.replace(GPT5(), model_name="prod")
clients = [OpenAIClient(GPT5), OpenAIClient(GPT5()), OpenAIClient("gpt-5", fallbacks=[Mine, "m"])]
misspelt = ModelProfile(modelname="x")  # type: ignore[call-arg]
wrong = GPT5.price("usage")  # type: ignore[arg-type]
"""

PROTOCOL = """
from pydantic import BaseModel

from hub import LLM, Embeddings, LLMClient, LLMResult, OpenAIClient
from hub.testing import FakeLLM


class Person(BaseModel):
    name: str


async def ask(llm: LLM) -> str:
    result: LLMResult = await llm.invoke(messages=[], temperature=0)
    person: Person = await llm.invoke(messages=[], response_model=Person)
    vectors: Embeddings = await llm.embedding(["a"], dimensions=8)
    async with llm.stream(messages=[]) as stream:
        async for event in stream:
            if event.type == "text_delta":
                stream.stop()
    objects = llm.stream(messages=[], response_model=Person)
    grown: list[Person] = [partial async for partial in objects.partials()]
    return result.text + person.name + stream.stream_id + (await objects.parsed()).name


async def main(client: OpenAIClient, own: LLMClient, fake: FakeLLM) -> None:
    for llm in (client, own, fake):
        await ask(llm)
    await ask("no model")  # type: ignore[arg-type]
"""


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What mypy says of all of it, in one run: reading the packages takes most of its time."""
    folder = tmp_path_factory.mktemp("typing")
    for name, script in (("events", EVENTS), ("profiles", PROFILES), ("protocol", PROTOCOL)):
        (folder / f"use_{name}.py").write_text(script)
    run = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(folder / "cache"), str(folder)],
        capture_output=True,
        text=True,
        cwd=folder,
        timeout=110,
        check=False,
    )
    return run.stdout + run.stderr


def test_the_package_says_that_it_is_typed() -> None:
    for package in ("hub", "sinks"):
        assert (Path(__file__).parents[2] / package / "py.typed").exists()


@pytest.mark.parametrize("name", ["events", "profiles", "protocol"])
def test_what_users_write_passes_a_strict_check(checked: str, name: str) -> None:
    assert not [line for line in checked.splitlines() if line.startswith(f"use_{name}.py") and ": error:" in line]
    assert "found" in checked.lower() or "success" in checked.lower()  # it came to its end


def test_events_are_told_apart(checked: str) -> None:
    assert "TextDelta" in checked
    assert "completed" in checked
