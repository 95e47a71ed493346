"""How much one embedding request may hold, and what an endpoint's refusal says of it. Pure."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from hub.errors import EndpointError

__all__ = (
    "LEARNT_TTL",
    "MAX_INPUTS",
    "MAX_REQUEST_TOKENS",
    "LearntLimits",
    "RequestLimits",
    "after_refusal",
    "is_about_one_input",
    "refused_for",
)

MAX_INPUTS = 2048
MAX_REQUEST_TOKENS = 300_000
"""OpenAI's limits of one request; each input may have 8,192 tokens.

https://platform.openai.com/docs/api-reference/embeddings/create (read 2026-11-21)
"""

LEARNT_TTL = 300.0
"""Seconds for which a limit is remembered. A proxy that is restarted or short of memory refuses sizes which it takes at
other times; to find a real limit again costs a few refused requests."""

_ONE_INPUT = re.compile(
    r"physical batch size"  # llama.cpp: an input longer than its batch
    r"|must have less than \d+ (tokens|characters)"  # text-embeddings-inference, with 413
    r"|context length|context size|maximum input length"
)
"""About one input's own length: no smaller request helps."""

_STATUSES = (400, 413, 422, 500)
"""500 is llama.cpp's."""

_TOKENS = re.compile(
    r"tokens per request|tokens_per_request"  # OpenAI
    r"|tokens (overall|in (the )?batch)"  # Mistral
    r"|tokens per (submitted )?batch"  # Voyage
    r"|total (number of )?tokens"
)

_INPUTS = re.compile(
    r"too many inputs"  # Azure, Mistral
    r"|batch size"  # text-embeddings-inference, SiliconFlow, DashScope
    r"|array too long"  # OpenAI
    r"|at most \d+ (items|inputs|texts|requests|elements)"  # servers on pydantic, Gemini
    r"|number of (inputs|texts|items)"  # Cohere
    r"|\d+ instance\(s\) is allowed"  # Vertex
)
"""Wordings as users of those servers report them, in issues and code on GitHub (read 2026-11-21)."""

_MAX_INPUTS = re.compile(
    r"(?:maximum allowed batch size|larger than|number of inputs is|maximum length|at most|limit is)\D{0,3}(\d{1,6})\b"
    r"|(\d{1,6}) instance\(s\) is allowed"
)


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """What one request may hold; without limits where none is given.

    Attributes:
        max_inputs: Inputs, at least 1.
        max_tokens: Tokens of all of them by our own count, at least 1; an input that has more goes alone.
    """

    max_inputs: int = sys.maxsize
    max_tokens: int = sys.maxsize

    def lowered_to(self, other: RequestLimits) -> RequestLimits:
        """The lower of both in each."""
        return RequestLimits(min(self.max_inputs, other.max_inputs), min(self.max_tokens, other.max_tokens))


class LearntLimits:
    """The limits of an endpoint's models as far as its refusals have shown them, each forgotten after some minutes.

    Args:
        clock: Seconds that only grow.
        ttl: Seconds since a model's limits were last lowered, after which it is taken to have none.
    """

    def __init__(self, clock: Callable[[], float], *, ttl: float = LEARNT_TTL) -> None:
        self._clock = clock
        self._ttl = ttl
        self._learnt: dict[str, tuple[RequestLimits, float]] = {}

    def of(self, model: str) -> RequestLimits:
        """The model's limits; without any where none is known, or no longer."""
        limits, learnt_at = self._learnt.get(model, (RequestLimits(), 0.0))
        if model in self._learnt and self._clock() - learnt_at >= self._ttl:
            del self._learnt[model]
            return RequestLimits()
        return limits

    def lower(self, model: str, limits: RequestLimits) -> None:
        """Take in what a call has found out of the model; nothing where that is no limit."""
        if limits != RequestLimits():
            self._learnt[model] = (self.of(model).lowered_to(limits), self._clock())


def is_about_one_input(error: EndpointError) -> bool:
    """Whether an input is too long by itself, so that neither fewer inputs nor another try can help."""
    return error.status in _STATUSES and _ONE_INPUT.search(error.message.lower()) is not None


def refused_for(error: EndpointError) -> Literal["inputs", "tokens"] | None:
    """What there was too much of in a refused request; None where it wasn't refused for its size."""
    if error.status not in (400, 413, 422) or is_about_one_input(error):
        return None
    message = error.message.lower()
    if _TOKENS.search(message):
        return "tokens"
    if _INPUTS.search(message):
        return "inputs"
    # Without a known word 413 speaks of bytes, as a proxy does, of which tokens are the better measure.
    return "tokens" if error.status == 413 else None


def after_refusal(error: EndpointError, *, inputs: int, tokens: int) -> RequestLimits:
    """The limits that a request leaves which was refused for its size.

    Args:
        error: How it was refused.
        inputs: The inputs it had, at least 2.
        tokens: Their tokens by our own count, at least 2.
    """
    if refused_for(error) == "tokens":
        # A number in the message is of the endpoint's own counting, which may differ from ours.
        return RequestLimits(max_tokens=tokens // 2)
    named = _named_maximum(error.message.lower())
    return RequestLimits(max_inputs=named if 1 <= named < inputs else inputs // 2)


def _named_maximum(message: str) -> int:
    """The most inputs that a message says a request may have; 0 where it doesn't say."""
    found = _MAX_INPUTS.search(message)
    return 0 if found is None else int(found[1] or found[2])
