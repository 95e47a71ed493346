"""Tool calls as endpoints stream them, brought into one order: each call its own index, first delta with id and name.

Endpoints leave the index out, give every parallel call index 0, repeat the id and the name in each part or leave
them blank, change the id in mid-call, or send the name after the first arguments. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

__all__ = ("MalformedCallError", "ToolCallAssembler", "ToolCallPart")

MAX_NAMELESS_CHARS = 1_000_000
"""Arguments held back for a name that never comes, at most; then the call is told without one."""

MAX_DEPTH = 100
"""Of values that go on as JSON: what is nested deeper could be read here and fail whoever writes it again."""

CHECKED_FREELY = 65_536
"""Characters of a call's arguments that may be read again to see whether they are whole, and then three times as many
as it has: an endpoint that repeats the name in every delta would else have all of them read each time."""

_KNOWN_KEYS = frozenset(("index", "id", "type", "function"))


class MalformedCallError(ValueError):
    """A part of a call that no one could pass on."""


class ToolCallPart(msgspec.Struct, frozen=True):
    """What one delta says of one call, in our numbering."""

    index: int
    id: str | None
    name: str | None
    arguments: str
    extra: dict[str, Any] | None


class _Call:
    __slots__ = ("announced", "arguments", "chars", "checked_chars", "extra", "id", "index", "name")

    def __init__(self, index: int) -> None:
        self.index = index
        self.id = ""
        self.name = ""
        self.arguments: list[str] = []
        self.chars = 0
        self.checked_chars = 0
        self.extra: dict[str, Any] = {}
        self.announced = False


class ToolCallAssembler:
    """The tool calls of one choice.

    Args:
        id_suffix: Ends the ids made up here for endpoints that send none, so that they differ among streams.
    """

    def __init__(self, id_suffix: str) -> None:
        self._id_suffix = id_suffix
        self._calls: list[_Call] = []
        self._by_id: dict[str, _Call] = {}
        self._by_endpoint_index: dict[int, _Call] = {}

    def __bool__(self) -> bool:
        """Whether any call was seen."""
        return bool(self._calls)

    def add(self, entry: Mapping[str, Any]) -> ToolCallPart | None:
        """Take one entry of `delta.tool_calls` in.

        Returns:
            What to tell of it now; None while the call's name hasn't come.

        Raises:
            MalformedCallError: It holds something nested beyond reason.
        """
        function = entry.get("function")
        if not isinstance(function, Mapping):
            function = {}
        call_id = _text(entry.get("id"))
        name = _text(function.get("name"))
        arguments = _arguments(function.get("arguments"))
        call = self._find(entry.get("index"), call_id, name, arguments)
        if call_id and not call.id:
            call.id = call_id
        if call_id:
            self._by_id[call_id] = call
        call.name = call.name or name
        call.arguments.append(arguments)
        call.chars += len(arguments)
        extra = {key: value for key, value in entry.items() if key not in _KNOWN_KEYS and value is not None}
        if extra:
            _check_depth(extra)
        if not call.announced:
            call.extra.update(extra)
            return self._announce(call) if call.name or call.chars > MAX_NAMELESS_CHARS else None
        if not arguments and not extra:
            return None
        return ToolCallPart(call.index, None, None, arguments, extra or None)

    def flush(self) -> list[ToolCallPart]:
        """The calls whose name never came: told without one rather than lost."""
        return [self._announce(call) for call in self._calls if not call.announced]

    def _announce(self, call: _Call) -> ToolCallPart:
        call.announced = True
        call.id = call.id or f"call_{call.index}_{self._id_suffix}"
        return ToolCallPart(call.index, call.id, call.name, "".join(call.arguments), call.extra or None)

    def _find(self, index: Any, call_id: str, name: str, arguments: str) -> _Call:
        if call_id and call_id in self._by_id:
            return self._by_id[call_id]
        if not isinstance(index, int):
            # Without an index, whatever names itself is a new call, and the rest belongs to the last one.
            if self._calls and not name and not (call_id and self._calls[-1].id):
                return self._calls[-1]
            return self._new(None)
        call = self._by_endpoint_index.get(index)
        if call is None:
            return self._new(index)
        if name and call.name and ((call_id and call.id) or name != call.name or _begins_anew(call, arguments)):
            return self._new(index)
        return call

    def _new(self, endpoint_index: int | None) -> _Call:
        call = _Call(len(self._calls))
        self._calls.append(call)
        if endpoint_index is not None:
            self._by_endpoint_index[endpoint_index] = call
        return call


def _begins_anew(call: _Call, arguments: str) -> bool:
    """Whether arguments that follow a repeated name are those of another call: the first one's are whole already."""
    if not arguments.lstrip().startswith("{") or not (call.arguments and call.arguments[-1].rstrip().endswith("}")):
        return False
    if call.checked_chars > CHECKED_FREELY + 2 * call.chars:
        return False
    call.checked_chars += call.chars
    call.arguments[:] = ["".join(call.arguments)]
    try:
        msgspec.json.decode(call.arguments[0], type=msgspec.Raw)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _arguments(value: Any) -> str:
    match value:
        case str():
            return value
        case None:
            return ""
        case _:
            _check_depth(value)
            return msgspec.json.encode(value).decode()


def _check_depth(value: Any, depth: int = 0) -> None:
    if depth > MAX_DEPTH:
        raise MalformedCallError(f"nested more than {MAX_DEPTH} levels deep")
    match value:
        case Mapping():
            for item in value.values():
                _check_depth(item, depth + 1)
        case list():
            for item in value:
                _check_depth(item, depth + 1)
