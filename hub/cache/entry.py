"""What a cache keeps: one whole answer as its events, and the bytes that stand for it.

The bytes are one JSON object, without a line break:

    {"format":1,"checksum":"…32 hex digits…","entry":{"key":"…","identifier":"…",…,"events":[…],"offsets":[…]}}

`checksum` is the BLAKE2b-128 of the bytes of `entry` as they stand, so a back end keeps the bytes unchanged: a JSON
column that orders members anew would break every entry.
"""

from __future__ import annotations

from hashlib import blake2b
from itertools import accumulate
from operator import attrgetter
from typing import Literal

import msgspec

from hub.errors import CacheEntryError
from hub.events import Done, LLMEvent, Meta, Snapshot, TextDelta
from hub.sink.base import carried_text

__all__ = ("FORMAT", "CacheEntry", "CacheEntryError", "decode_entry", "encode_entry", "event_weight")

FORMAT = 1
"""The format that is written; entries of any other are no entries."""

_MAX_SEQ = 2**53
_SEQ, _SPAN = attrgetter("seq"), attrgetter("span")
_ENDS = frozenset((Done, Snapshot))
_EVENT_BYTES = 100
_LOGPROB_BYTES = 200


class CacheEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One answer that ran to its end.

    Attributes:
        key: 64 hex digits, as `cache_key` gives them.
        identifier: The name of the request, which the key is made of.
        namespace: The tenant it belongs to; empty where there is one only.
        created_at: When it was stored, in Unix seconds.
        status: How it ended.
        model: The model that answered; None where unknown.
        events: From `meta` to `done`, each as it came; `stream_id` is empty and `seq` counts without a gap from 0.
        offsets: When each event came, in seconds after the first one.
    """

    key: str
    identifier: str
    namespace: str
    created_at: float
    status: Literal["completed", "failed"]
    model: str | None
    events: tuple[LLMEvent, ...]
    offsets: tuple[float, ...]


class _Envelope(msgspec.Struct, kw_only=True):
    format: int
    checksum: str
    entry: msgspec.Raw


_encoder = msgspec.json.Encoder()
_envelope_decoder = msgspec.json.Decoder(_Envelope)
_entry_decoder = msgspec.json.Decoder(CacheEntry)


def encode_entry(entry: CacheEntry) -> bytes:
    """The bytes that stand for an entry.

    Raises:
        CacheEntryError: A text has a lone surrogate, half of a character, which no UTF-8 can carry.
    """
    try:
        body = _encoder.encode(entry)
    except UnicodeEncodeError as exc:
        raise CacheEntryError(f"The answer can't be stored: its text has half a character ({exc})") from exc
    return b'{"format":%d,"checksum":"%s","entry":%s}' % (FORMAT, _checksum(body), body)


def decode_entry(data: bytes) -> CacheEntry:
    """The entry that the bytes stand for.

    Raises:
        CacheEntryError: They are cut short, damaged, of another format, or no whole answer.
    """
    try:
        envelope = _envelope_decoder.decode(data)
        if envelope.format != FORMAT:
            raise CacheEntryError(f"The entry is of format {envelope.format}; this version reads {FORMAT} alone.")
        if _checksum(envelope.entry) != envelope.checksum.encode():
            raise CacheEntryError("The entry is damaged: its checksum does not fit.")
        entry = _entry_decoder.decode(envelope.entry)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as exc:
        raise CacheEntryError(f"The entry is damaged: {exc}.") from exc
    _check(entry)
    return entry


def event_weight(event: LLMEvent) -> int:
    """About how many bytes of memory an event takes, for bounds."""
    weight = _EVENT_BYTES + len(carried_text(event))
    if isinstance(event, TextDelta) and event.logprobs is not None:
        weight += _LOGPROB_BYTES * sum(1 + len(token.get("top_logprobs") or ()) for token in event.logprobs)
    return weight


def _check(entry: CacheEntry) -> None:
    events = entry.events
    if not events or not isinstance(events[0], Meta) or not isinstance(events[-1], Done):
        raise CacheEntryError("The entry is no whole answer: it has to begin with `meta` and to end with `done`.")
    if events[-1].status != entry.status:
        raise CacheEntryError(f"The entry is {entry.status}, its answer {events[-1].status}.")
    if len(entry.offsets) != len(events):
        raise CacheEntryError(f"The entry has {len(events)} events and {len(entry.offsets)} offsets.")
    # In C, as every hit comes by here: a loop over the events would take a third of the decoding's time.
    positions = list(map(_SEQ, events))
    if positions != list(accumulate(map(_SPAN, events), initial=-1))[1:] or positions[-1] > _MAX_SEQ:
        raise CacheEntryError("The entry is no whole answer: its events don't count from 0 without a gap.")
    if not _ENDS.isdisjoint(map(type, events[:-1])):
        raise CacheEntryError("The entry is no whole answer: it goes on after its end, or hides a part.")
    usage = events[-1].usage
    if usage is not None and not all((cost or 0) >= 0 for cost in (usage.cost_usd, usage.original_cost_usd)):
        raise CacheEntryError("The entry is no whole answer: its costs are below 0.")


def _checksum(body: bytes | msgspec.Raw) -> bytes:
    return blake2b(body, digest_size=16).hexdigest().encode()
