from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import jsonschema
import pytest
from openai.lib._pydantic import to_strict_json_schema
from pydantic import BaseModel, ConfigDict, EmailStr, Field, TypeAdapter  # noqa: F401

from hub.errors import InvalidRequestError
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
    Numbers,
    Open,
    Owner,
    Person,
    Point,
    Scalars,
    Strict,
    Tree,
)

STRICT_TYPES: tuple[Any, ...] = (
    Person, Owner, Strict, Numbers, Point, Film, Address, Cat,
    list[Person], Cat | Dog, Colour, Literal["a", 1], int, str, int | None,
)  # fmt: skip


def schema_of(annotation: Any, *, strict: bool | None = None) -> dict[str, Any]:
    schema: dict[str, Any] = ResponseModel.of(annotation).response_format(strict=strict)["json_schema"]["schema"]
    return schema


def is_strict(annotation: Any) -> bool:
    return ResponseModel.of(annotation).response_format()["json_schema"]["strict"] is True


def nodes(schema: Any) -> Iterator[dict[str, Any]]:
    """Every schema in a schema, members named like keywords kept apart from keywords."""
    yield schema
    for key in ("properties", "$defs"):
        for each in schema.get(key, {}).values():
            yield from nodes(each)
    for each in [*schema.get("anyOf", []), *([schema["items"]] if "items" in schema else [])]:
        yield from nodes(each)


@pytest.mark.parametrize("annotation", STRICT_TYPES, ids=repr)
def test_a_strict_schema_keeps_to_the_subset(annotation: Any) -> None:
    schema = schema_of(annotation, strict=True)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["type"] == "object"
    assert "anyOf" not in schema
    for node in nodes(schema):
        assert node.keys() <= {
            *("type", "properties", "required", "additionalProperties", "items", "anyOf", "$ref", "$defs"),
            *("enum", "const", "description", "format", "pattern", "minimum", "maximum", "minItems", "maxItems"),
        }
        assert {"type", "anyOf", "$ref"} & node.keys()
        if "$ref" in node:
            assert node.keys() == {"$ref"}
            assert re.fullmatch(r"#/\$defs/\w+", node["$ref"])
        if node.get("type") == "object":
            assert node["additionalProperties"] is False
            assert node["required"] == list(node["properties"])


@pytest.mark.parametrize("annotation", EVERY_TYPE, ids=repr)
def test_every_type_has_a_format_that_is_json_with_a_valid_schema_and_an_allowed_name(annotation: Any) -> None:
    response_format = json.loads(json.dumps(ResponseModel.of(annotation).response_format()))
    assert response_format["type"] == "json_schema"
    asked = response_format["json_schema"]
    assert re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", asked["name"])
    assert asked["schema"]["type"] == "object"
    jsonschema.Draft202012Validator.check_schema(asked["schema"])


def test_a_member_with_a_default_is_required_and_nullable_and_its_default_told() -> None:
    age = schema_of(Person)["properties"]["age"]
    assert age == {"anyOf": [{"type": "integer"}, {"type": "null"}], "description": "(default: 3)"}


def test_a_member_that_is_nullable_anyway_gets_no_second_null() -> None:
    assert schema_of(Person)["properties"]["born"]["anyOf"] == [{"type": "string", "format": "date"}, {"type": "null"}]


def test_the_tag_of_a_union_never_becomes_nullable() -> None:
    assert schema_of(Owner)["$defs"]["Cat"]["properties"]["kind"]["const"] == "cat"


def test_a_union_by_tag_is_an_any_of() -> None:
    assert schema_of(Owner)["properties"]["pet"] == {"anyOf": [{"$ref": "#/$defs/Cat"}, {"$ref": "#/$defs/Dog"}]}


def test_words_beside_a_reference_stay() -> None:
    class Letter(BaseModel):
        to: Address = Field(description="Where it goes")

    to = schema_of(Letter)["properties"]["to"]
    assert to == {"anyOf": [{"$ref": "#/$defs/Address"}], "description": "Where it goes"}


def test_a_recursive_root_is_an_object_and_refers_to_a_definition() -> None:
    schema = schema_of(Person)
    assert "$ref" not in schema
    assert schema["properties"]["friends"]["anyOf"][0]["items"] == {"$ref": "#/$defs/Person"}
    assert "Person" in schema["$defs"]


def test_what_strict_mode_cannot_enforce_is_told_in_words() -> None:
    class Word(BaseModel):
        word: str = Field(min_length=2, pattern=r"\d", description="A word.")
        link: str = Field(json_schema_extra={"format": "uri"})
        code: str = Field(pattern=r"^[a-z]+$")
        odd: str = Field(json_schema_extra={"pattern": "^(?!x).*$"})

    members = schema_of(Word)["properties"]
    assert members["word"]["description"] == 'A word. (minLength: 2; pattern: "\\\\d")'
    assert members["word"].keys() == {"type", "description"}
    assert members["link"] == {"type": "string", "description": '(format: "uri")'}
    assert members["odd"] == {"type": "string", "description": '(pattern: "^(?!x).*$")'}
    assert members["code"] == {"type": "string", "pattern": "^[a-z]+$"}


def test_bounds_of_numbers_and_lists_stay() -> None:
    class Dice(BaseModel):
        eyes: Annotated[int, Field(ge=1, le=6)]
        rolls: Annotated[list[int], Field(min_length=1, max_length=3)]

    members = schema_of(Dice)["properties"]
    assert members["eyes"] == {"type": "integer", "minimum": 1, "maximum": 6}
    assert members["rolls"] == {"type": "array", "items": {"type": "integer"}, "minItems": 1, "maxItems": 3}


def test_members_named_like_keywords_stay() -> None:
    class Book(BaseModel):
        title: str
        default: int
        required: bool

    assert list(schema_of(Book)["properties"]) == ["title", "default", "required"]


def test_titles_that_pydantic_makes_up_are_not_sent() -> None:
    assert "title" not in json.dumps(schema_of(Person)).replace("Person", "")


def test_what_is_no_object_is_wrapped_in_one() -> None:
    schema = schema_of(list[int])
    assert schema["properties"] == {"value": {"type": "array", "items": {"type": "integer"}}}
    assert schema["required"] == ["value"]


def test_constants_of_several_types_are_a_union() -> None:
    value = schema_of(Literal["a", 1, None])["properties"]["value"]
    assert value == {"anyOf": [{"type": "string", "enum": ["a"]}, {"type": "integer", "enum": [1]}, {"type": "null"}]}


@pytest.mark.parametrize(
    ("annotation", "why"),
    [
        (dict[str, int], "the root takes any key"),
        (Open, "the root takes any key"),
        (Tree, "the root takes any key"),
        (Containers, "pair uses prefixItems"),
        (Scalars, "anything may be anything"),
        (list[Any], "the items of value may be anything"),
    ],
    ids=repr,
)
def test_a_type_with_no_strict_form_is_sent_as_it_is_and_refused_where_strict_is_asked(
    annotation: Any, why: str
) -> None:
    assert not is_strict(annotation)
    with pytest.raises(InvalidRequestError, match=re.escape(why)):
        ResponseModel.of(annotation).response_format(strict=True)


def test_a_loose_schema_leaves_members_with_a_default_out_of_the_required_ones() -> None:
    schema = schema_of(Person, strict=False)
    assert schema["required"] == ["name"]
    assert schema["properties"]["age"] == {"type": "integer", "default": 3}


def test_the_docstring_describes_the_format() -> None:
    assert ResponseModel.of(Person).response_format()["json_schema"]["description"] == "A person."


def test_a_format_may_be_changed_by_whoever_got_it() -> None:
    schema = schema_of(Person, strict=False)
    schema["required"].clear()
    schema["$defs"]["Colour"]["enum"].clear()
    assert schema_of(Person, strict=False)["required"] == ["name"]
    assert schema_of(Person)["$defs"]["Colour"]["enum"] == ["red", "reddish"]


class Plain(BaseModel):
    name: str
    sizes: list[float]


class Nested(BaseModel):
    plain: Plain
    plains: list[Plain]


class Chosen(BaseModel):
    colour: Colour
    size: Literal["s", "m"]


class Closed(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str


class Maybe(BaseModel):
    name: str | None
    plain: Plain | None


class Linked(BaseModel):
    value: int
    next: Linked | None


class Described(BaseModel):
    """Has words of its own."""

    name: str = Field(description="The name.")


class Either(BaseModel):
    value: int | str | Plain


class Bounded(BaseModel):
    size: Annotated[int, Field(ge=1, lt=9)]


class NoneByDefault(BaseModel):
    name: str | None = None


class Empty(BaseModel):
    pass


class Deep(BaseModel):
    rows: list[list[Nested]]


@pytest.mark.parametrize(
    "model",
    [Plain, Nested, Chosen, Closed, Maybe, Linked, Described, Either, Bounded, NoneByDefault, Empty, Deep],
)
def test_where_every_member_is_required_the_schema_is_the_sdks(model: type[BaseModel]) -> None:
    ours = schema_of(model)
    theirs = to_strict_json_schema(model)
    for node in nodes(theirs):
        node.pop("title", None)
        if node.get("type") == "object":
            node.setdefault("required", [])
    theirs.pop("description", None)
    theirs.pop("$ref", None)
    assert ours == theirs


@pytest.mark.parametrize(
    "text", ['{"name": "x", "age": null, "colour": null, "born": null, "address": null, "friends": null}']
)
def test_the_strict_schema_accepts_null_for_every_optional_member(text: str) -> None:
    jsonschema.validate(json.loads(text), schema_of(Person))


def test_aliases_are_the_names_the_model_sees() -> None:
    assert "First" in schema_of(Aliased)["properties"]
    assert "first" not in schema_of(Aliased)["properties"]
