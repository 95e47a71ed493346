"""Values in the places of a sink's URL. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeAlias
from urllib.parse import quote, unquote

from hub.errors import InvalidRequestError

__all__ = ("PLACEHOLDER", "Fill", "filled_text", "filled_url")

Fill: TypeAlias = Callable[[str], str]
"""Puts the values into a text."""

PLACEHOLDER = re.compile(r"\{(\w*)\}")


def filled_text(fill: Fill, text: str) -> str:
    """A part of a URL, unquoted and filled in.

    Raises:
        InvalidRequestError: It leads elsewhere than without the values.
    """
    filled = unquote(fill(text))
    _check_path(text, filled)
    return filled


def filled_url(fill: Fill, url: str) -> str:
    """A URL, filled in: each value quoted by itself, since what it has in it must not begin a further parameter.

    Raises:
        InvalidRequestError: Its path leads elsewhere than without the values.
    """
    filled = PLACEHOLDER.sub(lambda match: quote(fill(match[0]), safe=""), url)
    _check_path(url.partition("?")[0], unquote(filled.partition("?")[0]))
    return filled


def _check_path(template: str, filled: str) -> None:
    """Refuse values that make a step up or none out of a part of a path, alone or with what stands beside them.

    Receivers, proxies and our own HTTP client take such steps before they look who may. Those that the template has by
    itself are its author's. Looked at as it will be read: unquoted, with the values in it.
    """
    before, after = unquote(PLACEHOLDER.sub("{}", template)).split("/"), filled.split("/")
    if len(before) != len(after) or any(
        new in (".", "..") and new != old for old, new in zip(before, after, strict=True)
    ):
        raise InvalidRequestError("A value can't lead to another folder, or path, than the sink's URL says.")
