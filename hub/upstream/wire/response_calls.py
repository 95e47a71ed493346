"""The tool calls of a Responses answer: what is told of them, and what has to go back with them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hub.upstream.wire.output_items import OutputItem
from hub.upstream.wire.tool_calls import ToolCallAssembler, ToolCallPart

__all__ = ("CALL_TYPES", "ResponseCalls")

CALL_TYPES = ("function_call", "custom_tool_call")

_KEPT_OF_REASONING = ("type", "id", "summary", "content", "encrypted_content")


class ResponseCalls:
    """Numbers the calls of one answer from 0, with the call's own id (`call_id`), not its item's.

    A call's `extra` holds what must be sent back with it, where there is any of it:

    - `item_type`: `custom_tool_call`, where it is one; its input stands for the arguments then, and is any text
    - `namespace` and `caller`, as the endpoint gave them
    - `reasoning_items`: the sealed reasoning (`encrypted_content`) that led to it, of which the endpoint keeps no
      copy where it stores no answers; and `item_id`, the item's own id, by which the endpoint finds what follows the
      reasoning (https://github.com/vercel/ai/issues/7099, read 2026-11-21). Without reasoning the id is left out: of
      a call that comes by its id, the endpoint wants the reasoning too (https://github.com/0xPlaygrounds/rig/issues/751,
      read 2026-11-21)

    Args:
        id_suffix: As in `ToolCallAssembler`.
    """

    def __init__(self, id_suffix: str) -> None:
        self._calls = ToolCallAssembler(id_suffix)
        self._count = 0
        self._reasoning: list[dict[str, Any]] = []
        self._is_sealed = False

    def __bool__(self) -> bool:
        """Whether any call was seen."""
        return bool(self._count)

    def saw_reasoning(self, item: Mapping[str, Any]) -> None:
        """A whole item of reasoning has come; if it is sealed, it goes with the call that follows."""
        if isinstance(item.get("encrypted_content"), str) and item["encrypted_content"]:
            self._reasoning.append({key: item[key] for key in _KEPT_OF_REASONING if item.get(key) is not None})

    def saw_message(self) -> None:
        """A message has come: what was thought before it belongs to it, and no one asks for it back."""
        self._reasoning.clear()

    def begin(self, item: OutputItem, value: Mapping[str, Any]) -> ToolCallPart | None:
        """What to tell of a call whose name, as far as known, is in `value`; None where there is nothing new.

        Raises:
            MalformedCallError: It holds something nested beyond reason.
        """
        name = value.get("name")
        if item.is_named or not isinstance(name, str) or not name:
            return None
        item.is_named = True
        entry = {"index": self._number(item), "id": value.get("call_id"), "function": {"name": name}}
        return self._calls.add({**entry, **self._extra(item, value)})

    def arguments(self, item: OutputItem, text: str) -> ToolCallPart | None:
        """What to tell of a further piece of a call's arguments; None while its name hasn't come.

        Raises:
            MalformedCallError: Never for a text.
        """
        return self._calls.add({"index": self._number(item), "function": {"arguments": text}})

    def flush(self) -> list[ToolCallPart]:
        """The calls whose name never came."""
        return self._calls.flush()

    def _number(self, item: OutputItem) -> int:
        if item.call is None:
            item.call = self._count
            self._count += 1
        return item.call

    def _extra(self, item: OutputItem, value: Mapping[str, Any]) -> dict[str, Any]:
        extra: dict[str, Any] = {"namespace": value.get("namespace")}
        if item.type != "function_call":
            extra["item_type"] = item.type
        if value.get("caller") != {"type": "direct"}:
            extra["caller"] = value.get("caller")
        if self._reasoning:
            extra["reasoning_items"], self._reasoning = self._reasoning, []
            self._is_sealed = True
        if self._is_sealed:
            extra["item_id"] = value.get("id")
        return extra
