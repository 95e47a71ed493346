"""What a type's unfinished value looks like: built from as much JSON as there is, and no validator runs.

Text grows as it comes. Every other scalar (a number, an enum, a date) is there once it is whole, since half of one is
another value or none. Lists and dictionaries grow by whole members and by their last, unfinished one.
"""

from __future__ import annotations

import datetime
import decimal
import enum
import types
import typing
import uuid
from collections import abc, deque
from collections.abc import Callable
from typing import Any, Protocol

import typing_extensions
from pydantic import TypeAdapter, ValidationError

from hub.structured.scan import ABSENT

__all__ = (
    "ALIASES",
    "ContainerShape",
    "MappingShape",
    "RawShape",
    "ScalarShape",
    "Shape",
    "TextShape",
    "bare",
    "simple_shape",
)

_NUMBERS = (int, float, decimal.Decimal)
_MOMENTS = (datetime.date, datetime.datetime, datetime.time, datetime.timedelta)
_SCALARS = frozenset((*_NUMBERS, *_MOMENTS, bool, uuid.UUID, bytes, types.NoneType))
_LISTS = frozenset((list, abc.Sequence, abc.MutableSequence, abc.Iterable, abc.Collection))
_SETS = frozenset((set, frozenset, abc.Set, abc.MutableSet))
_MAPPINGS = frozenset((dict, abc.Mapping, abc.MutableMapping))
ALIASES: tuple[Any, ...] = (
    typing_extensions.TypeAliasType,
    getattr(typing, "TypeAliasType", typing_extensions.TypeAliasType),
)
"""The classes of `type X = …`, whose value may name itself."""
_QUALIFIERS = (typing_extensions.Required, typing_extensions.NotRequired, typing_extensions.ReadOnly, typing.Final)


class Shape(Protocol):
    """How one type's values are built.

    Attributes:
        kind: The JSON type its values come as: `object`, `array`, `text`, `scalar`, `null`, or `any`.
    """

    @property
    def kind(self) -> str:
        """The JSON type of its values."""

    def build(self, value: Any, growing: bool) -> Any:
        """The value as far as it is there, or `ABSENT`.

        Args:
            value: Parsed JSON, of whatever type.
            growing: Whether its last string is unfinished.
        """


class RawShape:
    """JSON as it is: for `Any`, and for types that only pydantic knows how to make. Strings among them are whole."""

    kind = "any"

    def build(self, value: Any, growing: bool) -> Any:
        """The value itself."""
        return ABSENT if growing and isinstance(value, str) else value


class TextShape:
    """A `str`, which grows."""

    kind = "text"

    def build(self, value: Any, growing: bool) -> Any:
        """The text so far; None where the model said something else."""
        return value if isinstance(value, str) else None


class ScalarShape:
    """A value that is there whole or not at all; of the type's own class, so pydantic converts it."""

    def __init__(self, annotation: Any) -> None:
        self.kind = "null" if annotation is types.NoneType else "scalar"
        self._plain = annotation if annotation in (int, float, bool) else None
        self._adapter: TypeAdapter[Any] = TypeAdapter(annotation)

    def build(self, value: Any, growing: bool) -> Any:
        """The converted value; None where the model said something else."""
        if type(value) is self._plain:
            return value
        if growing and isinstance(value, str):
            return ABSENT
        try:
            return self._adapter.validate_python(value)
        except ValidationError:
            return None


class ContainerShape:
    """A list, a set or a tuple."""

    kind = "array"

    def __init__(self, make: Callable[[list[Any]], Any], items: list[Shape], rest: Shape | None) -> None:
        self._make = make
        self._items = items
        self._rest = rest

    def build(self, value: Any, growing: bool) -> Any:
        """The members so far; the last one only if something of it can be shown."""
        if not isinstance(value, list):
            return None
        built = []
        for number, item in enumerate(value):
            shape = self._items[number] if number < len(self._items) else self._rest
            part = item if shape is None else shape.build(item, growing and number == len(value) - 1)
            if part is not ABSENT:
                built.append(part)
        try:
            return self._make(built)
        except TypeError:  # a set of what has no hash
            return built


class MappingShape:
    """A dictionary."""

    kind = "object"

    def __init__(self, keys: Shape, values: Shape) -> None:
        self._keys = keys
        self._values = values

    def build(self, value: Any, growing: bool) -> Any:
        """The entries so far."""
        if not isinstance(value, dict):
            return None
        last = next(reversed(value), None)
        built = {}
        for key, item in value.items():
            part = self._values.build(item, growing and key == last)
            if part is not ABSENT:
                name = self._keys.build(key, False)
                built[key if name is None else name] = part
        return built


def bare(annotation: Any) -> Any:
    """The annotation without `Annotated`, `NewType`, `Required` and their like."""
    while True:
        origin = typing.get_origin(annotation)
        if origin is typing.Annotated or origin in _QUALIFIERS:
            annotation = typing.get_args(annotation)[0]
        elif isinstance(annotation, typing.NewType):
            annotation = annotation.__supertype__
        else:
            return annotation


def simple_shape(annotation: Any, shape_of: Callable[[Any], Shape]) -> Shape | None:
    """The shape of a bare annotation that is no class with members and no union; None for those.

    Args:
        annotation: As `bare` gives it.
        shape_of: For the types inside it.
    """
    origin = typing.get_origin(annotation) or annotation
    arguments = typing.get_args(annotation)
    if annotation is str:
        return TextShape()
    if origin is typing.Literal or _is_scalar(annotation):
        return ScalarShape(annotation)
    if origin in _MAPPINGS:
        keys, values = arguments if len(arguments) == 2 else (str, Any)
        return MappingShape(shape_of(keys), shape_of(values))
    if origin is tuple and arguments and arguments[-1] is not Ellipsis:
        return ContainerShape(tuple, [shape_of(each) for each in arguments], None)
    if make := _maker(origin):
        return ContainerShape(make, [], shape_of(arguments[0]) if arguments else RawShape())
    return None


def _is_scalar(annotation: Any) -> bool:
    if annotation is None or not isinstance(annotation, type):
        return annotation is None
    return annotation in _SCALARS or issubclass(annotation, enum.Enum)


def _maker(origin: Any) -> Callable[[list[Any]], Any] | None:
    if origin in _LISTS:
        return list
    if origin in _SETS:
        return frozenset if origin is frozenset else set
    return {tuple: tuple, deque: deque}.get(origin)
