"""The chunk that nearly all are, as little of it as is needed: decoded in a third of the time of any JSON."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

__all__ = ("MAX_CHOICES", "decode_lean")

MAX_CHOICES = 128
"""As many as OpenAI lets one ask for (`n`); https://platform.openai.com/docs/api-reference/chat (read 2026-11-21)."""


class _Delta(msgspec.Struct, gc=False):
    content: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    refusal: Any = None
    tool_calls: Any = None
    function_call: Any = None


class _Choice(msgspec.Struct, gc=False):
    delta: _Delta
    index: Annotated[int, msgspec.Meta(ge=0, lt=MAX_CHOICES)] = 0
    finish_reason: str | None = None
    logprobs: Any = None


class _Chunk(msgspec.Struct, gc=False):
    choices: list[_Choice]
    usage: dict[str, Any] | None = None
    error: Any = None


decode_lean = msgspec.json.Decoder(_Chunk).decode
"""The chunk of some bytes; raises where it can't hold them, which says nothing about their worth."""
