"""What is stored can be read back, or is known to be damaged."""

from __future__ import annotations

import random
from hashlib import blake2b
from typing import Any

import msgspec
import pytest

from hub.cache.entry import FORMAT, CacheEntry, decode_entry, encode_entry, event_weight
from hub.errors import CacheEntryError
from hub.events import LLMEvent, TextDelta
from hub.result import TokenUsage

from ...contracts.cache_backends import an_entry
from ...contracts.samples import one_of_each_type

GOLDEN = (
    b'{"format":1,"checksum":"CHECKSUM","entry":{"key":"KEY","identifier":"mine","namespace":"",'
    b'"created_at":1800000000.0,"status":"completed","model":"model-x","events":[{"type":"meta","stream_id":"","seq":0,'
    b'"model":"model-x","attempt":1,"step":0,"response_id":null,"created":null,"cached":false,"identifier":null},'
    b'{"type":"text_delta","stream_id":"","seq":1,"text":"Hello"},{"type":"usage","stream_id":"","seq":2,"step":0,'
    b'"attempt":1,"input_tokens":7,"output_tokens":1,"total_tokens":8,"cached_input_tokens":0,"reasoning_tokens":0,'
    b'"cost_usd":null,"original_cost_usd":null,"estimated":false},{"type":"done","stream_id":"","seq":3,'
    b'"status":"completed","finish_reason":"stop","usage":{"input_tokens":7,"output_tokens":1,"total_tokens":8,'
    b'"cached_input_tokens":0,"reasoning_tokens":0,"cost_usd":null,"original_cost_usd":null,"estimated":false}}],'
    b'"offsets":[0.0,0.1,0.2,0.3]}}'
)


def sealed(body: bytes, version: int = FORMAT) -> bytes:
    checksum = blake2b(body, digest_size=16).hexdigest().encode()
    return b'{"format":%d,"checksum":"%s","entry":%s}' % (version, checksum, body)


def test_an_entry_can_be_read_back() -> None:
    entry = an_entry("mine", "Hello", " 😀", "\x00\r\n")
    assert decode_entry(encode_entry(entry)) == entry


def test_the_bytes_of_an_entry_never_change() -> None:
    entry = an_entry("mine", "Hello")
    body = GOLDEN.partition(b'"entry":')[2][:-1].replace(b"KEY", entry.key.encode())
    assert encode_entry(entry) == sealed(body)
    assert decode_entry(sealed(body)) == entry


def test_an_entry_cut_short_anywhere_is_no_entry() -> None:
    data = encode_entry(an_entry())
    for end in range(len(data)):
        with pytest.raises(CacheEntryError):
            decode_entry(data[:end])


def test_a_byte_changed_anywhere_is_found_out() -> None:
    entry = an_entry()
    data = encode_entry(entry)
    rand = random.Random(1)
    for at in range(len(data)):
        damaged = bytearray(data)
        damaged[at] = (damaged[at] + rand.randrange(1, 256)) % 256
        try:
            assert decode_entry(bytes(damaged)) == entry
        except CacheEntryError:
            continue


@pytest.mark.parametrize("data", [b"", b"{}", b"null", b"[]", b"\x00" * 100, b"\xff\xfe", b"[" * 10_000], ids=repr)
def test_other_bytes_are_no_entry(data: bytes) -> None:
    with pytest.raises(CacheEntryError):
        decode_entry(data)


def test_another_format_is_no_entry() -> None:
    with pytest.raises(CacheEntryError, match="format 2"):
        decode_entry(sealed(msgspec.json.encode(an_entry()), version=2))


@pytest.mark.parametrize("change", ["events", "first", "last", "offsets", "status"])
def test_half_an_answer_is_no_entry(change: str) -> None:
    entry = an_entry()
    fields: dict[str, object] = {
        "events": {"events": (), "offsets": ()},
        "first": {"events": entry.events[1:], "offsets": entry.offsets[1:]},
        "last": {"events": entry.events[:-1], "offsets": entry.offsets[:-1]},
        "offsets": {"offsets": entry.offsets[1:]},
        "status": {"status": "failed"},
    }
    changed: CacheEntry = msgspec.structs.replace(entry, **fields[change])  # type: ignore[arg-type]
    with pytest.raises(CacheEntryError):
        decode_entry(encode_entry(changed))


def test_half_a_character_can_t_be_stored() -> None:
    with pytest.raises(CacheEntryError, match="half a character"):
        encode_entry(an_entry("mine", "\ud83d"))


def test_the_weight_of_events_grows_with_what_they_carry() -> None:
    assert all(event_weight(event) >= 100 for event in one_of_each_type())
    light = TextDelta(stream_id="s", seq=0, text="a")
    assert event_weight(TextDelta(stream_id="s", seq=0, text="a" * 1_000)) == event_weight(light) + 999
    assert event_weight(TextDelta(stream_id="s", seq=0, text="a", logprobs=[{"token": "a"}])) > event_weight(light)


def _reshaped(*changes: tuple[int, dict[str, Any]], more: tuple[LLMEvent, ...] = ()) -> CacheEntry:
    """An entry of `meta`, a delta, `usage` and `done`, with other members at some positions, and more events."""
    entry = an_entry("mine", "Hello")
    events = [*entry.events, *more]
    for position, members in changes:
        events[position] = msgspec.structs.replace(events[position], **members)
    return msgspec.structs.replace(entry, events=tuple(events), offsets=(0.0,) * len(events))


LAST = an_entry("mine", "Hello").events[-1]


@pytest.mark.parametrize(
    "entry",
    [
        pytest.param(_reshaped(more=(msgspec.structs.replace(LAST, seq=4),)), id="two ends"),
        pytest.param(_reshaped((1, {"seq": 2})), id="a gap"),
        pytest.param(_reshaped((0, {"seq": 5})), id="not from 0"),
        pytest.param(
            _reshaped(*((n, {"seq": 10**18 + n - 1, **({"span": 10**18} if n == 0 else {})}) for n in range(4))),
            id="a span no reader could count on from",
        ),
        pytest.param(
            _reshaped((3, {"usage": TokenUsage(input_tokens=7, output_tokens=1, total_tokens=8, cost_usd=-5.0)})),
            id="a cost below 0",
        ),
    ],
)
def test_what_no_endpoint_can_have_said_is_no_entry_though_its_checksum_fits(entry: CacheEntry) -> None:
    with pytest.raises(CacheEntryError, match="no whole answer"):
        decode_entry(encode_entry(entry))
