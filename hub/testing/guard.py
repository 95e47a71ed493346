"""A guard for tests: a call that would leave this machine is an error instead."""

from __future__ import annotations

import ipaddress
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeAlias

from hub.testing.unexpected import RealCallError

__all__ = ("forbid_real_calls",)

MAX_ATTEMPTS = 100
"""How many attempts are remembered: code that tries again for ever must not fill the memory."""

_Target: TypeAlias = tuple[str, str | None, int | None]
"""A verb, a host where there is one, a port where there is one."""


@contextmanager
def forbid_real_calls(*, allow_loopback: bool = True) -> Iterator[list[str]]:
    """Within the block, whatever would leave this machine raises a `RealCallError`: in every thread and task.

    It listens to Python's audit events of sockets and patches nothing: connecting, sending datagrams and looking up
    names are refused before they happen, whichever Python library asks. Unix sockets stay allowed, and connections
    that stand already. Blocks may be nested; a call has to be allowed by each. Not seen are other processes, and
    extensions in C that open sockets by themselves (libpq, gRPC, libcurl). uvloop is one of those: what it does past
    the audit events is refused at its `Loop` class while the block lasts.

    Code that swallows the error is found out: leaving the block raises it again.

    Args:
        allow_loopback: Whether this machine itself may be called (127.0.0.0/8, ::1, `localhost`).

    Yields:
        What was tried so far; to swallow an attempt on purpose, take it out of the list.

    Raises:
        RealCallError: At the call; and at the end of the block, where a call was tried and another exception, or
            none, leaves it.
    """
    guard = _Guard(allow_loopback=allow_loopback)
    _install_hook()
    _active.append(guard)
    try:
        with _uvloop_checked():
            yield guard.attempts
    except RealCallError:
        raise
    except (Exception, BaseExceptionGroup) as exc:
        # A task group, such as anyio's under httpx2, hides the error among others.
        guard.report(cause=exc)
        raise
    else:
        guard.report(cause=None)
    finally:
        _active.remove(guard)


class _Guard:
    """One block's rule, and what was tried against it."""

    def __init__(self, *, allow_loopback: bool) -> None:
        self.attempts: list[str] = []
        self._allow_loopback = allow_loopback
        self._own_name = socket.gethostname()

    def check(self, target: _Target) -> None:
        """Raise where this target is forbidden."""
        verb, host, port = target
        if self._is_allowed(verb, host):
            return
        attempt = f"{verb} {host}" if port is None else f"{verb} {host} port {port}"
        if len(self.attempts) < MAX_ATTEMPTS:
            self.attempts.append(attempt)
        raise RealCallError(
            f"A real call was tried in a test that forbids them: {attempt}. Script the answer "
            "(hub.testing: FakeLLM, ScriptedTransport, ScriptedEndpoint), or replay a recording.",
            attempts=tuple(self.attempts),
        )

    def report(self, *, cause: BaseException | None) -> None:
        """Raise where something was tried; the one who tried has swallowed it."""
        if self.attempts:
            raise RealCallError(
                f"Real calls were tried in a test that forbids them: {'; '.join(dict.fromkeys(self.attempts))}. "
                "Where no other failure says so, the code under test swallowed the error.",
                attempts=tuple(self.attempts),
            ) from cause

    def _is_allowed(self, verb: str, host: str | None) -> bool:
        if not host:
            return verb == "look up" or self._allow_loopback  # without a name: an address of one's own, to listen on
        name = host.rstrip(".").lower()
        if name == self._own_name.lower():
            return self._allow_loopback
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return self._allow_loopback and (name == "localhost" or name.endswith(".localhost"))
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        # Connecting to 0.0.0.0 or :: reaches this machine.
        return self._allow_loopback and (address.is_loopback or address.is_unspecified)


def _connecting(event_args: tuple[Any, ...]) -> _Target | None:
    connection, address = event_args[0], event_args[-1]
    if connection.family not in (socket.AF_INET, socket.AF_INET6) or not isinstance(address, tuple):
        return None
    return "connect to", _text(address[0]), address[1]


def _sending(event_args: tuple[Any, ...]) -> _Target | None:
    target = _connecting(event_args)
    return None if target is None else ("send to", *target[1:])


def _looking_up(event_args: tuple[Any, ...]) -> _Target | None:
    host = _text(event_args[0])
    if host is None or _is_address(host):
        return None  # nothing to ask of anyone; connecting to it is another event
    return "look up", host, None


def _looking_back(event_args: tuple[Any, ...]) -> _Target | None:
    return "look up", _text(event_args[0]), None


def _text(host: Any) -> str | None:
    return host.decode("utf-8", "replace") if isinstance(host, bytes | bytearray) else host


def _is_address(host: str) -> bool:
    with suppress(ValueError):
        ipaddress.ip_address(host)
        return True
    return False


_EVENTS: dict[str, Callable[[tuple[Any, ...]], _Target | None]] = {
    "socket.connect": _connecting,
    "socket.sendto": _sending,
    "socket.sendmsg": _sending,
    "socket.getaddrinfo": _looking_up,
    "socket.gethostbyname": _looking_up,
    "socket.gethostbyaddr": _looking_back,
}
"""Audit events, from https://docs.python.org/3/library/audit_events.html, read on 2026-11-21."""

_active: list[_Guard] = []  # an audit hook can't be taken out again: it is one for all guards, and idle without any
_hooks: list[Callable[[str, tuple[Any, ...]], None]] = []


def _install_hook() -> None:
    if not _hooks:
        _hooks.append(_hook)
        sys.addaudithook(_hook)


def _hook(event: str, args: tuple[Any, ...]) -> None:
    if _active and (target_of := _EVENTS.get(event)) is not None:
        try:
            _check(target_of(args))
        except RealCallError:
            if event == "socket.connect":
                # Its owner is prepared for an OSError at most, and would leave it to the collector.
                args[0].close()
            raise


def _check(target: _Target | None) -> None:
    if target is not None:
        for guard in reversed(_active):
            guard.check(target)


@contextmanager
def _uvloop_checked() -> Iterator[None]:
    """Have uvloop ask as well: it opens its connections in C, past every audit event."""
    loop_class = getattr(sys.modules.get("uvloop"), "Loop", None)
    if loop_class is None:
        yield
        return
    connect, look_up = loop_class.create_connection, loop_class.getaddrinfo

    async def create_connection(loop: Any, factory: Any, host: Any = None, port: Any = None, **options: Any) -> Any:
        if options.get("sock") is None:
            _check(("connect to", _text(host), port))
        return await connect(loop, factory, host, port, **options)

    async def getaddrinfo(loop: Any, host: Any, port: Any, **options: Any) -> Any:
        _check(_looking_up((host,)))
        return await look_up(loop, host, port, **options)

    own = vars(loop_class)
    before = {name: own.get(name) for name in ("create_connection", "getaddrinfo")}
    loop_class.create_connection, loop_class.getaddrinfo = create_connection, getaddrinfo
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                delattr(loop_class, name)  # inherited again
            else:
                setattr(loop_class, name, value)
