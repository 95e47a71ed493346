"""Log lines on standard error, which leave the answer that is printed beside them whole."""

from __future__ import annotations

import logging
from collections import deque

__all__ = ("Notices", "log_to_standard_error")

MAX_HELD = 1_000
"""Lines that wait for the end of the answer's line, at most: beyond them, the oldest are lost."""


class Notices(logging.StreamHandler):  # type: ignore[type-arg]  # generic in the stubs alone
    """Writes each record on a line of its own; between `pause` and `resume` they wait."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter("hub: %(message)s"))
        self._is_holding = False
        self._held: deque[logging.LogRecord] = deque(maxlen=MAX_HELD)

    def pause(self) -> None:
        """Keep back what comes: a line is open on the terminal."""
        self._is_holding = True

    def resume(self) -> None:
        """Write what was kept back, and what comes."""
        self._is_holding = False
        while self._held:
            super().emit(self._held.popleft())

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record, or keep it back."""
        if self._is_holding:
            self._held.append(record)
        else:
            super().emit(record)


def log_to_standard_error(level: int) -> Notices:
    """Show what the hub and its sinks log from a level on; once that is so, a further call changes nothing."""
    logs = logging.getLogger("hub"), logging.getLogger("sinks")
    for handler in logs[0].handlers:
        if isinstance(handler, Notices):
            return handler
    notices = Notices()
    for log in logs:
        log.addHandler(notices)
        log.setLevel(level)
    return notices
