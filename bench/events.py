"""One event built, encoded, decoded and folded, beside the same as a pydantic model."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from bench.report import Row, Table
from hub.completion import Completion
from hub.events import TextDelta, decode_event, encode_event
from hub.formats import sse

__all__ = ("run",)

STREAM_ID = "str_01KAM8J2C3RQ5T7V9X1Z3B5D7F"


class ModelDelta(BaseModel):
    """`TextDelta` as a pydantic model."""

    model_config = ConfigDict(frozen=True)

    type: Literal["text_delta"] = "text_delta"
    stream_id: str
    seq: Annotated[int, Field(ge=0)]
    span: Annotated[int, Field(ge=1)] = 1
    text: str
    choice: Annotated[int, Field(ge=0)] = 0


class ModelReasoning(ModelDelta):
    """A second member, so that there is a union to decode."""

    type: Literal["reasoning_delta"] = "reasoning_delta"  # type: ignore[assignment]


ModelEvent: TypeAdapter[ModelDelta | ModelReasoning] = TypeAdapter(
    Annotated[ModelDelta | ModelReasoning, Field(discriminator="type")]
)


class ModelFold:
    """The fold over pydantic models: as little as checks the order and keeps the text."""

    def __init__(self) -> None:
        self.last_seq = -1
        self.text: list[str] = []

    def add(self, event: ModelDelta) -> None:
        """Take the next event in."""
        if event.seq - event.span != self.last_seq:
            raise ValueError("a gap")
        self.last_seq = event.seq
        self.text.append(event.text)


def run(quick: bool) -> list[Table]:
    """Each step on its own."""
    count, rounds = (2_000, 2) if quick else (50_000, 7)
    ours = [TextDelta(stream_id=STREAM_ID, seq=seq, text=" world") for seq in range(count)]
    models = [ModelDelta(stream_id=STREAM_ID, seq=seq, text=" world") for seq in range(count)]
    wire = [encode_event(event) for event in ours]
    return [
        _compare(
            "Build",
            rounds,
            lambda: [TextDelta(stream_id=STREAM_ID, seq=seq, text=" world") for seq in range(count)],
            lambda: [ModelDelta(stream_id=STREAM_ID, seq=seq, text=" world") for seq in range(count)],
            count,
        ),
        _compare(
            "Encode to JSON",
            rounds,
            lambda: [encode_event(event) for event in ours],
            lambda: [event.model_dump_json().encode() for event in models],
            count,
        ),
        _compare(
            "Decode and validate",
            rounds,
            lambda: [decode_event(data) for data in wire],
            lambda: [ModelEvent.validate_json(data) for data in wire],
            count,
        ),
        _compare("Fold", rounds, lambda: _fold(Completion(), ours), lambda: _fold(ModelFold(), models), count),
        _compare(
            "Encode to an SSE frame",
            rounds,
            lambda: [sse.frame(event) for event in ours],
            lambda: [_model_frame(event) for event in models],
            count,
        ),
    ]


def _model_frame(event: ModelDelta) -> bytes:
    return f"id: {event.seq}\nevent: {event.type}\ndata: {event.model_dump_json()}\n\n".encode()


def _fold(fold: Completion | ModelFold, events: list[TextDelta] | list[ModelDelta]) -> None:
    add = fold.add
    for event in events:
        add(event)  # type: ignore[arg-type]


def _compare(title: str, rounds: int, ours: Callable[[], object], theirs: Callable[[], object], count: int) -> Table:
    rows = [Row("event (msgspec)"), Row("pydantic model")]
    for _ in range(rounds):
        for row, work in zip(rows, (ours, theirs), strict=True):
            began_at = time.process_time()
            work()
            row.add(cpu=(time.process_time() - began_at) / count * 1e6)
    return Table(title, {"cpu": "CPU, µs an event"}, rows)
