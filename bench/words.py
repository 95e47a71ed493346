"""What the answers of the benchmarks' endpoint say."""

from __future__ import annotations

__all__ = ("WORDS", "expected_text", "words")

WORDS = [
    " the",
    " stream",
    " of",
    " tokens",
    " that",
    " a",
    " model",
    " writes",
    ",",
    " one",
    " after",
    " another",
    ".",
]


def words(tokens: int) -> list[str]:
    """An answer of so many tokens, one by one."""
    return [WORDS[number % len(WORDS)] for number in range(tokens)]


def expected_text(tokens: int) -> str:
    """What they say together."""
    return "".join(words(tokens))
