"""Unfinished values: whatever the text breaks off at, there is a value, and it only grows."""

from __future__ import annotations

import dataclasses
import json
import random
from typing import Any, Literal

import pytest
from pydantic import BaseModel, Field, PrivateAttr, TypeAdapter
from typing_extensions import TypedDict

from hub.structured import ResponseModel
from tests.hub.structured.models import (
    EVERY_TYPE,
    Address,
    Aliased,
    Cat,
    Colour,
    Containers,
    Dog,
    Film,
    Json,
    Numbers,
    Open,
    Owner,
    Person,
    Point,
    Scalars,
    Strict,
    Tree,
)

AWKWARD = 'say "hi" \\ \n\t\u0007 naïve 漢字 👋🏽 {[,:]} é\\u00e9'

WHOLE: tuple[tuple[Any, Any], ...] = (
    (Person, {"name": AWKWARD, "age": 36, "colour": "reddish", "born": "1815-12-10", "address": {"street": "s"},
              "friends": [{"name": "B", "address": None}, {"name": "C", "friends": [{"name": "D"}]}]}),
    (Owner, {"pet": {"kind": "cat", "lives": 9},
             "pets": [{"kind": "dog", "tricks": ["sit"]}, {"lives": 1, "kind": "cat"}]}),
    (Scalars, {"number": 1, "whole": -120, "yes": True, "moment": "2026-11-21T10:00:00Z", "price": "12.50",
               "key": "12345678-1234-5678-1234-567812345678", "one_of": "ab", "either": "abc",
               "anything": {"a": [1.5e3, None, "x"]}}),
    (Scalars, {"number": 1.5, "whole": 0, "yes": False, "moment": "2026-11-21T10:00:00", "price": 2.5,
               "key": "12345678-1234-5678-1234-567812345678", "one_of": None, "either": 12345, "anything": None}),
    (Containers, {"texts": ["a", AWKWARD], "numbers": [10, 20], "pair": [100, "a"], "many": [1.25, 3],
                  "by_key": {"a b": [1, 22], "": []}, "by_number": {"12": {"street": "x"}}}),
    (Aliased, {"First": "a", "second_one": "b", "box": {"deep": "c"}}),
    (Aliased, {"first": "a", "second": "b"}),
    (Open, {"name": "n", "more": {"a": 1}}),
    (Numbers, {"value": [1, 23, 456]}),
    (Tree, {"a": {"b": {}}, "c": {}}),
    (Point, {"x": 10, "tags": ["a", "bc"], "next": {"x": 20, "y": 30}}),
    (Film, {"title": "Solaris", "year": 1972, "cast": [{"name": "N"}]}),
    (list[Person], {"value": [{"name": "a"}, {"name": "b"}]}),
    (Cat | Dog, {"value": {"kind": "dog", "tricks": ["sit", "roll"]}}),
    (Colour, {"value": "reddish"}),
    (int, {"value": 12345}),
    (str, {"value": AWKWARD}),
    (dict[str, int], {"a": 12, "b": 3}),
    (int | None, {"value": None}),
)  # fmt: skip


def texts(value: Any) -> list[str]:
    """One value as several writers write it."""
    return [
        json.dumps(value),
        json.dumps(value, ensure_ascii=False, separators=(",", ":")),
        "Here it is:\n```json\n" + json.dumps(value, indent=2) + "\n```\nIs it {right}?",
    ]


def members(value: Any) -> dict[str, Any] | None:
    if isinstance(value, BaseModel):
        return {**value.__dict__, **(value.__pydantic_extra__ or {})}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {each.name: getattr(value, each.name) for each in dataclasses.fields(value)}
    return value if isinstance(value, dict) else None


def grown(before: Any, after: Any, default: Any = None) -> bool:
    """Whether nothing that was there has gone or become something else, text and containers aside, which get longer.

    An object that was plain JSON may have become an instance.
    """
    if before is None or before == default:
        return True
    if isinstance(before, str) and isinstance(after, str):
        return after.startswith(before)
    old, new = members(before), members(after)
    if old is not None and new is not None:
        return all(key in new and grown(item, new[key], default_of(before, key)) for key, item in old.items())
    if isinstance(before, list | tuple):
        return len(after) >= len(before) and all(map(grown, before, after))
    if isinstance(before, set):
        return before <= after
    return bool(before == after)


def default_of(owner: Any, name: str) -> Any:
    if isinstance(owner, BaseModel) and name in type(owner).model_fields:
        return type(owner).model_fields[name].get_default(call_default_factory=True)
    return {"y": 0, "tags": []}.get(name) if isinstance(owner, Point) else None


@pytest.mark.parametrize(("annotation", "value"), WHOLE, ids=repr)
def test_every_prefix_gives_a_value_that_only_grows(annotation: Any, value: Any) -> None:
    model = ResponseModel.of(annotation)
    for text in texts(value):
        last = None
        for end in range(len(text) + 1):
            partial = model.partial(text[:end])
            assert grown(last, partial), (last, partial, text[:end])
            last = partial


@pytest.mark.parametrize(("annotation", "value"), WHOLE, ids=repr)
def test_the_last_partial_is_what_validation_gives(annotation: Any, value: Any) -> None:
    model = ResponseModel.of(annotation)
    bare = value["value"] if isinstance(value, dict) and value.keys() == {"value"} else value
    validated = TypeAdapter(annotation).validate_json(json.dumps(bare))
    for text in texts(value):
        assert model.partial(text) == validated


@pytest.mark.parametrize("annotation", EVERY_TYPE, ids=repr)
def test_no_text_whatever_raises(annotation: Any) -> None:
    model = ResponseModel.of(annotation)
    numbers = random.Random(7)
    wrong = [json.dumps(value) for _, value in WHOLE]
    wrong += [
        "{",
        "[",
        "}",
        "]}",
        '{"value":',
        "{" * 300,
        '{"a":' * 300,
        "[[" * 300,
        '{"a":"\\ud83d"}',
        '{"value":"\ud83d',
        "12",
        "null",
    ]
    wrong += ["".join(numbers.choices('{}[]",:\\ue1 -.tn', k=30)) for _ in range(200)]
    wrong += ['{"value":{"' + "".join(numbers.choices('{}[]",:\\ue1 -.tn', k=30)) for _ in range(200)]
    for text in wrong:
        for end in range(0, len(text) + 1, 3):
            model.partial(text[:end])


@pytest.mark.parametrize("text", ["", "Sure", "{", "```json\n{", '<think>{"name": "no', "I take {name} and"])
def test_before_the_value_begins_there_is_none(text: str) -> None:
    assert ResponseModel.of(Person).partial(text) is None


def test_what_a_model_thinks_aloud_is_not_its_answer() -> None:
    partial = ResponseModel.of(Person).partial('<think>{"name": "no"}</think>{"name": "yes')
    assert partial is not None
    assert partial.name == "yes"


def test_missing_members_have_their_default_or_are_none() -> None:
    partial = ResponseModel.of(Person).partial('{"age": 5,')
    assert partial is not None
    assert partial.__dict__ == {
        "name": None, "age": 5, "colour": Colour.RED, "born": None, "address": None, "friends": [],
    }  # fmt: skip
    assert partial.model_fields_set == {"age"}


def test_no_validator_and_no_hook_runs() -> None:
    partial = ResponseModel.of(Strict).partial('{"low": 5, "high": 1, "word": "a')
    assert partial is not None
    assert (partial.low, partial.high, partial.word) == (5, 1, "a")


def test_a_half_number_is_not_shown() -> None:
    model = ResponseModel.of(Person)
    for text, age in [('{"age": 1', 3), ('{"age": 12', 3), ('{"age": 12,', 12), ('{"age": 12}', 12)]:
        partial = model.partial(text)
        assert (partial.age if partial else 3) == age


def test_an_enum_is_not_shown_before_its_string_is_closed() -> None:
    model = ResponseModel.of(Person)
    seen = [model.partial(text) for text in ('{"colour": "red', '{"colour": "reddish', '{"colour": "reddish"')]
    assert [partial and partial.colour for partial in seen] == [Colour.RED, Colour.RED, Colour.REDDISH]


def test_a_closed_string_stands_while_the_next_key_is_written() -> None:
    partial = ResponseModel.of(Scalars).partial('{"one_of": "a", "eith')
    assert partial is not None
    assert partial.one_of == "a"


def test_an_object_of_a_union_is_plain_until_its_tag_is_whole() -> None:
    model = ResponseModel.of(Owner)
    assert model.partial('{"pet": {"kind": "ca').pet == {"kind": "ca"}  # type: ignore[union-attr]
    cat = model.partial('{"pet": {"kind": "cat"')
    assert cat is not None
    assert isinstance(cat.pet, Cat)


def test_a_list_has_no_place_for_a_member_of_which_nothing_can_be_shown() -> None:
    assert ResponseModel.of(list[Colour]).partial('{"value": ["red", "re') == [Colour.RED]


def test_two_partials_share_nothing_that_can_change() -> None:
    model = ResponseModel.of(Person)
    first, second = model.partial('{"name": "a"'), model.partial('{"name": "a"')
    assert first is not None
    assert second is not None
    first.friends.append(second)
    assert second.friends == []


def test_a_default_made_by_a_factory_is_made() -> None:
    class Bag(BaseModel):
        name: str
        items: list[int] = Field(default_factory=lambda: [1])
        label: str = Field(default_factory=lambda said: said["name"].upper())

    model = ResponseModel.of(Bag)
    early, late = model.partial('{"items": ['), model.partial('{"name": "ab"')
    assert early is not None
    assert late is not None
    assert (early.items, early.label, late.items, late.label) == ([], None, [1], "AB")


def test_private_attributes_have_their_defaults() -> None:
    class Counted(BaseModel):
        name: str
        _count: int = PrivateAttr(default=7)

    partial = ResponseModel.of(Counted).partial('{"name": "')
    assert partial is not None
    assert partial._count == 7


def test_null_for_a_member_that_knows_none_shows_its_default() -> None:
    partial = ResponseModel.of(Person).partial('{"age": null, "colour": null}')
    assert partial is not None
    assert (partial.age, partial.colour) == (3, Colour.RED)


def test_a_wrong_type_shows_as_none() -> None:
    partial = ResponseModel.of(Person).partial('{"name": ["x"], "born": "yesterday", "friends": {}, "address": 5}')
    assert partial is not None
    assert (partial.name, partial.born, partial.friends, partial.address) == (None, None, None, None)


def test_a_dataclass_is_made_without_its_constructor_and_a_typed_dict_holds_what_was_said() -> None:
    @dataclasses.dataclass
    class Sum:
        left: int
        right: int

        def __post_init__(self) -> None:
            raise AssertionError("the constructor ran")

    class Note(TypedDict):
        text: str
        size: int

    partial = ResponseModel.of(Sum).partial('{"left": 1,')
    assert isinstance(partial, Sum)
    assert (partial.left, partial.right) == (1, None)
    assert ResponseModel.of(Note).partial('{"text": "a') == {"text": "a"}


def test_unions_of_plain_types_show_what_was_said() -> None:
    model = ResponseModel.of(dict[str, int | str | list[Address] | Literal["x"]])
    assert model.partial('{"a": 5, "b": "te", "c": [{"street": "s') == {
        "a": 5, "b": "te", "c": [Address(street="s")],
    }  # fmt: skip


def test_a_type_that_names_itself_is_followed() -> None:
    assert ResponseModel.of(Json).partial('{"value": [1, [2, [3, ') == [1, [2, [3]]]
