from __future__ import annotations

import datetime
import json
from collections.abc import Callable
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field

from hub.errors import (
    EndpointTimeoutError,
    InvalidRequestError,
    OutputTruncatedError,
    OutputValidationError,
    RefusalError,
    StructuredOutputError,
)
from hub.result import Failure, LLMResult, ToolCall
from hub.structured import ResponseModel
from tests.hub.structured.models import Address, Cat, Colour, Dog, Film, Numbers, Person, Point, answer

PERSON = ResponseModel.of(Person)


@pytest.mark.parametrize(
    ("annotation", "said", "value"),
    [
        (Address, {"street": "s"}, Address(street="s")),
        (Point, {"x": 1}, Point(1)),
        (Film, {"title": "t", "cast": []}, {"title": "t", "cast": []}),
        (list[Address], {"value": [{"street": "s"}]}, [Address(street="s")]),
        (list[Address], [{"street": "s"}], [Address(street="s")]),
        (Cat | Dog, {"value": {"kind": "dog", "tricks": []}}, Dog(kind="dog", tricks=[])),
        (Cat | Dog, {"kind": "dog", "tricks": []}, Dog(kind="dog", tricks=[])),
        (Colour, {"value": "red"}, Colour.RED),
        (Literal["a", 1], {"value": 1}, 1),
        (int, {"value": 5}, 5),
        (int, 5, 5),
        (int | None, {"value": None}, None),
        (Numbers, {"value": [1, 2]}, Numbers([1, 2])),
        (dict[str, int], {"value": 1}, {"value": 1}),
        (tuple[int, str], {"value": [1, "a"]}, (1, "a")),
    ],
    ids=str,
)
def test_every_kind_of_type_is_parsed_wrapped_or_bare(annotation: Any, said: Any, value: Any) -> None:
    assert ResponseModel.of(annotation).parse(answer(json.dumps(said))) == value


def test_a_strict_model_takes_what_json_can_say() -> None:
    class Event(BaseModel):
        model_config = ConfigDict(strict=True)

        day: datetime.date
        colour: Colour
        names: set[str]

    event = ResponseModel.of(Event).parse(answer('{"day": "2026-11-21", "colour": "red", "names": ["a"]}'))
    assert (event.day, event.colour, event.names) == (datetime.date(2026, 11, 21), Colour.RED, {"a"})


def test_a_fenced_answer_among_words_is_parsed() -> None:
    assert PERSON.parse(answer('Of course:\n```json\n{"name": "Ada"}\n```')).name == "Ada"


def test_a_validation_error_carries_places_text_and_result_and_no_address() -> None:
    result = answer('{"name": "Ada", "age": "old", "address": {}}')
    with pytest.raises(OutputValidationError) as caught:
        PERSON.parse(result)
    error = caught.value
    assert [(each["loc"], each["type"]) for each in error.errors] == [
        (("age",), "int_parsing"),
        (("address", "street"), "missing"),
    ]
    assert {key for each in error.errors for key in each} == {"loc", "msg", "type"}
    assert (error.text, error.result) == (result.text, result)
    assert str(error).startswith("The answer is no valid Person: age: Input should be a valid integer")
    assert str(error).endswith(", and 1 more.")
    assert "http" not in str(error)


def test_the_message_of_an_error_holds_little_of_a_long_answer() -> None:
    with pytest.raises(OutputValidationError) as caught:
        PERSON.parse(answer("no " * 10_000))
    assert len(str(caught.value)) < 300
    assert caught.value.errors == [{"loc": (), "msg": "The text holds no JSON value.", "type": "json_invalid"}]


def test_two_different_values_are_an_error_and_not_a_choice() -> None:
    with pytest.raises(OutputValidationError, match="2 different"):
        PERSON.parse(answer('{"name": "Ada"} or {"name": "Bob"}'))


def test_a_refusal_is_its_own_error() -> None:
    with pytest.raises(RefusalError, match="I can't") as caught:
        PERSON.parse(answer("", refusal="I can't do that."))
    assert caught.value.refusal == "I can't do that."


def test_a_content_filter_is_a_refusal_without_words() -> None:
    with pytest.raises(RefusalError) as caught:
        PERSON.parse(answer('{"na', finish_reason="content_filter"))
    assert caught.value.refusal == ""


@pytest.mark.parametrize("text", ['{"name": "A', "", "12", 'So: {"name": "Ada"} and'])
def test_an_answer_at_its_limit_is_truncated(text: str) -> None:
    with pytest.raises(OutputTruncatedError, match="limit of tokens"):
        PERSON.parse(answer(text, finish_reason="length"))


def test_a_whole_object_that_ends_at_the_limit_is_an_answer() -> None:
    assert PERSON.parse(answer('{"name": "Ada"}\n\n\n\n', finish_reason="length")).name == "Ada"


def test_a_cancelled_answer_is_truncated() -> None:
    with pytest.raises(OutputTruncatedError, match="cancelled"):
        PERSON.parse(answer('{"name": "A', status="cancelled", finish_reason=None))


def test_an_endpoints_failure_stays_an_endpoints_failure() -> None:
    failure = Failure(code="stall_timeout", message="Silence.", retryable=True)
    result = LLMResult(stream_id="s", last_seq=2, status="failed", text='{"name": "Ada"}', error=failure)
    with pytest.raises(EndpointTimeoutError):
        PERSON.parse(result)


def test_an_answer_in_the_reasoning_alone_is_an_error() -> None:
    with pytest.raises(StructuredOutputError, match="reasoned and then said nothing"):
        PERSON.parse(answer("", reasoning='{"name": "Ada"}'))


def test_a_tool_call_in_place_of_an_answer_is_an_error() -> None:
    call = ToolCall(id="1", name="look_up", arguments='{"name": "Ada"}')
    with pytest.raises(StructuredOutputError, match="'look_up'"):
        PERSON.parse(answer("", finish_reason="tool_calls", tool_calls=(call,)))


def test_asking_again_appends_the_answer_and_what_is_wrong_with_it() -> None:
    result = answer('{"name": 5}')
    with pytest.raises(OutputValidationError) as caught:
        PERSON.parse(result)
    said, complaint = PERSON.ask_again(result, caught.value)
    assert said == {"role": "assistant", "content": '{"name": 5}'}
    assert complaint["role"] == "user"
    assert "- name: Input should be a valid string" in complaint["content"]


def test_asking_again_names_places_as_the_model_sees_them_and_not_too_many() -> None:
    numbers = ResponseModel.of(list[int])
    result = answer(json.dumps({"value": ["x"] * 50}))
    with pytest.raises(OutputValidationError) as caught:
        numbers.parse(result)
    content = numbers.ask_again(result, caught.value)[-1]["content"]
    assert "- value.0: " in content
    assert "- value.9: " in content
    assert "- value.10: " not in content
    assert "and 40 more" in content


def test_a_type_is_prepared_once() -> None:
    assert ResponseModel.of(list[Person]) is ResponseModel.of(list[Person])


def test_types_that_are_equal_but_for_their_order_are_two() -> None:
    first, second = ResponseModel.of(int | str), ResponseModel.of(str | int)
    assert first is not second


def test_no_more_than_128_types_are_kept() -> None:
    first = ResponseModel.of(Literal["t-0"])
    for number in range(1, 140):
        ResponseModel.of(Literal[f"t-{number}"])
    assert ResponseModel.of(Literal["t-0"]) is not first


def test_an_annotation_without_a_hash_will_do() -> None:
    assert ResponseModel.of(Annotated[int, Field(json_schema_extra={"examples": [1]}), []]).parse(answer("5")) == 5


@pytest.mark.parametrize("wrong", [object(), 5, Callable[[], int], "nowhere", Person(name="x"), answer])
def test_what_pydantic_cannot_describe_is_refused_at_once(wrong: Any) -> None:
    with pytest.raises(InvalidRequestError, match="response_model must be a type"):
        ResponseModel.of(wrong)


@pytest.mark.parametrize(
    ("annotation", "name"),
    [
        (Person, "Person"),
        (list[Person], "list_Person"),
        (int | None, "int_None"),
        (type("Ä", (BaseModel,), {}), "response"),
        (type("L" * 90, (BaseModel,), {}), "L" * 64),
    ],
    ids=repr,
)
def test_the_name_is_one_that_endpoints_allow(annotation: Any, name: str) -> None:
    assert ResponseModel.of(annotation).name == name


def test_a_bracket_in_the_words_is_no_answer_where_no_list_was_asked_for() -> None:
    model = ResponseModel.of(Colour)
    assert model.parse(answer('As in [1]: {"value": "red"}')) is Colour.RED
    assert model.partial("As in [1]") is None
