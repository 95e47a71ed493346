"""The vocabularies of OpenAI's models, which `rs-bpe` carries: exact counts of texts, without network.

Importing this module loads that package, and fails where there is none for the platform; the first count of an
encoding loads its vocabulary, some 65 MB of memory that stay. Counting holds the interpreter's lock.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any

__all__ = ("text_counter",)

# A compiled module without type information, so imported by name.
_openai: Any = import_module("rs_bpe.bpe").openai

_LOADERS: dict[str, Callable[[], Any]] = {"cl100k_base": _openai.cl100k_base, "o200k_base": _openai.o200k_base}


@cache
def text_counter(encoding: str) -> Callable[[str], int] | None:
    """What counts the tokens of a text in that encoding; None where its vocabulary is not at hand.

    Names of special tokens in a text are text like any other, since that is how endpoints read what users write.
    """
    if encoding not in _LOADERS:
        return None
    count: Callable[[str], int] = _LOADERS[encoding]().count

    def count_text(text: str) -> int:
        try:
            return count(text)
        except UnicodeEncodeError:  # half a surrogate pair, which no UTF-8 can hold and endpoints read as U+FFFD
            return count(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))

    return count_text
