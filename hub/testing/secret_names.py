"""Which headers, parameters and members of a body hold a secret, going by their names; URLs without theirs. Pure."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote_plus

__all__ = (
    "HIDDEN",
    "is_secret_header",
    "is_secret_member",
    "is_secret_parameter",
    "is_surely_secret",
    "without_secrets",
)

HIDDEN = "***"
"""As in the client's own messages, so that a replay gives the same ones."""

MIN_SECRET_CHARS = 8
"""What is shorter is a word such as `EMPTY`, and may stand in any text."""

_HEADER = re.compile(
    r"(^|[-_])(key|apikey|token|secret|password|passwd|auth|signature|sig)$|authorization|cookie|credential",
    re.IGNORECASE,
)
_PARAMETER = re.compile(r"^(code|passwd|pwd)$", re.IGNORECASE)
"""`code` is that of OAuth, and Azure Functions' key."""

_SURE = re.compile(
    r"^(.*_)?(api|access|secret|private|account|subscription|auth|encryption|signing)_?key$"
    r"|^(.*_)?(api|access|refresh|auth|bearer|session|private|secret)_?token$"
    r"|^x_.+_key$|^(.*_)?(authorization|password|passwd|passphrase|secret|cookie)$"
)
_LIKELY = re.compile(r"^(.*_)?(key|token|auth|credentials?)$")
_ORDINARY = re.compile(
    r"^((.*_)?(bos|eos|pad|unk|sep|cls|mask|stop|start|end|begin|next|page|continuation|prefix|suffix|image)_token"
    r"|(.*_)?(cache|idempotency|sort|primary|foreign|partition)_key)$"
)
"""Named like secrets in requests to models, and none."""

_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://\S+")
_USER = re.compile(r"(?<=://)[^/?#]*@(?=[^/?#])")
_PAIR = re.compile(r"([?&#;])([^=&#;?]+)=([^&#;]*)")


def is_secret_header(name: str) -> bool:
    """Whether the values of headers of that name are secrets."""
    return _HEADER.search(name) is not None


def is_secret_parameter(name: str) -> bool:
    """Whether the values of parameters of that name in a query are secrets."""
    return _HEADER.search(_HUMP.sub("_", name)) is not None or _PARAMETER.search(name) is not None


def is_secret_member(name: str, value: str, owner: Any) -> bool:
    """Whether a text in a JSON body is a secret.

    Args:
        name: The member it is under, or under which the list that holds it is.
        value: The text.
        owner: The object that the member is of.
    """
    if is_surely_secret(name):
        return bool(value)
    # A filter of a search has a `key` too, and what was sampled lists each `token` beside its `logprob`.
    snake = _snake(name)
    return (
        len(value) >= MIN_SECRET_CHARS
        and _LIKELY.match(snake) is not None
        and _ORDINARY.match(snake) is None
        and not (isinstance(owner, dict) and "logprob" in owner)
    )


def is_surely_secret(name: str) -> bool:
    """Whether a member of that name holds nothing else, so that its value is to be hidden wherever it is quoted."""
    return _SURE.match(_snake(name)) is not None


def without_secrets(text: str) -> str:
    """A text that is a URL without its user and the secrets in its query; any other as it is."""
    if not _URL.fullmatch(text):
        return text
    return _PAIR.sub(_hidden_pair, _USER.sub(f"{HIDDEN}@", text))


def _hidden_pair(pair: re.Match[str]) -> str:
    mark, name, value = pair.groups()
    return f"{mark}{name}={HIDDEN if value and is_secret_parameter(unquote_plus(name)) else value}"


def _snake(name: str) -> str:
    return _HUMP.sub("_", name).replace("-", "_").lower()
