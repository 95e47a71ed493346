"""The hooks: who is told what, and that watching harms nothing."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Mapping

import pytest

from hub.errors import ConfigurationError, EndpointError, endpoint_error
from hub.observe import Call, LogObserver, Observer, Observers, Outcome, default_observers
from tests.hub.observe.samples import a_call, an_outcome

ERROR = endpoint_error("It is busy.", code="endpoint_error", status=503, retryable=True)


class Diary(Observer):
    """Writes down what it is told."""

    def __init__(self, told: list[tuple[object, ...]]) -> None:
        self.told = told

    def on_start(self, call: Call) -> None:
        self.told.append(("start", call))

    def request_headers(self, call: Call) -> Mapping[str, str]:
        self.told.append(("headers", call))
        return {"x-diary": "1", "x-shared": str(len(self.told))}

    def on_first_content(self, call: Call) -> None:
        self.told.append(("first content", call))

    def on_retry(self, call: Call, error: EndpointError, delay: float) -> None:
        self.told.append(("retry", call, error, delay))

    def on_end(self, call: Call, outcome: Outcome) -> None:
        self.told.append(("end", call, outcome))


class Broken(Observer):
    """Raises from every hook."""

    def on_start(self, call: Call) -> None:
        raise RuntimeError("no start")

    def request_headers(self, call: Call) -> Mapping[str, str]:
        raise RuntimeError("no headers")

    def on_end(self, call: Call, outcome: Outcome) -> None:
        raise RuntimeError("no end")


def test_each_observer_is_told_in_turn() -> None:
    told: list[tuple[object, ...]] = []
    observers = Observers([Diary(told), Diary(told)])
    call, outcome = a_call(), an_outcome()
    observers.on_start(call)
    observers.on_first_content(call)
    observers.on_retry(call, ERROR, 0.5)
    observers.on_end(call, outcome)
    each = [("start", call), ("first content", call), ("retry", call, ERROR, 0.5), ("end", call, outcome)]
    assert told == [entry for entry in each for _ in range(2)]


def test_headers_of_all_observers_are_joined_and_the_later_one_wins() -> None:
    told: list[tuple[object, ...]] = []
    assert Observers([Diary(told), Diary(told)]).request_headers(a_call()) == {"x-diary": "1", "x-shared": "2"}
    assert Observers().request_headers(a_call()) == {}


def test_an_observer_that_raises_breaks_neither_the_call_nor_the_others(caplog: pytest.LogCaptureFixture) -> None:
    told: list[tuple[object, ...]] = []
    observers = Observers([Broken(), Diary(told)])
    call = a_call()
    observers.on_start(call)
    headers = observers.request_headers(call)
    observers.on_end(call, an_outcome())
    assert [entry[0] for entry in told] == ["start", "headers", "end"]
    assert headers["x-diary"] == "1"


def test_an_observer_that_raises_is_logged_once_for_each_hook(caplog: pytest.LogCaptureFixture) -> None:
    observers = Observers([Broken()])
    for _ in range(3):
        call = a_call()
        observers.on_start(call)
        observers.request_headers(call)
        observers.on_end(call, an_outcome())
    assert [record.getMessage().split()[0] for record in caplog.records] == [
        "Broken.on_start",
        "Broken.request_headers",
        "Broken.on_end",
    ]
    assert all(record.levelno == logging.ERROR and record.exc_info for record in caplog.records)


def test_hooks_that_are_not_overridden_are_not_called() -> None:
    observers = Observers([Observer(), LogObserver()])
    assert observers._start == observers._headers == observers._first_content == ()
    assert len(observers._retry) == len(observers._end) == 1


def test_content_is_wanted_where_one_observer_wants_it() -> None:
    class Reader(Observer):
        wants_content = True

    assert not Observers([Observer()]).wants_content
    assert Observers([Observer(), Reader()]).wants_content


@pytest.mark.parametrize("stranger", [Observer, "log", None])
def test_what_is_no_observer_is_refused(stranger: object) -> None:
    with pytest.raises(ConfigurationError, match="is no observer"):
        Observers([stranger])  # type: ignore[list-item]


def test_calls_are_equal_to_themselves_alone() -> None:
    one, other = a_call(), a_call()
    assert len({one: 1, other: 2}) == 2


def test_neither_prompt_nor_answer_stands_in_a_repr() -> None:
    assert "secret" not in repr(a_call())
    assert "secret" not in repr(an_outcome(text="a secret answer"))


def test_the_default_observers_are_the_same_for_every_client() -> None:
    assert default_observers() is default_observers()
    assert [type(observer).__name__ for observer in default_observers()] == ["LogObserver", "OpenTelemetryObserver"]


def in_a_new_process(code: str) -> object:
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60)
    return json.loads(run.stdout)


def test_importing_the_hooks_does_not_import_opentelemetry() -> None:
    code = "import hub.observe, json, sys; print(json.dumps([m for m in sys.modules if 'opentelemetry' in m]))"
    assert in_a_new_process(code) == []


def test_without_opentelemetry_there_are_log_records_alone() -> None:
    code = (
        "import json, sys; sys.modules['opentelemetry'] = None\n"
        "from hub.observe import default_observers\n"
        "print(json.dumps([type(each).__name__ for each in default_observers()]))"
    )
    assert in_a_new_process(code) == ["LogObserver"]


def test_an_opentelemetry_of_no_use_is_done_without_and_said() -> None:
    code = (
        "import json, logging, sys; sys.modules['opentelemetry.metrics'] = None\n"
        "said = []; handler = logging.Handler(); handler.emit = lambda record: said.append(record.levelname)\n"
        "logging.getLogger('hub').addHandler(handler)\n"
        "from hub.observe import default_observers\n"
        "print(json.dumps([*[type(each).__name__ for each in default_observers()], *said]))"
    )
    assert in_a_new_process(code) == ["LogObserver", "WARNING"]
