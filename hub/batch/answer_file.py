"""The answers of a checkpoint as lines in the input's order, and what they amount to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

import msgspec

from hub.batch.checkpoint import Checkpoint
from hub.batch.request_file import RequestFile
from hub.batch.results import is_failure

__all__ = ("LINE_BEGINNING", "Summary", "write_answers")

LINE_BEGINNING = b'{"custom_id":'
"""With these bytes every line begins."""


@dataclass(slots=True)
class Summary:
    """What answers amount to.

    Attributes:
        done: Requests that have an answer or a failure.
        failed: Those that have a failure.
        input_tokens: Of all answers.
        output_tokens: Of all answers.
        cost_usd: Of the answers whose cost is known.
        unknown_costs: How many others used tokens.
    """

    done: int = 0
    failed: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float = 0.0
    unknown_costs: int = 0

    def add(self, result: Mapping[str, Any]) -> None:
        """Count one in."""
        self.done += 1
        self.failed += is_failure(result)
        usage = result.get("usage")
        if usage is None:
            return
        self.input_tokens += usage["input_tokens"]
        self.output_tokens += usage["output_tokens"]
        if usage["cost_usd"] is not None:
            self.cost_usd += usage["cost_usd"]
        elif usage["total_tokens"]:
            self.unknown_costs += 1

    def __str__(self) -> str:
        parts = [f"{self.done} done"]
        if self.failed:
            parts.append(f"{self.failed} failed")
        parts.append(f"{self.input_tokens} tokens in, {self.output_tokens} out")
        known = f"${self.cost_usd:.6f}"
        if self.unknown_costs:
            known = f"{known} and the unknown cost of {self.unknown_costs}" if self.cost_usd else "cost unknown"
        return " · ".join([*parts, known])


def write_answers(file: BinaryIO, checkpoint: Checkpoint, requests: RequestFile) -> Summary:
    """The file has a line for each request that is done, in the input's order. Blocks."""
    summary = Summary()
    # Both in the input's order, so the names are gone through once.
    names = ((request.index, request.custom_id) for _, request in requests)
    for done in checkpoint.items():
        custom_id = next((name for index, name in names if index == done.index), None)
        named = {"custom_id": custom_id, "index": done.index}
        file.write(msgspec.json.encode({**named, **done.result, **named}) + b"\n")
        summary.add(done.result)
    return summary
