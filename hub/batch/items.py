"""The items of a batch, one at a time, from whatever they are given as."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Generator,
    Iterable,
    Mapping,
    Sized,
)
from typing import Any, TypeAlias

from hub.errors import InvalidRequestError

__all__ = ("Item", "Items", "Source", "Work")

Work: TypeAlias = Awaitable[Any] | Callable[[], Awaitable[Any]]
"""A coroutine, or what makes one when it is called without arguments."""

Source: TypeAlias = Iterable[Work | tuple[str, Work]] | AsyncIterable[Work | tuple[str, Work]]


_ListIterator: type = type(iter([]))


class Item:
    """One item.

    Attributes:
        index: Its position in the input, from 0.
        key: The caller's name for it; None where it has none.
    """

    __slots__ = ("_work", "index", "key")

    def __init__(self, index: int, given: Any) -> None:
        self.index = index
        self.key: str | None = None
        if isinstance(given, tuple):
            if len(given) != 2 or not isinstance(given[0], str):
                raise InvalidRequestError(f"Item {index} is no pair of a key, which is a text, and work.")
            self.key, given = given
        if isinstance(given, asyncio.Future):
            raise InvalidRequestError(
                f"Item {index} is a task, which runs already: give the coroutine, or a function that makes it."
            )
        if not (isinstance(given, Awaitable) or callable(given)) or isinstance(given, type):
            raise InvalidRequestError(
                f"Item {index} must be a coroutine or a function that makes one, not {type(given).__name__}."
            )
        self._work = given

    def begin(self) -> Any:
        """What is to be awaited; where the item is a function, it is called."""
        work = self._work
        return work if isinstance(work, Awaitable) else work()

    def discard(self) -> None:
        """Close a coroutine that will not be awaited; does nothing to one that was."""
        _close(self._work)


class Items:
    """The items of an input in its order, taken one at a time; several may not wait for the next at once.

    Attributes:
        count: How many were taken.
        total: How many there are; None where the input doesn't know.

    Raises:
        InvalidRequestError: The input is nothing that items come from.
    """

    def __init__(self, source: Source) -> None:
        if isinstance(source, str | bytes | Mapping) or not isinstance(source, Iterable | AsyncIterable):
            raise InvalidRequestError(
                "A batch takes an iterable or an async iterable of coroutines or of functions that make them, "
                f"not {type(source).__name__}."
            )
        self._source = source
        self._iterator: Any = None
        self.count = 0
        self.total = len(source) if isinstance(source, Sized) else None

    async def take(self) -> Item | None:
        """The next item; None at the end.

        Raises:
            InvalidRequestError: What comes next is no item.
        """
        if self._iterator is None:
            self._iterator = aiter(self._source) if isinstance(self._source, AsyncIterable) else iter(self._source)
        try:
            given = await anext(self._iterator) if isinstance(self._iterator, AsyncIterator) else next(self._iterator)
        except (StopIteration, StopAsyncIteration):
            return None
        index, self.count = self.count, self.count + 1
        try:
            return Item(index, given)
        except InvalidRequestError:
            _close(_work_of(given))
            raise

    async def aclose(self) -> None:
        """Let go of the input: a generator is closed, and so is every coroutine that a list has left."""
        iterator = self._source if self._iterator is None else self._iterator
        if isinstance(iterator, AsyncGenerator):
            await iterator.aclose()
        elif isinstance(iterator, Generator):
            iterator.close()
        elif isinstance(self._source, Collection | _ListIterator):
            # Any other iterator may be one that makes coroutines as it goes: it is left where it is.
            left: Any = iterator
            for given in left:
                _close(_work_of(given))


def _work_of(given: Any) -> Any:
    return given[-1] if isinstance(given, tuple) and given else given


def _close(work: Any) -> None:
    if inspect.iscoroutine(work):
        work.close()
