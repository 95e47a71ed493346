"""Where an endpoint is and by what key it opens, from arguments and settings."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

from pydantic import SecretStr

from hub.config import Settings
from hub.errors import ConfigurationError, MissingKeyError

__all__ = ("NO_KEY", "Address", "find_address")

DEFAULT_BASE_URL = "https://api.openai.com/v1"

NO_KEY = "EMPTY"
"""What is sent to a server that asks for no key: the SDK wants one."""


@dataclass(frozen=True, slots=True)
class Address:
    """An endpoint's base URL, which may be shown, and what opens it, which may not.

    `is_openais`: it is OpenAI's own or that of `OPENAI_BASE_URL`, whose the SDK's other variables are.
    """

    url: str
    api_key: str = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)
    is_openais: bool = False


def find_address(
    settings: Settings, base_url: str | None = None, api_key: str | None = None, *, takes_any_key: bool = True
) -> Address:
    """The endpoint to ask: what is given wins over the environment.

    `LLM_API_KEY` goes to `LLM_BASE_URL` only, `OPENAI_API_KEY` to all others, as with the SDK. User and password in the
    URL become a header: in a URL they would end up in logs.

    Args:
        settings: What the environment says.
        base_url: The endpoint; None for the environment's.
        api_key: Its key; None for the environment's.
        takes_any_key: A URL that the environment doesn't know gets `OPENAI_API_KEY`. One endpoint among several must
            not: that key is another's.

    Raises:
        MissingKeyError: The endpoint needs a key and none is known.
        ConfigurationError: The URL or the key makes no sense.
    """
    url, found, variable = _choose(settings, base_url)
    if not takes_any_key and not _is_known(settings, url):
        found, variable = None, None
    parts = _split(url)
    host = parts.hostname or ""
    headers = _basic_auth(parts)
    secrets = (unquote(parts.password),) if parts.password else ()
    is_openais = f".{host}".endswith(".openai.com") or _same(url, settings.openai.base_url or DEFAULT_BASE_URL)
    bare = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    if api_key is not None:
        if not api_key.strip():
            raise ConfigurationError("api_key is empty; pass 'EMPTY' for a server that asks for none.")
        return Address(bare, _checked(api_key), headers, secrets, is_openais)
    if found is not None:
        return Address(bare, _checked(found.get_secret_value()), headers, secrets, is_openais)
    if headers or _is_this_machine(host):
        return Address(bare, NO_KEY, headers, secrets, is_openais)
    raise MissingKeyError(f"{parts.scheme}://{host}", variable)


def _choose(settings: Settings, base_url: str | None) -> tuple[str, SecretStr | None, str | None]:
    """The URL, the key the environment has for it, and the variable such a key belongs in."""
    openai_url, llm_url = settings.openai.base_url, settings.llm.base_url
    url = base_url if base_url is not None else openai_url or llm_url or DEFAULT_BASE_URL
    if llm_url is not None and _same(url, llm_url) and not (openai_url is not None and _same(url, openai_url)):
        return url, settings.llm.api_key, "LLM_API_KEY"
    return url, settings.openai.api_key, "OPENAI_API_KEY"


def _is_known(settings: Settings, url: str) -> bool:
    known = (settings.openai.base_url or DEFAULT_BASE_URL, settings.llm.base_url)
    return any(each is not None and _same(url, each) for each in known)


def _same(url: str, other: str) -> bool:
    return url.rstrip("/") == other.rstrip("/")


def _checked(key: str) -> str:
    key = key.strip()
    if not key.isascii() or not key.isprintable():
        raise ConfigurationError("The API key has a character that no key has; was a placeholder copied?")
    return key


def _split(url: str) -> SplitResult:
    url = url.strip()
    if any(map(str.isspace, url)):
        raise ConfigurationError(
            "The base URL has a space in it; in a .env file each variable needs a line of its own."
        )
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises where it is no number
    except ValueError:
        # The URL itself is not shown: what stands in it may be a password.
        raise ConfigurationError("The base URL is no URL; it should be of the form https://host/v1.") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ConfigurationError("The base URL is not of the form https://host/v1.")
    if parts.path.rstrip("/").endswith("/chat/completions"):
        raise ConfigurationError("The base URL ends before /chat/completions; it usually ends in /v1.")
    return parts


def _basic_auth(parts: SplitResult) -> dict[str, str]:
    if parts.username is None:
        return {}
    credentials = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return {"Authorization": f"Basic {b64encode(credentials.encode()).decode()}"}


def _is_this_machine(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
