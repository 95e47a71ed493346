"""How a batch's progress is shown."""

from __future__ import annotations

import io
import logging

import pytest

from hub.batch.progress import Progress, log_report


def progress(done: int, *, is_over: bool = False) -> Progress:
    return Progress(done=done, failed=1, restored=2, total=10, elapsed=2.0, is_over=is_over)


def test_progress_reads_as_a_line() -> None:
    assert str(progress(6)) == "6 of 10 done, 1 failed, 2 from the checkpoint, 2.0 a second"
    assert str(Progress(done=0, failed=0, restored=0, total=None, elapsed=0.0)) == "0 done"


def test_the_log_has_a_line_an_interval_and_one_at_the_end(caplog: pytest.LogCaptureFixture) -> None:
    now = 0.0
    report = log_report(10.0, clock=lambda: now)
    with caplog.at_level(logging.INFO, "hub.batch.progress"):
        for done in range(1, 7):
            now += 4.0
            report(progress(done))
        report(progress(6, is_over=True))
    assert [record.getMessage().split()[1] for record in caplog.records] == ["3", "6", "6"]


def test_a_terminal_gets_a_bar() -> None:
    rich_console = pytest.importorskip("rich.console")
    from hub.batch.rich_bar import RichBar

    out = io.StringIO()
    bar = RichBar(rich_console.Console(file=out, force_terminal=True, width=100))
    bar(progress(5))
    bar(progress(10, is_over=True))
    assert "10/10" in out.getvalue()
    assert "1 failed" in out.getvalue()
