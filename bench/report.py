"""Figures as tables, and the machine they were measured on."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from statistics import median

__all__ = ("Row", "Table", "machine")

PACKAGES = ("openai", "aiohttp", "httpx2", "msgspec", "pydantic", "uvicorn", "uvloop", "httptools", "sse-starlette")
PEERS = (
    *("litellm", "langchain-openai", "pydantic-ai-slim", "openai-agents", "numpy"),
    *("redis", "hiredis", "asyncpg", "qdrant-client", "diskcache"),
    *("pusher", "standardwebhooks", "websockets"),
)
"""Named where they are installed."""


@dataclass(slots=True)
class Row:
    """One contender: a sample a round for each column, and facts that are no samples."""

    name: str
    samples: dict[str, list[float]] = field(default_factory=dict)
    facts: dict[str, str] = field(default_factory=dict)

    def add(self, **figures: float) -> None:
        """Add a round's figures."""
        for column, figure in figures.items():
            self.samples.setdefault(column, []).append(figure)

    def middle(self, column: str) -> float:
        """The median round's figure."""
        return median(self.samples[column])


@dataclass(slots=True)
class Table:
    """One comparison. The first row is ours; the ratios say how often a peer's figure contains ours.

    Attributes:
        title: What was done.
        units: The columns and their titles, the first the one that is compared.
        rows: The contenders, each with as many rounds as the others.
        notes: What a reader has to know.
        has_ratios: The rows are of one kind; otherwise "times ours" says nothing and is left out.
    """

    title: str
    units: dict[str, str]
    rows: list[Row]
    notes: list[str] = field(default_factory=list)
    has_ratios: bool = True

    def render(self) -> str:
        """The table in Markdown: medians, in brackets the lowest and highest round of the first column."""
        compared = next(iter(self.units))
        facts = list(dict.fromkeys(name for row in self.rows for name in row.facts))
        ratios = ["times ours"] * self.has_ratios
        lines = [["", *self.units.values(), *ratios, *facts]]
        lines.append(["---", *["---:"] * (len(self.units) + len(ratios)), *["---"] * len(facts)])
        for row in self.rows:
            cells = [_cell(row.samples.get(column, []), with_range=column == compared) for column in self.units]
            if self.has_ratios:
                cells.append("1" if row is self.rows[0] else f"**{self._ratio(row, compared):.3g}**")
            lines.append([row.name, *cells, *(row.facts.get(name, "") for name in facts)])
        text = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
        return "\n".join([f"**{self.title}**", "", text, *([""] if self.notes else []), *self.notes])

    def _ratio(self, row: Row, column: str) -> float:
        """The median of the rounds' ratios: neighbours in time share the machine's mood."""
        pairs = zip(row.samples[column], self.rows[0].samples[column], strict=True)
        return median(theirs / ours for theirs, ours in pairs)


def machine() -> dict[str, str]:
    """Where this runs, and with which versions."""
    return {
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "versions": ", ".join(
            f"{name} {found}" for name in (*PACKAGES, *PEERS) if (found := _version(name)) != "-" or name in PACKAGES
        ),
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "-"


def _cell(samples: list[float], *, with_range: bool) -> str:
    if not samples:
        return ""
    middle = _number(median(samples))
    return f"{middle} ({_number(min(samples))}–{_number(max(samples))})" if with_range and len(samples) > 1 else middle


def _number(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
