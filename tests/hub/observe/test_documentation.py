"""The tables of docs/observability.md are complete."""

from __future__ import annotations

import re
from pathlib import Path

from hub.observe import Observer
from hub.observe.conventions import METRICS, SPAN_ATTRIBUTES
from hub.observe.logs import END_FIELDS, RETRY_FIELDS

PAGE = (Path(__file__).parents[3] / "docs" / "observability.md").read_text()


def table(first_heading: str) -> list[list[str]]:
    """The cells of the table whose first column has this heading, row by row."""
    rows = PAGE.partition(f"| {first_heading} |")[2].partition("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows]


def words(cell: str) -> list[str]:
    return re.findall(r"`([\w.]+)", cell)


def test_every_field_of_a_log_record_is_listed() -> None:
    of = {words(row[0])[0]: row[1] for row in table("attribute")}
    assert {name for name, record in of.items() if record in ("both", "end")} == set(END_FIELDS)
    assert {name for name, record in of.items() if record in ("both", "retry")} == set(RETRY_FIELDS)


def test_every_attribute_of_a_span_is_listed() -> None:
    listed = [name for row in table("attribute of the span") for name in words(row[0])]
    assert listed == list(SPAN_ATTRIBUTES)


def test_every_metric_is_listed() -> None:
    listed = [tuple(cell.strip("`") for cell in row[:3]) for row in table("metric")]
    assert listed == [(metric.name, metric.instrument, metric.unit) for metric in METRICS.values()]


def test_every_hook_is_listed() -> None:
    hooks = [name for name in vars(Observer) if not name.startswith("_") and callable(getattr(Observer, name))]
    assert [words(row[0])[0] for row in table("hook")] == hooks
