"""What a module `sink_sides_*.py` is made of: sinks with their other side, for the suite over all of them.

Each such module has, as tuples:

- `SIDES`: async context managers that give a `Side`; leaving one waits until its readers have what was flushed.
- `FAILING`: async context managers that give an entered sink whose transport breaks within a few events, or a second.
- `UNENTERED`: callables that give a sink nobody has entered, for those that must be. May be left out.
- `IS_REAL`: whether sockets, files or threads are behind, so that the clock has to be the real one. May be left out.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hub.events import LLMEvent
from hub.sink import Sink


@dataclass
class Side:
    """A sink and what its readers got.

    `hold` keeps the other side from taking anything until it is called again with False. `bound` is how many events
    that don't merge, of a few bytes each, the sink takes at most while it is held; then its `send` waits, or raises
    `SinkError`. None where that is no business of the sink's own.
    """

    sink: Sink
    received: Callable[[], list[LLMEvent]]
    hold: Callable[[bool], None]
    bound: int | None = None


OpenSide = Callable[[], AbstractAsyncContextManager[Side]]
OpenFailing = Callable[[], AbstractAsyncContextManager[Any]]


@dataclass(frozen=True)
class Kind:
    """Something of a sides module, and whether it needs the real clock."""

    make: Callable[[], Any]
    is_real: bool

    def __str__(self) -> str:
        return self.make.__name__


def collected(name: str) -> list[Kind]:
    """What all the modules have under a name."""
    folder = Path(__file__).parent
    names = sorted(module.name for module in pkgutil.iter_modules([str(folder)], "sink_sides_"))
    found = [each.removeprefix("sink_sides_") for each in names]
    assert "sink_sides_memory" in found, found
    modules = [importlib.import_module(f"{__package__}.{each}") for each in found]
    return [Kind(make, getattr(module, "IS_REAL", False)) for module in modules for make in getattr(module, name, ())]
