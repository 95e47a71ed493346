"""Unfinished objects: models, dataclasses, typed dictionaries, and unions of them; made without their constructors."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import typing_extensions
from pydantic import AliasPath, BaseModel, RootModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from hub.structured.scan import ABSENT
from hub.structured.shapes import ALIASES, RawShape, Shape, bare, simple_shape

__all__ = ("Shapes",)


class Shapes:
    """The shapes of a type and of all types in it, each made once."""

    def __init__(self) -> None:
        self._known: dict[Any, Shape] = {}

    def of(self, annotation: Any) -> Shape:
        """The shape of any annotation; raw JSON where it is none of those known here."""
        annotation = bare(annotation)
        is_named = isinstance(annotation, (type, *ALIASES))
        if is_named and annotation in self._known:
            return self._known[annotation]
        if isinstance(annotation, ALIASES):
            shape = self._known[annotation] = LaterShape(lambda: self.of(annotation.__value__))
            return shape
        if (simple := simple_shape(annotation, self.of)) is not None:
            return simple
        if typing.get_origin(annotation) in (typing.Union, types.UnionType):
            return UnionShape([self.of(each) for each in typing.get_args(annotation)])
        return self._of_class(annotation)

    def _of_class(self, annotation: Any) -> Shape:
        if not isinstance(annotation, type):
            return RawShape()
        if issubclass(annotation, RootModel):
            root = annotation.model_fields["root"].annotation
            shape: Shape = RootShape(annotation, LaterShape(lambda: self.of(root)))
        elif issubclass(annotation, BaseModel):
            shape = ObjectShape(self, lambda: _model_fields(annotation), lambda got: _make_model(annotation, got))
        elif dataclasses.is_dataclass(annotation):
            shape = ObjectShape(
                self, lambda: _dataclass_fields(annotation), lambda got: _make_dataclass(annotation, got)
            )
        elif typing_extensions.is_typeddict(annotation):
            shape = ObjectShape(self, lambda: _typeddict_fields(annotation), lambda got: got.said)
        else:
            return RawShape()
        self._known[annotation] = shape
        return shape


@dataclass(frozen=True, slots=True)
class _Field:
    """A member of an object: the keys it may come under, its type, and what it is where it is missing."""

    name: str
    keys: tuple[str | AliasPath, ...]
    annotation: Any
    default: Callable[[dict[str, Any]], Any]
    """Given the members before it; `PydanticUndefined` where there is no default."""


@dataclass(frozen=True, slots=True)
class _Got:
    """What is there of an object: the members that the model said, those and the missing ones, and unknown keys."""

    said: dict[str, Any]
    members: dict[str, Any]
    extra: dict[str, Any]


class ObjectShape:
    """An object with named members."""

    kind = "object"

    def __init__(self, shapes: Shapes, fields: Callable[[], list[_Field] | None], make: Callable[[_Got], Any]) -> None:
        self._shapes = shapes
        self._read_fields = fields  # read at first use: a type may contain itself
        self._make = make
        self._fields: list[tuple[_Field, Shape, bool]] | None = None
        self._is_raw = False

    def _members(self) -> list[tuple[_Field, Shape, bool]]:
        if self._fields is None:
            fields = self._read_fields()
            self._is_raw = fields is None
            self._fields = [
                (field, self._shapes.of(field.annotation), _is_nullable(field.annotation)) for field in fields or ()
            ]
        return self._fields

    def build(self, value: Any, growing: bool) -> Any:
        """The object; members that are missing have their default, else None."""
        if not isinstance(value, dict):
            return None
        members = self._members()
        if self._is_raw:
            return value
        last = next(reversed(value), None)
        rest = dict(value)
        got = _Got({}, {}, rest)
        for field, shape, is_nullable in members:
            item, key = _take(value, field.keys)
            rest.pop(key, None)
            part = ABSENT if item is ABSENT else shape.build(item, growing and key == last)
            if part is not ABSENT and (item is not None or is_nullable):
                got.said[field.name] = got.members[field.name] = part
            else:
                got.members[field.name] = _default(field, got.members)
        return self._make(got)

    def matches(self, value: dict[str, Any], growing: bool) -> bool | None:
        """Whether the constants of the type, such as a tag, are the value's; None where none has come yet."""
        last = next(reversed(value), None)
        verdict = None
        for field, _, _ in self._members():
            annotation = bare(field.annotation)
            if typing.get_origin(annotation) is typing.Literal:
                item, key = _take(value, field.keys)
                if item is ABSENT or (growing and key == last):
                    continue
                if item not in typing.get_args(annotation):
                    return False
                verdict = True
        return verdict


class LaterShape:
    """The shape of a type that may contain itself: looked up when there is a value."""

    def __init__(self, look_up: Callable[[], Shape]) -> None:
        self._look_up = look_up

    @cached_property
    def shape(self) -> Shape:
        """The shape it stands for."""
        return self._look_up()

    @property
    def kind(self) -> str:
        """The JSON type of its values."""
        return self.shape.kind

    def build(self, value: Any, growing: bool) -> Any:
        """The value as far as it is there."""
        return self.shape.build(value, growing)


class RootShape:
    """A `RootModel` round its root."""

    def __init__(self, model: type[RootModel[Any]], root: Shape) -> None:
        self._model = model
        self._root = root

    @property
    def kind(self) -> str:
        """The JSON type of its root."""
        return self._root.kind

    def build(self, value: Any, growing: bool) -> Any:
        """The model round as much of its root as there is."""
        part = self._root.build(value, growing)
        return part if part is ABSENT else _make_model(self._model, _Got({"root": part}, {"root": part}, {}))


class UnionShape:
    """One of several types, told apart by the JSON type and, of objects, by their constants."""

    kind = "any"

    def __init__(self, shapes: list[Shape]) -> None:
        self._shapes = shapes

    @cached_property
    def members(self) -> list[Shape]:
        """The types it consists of, those of unions in it included."""
        members: list[Shape] = []
        for shape in self._shapes:
            known = shape.shape if isinstance(shape, LaterShape) else shape
            members += known.members if isinstance(known, UnionShape) else [known]
        return members

    def build(self, value: Any, growing: bool) -> Any:
        """The value of the one type it can be, else JSON as it is."""
        if value is None:
            return None
        members = self.members
        fitting = [shape for shape in members if shape.kind == _kind(value)]
        if isinstance(value, str) and not fitting:
            fitting = [shape for shape in members if shape.kind == "scalar"]  # dates and enums come as strings
        if not fitting and all(shape.kind != "any" for shape in members):
            return None
        if isinstance(value, dict) and len(fitting) > 1:
            fitting = [shape for shape in fitting if isinstance(shape, ObjectShape) and shape.matches(value, growing)]
        return (fitting[0] if len(fitting) == 1 else RawShape()).build(value, growing)


def _kind(value: Any) -> str:
    match value:
        case dict():
            return "object"
        case list():
            return "array"
        case str():
            return "text"
        case _:
            return "scalar"


def _take(value: Mapping[str, Any], keys: tuple[str | AliasPath, ...]) -> tuple[Any, str]:
    """The first of the keys' values and the key it stands under; `ABSENT` where there is none."""
    for key in keys:
        if isinstance(key, str):
            if key in value:
                return value[key], key
        elif (found := key.search_dict_for_path(dict(value))) is not PydanticUndefined:
            return found, str(key.path[0])
    return ABSENT, ""


def _default(field: _Field, members: dict[str, Any]) -> Any:
    try:
        default = field.default(members)
    except Exception:  # a factory of the user's that reckons with members which are not there yet
        return None
    return None if default is PydanticUndefined else default


def _is_nullable(annotation: Any) -> bool:
    annotation = bare(annotation)
    if isinstance(annotation, ALIASES):
        return _is_nullable(annotation.__value__)
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return any(_is_nullable(each) for each in typing.get_args(annotation))
    if typing.get_origin(annotation) is typing.Literal:
        return None in typing.get_args(annotation)
    return annotation in (None, types.NoneType, Any, object)


def _model_fields(model: type[BaseModel]) -> list[_Field]:
    config = model.model_config
    by_name = bool(config.get("validate_by_name") or config.get("populate_by_name"))
    return [_field(name, info, by_name) for name, info in model.model_fields.items()]


def _field(name: str, info: FieldInfo, by_name: bool) -> _Field:
    alias = info.validation_alias if info.validation_alias is not None else info.alias
    if alias is None:
        keys: tuple[str | AliasPath, ...] = (name,)
    else:
        keys = (alias,) if isinstance(alias, str | AliasPath) else tuple(alias.choices)
        keys = (*keys, name) if by_name else keys

    def default(members: dict[str, Any]) -> Any:
        return info.get_default(call_default_factory=True, validated_data=members)

    return _Field(name, keys, info.annotation, default)


def _make_model(model: type[BaseModel], got: _Got) -> BaseModel:
    """An instance without `__init__`, validators and `model_post_init`, all of which expect a whole object."""
    made = model.__new__(model)
    is_open = model.model_config.get("extra") == "allow"
    private = {name: attribute.get_default() for name, attribute in model.__private_attributes__.items()}
    private = {name: value for name, value in private.items() if value is not PydanticUndefined}
    object.__setattr__(made, "__dict__", got.members)
    object.__setattr__(made, "__pydantic_fields_set__", set(got.said))
    object.__setattr__(made, "__pydantic_extra__", got.extra if is_open else None)
    object.__setattr__(made, "__pydantic_private__", private or None)
    return made


def _dataclass_fields(cls: type) -> list[_Field] | None:
    """Its fields; None where its annotations can't be resolved from here."""
    known = getattr(cls, "__pydantic_fields__", None)
    if known is not None:
        return [_field(name, info, False) for name, info in known.items()]
    hints = _hints(cls)
    if hints is None:
        return None
    return [
        _Field(each.name, (each.name,), hints[each.name], _dataclass_default(each))
        for each in dataclasses.fields(cast("Any", cls))
    ]


def _dataclass_default(field: dataclasses.Field[Any]) -> Callable[[dict[str, Any]], Any]:
    def default(_: dict[str, Any]) -> Any:
        if field.default_factory is not dataclasses.MISSING:
            return field.default_factory()
        return PydanticUndefined if field.default is dataclasses.MISSING else field.default

    return default


def _make_dataclass(cls: type, got: _Got) -> Any:
    made: Any = object.__new__(cls)
    for name, value in got.members.items():
        object.__setattr__(made, name, value)
    return made


def _typeddict_fields(cls: type) -> list[_Field] | None:
    hints = _hints(cls)
    if hints is None:
        return None
    return [_Field(name, (name,), annotation, lambda _: PydanticUndefined) for name, annotation in hints.items()]


def _hints(cls: type) -> dict[str, Any] | None:
    try:
        return typing_extensions.get_type_hints(cls, include_extras=True)
    except (NameError, TypeError):
        return None
