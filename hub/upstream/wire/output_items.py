"""The items of a Responses answer, and how much of their texts has been said. Pure.

The same text comes up to four times: in deltas, in the `done` of its part, in that of its item, and in the last
event. Which item an event means is told by `item_id` or `output_index`; llama.cpp leaves the second out (recorded
2026-11-21), GitHub Copilot gives the same item another id in each event
(https://github.com/BerriAI/litellm/issues/30071, read 2026-11-21), and bridges count messages and calls apart, so
all of them are looked at, within one type of item.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

__all__ = ("OutputItem", "OutputItems", "Said")


class Said:
    """What has been said of one text.

    Attributes:
        pieces: To append to.
    """

    __slots__ = ("_chars", "_counted", "pieces")

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self._chars = 0
        self._counted = 0

    def __bool__(self) -> bool:
        """Whether anything was said."""
        return bool(self.pieces)

    def __str__(self) -> str:
        """All of it."""
        if len(self.pieces) > 1:
            self.pieces[:] = ["".join(self.pieces)]  # an endpoint that repeats it after every delta asks as often
            self._chars, self._counted = len(self.pieces[0]), 1
        return self.pieces[0] if self.pieces else ""

    def unsaid(self, whole: str) -> str:
        """What a whole text adds to it; nothing where it contradicts it."""
        self._chars += sum(map(len, self.pieces[self._counted :]))
        self._counted = len(self.pieces)
        # A short one is told without joining: it may come after every delta of a long text.
        if len(whole) < self._chars or not whole.startswith(str(self)):
            return ""
        return whole[self._chars :]


class OutputItem:
    """One item of the output.

    Attributes:
        type: `message`, `reasoning`, `function_call`, or another.
        id: As the endpoint named it first; None where it did not.
        call: The number of the tool call that it is; None where it is none.
        is_named: The tool call's name has been taken.
        is_done: The item has come whole.
    """

    __slots__ = ("_said", "call", "id", "is_done", "is_named", "type")

    def __init__(self, type_: str, item_id: str | None) -> None:
        self.type = type_
        self.id = item_id
        self.call: int | None = None
        self.is_named = False
        self.is_done = False
        self._said: dict[tuple[str, int], Said] = {}

    def said(self, part: str, index: int) -> Said:
        """What has been said of a part."""
        said = self._said.get((part, index))
        if said is None:
            said = self._said[part, index] = Said()
        return said

    def rest(self, part: str, texts: Sequence[str]) -> Iterator[tuple[int, str]]:
        """What hasn't been said of all parts of one type, by their number; nothing where they contradict it.

        They are compared as one text, since not every endpoint numbers its parts.
        """
        said = "".join(str(said) for (type_, _), said in self._said.items() if type_ == part)
        if not "".join(texts).startswith(said):
            return
        skip = len(said)
        for index, text in enumerate(texts):
            if skip < len(text):
                yield index, text[skip:]
            skip = max(0, skip - len(text))


class OutputItems:
    """The items of one answer, found again by whatever an event says of them."""

    def __init__(self) -> None:
        self._by_id: dict[tuple[str, str], OutputItem] = {}
        self._by_index: dict[tuple[str, int], OutputItem] = {}
        self._by_type: dict[str, list[OutputItem]] = {}

    def add(self, type_: str, ids: Sequence[str], index: int | None) -> OutputItem:
        """A new item, unless one of its ids is known already.

        Args:
            type_: The item's type.
            ids: Its own id and, of a tool call, the call's.
            index: Its place in the output; None where the endpoint doesn't tell.
        """
        item = self._of_ids(type_, ids)
        if item is None:
            item = OutputItem(type_, ids[0] if ids else None)
            self._by_type.setdefault(type_, []).append(item)
        self._by_id.update(((type_, each), item) for each in ids)
        if index is not None:
            self._by_index[type_, index] = item
        return item

    def find(self, type_: str, ids: Sequence[str], index: int | None) -> OutputItem:
        """The item that a part of it means; a new one where it means none that is known."""
        item = self._of_ids(type_, ids)
        if item is None and index is not None:
            item = self._by_index.get((type_, index))
        if item is None and index is None and (same := self._by_type.get(type_)) and not (ids and same[-1].id):
            item = same[-1]
        return self.add(type_, ids, index) if item is None else item

    def matched(self, outline: Sequence[tuple[str, Sequence[str]]]) -> Iterator[OutputItem]:
        """The items that a whole output means, one for each.

        Args:
            outline: Of each item its type and its ids.
        """
        taken: set[int] = set()
        untaken = {type_: iter(tuple(items)) for type_, items in self._by_type.items()}
        for index, (type_, ids) in enumerate(outline):
            item = self._of_ids(type_, ids) or self._by_index.get((type_, index))
            if item is None or id(item) in taken:
                item = next((each for each in untaken.get(type_, ()) if id(each) not in taken), None)
            if item is None:
                item = OutputItem(type_, ids[0] if ids else None)
            taken.add(id(item))
            yield item

    def _of_ids(self, type_: str, ids: Sequence[str]) -> OutputItem | None:
        return next((self._by_id[type_, each] for each in ids if (type_, each) in self._by_id), None)
