"""`hub jobs`, as people read it."""

from __future__ import annotations

import pytest

from hub.cli import main
from hub.cli.jobs import MAX_SHOWN, lines
from hub.jobs.base import AsideJob, Depth, Survey, WorkerInfo


def test_everything_there_is_has_a_line() -> None:
    depths = {"again": Depth(0, None), "high": Depth(1_200, 130.4)}
    workers = (WorkerInfo("two", None, None, 1), WorkerInfo("one", 0.0, 100, 7))
    aside = (AsideJob("str_1\x1b[2J", 0.0, "3 workers were lost.", 3, "low"),)
    assert list(lines(Survey(depths, 2, workers, aside), 7_200.0)) == [
        "again      0 queued",
        "high       1,200 queued, the oldest for 2 min",
        "announced  2",
        "running    8 on 2 workers",
        "  one: 7 of 100 running, for 2 h",
        "  two: 1 running, no sign of life",
        "set aside  1",
        "  str_1?[2J  1970-01-01 00:00:00 UTC  low  3 workers were lost.",
    ]


def test_a_long_list_is_cut_and_says_so() -> None:
    aside = tuple(AsideJob(f"str_{n}", 0.0, "", 3, "low") for n in range(MAX_SHOWN + 5))
    found = list(lines(Survey(aside=aside), 0.0))
    assert found[-1] == "  and 5 more, which --json shows"


def test_a_server_that_is_away_is_named_without_its_password(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["jobs", "--store", "redis://somebody:secret@127.0.0.1:1/0"]) == 1
    said = capsys.readouterr().err
    assert said == "hub: Redis at 127.0.0.1:1 can't serve the queue of jobs: Connection refused.\n"
