from __future__ import annotations

import json
from typing import Annotated, Any, Literal, NotRequired

import pytest
from pydantic import BaseModel, Field
from typing_extensions import TypedDict

from hub.structured import ResponseModel
from hub.structured.nulls import drop_nulls
from tests.hub.structured.models import Colour, Owner, Person, Point, answer


def parse(annotation: Any, value: Any) -> Any:
    return ResponseModel.of(annotation).parse(answer(json.dumps(value)))


def test_null_for_a_member_with_a_default_that_knows_no_null_gives_the_default() -> None:
    person = parse(Person, {"name": "Ada", "age": None, "colour": None, "friends": None})
    assert (person.age, person.colour, person.friends) == (3, Colour.RED, [])
    assert "age" not in person.model_fields_set


def test_null_for_a_nullable_member_stays_null() -> None:
    class Note(BaseModel):
        text: str | None = "nothing"

    assert parse(Note, {"text": None}).text is None


def test_null_for_a_required_member_stays_an_error() -> None:
    with pytest.raises(Exception, match="valid string"):
        parse(Person, {"name": None})


def test_nulls_are_dropped_at_every_depth() -> None:
    assert parse(list[Person], [{"name": "a", "friends": [{"name": "b", "age": None}]}])[0].friends[0].age == 3
    assert parse(dict[str, Point], {"a": {"x": 1, "y": None}})["a"].y == 0


def test_a_dataclass_gets_its_default_factory() -> None:
    assert parse(Point, {"x": 1, "y": None, "tags": None, "next": {"x": 2, "y": None}}) == Point(1, 0, [], Point(2))


def test_a_typed_dict_goes_without_the_key() -> None:
    class Film(TypedDict):
        title: str
        year: NotRequired[int]

    assert parse(Film, {"title": "Solaris", "year": None}) == {"title": "Solaris"}


def test_in_a_union_the_tag_tells_which_members_may_be_null() -> None:
    class A(BaseModel):
        kind: Literal["a"]
        size: int = 1

    class B(BaseModel):
        kind: Literal["b"]
        size: int | None = 2

    class Box(BaseModel):
        item: Annotated[A | B, Field(discriminator="kind")]

    assert parse(Box, {"item": {"kind": "a", "size": None}}).item.size == 1
    assert parse(Box, {"item": {"kind": "b", "size": None}}).item.size is None


def test_in_a_union_without_a_tag_the_keys_tell() -> None:
    class Named(BaseModel):
        name: str
        size: int = 3

    class Other(BaseModel):
        name: str

    found = parse(Named | Other, {"name": "x", "size": None})
    assert isinstance(found, Named)
    assert found.size == 3


def test_a_null_that_one_of_several_fitting_types_admits_stays() -> None:
    class A(BaseModel):
        size: int = 1

    class B(BaseModel):
        size: int | None = 2

    assert parse(A | B, {"size": None}) == B(size=None)


def test_a_missing_tag_with_a_default_is_no_obstacle() -> None:
    assert parse(Owner, {"pet": {"kind": "cat", "lives": 9}, "pets": None}).pets == []


def test_types_that_contain_each_other_cost_no_more_the_deeper_they_are() -> None:
    class A(BaseModel):
        next: A | B | None = None
        size: int = 1

    class B(BaseModel):
        next: A | B | None = None
        size: int = 2

    A.model_rebuild(_types_namespace={"A": A, "B": B})
    schema = ResponseModel.of(A | B)._schema
    value: Any = None
    for _ in range(60):
        value = {"next": value, "size": None}
    dropped = drop_nulls(value, schema, schema["$defs"])
    for _ in range(60):
        assert "size" not in dropped
        dropped = dropped["next"]
