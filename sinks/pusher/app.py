"""Which Pusher app is meant, and where its HTTP API is."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from hub.errors import ConfigurationError

__all__ = ("PusherApp",)

_VARIABLES = {
    "app_id": "PUSHER_APP_ID",
    "key": "PUSHER_AUTH_KEY",
    "secret": "PUSHER_AUTH_SECRET",
    "cluster": "PUSHER_APP_CLUSTER",
    "host": "PUSHER_HOST",
    "port": "PUSHER_PORT",
    "scheme": "PUSHER_SCHEME",
    "auth_version": "PUSHER_AUTH_VERSION",
}

# What goes into an address or a signature must mean the same there as here.
_WORD = re.compile(r"[A-Za-z0-9_-]{1,200}")
_CLUSTER = re.compile(r"[a-z0-9-]{1,60}")
# Of labels that may stand in a request for an address: up to 63 characters, none of them empty.
_HOST = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?|\[[0-9A-Fa-f:.]{2,45}\]")
_VERSION = re.compile(r"[0-9]+(\.[0-9]+)*")


@dataclass(frozen=True, slots=True)
class PusherApp:
    """An app's identity and address.

    Attributes:
        app_id: As the dashboard shows it.
        key: Public: every page that subscribes has it.
        secret: Signs requests and subscriptions; not part of the representation.
        host: Host name of the HTTP API, `api-CLUSTER.pusher.com` at Pusher itself.
        port: TCP port of the HTTP API.
        ssl: Whether it is asked over TLS.
        auth_version: Version of the scheme of signatures; there is only 1.0.
    """

    app_id: str
    key: str
    secret: str = field(repr=False)
    host: str
    port: int = 443
    ssl: bool = True
    auth_version: str = "1.0"

    def __post_init__(self) -> None:
        for name, value, form in (
            ("app_id", self.app_id, _WORD),
            ("key", self.key, _WORD),
            ("host", self.host, _HOST),
            ("auth_version", self.auth_version, _VERSION),
        ):
            _check_text(name, value)
            if not form.fullmatch(value):
                raise ConfigurationError(f"{_VARIABLES[name]} (or {name}=…) makes no sense: it is {value[:100]!r}.")
        _check_text("secret", self.secret)
        if not self.secret or not self.secret.isascii() or not self.secret.isprintable() or " " in self.secret:
            raise ConfigurationError("PUSHER_AUTH_SECRET (or secret=…) may have visible ASCII characters only.")
        if not _is_a(int, self.port) or not 1 <= self.port <= 65_535:
            shown = _shown(self.port)
            raise ConfigurationError(f"PUSHER_PORT (or port=…) is a TCP port, a number from 1 to 65535; it is {shown}.")
        if not _is_a(bool, self.ssl):
            raise ConfigurationError(f"PUSHER_SCHEME is http or https, or ssl=… a bool; it is {_shown(self.ssl)}.")

    @classmethod
    def configured(
        cls,
        *,
        app_id: str | None = None,
        key: str | None = None,
        secret: str | None = None,
        cluster: str | None = None,
        host: str | None = None,
        port: int | None = None,
        ssl: bool | None = None,
        auth_version: str | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> PusherApp:
        """The app that the arguments name, and where they are None, the environment.

        Args:
            app_id: Else `PUSHER_APP_ID`.
            key: Else `PUSHER_AUTH_KEY`.
            secret: Else `PUSHER_AUTH_SECRET`.
            cluster: Else `PUSHER_APP_CLUSTER`; needed where there is no host.
            host: Of a compatible server; else `PUSHER_HOST`, else the cluster's.
            port: Else `PUSHER_PORT`, else 443, or 80 without TLS.
            ssl: Whether to use TLS; else what `PUSHER_SCHEME` says (`https` or `http`), else True.
            auth_version: Else `PUSHER_AUTH_VERSION`, else 1.0.
            environ: Stands for the process's environment.

        Raises:
            ConfigurationError: Something is missing, all of which is named, or makes no sense.
        """
        variables = {
            name: (os.environ if environ is None else environ).get(variable, "").strip()
            for name, variable in _VARIABLES.items()
        }
        if host is None and cluster is None:
            # Else an address in the environment would overrule one in the arguments.
            host, cluster = variables["host"], variables["cluster"]
        named = {
            "app_id": variables["app_id"] if app_id is None else app_id,
            "key": variables["key"] if key is None else key,
            "secret": variables["secret"] if secret is None else secret,
        }
        _require({**named, "cluster": host or cluster or ""})
        tls = _is_tls(variables["scheme"]) if ssl is None else ssl
        return cls(
            **named,
            host=host or _cluster_host(cluster or ""),
            port=_port(variables["port"], tls) if port is None else port,
            ssl=tls,
            auth_version=(variables["auth_version"] or "1.0") if auth_version is None else auth_version,
        )

    @property
    def url(self) -> str:
        """Scheme, host and port of the HTTP API."""
        return f"{'https' if self.ssl else 'http'}://{self.host}:{self.port}"


def _is_a(kind: type, value: object) -> bool:
    """Whether it is of this type, and of none that is derived from it: True is no port."""
    return type(value) is kind


def _check_text(name: str, value: object) -> None:
    """Refuse what would fail later, such as an app's id as a number; a secret is not shown."""
    if not isinstance(value, str):
        shown = f"a {type(value).__name__}" if name == "secret" else _shown(value)
        raise ConfigurationError(f"{_VARIABLES[name]} (or {name}=…) must be a string; it is {shown}.")


def _shown(value: object) -> str:
    return repr(value)[:100]


def _require(given: Mapping[str, str]) -> None:
    missing = [name for name, value in given.items() if not value]
    if missing:
        variables = [_VARIABLES[name] for name in missing]
        if "cluster" in missing:
            variables[-1] += " (or PUSHER_HOST, for a compatible server)"
        listed = variables[0] if len(variables) == 1 else f"{', '.join(variables[:-1])} and {variables[-1]}"
        arguments = ", ".join(f"{name}=…" for name in missing)
        raise ConfigurationError(f"No Pusher app is configured: set {listed} (in code, {arguments} do as well).")


def _cluster_host(cluster: str) -> str:
    _check_text("cluster", cluster)
    if not _CLUSTER.fullmatch(cluster):
        raise ConfigurationError(f"PUSHER_APP_CLUSTER (or cluster=…) is no cluster: it is {cluster[:100]!r}.")
    return f"api-{cluster}.pusher.com"


def _is_tls(scheme: str) -> bool:
    if scheme not in ("", "http", "https"):
        raise ConfigurationError(f"PUSHER_SCHEME is http or https; it is {scheme[:100]!r}.")
    return scheme != "http"


def _port(text: str, tls: bool) -> int:
    if not text:
        return 443 if tls else 80
    if not text.isascii() or not text.isdecimal():
        raise ConfigurationError(f"PUSHER_PORT is a TCP port, from 1 to 65535; it is {text[:100]!r}.")
    return int(text[:6])
