"""How many messages Pusher is sent for an answer, and how late a token is for its reader."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from statistics import median

from bench.children import Child
from bench.report import Row, Table
from bench.sinks.contenders import CONTENDERS
from bench.words import expected_text

__all__ = ("run",)

UNITS = {
    "messages": "messages",
    "requests": "requests",
    "late": "a token is late, ms: median",
    "latest": "the latest one",
}
SINKS = ("pusher", "pusher-50", "pusher-2")
PEERS = ("pusher-async", "pusher-thread")


def run(quick: bool) -> Iterator[Table]:
    """A thousand tokens at some rates, each by sinks with different bounds and by a message a token."""
    for rate in (30, 100, 1_000):
        yield _compare(rate, 60 if quick else 1_000)


def _compare(rate: int, tokens: int) -> Table:
    rows = []
    # Together where that leaves the machine idle: what is compared is the clock, not the processor.
    names = [name for name in (*SINKS, *PEERS) if CONTENDERS[name].can_take_part()]
    for group in [names] if rate <= 30 else [[name] for name in names]:
        rows += _measure(group, rate, tokens)
    note = "A token is late by the time from when it was due until its message has come. `done` ends it."
    return Table(f"{tokens:,} tokens at {rate:,} a second, on a Pusher channel", UNITS, rows, [note])


def _measure(names: Sequence[str], rate: int, tokens: int) -> list[Row]:
    rows = []
    with ExitStack() as stack:
        pairs = []
        for name in names:
            receiver = stack.enter_context(Child("bench.sinks.receiver", "http", "0"))
            writer = stack.enter_context(Child("bench.sinks.writer", name, str(receiver.hello["port"])))
            pairs.append((name, writer, receiver))
        for _, writer, _ in pairs:
            writer.tell("pace", rate=rate, tokens=tokens)
        for name, writer, receiver in pairs:
            due = writer.answer()["due"]
            got = receiver.ask("received", last_seq=tokens + 2)
            if got["text"] != _shifted(tokens):
                raise RuntimeError(f"{name} lost, doubled or mixed up tokens")
            late = [
                (at - due[seq - 1]) * 1000
                for first, last, at in got["arrivals"]
                for seq in range(max(first, 1), min(last, tokens) + 1)
            ]
            rows.append(Row(CONTENDERS[name].shown))
            rows[-1].add(messages=got["events"], requests=got["messages"], late=median(late), latest=max(late))
    return rows


def _shifted(tokens: int) -> str:
    """The text of positions 1 and on."""
    whole = expected_text(tokens + 1)
    return whole[len(expected_text(1)) :]
