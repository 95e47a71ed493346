"""The log observer: one record a call and a retry, its fields, and what it never says."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest

from hub.errors import endpoint_error
from hub.observe import LogObserver
from hub.observe.logs import END_FIELDS, RETRY_FIELDS
from hub.result import TokenUsage
from tests.hub.observe.samples import a_call, a_failure, an_outcome

ERROR = endpoint_error("It is busy.", code="endpoint_error", status=503, retryable=True)
STANDARD = set(vars(logging.makeLogRecord({}))) | {"message"}


@pytest.fixture
def records() -> Iterator[list[logging.LogRecord]]:
    """What `hub.calls` is told from INFO on."""
    kept: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = kept.append  # type: ignore[method-assign]
    logger = logging.getLogger("hub.calls")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield kept
    logger.setLevel(logging.NOTSET)
    logger.removeHandler(handler)


def test_a_completed_call_is_one_record_at_info(records: list[logging.LogRecord]) -> None:
    LogObserver().on_end(a_call(attempts=2), an_outcome())
    (record,) = records
    assert (record.name, record.levelname) == ("hub.calls", "INFO")
    assert record.getMessage() == "chat gpt-5.1 completed in 1.50 s: 100 tokens in, 20 out, 0.012500 USD"
    assert {name: vars(record)[name] for name in END_FIELDS} == {
        "stream_id": "str_1",
        "identifier": "order 7",
        "operation": "chat",
        "api": "chat",
        "model": "gpt-5.1",
        "base_url": "https://api.openai.com/v1",
        "attempts": 2,
        "status": "completed",
        "seconds": 1.5,
        "first_content_seconds": 0.25,
        "rate_limit_seconds": 0.125,
        "response_model": "gpt-5.1-2025-11-13",
        "response_id": "chatcmpl-1",
        "request_id": "req_1",
        "finish_reasons": ("stop",),
        "input_tokens": 100,
        "output_tokens": 20,
        "cached_input_tokens": 60,
        "reasoning_tokens": 5,
        "usage_estimated": False,
        "cost_usd": 0.0125,
        "error_code": None,
        "error_message": None,
        "error_status": None,
    }


def test_a_failed_call_is_a_warning_that_says_why(records: list[logging.LogRecord]) -> None:
    LogObserver().on_end(a_call(), a_failure())
    (record,) = records
    assert record.levelname == "WARNING"
    assert record.getMessage() == "chat gpt-5.1 failed in 1.50 s: Too many requests. (rate_limited)"
    assert vars(record)["error_code"] == "rate_limited"
    assert vars(record)["error_status"] == 429


def test_a_cancelled_call_is_no_warning(records: list[logging.LogRecord]) -> None:
    LogObserver().on_end(a_call(first_content_at=None), an_outcome(status="cancelled", usage=None))
    (record,) = records
    assert record.levelname == "INFO"
    assert record.getMessage() == "chat gpt-5.1 cancelled in 1.50 s"
    assert vars(record)["first_content_seconds"] is None
    assert vars(record)["input_tokens"] is None


def test_a_cost_that_is_unknown_is_not_said(records: list[logging.LogRecord]) -> None:
    LogObserver().on_end(a_call(), an_outcome(usage=TokenUsage(input_tokens=3, total_tokens=3)))
    assert records[0].getMessage().endswith(": 3 tokens in, 0 out")
    assert vars(records[0])["cost_usd"] is None


def test_a_retry_is_one_record(records: list[logging.LogRecord]) -> None:
    LogObserver().on_retry(a_call(), ERROR, 0.5)
    (record,) = records
    assert record.levelname == "INFO"
    assert record.getMessage() == "chat gpt-5.1: try 1 failed (endpoint_error), the next one comes in 0.50 s"
    assert (vars(record)["error_code"], vars(record)["error_status"], vars(record)["delay"]) == (
        "endpoint_error",
        503,
        0.5,
    )


def test_records_bear_exactly_the_fields_that_are_listed(records: list[logging.LogRecord]) -> None:
    observer = LogObserver()
    observer.on_end(a_call(), an_outcome())
    observer.on_retry(a_call(), ERROR, 0.5)
    assert set(vars(records[0])) - STANDARD == set(END_FIELDS)
    assert set(vars(records[1])) - STANDARD == set(RETRY_FIELDS)


def test_neither_prompt_nor_answer_is_logged(records: list[logging.LogRecord]) -> None:
    observer = LogObserver()
    observer.on_retry(a_call(), ERROR, 0.5)
    observer.on_end(a_call(), an_outcome(text="a secret answer"))
    assert "secret" not in "".join(str(vars(record)) for record in records)


@pytest.mark.parametrize(("level", "count"), [(logging.WARNING, 1), (logging.ERROR, 0)])
def test_records_below_the_logger_s_level_are_not_made(
    caplog: pytest.LogCaptureFixture, level: int, count: int
) -> None:
    caplog.set_level(level, "hub.calls")
    observer = LogObserver()
    observer.on_retry(a_call(), ERROR, 0.5)
    observer.on_end(a_call(), an_outcome())
    observer.on_end(a_call(), a_failure())
    assert len(caplog.records) == count


def test_a_record_that_nobody_wants_is_not_even_composed(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "hub.calls")
    nothing_to_read: Any = object()
    LogObserver().on_retry(nothing_to_read, ERROR, 0.5)
    LogObserver().on_end(nothing_to_read, an_outcome())


def test_another_logger_may_be_given(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "mine")
    LogObserver(logging.getLogger("mine")).on_end(a_call(), an_outcome())
    assert [record.name for record in caplog.records] == ["mine"]
