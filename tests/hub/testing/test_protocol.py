"""What dependent code accepts: a client and the fake alike, as type checkers see it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import BaseModel

from hub.llm import LLM
from hub.testing import FakeLLM

SCRIPT = """
from pydantic import BaseModel

from hub.client import OpenAIClient
from hub.embeddings import Embeddings
from hub.llm import LLM
from hub.llm_client import LLMClient
from hub.result import LLMResult
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
    await ask("no model")  # error
"""


def test_a_client_and_the_fake_have_the_protocol(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), str(script)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=100,
        check=False,
    )
    errors = [line for line in checked.stdout.splitlines() if line.startswith("script.py") and ": error:" in line]
    assert len(errors) == 1, checked.stdout
    assert 'has incompatible type "str"; expected "LLM"' in errors[0]


class Person(BaseModel):
    name: str


async def greet(llm: LLM) -> str:
    person = await llm.invoke(messages=[{"role": "user", "content": "Who are you?"}], response_model=Person)
    return f"Hello, {person.name}"


@pytest.mark.parametrize("name", ["Ada", "Grace"])
async def test_code_that_takes_the_protocol_takes_the_fake(name: str) -> None:
    assert await greet(FakeLLM(f'{{"name": "{name}"}}')) == f"Hello, {name}"
