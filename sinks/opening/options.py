"""Options in the query of a sink's URL."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import isnan
from typing import TypeVar
from urllib.parse import parse_qsl

from hub.errors import ConfigurationError

__all__ = ("Options", "without_none")

T = TypeVar("T")

_FLAGS = {"1": True, "true": True, "0": False, "false": False}


class Options:
    """The options of one URL, each known and there once. No message repeats a value, which may be a password.

    Args:
        form: What such a URL begins with, for messages.
        query: The URL's.
        known: The options that there are.

    Raises:
        ConfigurationError: One is unknown, empty, or there twice.
    """

    def __init__(self, form: str, query: str, known: Sequence[str]) -> None:
        self._form = form
        pairs = parse_qsl(query, keep_blank_values=True)
        self._values = dict(pairs)
        for name, value in pairs:
            if name not in known:
                listed = f"there are {', '.join(known)}" if known else "there are none"
                # Behind a '?' that was not escaped stands the rest of a password, and then the host.
                named = "such option" if "@" in query else f"option {name[:40]!r}"
                hint = " A '?' in a password is written %3F." if "@" in query else ""
                raise ConfigurationError(f"A sink {form}… has no {named}; {listed}.{hint}")
            if not value or len(pairs) > len(self._values):
                raise ConfigurationError(f"A sink {form}… has each option once, as {known[0]}=VALUE.")

    def given(self, names: Sequence[str]) -> dict[str, str]:
        """Those that are there, as they stand."""
        return {name: self._values[name] for name in names if name in self._values}

    def text(self, name: str, among: Sequence[str] = ()) -> str | None:
        """A word, one of some where there are; None where it isn't there."""
        return self._read(name, lambda text: text if not among or text in among else None, " or ".join(among))

    def flag(self, name: str) -> bool | None:
        """Yes or no; None where it isn't there."""
        return self._read(name, _FLAGS.get, "1 or 0")

    def integer(self, name: str) -> int | None:
        """A whole number; None where it isn't there."""
        return self._read(name, int, "a whole number")

    def number(self, name: str) -> float | None:
        """A number; None where it isn't there."""
        return self._read(name, _number, "a number")

    def _read(self, name: str, read: Callable[[str], T | None], kind: str) -> T | None:
        if name not in self._values:
            return None
        try:
            value = read(self._values[name])
        except ValueError:
            value = None
        if value is None:
            raise ConfigurationError(f"The option {name} of a sink {self._form}… is {kind}.")
        return value


def _number(text: str) -> float | None:
    number = float(text)
    return None if isnan(number) else number


def without_none(arguments: Mapping[str, T | None]) -> dict[str, T]:
    """Those that were given; a sink has defaults of its own."""
    return {name: value for name, value in arguments.items() if value is not None}
