"""How a class body becomes a profile: `model_name = "…"` is enough, and its methods work on the class as well.

A subclass of a dataclass that only assigns fields would have to be made a dataclass of its own to give its instances
those values, at half a millisecond each. So instances hold what they are given, and have the rest from their class.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields
from functools import wraps
from inspect import get_annotations
from types import MethodType
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, dataclass_transform

__all__ = ("complete_profile_class", "fill_in", "is_complete", "on_class_too", "profile_dataclass")

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


class on_class_too(Generic[P, R]):  # noqa: N801 - a decorator, named as those of the standard library
    """A method that, called on the class, is called on an instance made without arguments."""

    def __init__(self, function: Callable[Concatenate[Any, P], R]) -> None:
        self._function = function
        self.__doc__ = function.__doc__

    def __get__(self, instance: Any, owner: type[Any]) -> Callable[P, R]:
        function = self._function
        if instance is not None:
            return MethodType(function, instance)

        @wraps(function)
        def on_default(*args: P.args, **kwargs: P.kwargs) -> R:
            return function(owner(), *args, **kwargs)

        return on_default


# Type checkers are not told that it is frozen: mypy makes a frozen field a property, which a subclass's body can't
# give a value without an annotation.
@dataclass_transform(kw_only_default=True)
def profile_dataclass(cls: type[T]) -> type[T]:
    """A frozen dataclass whose instances are filled by `fill_in`."""
    return dataclass(frozen=True, kw_only=True, init=False)(cls)


def fill_in(profile: Any, facts: dict[str, Any]) -> None:
    """Give an instance the facts it was called with.

    Raises:
        TypeError: A fact is unknown, or one without a default is missing.
    """
    cls = type(profile)
    known = {field.name: field for field in fields(cls)}
    if unknown := facts.keys() - known.keys():
        raise TypeError(f"{_sentence(cls, *sorted(unknown))} {', '.join(known)}.")
    vars(profile).update(facts)
    for name, field in known.items():
        if name in facts or hasattr(cls, name):
            continue
        if field.default_factory is MISSING:
            raise TypeError(f"{cls.__name__} needs {name}: it has no default.")
        vars(profile)[name] = field.default_factory()


def is_complete(cls: type[Any]) -> bool:
    """Whether an instance can be made without saying anything."""
    return all(
        hasattr(cls, field.name) or field.default is not MISSING or field.default_factory is not MISSING
        for field in fields(cls)
    )


def complete_profile_class(cls: type[Any]) -> None:
    """Make what a subclass's body assigns the facts of its instances.

    A body that names its model and no key gets the model's name for its key. What it annotates and no profile has
    becomes a further fact.

    Raises:
        TypeError: The body assigns something that is neither a fact nor annotated as a new one, most likely a
            misspelt fact.
    """
    known = {field.name for field in fields(cls)}
    own = get_annotations(cls).keys() - known
    for name, value in vars(cls).items():
        if name not in known and name not in own and not name.startswith("_") and not _is_behaviour(value):
            raise TypeError(f"{_sentence(cls, name)} {', '.join(field.name for field in fields(cls))}.")
    if "model_name" in vars(cls) and "key" not in vars(cls):
        cls.key = cls.model_name
    if own:
        profile_dataclass(cls)


def _sentence(cls: type[Any], *names: str) -> str:
    return f"{' and '.join(f'{cls.__name__}.{name}' for name in names)}: a model's profile has no such fact, but"


def _is_behaviour(value: Any) -> bool:
    """Whether it is a method, a property, a nested class or the like, and no value."""
    return isinstance(value, type) or hasattr(type(value), "__get__")
