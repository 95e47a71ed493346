"""Token counts where the endpoint reports none: estimates, always marked as such."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ("estimate_input_tokens", "estimate_tokens")

BYTES_PER_TOKEN = 4
"""English text in the vocabularies of 2024 and later has 4 to 4.5 bytes a token; other scripts have fewer."""

TOKENS_PER_MESSAGE = 4
"""A chat template's own tokens around each message."""


def estimate_tokens(text: str) -> int:
    """About how many tokens a text has, from its UTF-8 length."""
    return -(-len(text.encode("utf-8", "replace")) // BYTES_PER_TOKEN)


def estimate_input_tokens(messages: Iterable[Any], tools: Any = None) -> int:
    """About how many input tokens a request has: its messages' texts and its tools."""
    total = 0
    for message in messages:
        total += TOKENS_PER_MESSAGE + sum(map(estimate_tokens, _texts(message)))
    if tools:
        total += sum(map(estimate_tokens, _texts(tools)))
    return total


def _texts(part: Any) -> Iterable[str]:
    match part:
        case str():
            yield part
        case Mapping():
            for key, value in part.items():
                # Images and sound are sent as base64; their tokens have nothing to do with its length.
                if key not in ("image_url", "input_audio", "file", "role", "type"):
                    yield from _texts(value)
        case list() | tuple():
            for item in part:
                yield from _texts(item)
