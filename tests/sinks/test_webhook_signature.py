"""Signed webhooks, and the scheme's own package as the judge of them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from datetime import UTC, datetime

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from hub.errors import ConfigurationError, InvalidRequestError, MalformedEventError
from sinks.webhook import new_secret, verify
from sinks.webhook.payload import Batch, freeze
from sinks.webhook.signature import Signer

from ..contracts.samples import a_stream

STREAM = a_stream("Hello", " 😀\x00 world")
OLD, NEW = new_secret(), new_secret()
NOW = 1_800_000_000.9


def signed(
    secret: str | list[str] = NEW, *, batch: Batch | None = None, now: float = NOW
) -> tuple[dict[str, str], bytes]:
    batch = freeze(STREAM, NOW) if batch is None else batch
    return Signer(secret).headers(batch, now), batch.body


def test_the_schemes_own_package_takes_what_is_signed_here() -> None:
    headers, body = signed(now=time.time())
    payload = Webhook(NEW).verify(body, headers)
    assert payload["type"] == "llm.events"
    assert payload["data"]["stream_id"] == "str_1"
    with pytest.raises(WebhookVerificationError):
        Webhook(OLD).verify(body, headers)


def test_what_the_package_signs_is_taken_here() -> None:
    batch = freeze(STREAM, NOW)
    signature = Webhook(NEW).sign(batch.id, datetime.fromtimestamp(int(NOW), UTC), batch.body.decode())
    headers = {"Webhook-Id": batch.id, "Webhook-Timestamp": str(int(NOW)), "Webhook-Signature": signature}
    events = verify(headers, batch.body, NEW, now=lambda: NOW)
    assert events[-1] == STREAM[-1]


def test_the_signature_is_hmac_sha256_over_id_timestamp_and_body() -> None:
    headers, body = signed()
    key = base64.b64decode(NEW.removeprefix("whsec_"))
    message = f"{headers['webhook-id']}.1800000000.".encode() + body
    expected = base64.b64encode(hmac.new(key, message, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"
    assert headers["webhook-timestamp"] == "1800000000"
    assert "." not in headers["webhook-id"]


@pytest.mark.parametrize("known", [OLD, NEW, [OLD, new_secret()], f"{new_secret()} {NEW}"], ids=range(4))
def test_while_a_secret_is_exchanged_receivers_with_either_take_it(known: str | list[str]) -> None:
    headers, body = signed([NEW, OLD])
    assert len(headers["webhook-signature"].split(" ")) == 2
    assert verify(headers, body, known, now=lambda: NOW)[0] == STREAM[0]


def test_other_signatures_beside_ours_are_passed_over() -> None:
    headers, body = signed()
    headers["webhook-signature"] = f"v1a,abc nonsense v1,\udcff {headers['webhook-signature']}"
    assert verify(headers, body, NEW, now=lambda: NOW)


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_whatever_is_changed_is_not_taken(name: str) -> None:
    headers, body = signed()
    changed = {"webhook-id": "msg_x", "webhook-timestamp": "1800000001", "webhook-signature": "v1,AAAA"}
    with pytest.raises(InvalidRequestError, match="not signed with the secret"):
        verify(headers | {name: changed[name]}, body, NEW, now=lambda: NOW)
    without = {each: value for each, value in headers.items() if each != name}
    with pytest.raises(InvalidRequestError, match=f"{name} is missing"):
        verify(without, body, NEW, now=lambda: NOW)


@pytest.mark.parametrize("body", [b"{}", b"\xff", b""], ids=str)
def test_another_body_is_not_taken(body: bytes) -> None:
    headers, _ = signed()
    with pytest.raises(InvalidRequestError):
        verify(headers, body, NEW, now=lambda: NOW)


@pytest.mark.parametrize(("apart", "taken"), [(299, True), (-299, True), (302, False), (-302, False)])
def test_what_was_signed_at_another_time_is_a_replay(apart: float, taken: bool) -> None:
    headers, body = signed()
    if taken:
        assert verify(headers, body, NEW, now=lambda: NOW + apart)
    else:
        with pytest.raises(InvalidRequestError, match="more than 300 s from now"):
            verify(headers, body, NEW, now=lambda: NOW + apart)


@pytest.mark.parametrize("message_id", ["\udcff", "\xff", "msg_\ud800"], ids=ascii)
def test_an_id_of_other_bytes_is_not_taken(message_id: str) -> None:
    headers, body = signed()
    with pytest.raises(InvalidRequestError, match="webhook-id is no ASCII"):
        verify(headers | {"webhook-id": message_id}, body, NEW, now=lambda: NOW)


def test_a_time_beyond_all_calendars_is_refused_whatever_the_clocks_may_differ_by() -> None:
    headers, body = signed()
    with pytest.raises(InvalidRequestError, match="no number of seconds"):
        verify(headers | {"webhook-timestamp": "9" * 12}, body, NEW, tolerance=float("inf"))
    with pytest.raises(InvalidRequestError, match="not signed with the secret"):
        verify(headers | {"webhook-timestamp": "9" * 11}, body, NEW, tolerance=float("inf"))


@pytest.mark.parametrize("timestamp", ["1e9", "-1", "١٢", "9" * 400, "nan"])
def test_a_time_that_is_no_number_of_seconds_is_refused(timestamp: str) -> None:
    headers, body = signed()
    with pytest.raises(InvalidRequestError, match="no number of seconds"):
        verify(headers | {"webhook-timestamp": timestamp}, body, NEW)


@pytest.mark.parametrize(
    "body", [b"[]", b"{}", b'{"type":"other","timestamp":"","data":{"stream_id":"a","events":[]}}'], ids=str
)
def test_something_else_that_is_signed_is_no_webhook_of_events(body: bytes) -> None:
    headers, body = signed(batch=Batch("msg_1", body))
    with pytest.raises(MalformedEventError, match="Not a webhook of events"):
        verify(headers, body, NEW, now=lambda: NOW)


@pytest.mark.parametrize(
    "secret",
    ["", [], "whsec_", "whsec_c2hvcnQ=", "whsec_" + "A" * 100, "whsk_" + "A" * 44, "pässword" * 6, "whsec_!" * 9],
    ids=range(8),
)
def test_what_is_no_secret_is_refused_and_not_shown(secret: str | list[str]) -> None:
    with pytest.raises(ConfigurationError, match="whsec_") as caught:
        Signer(secret)
    assert not secret or str(secret) == "whsec_" or str(secret) not in str(caught.value)


def test_a_payload_is_as_the_scheme_recommends() -> None:
    payload = json.loads(freeze(STREAM, NOW).body)
    assert list(payload) == ["type", "timestamp", "data"]
    assert payload["timestamp"] == "2027-01-15T08:00:00.900000Z"
    assert payload["data"]["events"][0] == json.loads('{"type":"meta","stream_id":"str_1","seq":0}') | {
        "model": "model-x",
        "attempt": 1,
        "step": 0,
        "response_id": None,
        "created": None,
        "cached": None,
        "identifier": None,
    }
