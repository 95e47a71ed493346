"""Types that the tests of structured output share: each exists for one trait of schemas or of unfinished values."""

from __future__ import annotations

import datetime
import enum
import uuid
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Annotated, Any, Literal, NotRequired

from pydantic import AliasChoices, AliasPath, BaseModel, ConfigDict, Field, RootModel, field_validator, model_validator
from typing_extensions import TypeAliasType, TypedDict

from hub.result import FinishReason, LLMResult, StreamStatus, ToolCall


class Colour(enum.Enum):
    RED = "red"
    REDDISH = "reddish"


class Address(BaseModel):
    street: str
    postcode: str = "0000"


class Person(BaseModel):
    """A person."""

    name: str
    age: int = 3
    colour: Colour = Colour.RED
    born: datetime.date | None = None
    address: Address | None = None
    friends: list[Person] = []


class Cat(BaseModel):
    kind: Literal["cat"] = "cat"
    lives: int


class Dog(BaseModel):
    kind: Literal["dog"]
    tricks: list[str]


class Owner(BaseModel):
    pet: Annotated[Cat | Dog, Field(discriminator="kind")]
    pets: list[Cat | Dog] = []


class Scalars(BaseModel):
    number: float
    whole: int
    yes: bool
    moment: datetime.datetime
    price: Decimal
    key: uuid.UUID
    one_of: Literal["a", "ab", 1, None]
    either: int | str
    anything: Any = None


class Containers(BaseModel):
    texts: list[str]
    numbers: set[int]
    pair: tuple[int, str]
    many: tuple[float, ...]
    by_key: dict[str, list[int]]
    by_number: dict[int, Address] = {}


class Aliased(BaseModel):
    model_config = ConfigDict(validate_by_name=True)

    first: str = Field(validation_alias="First")
    second: str = Field("2", validation_alias=AliasChoices("zweites", "second_one"))
    deep: str = Field("3", validation_alias=AliasPath("box", "deep"))


class Strict(BaseModel):
    """Whose validators would fail on anything unfinished."""

    low: int
    high: int
    word: str = Field(min_length=5)

    @field_validator("word")
    @classmethod
    def _whole(cls, word: str) -> str:
        assert word.endswith("."), "an unfinished word was validated"
        return word

    @model_validator(mode="after")
    def _in_order(self) -> Strict:
        assert self.low <= self.high
        return self

    def model_post_init(self, context: Any) -> None:
        assert self.word.endswith(".")


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")

    name: str


class Numbers(RootModel[list[int]]):
    pass


class Tree(RootModel[dict[str, "Tree"]]):
    pass


@dataclass(frozen=True, slots=True)
class Point:
    x: int
    y: int = 0
    tags: list[str] = field(default_factory=list)
    next: Point | None = None


class Film(TypedDict):
    title: str
    year: NotRequired[int]
    cast: list[Person]


Json = TypeAliasType("Json", "list[Json] | int")

EVERY_TYPE: tuple[Any, ...] = (
    Person, Owner, Scalars, Containers, Aliased, Strict, Open, Numbers, Tree, Point, Film,
    list[Person], Cat | Dog, Colour, Literal["a", 1], int, str, bool, dict[str, int], int | None, tuple[int, str], Any,
)  # fmt: skip


def answer(
    text: str,
    *,
    status: StreamStatus = "completed",
    finish_reason: FinishReason | None = "stop",
    refusal: str = "",
    reasoning: str = "",
    tool_calls: tuple[ToolCall, ...] = (),
) -> LLMResult:
    """A model's answer with that text."""
    return LLMResult(
        stream_id="str_1",
        last_seq=3,
        status=status,
        text=text,
        finish_reason=finish_reason,
        refusal=refusal,
        reasoning=reasoning,
        tool_calls=tool_calls,
    )
