"""How a PusherSink learns of its app, its channels and its bounds, and what it says of those that make no sense."""

from __future__ import annotations

import math
from typing import Any

import pytest

from hub.errors import ConfigurationError, InvalidRequestError
from sinks.pusher import PusherApp, PusherSink

NAMES = ("APP_ID", "AUTH_KEY", "AUTH_SECRET", "APP_CLUSTER", "AUTH_VERSION", "HOST", "PORT", "SCHEME")
ENVIRON = {
    "PUSHER_APP_ID": "12",
    "PUSHER_AUTH_KEY": "key",
    "PUSHER_AUTH_SECRET": "hush",
    "PUSHER_APP_CLUSTER": "eu",
}
APP = PusherApp(app_id="1", key="key", secret="hush", host="localhost", ssl=False)


def test_the_environment_names_the_app() -> None:
    assert PusherApp.configured(environ=ENVIRON) == PusherApp(
        app_id="12", key="key", secret="hush", host="api-eu.pusher.com", port=443, ssl=True, auth_version="1.0"
    )


def test_arguments_win_over_the_environment() -> None:
    app = PusherApp.configured(
        app_id="1",
        key="k",
        secret="s",
        cluster="us2",
        port=4443,
        auth_version="1.1",
        environ={**ENVIRON, "PUSHER_HOST": "elsewhere", "PUSHER_PORT": "1", "PUSHER_AUTH_VERSION": "7"},
    )
    assert app == PusherApp(app_id="1", key="k", secret="s", host="api-us2.pusher.com", port=4443, auth_version="1.1")


@pytest.mark.parametrize(
    ("variables", "url"),
    [
        ({"PUSHER_HOST": "soketi.internal"}, "https://soketi.internal:443"),
        ({"PUSHER_HOST": "soketi_1.internal."}, "https://soketi_1.internal.:443"),
        ({"PUSHER_HOST": "127.0.0.1", "PUSHER_SCHEME": "http"}, "http://127.0.0.1:80"),
        ({"PUSHER_HOST": "[::1]", "PUSHER_SCHEME": "http", "PUSHER_PORT": "6001"}, "http://[::1]:6001"),
        ({"PUSHER_APP_CLUSTER": " ap3 "}, "https://api-ap3.pusher.com:443"),
    ],
)
def test_the_environment_names_a_compatible_server(variables: dict[str, str], url: str) -> None:
    assert PusherApp.configured(environ={**ENVIRON, **variables}).url == url


def test_a_host_stands_for_the_cluster() -> None:
    app = PusherApp.configured(app_id="1", key="k", secret="s", host="localhost", port=6001, ssl=False, environ={})
    assert app.url == "http://localhost:6001"


def test_all_that_is_missing_is_named_in_one_sentence() -> None:
    with pytest.raises(ConfigurationError) as caught:
        PusherApp.configured(environ={"PUSHER_AUTH_KEY": "key"})
    assert str(caught.value) == (
        "No Pusher app is configured: set PUSHER_APP_ID, PUSHER_AUTH_SECRET and PUSHER_APP_CLUSTER (or PUSHER_HOST, "
        "for a compatible server) (in code, app_id=…, secret=…, cluster=… do as well)."
    )


def test_one_thing_that_is_missing_is_named_alone() -> None:
    with pytest.raises(
        ConfigurationError, match=r"configured: set PUSHER_AUTH_SECRET \(in code, secret=… do as well\)\.$"
    ):
        PusherApp.configured(environ={**ENVIRON, "PUSHER_AUTH_SECRET": ""})


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("PUSHER_APP_ID", "1/../2"),
        ("PUSHER_AUTH_KEY", "a&b=c"),
        ("PUSHER_AUTH_SECRET", "hush\x00"),
        ("PUSHER_APP_CLUSTER", "eu/evil"),
        ("PUSHER_HOST", "user:pw@host"),
        ("PUSHER_HOST", "a..b"),
        ("PUSHER_HOST", ".example"),
        ("PUSHER_HOST", "a" * 64 + ".example"),
        ("PUSHER_HOST", ".".join(["a" * 60] * 5)),
        ("PUSHER_HOST", "[]"),
        ("PUSHER_PORT", "0"),
        ("PUSHER_PORT", "66000"),
        ("PUSHER_PORT", "http"),
        ("PUSHER_PORT", "9" * 5_000),
        ("PUSHER_SCHEME", "wss"),
        ("PUSHER_AUTH_VERSION", "1.0&x=y"),
    ],
)
def test_what_makes_no_sense_is_refused_by_its_name(variable: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match=variable) as caught:
        PusherApp.configured(environ={**ENVIRON, variable: value})
    assert "hush" not in str(caught.value)


def test_the_secret_is_not_in_the_representation() -> None:
    assert "hush" not in repr(APP)


def test_a_sink_reads_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(f"PUSHER_{name}", raising=False)
    with pytest.raises(ConfigurationError, match="PUSHER_APP_ID"):
        PusherSink("chat")
    for variable, value in ENVIRON.items():
        monkeypatch.setenv(variable, value)
    PusherSink("chat")


@pytest.mark.parametrize(
    "channel", ["", "a b", "chat:42", "é", "x" * 201, "#server-to-user-1", "chat\n", [], ["a", "a"], ["a", "b/c"]]
)
def test_a_channel_that_pusher_would_refuse_is_refused_before_anything_is_sent(channel: Any) -> None:
    with pytest.raises(InvalidRequestError, match="channel"):
        PusherSink(channel, app=APP)


def test_up_to_a_hundred_channels_are_taken() -> None:
    PusherSink([f"chat-{number}" for number in range(100)], app=APP)
    with pytest.raises(InvalidRequestError, match="101 are named"):
        PusherSink([f"chat-{number}" for number in range(101)], app=APP)


def test_an_encrypted_channel_is_refused_since_nothing_is_encrypted() -> None:
    with pytest.raises(InvalidRequestError, match="does not encrypt"):
        PusherSink("private-encrypted-chat", app=APP)


@pytest.mark.parametrize("name", ["", "x" * 201, "pusher:error", "pusher_internal:x", "client-typing", "a\nb"])
def test_an_event_name_that_is_pusher_s_own_is_refused(name: str) -> None:
    with pytest.raises(InvalidRequestError, match="event"):
        PusherSink("chat", app=APP, event_name=name)


@pytest.mark.parametrize(
    "arguments",
    [
        {"max_messages_per_second": 0},
        {"max_messages_per_second": -1},
        {"max_messages_per_second": math.nan},
        {"max_event_bytes": 999},
        {"max_queue": 0},
        {"max_queue_bytes": 0},
        {"timeout": 0},
        {"max_outage": -1},
    ],
)
def test_a_bound_that_makes_no_sense_is_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError, match=r"at least|above 0"):
        PusherSink("chat", app=APP, **arguments)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"port": "7601"}, r"PUSHER_PORT \(or port=…\) .* number from 1 to 65535; it is '7601'"),
        ({"port": True}, r"PUSHER_PORT .* it is True"),
        ({"app_id": 1234}, r"PUSHER_APP_ID \(or app_id=…\) must be a string; it is 1234"),
        ({"secret": b"a-hushed-word"}, r"PUSHER_AUTH_SECRET .* must be a string; it is a bytes"),
        ({"cluster": 5}, r"PUSHER_APP_CLUSTER .* must be a string; it is 5"),
        ({"ssl": "no"}, r"ssl=… a bool; it is 'no'"),
    ],
)
def test_an_argument_of_another_type_is_refused_by_name(arguments: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigurationError, match=named) as caught:
        PusherSink("chat", **{"app_id": "1", "key": "k", "secret": "s", "cluster": "eu", **arguments})
    assert "hushed" not in str(caught.value)


@pytest.mark.parametrize(
    ("channel", "named"),
    [
        (5, "a list of such names; not 5"),
        (None, "a list of such names; not None"),
        (["chat", 5], "Pusher channel must be a string; it is 5"),
        (b"chat", "Pusher channel must be a string"),
    ],
)
def test_a_channel_that_is_no_string_is_refused(channel: Any, named: str) -> None:
    with pytest.raises(InvalidRequestError, match=named):
        PusherSink(channel, app=APP)


def test_an_event_name_that_is_no_string_is_refused() -> None:
    name: Any = 5
    with pytest.raises(InvalidRequestError, match="Pusher event must be a string; it is 5"):
        PusherSink("chat", app=APP, event_name=name)
