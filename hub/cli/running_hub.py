"""What the command line says about a running hub, checked once before anything is sent to it."""

from __future__ import annotations

import argparse
import os
from urllib.parse import urlsplit

import httpx2

from hub.errors import ConfigurationError, InvalidRequestError

__all__ = ("authorization", "hub_url", "is_host")


def hub_url(options: argparse.Namespace) -> str:
    """The hub's address, without a slash at its end.

    Raises:
        InvalidRequestError: It is no address of an HTTP server.
    """
    url: str = options.url.rstrip("/")
    try:
        parts = urlsplit(url)
        httpx2.URL(url)  # has rules of its own, and would raise in the middle
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except (ValueError, httpx2.InvalidURL):
        valid = False
    if not valid or not is_host(parts.hostname or ""):
        raise InvalidRequestError(
            f"The hub's address should be of the form http://host:port; it is {options.url!r} (--url, HUB_URL)."
        )
    return url


def is_host(host: str) -> bool:
    """Whether the resolver takes it: on a part that is too long or empty it raises UnicodeError, no OSError."""
    try:
        host.encode("idna")
    except UnicodeError:
        return False
    return True


def authorization(options: argparse.Namespace) -> dict[str, str]:
    """The header with the key for the hub; none where no key is set.

    Raises:
        ConfigurationError: The key can't be sent in a header.
    """
    key = os.environ.get(options.key_env)
    if not key:
        return {}
    if not all("!" <= character <= "~" for character in key):
        raise ConfigurationError(
            f"The key in {options.key_env} has characters that can't be sent: only ASCII without spaces can."
        )
    return {"Authorization": f"Bearer {key}"}
