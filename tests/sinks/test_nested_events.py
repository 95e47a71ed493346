"""What is nested beyond reason is no event, wherever events are read: it must not end its reader."""

from __future__ import annotations

from pathlib import Path

import pytest

from hub.errors import MalformedEventError
from hub.events import decode_event, encode_event
from sinks.jsonl import JSONLSink, read_events
from sinks.pusher import Assembler
from sinks.webhook import new_secret, verify
from sinks.webhook.payload import Batch
from sinks.webhook.signature import Signer

from ..contracts.samples import a_stream, done
from .test_redis_subscription import reading, saying, taken

NESTED = b"[" * 100_000 + b"]" * 100_000
CALL = b'{"type":"tool_call_delta","stream_id":"str_1","seq":0,"index":0,"extra":{"a":' + NESTED + b"}}"
UNKNOWN = b'{"unknown":' + NESTED + b',"type":"text_delta","stream_id":"str_1","seq":0,"text":"a"}'
NOW = 1_800_000_000

deep = pytest.mark.parametrize("data", [CALL, UNKNOWN], ids=["a field", "an unknown member"])


@deep
def test_it_is_no_event(data: bytes) -> None:
    with pytest.raises(MalformedEventError, match="recursion"):
        decode_event(data)


@deep
def test_a_line_of_it_is_damaged(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(encode_event(done(0)) + b"\n" + data + b"\n")
    events = read_events(path)
    assert next(events) == done(0)
    with pytest.raises(MalformedEventError, match="Line 2"):
        next(events)


@deep
async def test_a_last_line_of_it_without_end_is_cut_off(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(encode_event(done(0)) + b"\n" + data)
    async with JSONLSink(path) as sink:
        await sink.send(done(1))
    assert list(read_events(path)) == [done(0), done(1)]


@deep
def test_a_webhook_of_it_is_none_of_events(data: bytes) -> None:
    secret = new_secret()
    body = b'{"type":"llm.events","timestamp":"","data":{"stream_id":"str_1","events":[' + data + b"]}}"
    headers = Signer(secret).headers(Batch("msg_1", body), NOW)
    with pytest.raises(MalformedEventError, match="Not a webhook of events"):
        verify(headers, body, secret, now=lambda: NOW)


@deep
def test_a_pusher_message_of_it_is_none_of_ours(data: bytes) -> None:
    reader = Assembler()
    with pytest.raises(MalformedEventError):
        reader.add(data)
    assert reader.add(encode_event(done(0))) == [done(0)]


async def test_a_redis_message_of_it_is_passed_over() -> None:
    first, *rest = a_stream("a")
    async with reading(saying(first, CALL, UNKNOWN, *rest)) as (reader, _):
        assert await taken(reader, 4) == a_stream("a")
