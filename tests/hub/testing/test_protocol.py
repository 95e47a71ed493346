"""What dependent code accepts: a client and the fake alike."""

from __future__ import annotations

import pytest
from pydantic import BaseModel

from hub.llm import LLM
from hub.testing import FakeLLM


class Person(BaseModel):
    name: str


async def greet(llm: LLM) -> str:
    person = await llm.invoke(messages=[{"role": "user", "content": "Who are you?"}], response_model=Person)
    return f"Hello, {person.name}"


@pytest.mark.parametrize("name", ["Ada", "Grace"])
async def test_code_that_takes_the_protocol_takes_the_fake(name: str) -> None:
    assert await greet(FakeLLM(f'{{"name": "{name}"}}')) == f"Hello, {name}"
