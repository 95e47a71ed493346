"""Structured output by a real model: llama.cpp's server makes a grammar of each schema, and the answers are parsed."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

from hub.client import OpenAIClient
from hub.completion import fold
from hub.errors import OutputTruncatedError, OutputValidationError
from hub.events import TextDelta
from hub.structured import PartialParser, ResponseModel
from tests.hub.structured.models import EVERY_TYPE, Colour, Person
from tests.real.support import REAL

pytestmark = REAL

QUESTION = [{"role": "user", "content": "Describe one animal as JSON."}]


class Animal(BaseModel):
    """An animal; every member is so narrow that a small model comes to an end."""

    kind: Literal["cat", "dog", "bird"]
    legs: Annotated[int, Field(ge=0, le=8)]
    colour: Colour = Colour.RED
    is_tame: bool
    parents: Annotated[list[Literal["mother", "father"]], Field(min_length=1, max_length=2)]


class Kitten(BaseModel):
    kind: Literal["cat"]
    lives: Annotated[int, Field(ge=1, le=9)]


class Puppy(BaseModel):
    kind: Literal["dog"] = "dog"
    is_loud: bool = True


@pytest.mark.parametrize("strict", [None, False])
@pytest.mark.parametrize("annotation", EVERY_TYPE, ids=repr)
async def test_the_server_takes_every_schema(client: OpenAIClient, annotation: Any, strict: bool | None) -> None:
    response_format = ResponseModel.of(annotation).response_format(strict=strict)
    result = await client.invoke(messages=QUESTION, max_tokens=1, response_format=response_format)
    assert result.error is None
    assert result.usage is not None


@pytest.mark.parametrize("annotation", [Animal, Colour, Literal["a", 1], bool, Annotated[int, Field(ge=1, le=9)]])
async def test_a_real_answer_is_of_the_type(client: OpenAIClient, annotation: Any) -> None:
    model = ResponseModel.of(annotation)
    result = await client.invoke(messages=QUESTION, max_tokens=100, response_format=model.response_format())
    assert model.parse(result) is not None


async def test_a_union_by_tag_is_answered_with_one_of_its_types(client: OpenAIClient) -> None:
    model = ResponseModel.of(Annotated[Kitten | Puppy, Field(discriminator="kind")])
    result = await client.invoke(messages=QUESTION, max_tokens=100, response_format=model.response_format())
    assert isinstance(model.parse(result), Kitten | Puppy)


async def test_partials_of_a_real_stream_end_in_the_parsed_value(client: OpenAIClient) -> None:
    model = ResponseModel.of(Animal)
    parser = PartialParser(model, growth=0)
    seen, events = [], []
    async for event in client.stream(messages=QUESTION, max_tokens=100, response_format=model.response_format()):
        events.append(event)
        if isinstance(event, TextDelta) and (partial := parser.feed(event.text)) is not None:
            seen.append(partial)
    assert len(seen) > 3
    assert seen[-1] == model.parse(fold(events))


async def test_an_object_grows_until_it_is_the_one_that_was_asked_for(client: OpenAIClient) -> None:
    stream = client.stream(messages=QUESTION, max_tokens=100, response_model=Animal)
    seen = [partial async for partial in stream.partials()]
    animal = await stream.parsed()
    assert len(seen) > 3
    assert seen[-1] == animal
    assert await client.invoke(messages=QUESTION, max_tokens=30, response_model=bool) in (True, False)


async def test_a_schema_that_the_server_ignores_gives_an_error_and_no_object(client: OpenAIClient) -> None:
    # llama.cpp heeds no `text.format` in the Responses API (2026-11-21).
    with pytest.raises(OutputValidationError, match="no valid Animal"):
        await client.invoke(messages=QUESTION, max_tokens=30, response_model=Animal, api="responses")


async def test_an_answer_cut_off_is_truncated_and_its_partial_stands(client: OpenAIClient) -> None:
    model = ResponseModel.of(Person)
    result = await client.invoke(messages=QUESTION, max_tokens=12, response_format=model.response_format())
    with pytest.raises(OutputTruncatedError):
        model.parse(result)
    partial = model.partial(result.text)
    assert partial is not None
    assert isinstance(partial.name, str)
