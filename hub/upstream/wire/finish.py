"""Which choices there are, and why each ended. Pure."""

from __future__ import annotations

from hub.result import FinishReason

__all__ = ("FinishReasons",)

_REASONS: dict[str, FinishReason] = {
    "stop": "stop",
    "eos": "stop",
    "end_turn": "stop",
    "stop_sequence": "stop",
    "length": "length",
    "max_tokens": "length",
    "tool_calls": "tool_calls",
    "tool_use": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
    "safety": "content_filter",
}

_NO_REASONS = ("", "null")


class FinishReasons:
    """The choices of one answer as its chunks name them.

    Args:
        expected_choices: How many answers were asked for (`n`).
    """

    def __init__(self, expected_choices: int) -> None:
        self._expected_choices = expected_choices
        self._choices: set[int] = set()
        self._calling: set[int] = set()
        self._raw: dict[int, str] = {}

    def __len__(self) -> int:
        """How many choices were seen."""
        return len(self._choices)

    def saw(self, choice: int) -> None:
        """There is such a choice."""
        self._choices.add(choice)

    def saw_tool_call(self, choice: int) -> None:
        """This choice calls a tool."""
        self._calling.add(choice)

    def ended(self, choice: int, raw: str) -> None:
        """The endpoint gave a reason; blanks and the text "null" are none."""
        if raw not in _NO_REASONS:
            self._raw[choice] = raw

    @property
    def is_complete(self) -> bool:
        """Every choice that was seen has its reason, and there is one at least."""
        return bool(self._choices) and self._choices <= self._raw.keys()

    @property
    def is_all(self) -> bool:
        """Complete, and as many as were asked for."""
        return len(self._raw) >= self._expected_choices and self.is_complete

    def reason(self, choice: int = 0, *, is_whole: bool) -> FinishReason | None:
        """Why a choice ended; None where it was broken off.

        Tool calls decide, not the endpoint's word: several write `stop`, or nothing, after them.

        Args:
            choice: Which one.
            is_whole: The answer came to its end, so a missing reason is the endpoint's omission.
        """
        raw = self._raw.get(choice)
        if raw is None and not is_whole:
            return None
        reason: FinishReason = "other" if raw is None else _REASONS.get(raw.lower(), "other")
        return "tool_calls" if choice in self._calling and reason in ("stop", "other") else reason

    def reasons(self, *, is_whole: bool) -> tuple[FinishReason | None, ...] | None:
        """Each choice's, where there are several."""
        count = max(self._choices, default=0) + 1
        return tuple(self.reason(choice, is_whole=is_whole) for choice in range(count)) if count > 1 else None

    def raw(self, *, is_whole: bool) -> str | None:
        """The first choice's reason as the endpoint wrote it, where ours is another word."""
        raw = self._raw.get(0)
        return raw if raw != self.reason(is_whole=is_whole) else None
