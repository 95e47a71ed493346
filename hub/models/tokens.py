"""Token counts: exact for a text whose vocabulary is at hand, else estimates, always marked as such."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any, Self

from hub.errors import InvalidRequestError
from hub.models.tool_text import tools_text

__all__ = ("BYTES_PER_TOKEN", "TokenCount", "count_tokens", "estimate_input_tokens", "estimate_tokens")

log = logging.getLogger(__name__)

BYTES_PER_TOKEN = 4
"""English text in the vocabularies of 2024 and later has 4 to 4.5 bytes a token; other scripts have fewer."""

TOKENS_PER_MESSAGE = 4
"""A chat template's own tokens around each message, its role among them.

OpenAI's rule for its chat models up to GPT-4o is 3 and the role's own, 1 more for a name, and 3 for the beginning of
the answer (cookbook.openai.com/examples/how_to_count_tokens_with_tiktoken, read 2026-11-21). No rule is published for
later models.
"""

TOKENS_PER_NAME = 1
TOKENS_BEFORE_ANSWER = 3

_NOT_TEXT = frozenset(("image_url", "input_audio", "file", "file_data", "encrypted_content", "role", "type"))
"""Images, sound and files are sent as base64, whose length has nothing to do with their tokens."""


class TokenCount(int):
    """A number of tokens.

    Attributes:
        estimated: The endpoint may count another number.
    """

    estimated: bool

    def __new__(cls, value: int = 0, *, estimated: bool = False) -> Self:  # noqa: D102
        count = super().__new__(cls, value)
        count.estimated = estimated
        return count


def count_tokens(context: Any, tools: Iterable[Any] | None = None, *, encoding: str | None = None) -> TokenCount:
    """How many tokens a request has, or a text.

    A text, or a list of texts, is counted exactly where the encoding's vocabulary is at hand. Messages and tools are
    always an estimate: their texts are counted exactly, but what a model's template puts round them isn't published.
    Images, sound and files are not counted.

    Args:
        context: A text, a list of texts (as for embeddings), a message, or a list of messages, in the form of Chat
            Completions or of the Responses API.
        tools: The tools offered, in either form.
        encoding: "o200k_base" or "cl100k_base"; any other, and None, makes the count an estimate.

    Raises:
        InvalidRequestError: `context` is nothing of that.
    """
    count = _text_counter(encoding) if encoding else None
    offered = list(tools or ())
    texts, messages = ([context], []) if isinstance(context, str) else _parts(context)
    if count is None:
        total = sum(map(estimate_tokens, texts)) + estimate_input_tokens(messages, offered)
        return TokenCount(total, estimated=True)
    total = sum(map(count, texts)) + sum(_message_tokens(message, count) for message in messages)
    if messages:
        total += TOKENS_BEFORE_ANSWER
    if offered:
        total += count(tools_text(offered))
    return TokenCount(total, estimated=bool(messages or offered))


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


def _parts(context: Any) -> tuple[list[str], list[Mapping[str, Any]]]:
    """The texts and the messages of a context that is no text itself."""
    items = [context] if isinstance(context, Mapping) else context
    if not isinstance(items, list | tuple) or not all(isinstance(item, str | Mapping) for item in items):
        raise InvalidRequestError(
            "count_tokens takes a text, a message such as {'role': 'user', 'content': 'Hello'}, or a list of either, "
            f"not {type(context).__name__}."
        )
    return [item for item in items if isinstance(item, str)], [item for item in items if isinstance(item, Mapping)]


def _message_tokens(message: Mapping[str, Any], count: Callable[[str], int]) -> int:
    own = TOKENS_PER_MESSAGE + (TOKENS_PER_NAME if isinstance(message.get("name"), str) else 0)
    return own + sum(map(count, _texts(message)))


@cache
def _text_counter(encoding: str) -> Callable[[str], int] | None:
    try:
        # Loaded on first use: the package behind it is large, and there are platforms it isn't made for.
        from hub.models.vocabulary import text_counter
    except ImportError:
        log.info("rs-bpe is not installed: tokens are estimated")
        return None
    return text_counter(encoding)


def _texts(part: Any) -> Iterable[str]:
    match part:
        case str():
            yield part
        case Mapping():
            for key, value in part.items():
                if key not in _NOT_TEXT:
                    yield from _texts(value)
        case list() | tuple():
            for item in part:
                yield from _texts(item)
