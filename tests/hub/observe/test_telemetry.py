"""OpenTelemetry: the span and the metrics of a call, as the SDK exports them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import HistogramDataPoint, InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, Decision, Sampler, SamplingResult
from opentelemetry.trace import SpanKind, StatusCode

from hub.errors import endpoint_error
from hub.observe import Observers
from hub.observe.conventions import METRICS, SCHEMA_URL, SPAN_ATTRIBUTES
from hub.observe.telemetry import CAPTURE_VARIABLE, OpenTelemetryObserver
from hub.result import TokenUsage
from tests.hub.observe.samples import FAILURE, USAGE, a_call, a_failure, an_outcome

ERROR = endpoint_error("It is busy.", code="endpoint_error", status=503, retryable=True)
CONTENT = ("gen_ai.system_instructions", "gen_ai.input.messages", "gen_ai.output.messages")


class Backend:
    """An SDK that keeps what it is given."""

    def __init__(self, sampler: Sampler | None = None) -> None:
        self.exporter = InMemorySpanExporter()
        self.reader = InMemoryMetricReader()
        self.tracer_provider = TracerProvider(sampler=sampler)
        self.tracer_provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.meter_provider = MeterProvider([self.reader])

    def observer(self, **options: Any) -> OpenTelemetryObserver:
        return OpenTelemetryObserver(
            tracer_provider=self.tracer_provider, meter_provider=self.meter_provider, **options
        )

    @property
    def span(self) -> ReadableSpan:
        (span,) = self.exporter.get_finished_spans()
        return span

    @property
    def attributes(self) -> Mapping[str, Any]:
        return self.span.attributes or {}

    def points(self, name: str) -> list[Any]:
        data = self.reader.get_metrics_data()
        if data is None:
            return []
        scopes = [scope for resource in data.resource_metrics for scope in resource.scope_metrics]
        return [
            point
            for scope in scopes
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
        ]


@pytest.fixture
def backend() -> Backend:
    return Backend()


def observe(observer: OpenTelemetryObserver, call: Any = None, outcome: Any = None) -> None:
    call = call or a_call()
    observer.on_start(call)
    observer.on_end(call, outcome or an_outcome())


def test_a_call_is_a_client_span_named_by_operation_and_model(backend: Backend) -> None:
    observe(backend.observer())
    assert backend.span.name == "chat gpt-5.1"
    assert backend.span.kind is SpanKind.CLIENT
    assert backend.span.status.status_code is StatusCode.UNSET
    assert backend.span.instrumentation_scope is not None
    assert backend.span.instrumentation_scope.name == "hub.observe"
    assert backend.span.instrumentation_scope.schema_url == SCHEMA_URL


def test_a_completed_call_has_the_conventions_attributes(backend: Backend) -> None:
    observe(backend.observer())
    assert dict(backend.attributes) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-5.1",
        "server.address": "api.openai.com",
        "server.port": 443,
        "openai.api.type": "chat_completions",
        "gen_ai.request.stream": True,
        "gen_ai.request.temperature": 0.5,
        "gen_ai.response.id": "chatcmpl-1",
        "gen_ai.response.model": "gpt-5.1-2025-11-13",
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.response.time_to_first_chunk": 0.25,
        "gen_ai.usage.input_tokens": 100,
        "gen_ai.usage.output_tokens": 20,
        "gen_ai.usage.cache_read.input_tokens": 60,
        "gen_ai.usage.reasoning.output_tokens": 5,
        "hub.stream_id": "str_1",
        "hub.identifier": "order 7",
        "hub.request_id": "req_1",
        "hub.status": "completed",
        "hub.attempts": 1,
        "hub.rate_limit_seconds": 0.125,
        "hub.usage.cost_usd": 0.0125,
    }


@pytest.mark.parametrize(
    ("params", "attribute", "value"),
    [
        ({"max_tokens": 50}, "gen_ai.request.max_tokens", 50),
        ({"max_completion_tokens": 50}, "gen_ai.request.max_tokens", 50),
        ({"max_output_tokens": 0}, "gen_ai.request.max_tokens", 0),
        ({"temperature": 0}, "gen_ai.request.temperature", 0.0),
        ({"top_p": 0.9}, "gen_ai.request.top_p", 0.9),
        ({"top_k": 40}, "gen_ai.request.top_k", 40.0),
        ({"frequency_penalty": 0.1}, "gen_ai.request.frequency_penalty", 0.1),
        ({"presence_penalty": 0.2}, "gen_ai.request.presence_penalty", 0.2),
        ({"seed": 7}, "gen_ai.request.seed", 7),
        ({"stop": "END"}, "gen_ai.request.stop_sequences", ("END",)),
        ({"stop": ["a", "b"]}, "gen_ai.request.stop_sequences", ("a", "b")),
        ({"n": 3}, "gen_ai.request.choice.count", 3),
        ({"n": 1}, "gen_ai.request.choice.count", None),
        ({"response_format": {"type": "json_schema"}}, "gen_ai.output.type", "json"),
        ({"response_format": {"type": "json_object"}}, "gen_ai.output.type", "json"),
        ({"text": {"format": {"type": "text"}}}, "gen_ai.output.type", "text"),
        ({"text": {"verbosity": "low"}}, "gen_ai.output.type", None),
        ({"service_tier": "flex"}, "openai.request.service_tier", "flex"),
        ({"service_tier": "auto"}, "openai.request.service_tier", None),
        ({"conversation": "conv_1"}, "gen_ai.conversation.id", "conv_1"),
        ({"conversation": {"id": "conv_1"}}, "gen_ai.conversation.id", "conv_1"),
        ({"temperature": "hot", "seed": True, "stop": [1], "max_tokens": "many"}, "gen_ai.request.temperature", None),
    ],
)
def test_a_request_s_parameters_become_attributes(
    backend: Backend, params: dict[str, Any], attribute: str, value: object, caplog: pytest.LogCaptureFixture
) -> None:
    observe(backend.observer(), a_call(params=params))
    assert backend.attributes.get(attribute) == value
    assert caplog.records == []  # the SDK warns of values that attributes can't have


def test_an_embedding_has_its_own_parameters_and_no_output(backend: Backend) -> None:
    params = {"input": ["a secret"], "encoding_format": "base64", "dimensions": 256}
    usage = TokenUsage(input_tokens=8, total_tokens=8)
    call = a_call(operation="embeddings", api="embeddings", params=params, first_content_at=None)
    observe(backend.observer(capture_content=True), call, an_outcome(finish_reasons=(), usage=usage))
    assert backend.span.name == "embeddings gpt-5.1"
    assert backend.attributes["gen_ai.request.encoding_formats"] == ("base64",)
    assert backend.attributes["gen_ai.embeddings.dimension.count"] == 256
    assert backend.attributes["gen_ai.usage.input_tokens"] == 8
    for absent in ("gen_ai.usage.output_tokens", "gen_ai.request.stream", "openai.api.type", *CONTENT):
        assert absent not in backend.attributes
    assert [point.attributes["gen_ai.token.type"] for point in backend.points("gen_ai.client.token.usage")] == ["input"]


def test_another_provider_gets_no_attributes_of_openai(backend: Backend) -> None:
    call = a_call(base_url="https://api.groq.com/openai/v1", params={"service_tier": "flex"})
    observe(backend.observer(), call)
    assert backend.attributes["gen_ai.provider.name"] == "groq"
    assert not [name for name in backend.attributes if name.startswith("openai.")]


def test_samplers_see_operation_provider_model_and_server(backend: Backend) -> None:
    seen: dict[str, Any] = {}

    class Curious(Sampler):
        def should_sample(self, *args: Any, attributes: Any = None, **kwargs: Any) -> SamplingResult:
            seen.update(attributes or args[4])
            return SamplingResult(Decision.DROP)

        def get_description(self) -> str:
            return "curious"

    observe(Backend(sampler=Curious()).observer())
    assert set(seen) == {
        "gen_ai.operation.name",
        "gen_ai.provider.name",
        "gen_ai.request.model",
        "server.address",
        "server.port",
    }


def test_the_span_is_a_child_of_the_one_current_at_the_start(backend: Backend) -> None:
    observer, call = backend.observer(), a_call()
    with backend.tracer_provider.get_tracer("app").start_as_current_span("request") as parent:
        observer.on_start(call)
        assert trace.get_current_span() is parent  # the call's own span is nobody's context
    observer.on_end(call, an_outcome())
    span = next(span for span in backend.exporter.get_finished_spans() if span.name == "chat gpt-5.1")
    assert span.parent is not None
    assert span.parent.span_id == parent.get_span_context().span_id


def test_calls_at_the_same_time_have_spans_of_their_own(backend: Backend) -> None:
    observer, one, other = backend.observer(), a_call(stream_id="one"), a_call(stream_id="other")
    observer.on_start(one)
    observer.on_start(other)
    observer.on_end(one, an_outcome())
    observer.on_end(other, an_outcome())
    spans = backend.exporter.get_finished_spans()
    assert [(span.attributes or {})["hub.stream_id"] for span in spans] == ["one", "other"]
    assert observer._running == {}


def test_a_failed_call_is_an_error_with_our_code(backend: Backend) -> None:
    observe(backend.observer(), outcome=a_failure())
    assert backend.span.status.status_code is StatusCode.ERROR
    assert backend.span.status.description == FAILURE.message
    assert backend.attributes["error.type"] == "rate_limited"
    assert backend.attributes["http.response.status_code"] == 429
    assert backend.attributes["hub.status"] == "failed"
    (point,) = backend.points("gen_ai.client.operation.duration")
    assert point.attributes["error.type"] == "rate_limited"
    assert backend.points("gen_ai.client.token.usage") == []


def test_a_failure_without_a_code_is_still_an_error(backend: Backend) -> None:
    observe(backend.observer(), outcome=a_failure(failure=None))
    assert backend.span.status.status_code is StatusCode.ERROR
    assert backend.attributes["error.type"] == "_OTHER"


def test_a_cancelled_call_is_no_error_and_says_so(backend: Backend) -> None:
    observe(backend.observer(), outcome=an_outcome(status="cancelled", finish_reasons=()))
    assert backend.span.status.status_code is StatusCode.UNSET
    assert backend.attributes["hub.status"] == "cancelled"
    assert "error.type" not in backend.attributes
    (point,) = backend.points("gen_ai.client.operation.duration")
    assert point.attributes["hub.status"] == "cancelled"


def test_retries_lie_within_the_span_and_say_why(backend: Backend) -> None:
    observer, call = backend.observer(), a_call()
    observer.on_start(call)
    observer.on_retry(call, ERROR, 0.5)
    call.attempts = 2
    observer.on_end(call, an_outcome())
    assert backend.attributes["hub.attempts"] == 2
    assert backend.attributes["hub.retried_errors"] == ("endpoint_error",)


def test_a_fallback_s_endpoint_is_the_one_reported(backend: Backend) -> None:
    observer, call = backend.observer(), a_call()
    observer.on_start(call)
    call.base_url = "http://localhost:8000/v1"
    observer.on_end(call, an_outcome())
    assert (backend.attributes["server.address"], backend.attributes["server.port"]) == ("localhost", 8000)
    (point,) = backend.points("gen_ai.client.operation.duration")
    assert point.attributes["server.address"] == "localhost"


def test_metrics_bear_the_conventions_attributes_and_buckets(backend: Backend) -> None:
    observe(backend.observer())
    common = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-5.1",
        "gen_ai.response.model": "gpt-5.1-2025-11-13",
        "server.address": "api.openai.com",
        "server.port": 443,
    }
    expected = {
        "duration": [(1.5, common | {"hub.status": "completed"})],
        "first_chunk": [(0.25, common)],
        "tokens": [(100, common | {"gen_ai.token.type": "input"}), (20, common | {"gen_ai.token.type": "output"})],
        "cost": [(0.0125, common)],
    }
    for key, metric in METRICS.items():
        points = backend.points(metric.name)
        sums = [point.sum if isinstance(point, HistogramDataPoint) else point.value for point in points]
        assert list(zip(sums, [dict(point.attributes) for point in points], strict=True)) == expected[key]
        for point in points:
            assert tuple(getattr(point, "explicit_bounds", ())) == metric.buckets


def test_the_buckets_are_those_that_the_conventions_advise() -> None:
    seconds = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
    tokens = (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864)
    assert METRICS["duration"].buckets == METRICS["first_chunk"].buckets == seconds
    assert METRICS["tokens"].buckets == tokens


def test_a_usage_that_was_estimated_is_marked_and_not_measured(backend: Backend) -> None:
    observe(backend.observer(), outcome=an_outcome(usage=TokenUsage(output_tokens=9, total_tokens=9, estimated=True)))
    assert backend.attributes["hub.usage.estimated"] is True
    assert backend.attributes["gen_ai.usage.output_tokens"] == 9
    assert backend.points("gen_ai.client.token.usage") == []


def test_a_cost_that_is_unknown_is_not_reported(backend: Backend) -> None:
    observe(backend.observer(), outcome=an_outcome(usage=TokenUsage(input_tokens=9, total_tokens=9)))
    assert "hub.usage.cost_usd" not in backend.attributes
    assert backend.points("hub.client.operation.cost") == []


def test_a_call_that_said_nothing_has_no_time_to_the_first_chunk(backend: Backend) -> None:
    observe(backend.observer(), a_call(first_content_at=None), an_outcome(usage=None))
    assert "gen_ai.response.time_to_first_chunk" not in backend.attributes
    assert "gen_ai.usage.input_tokens" not in backend.attributes
    assert backend.points("gen_ai.client.operation.time_to_first_chunk") == []


def test_figures_are_measured_for_calls_that_are_not_sampled() -> None:
    backend = Backend(sampler=ALWAYS_OFF)
    observe(backend.observer())
    assert backend.exporter.get_finished_spans() == ()
    assert len(backend.points("gen_ai.client.operation.duration")) == 1


def test_figures_point_to_their_span(backend: Backend) -> None:
    observe(backend.observer())
    (point,) = backend.points("gen_ai.client.operation.duration")
    (exemplar,) = point.exemplars
    assert exemplar.span_id == backend.span.get_span_context().span_id


def test_neither_prompt_nor_answer_is_reported_unasked(backend: Backend) -> None:
    observer = backend.observer()
    assert not observer.wants_content
    observe(observer, outcome=an_outcome(text="a secret answer"))
    assert "secret" not in str(dict(backend.attributes))


def test_content_is_reported_where_it_is_asked_for(backend: Backend) -> None:
    observer = backend.observer(capture_content=True)
    assert observer.wants_content
    observe(observer, outcome=an_outcome(text="an answer"))
    assert json.loads(backend.attributes["gen_ai.input.messages"]) == [
        {"role": "user", "parts": [{"type": "text", "content": "a secret question"}]}
    ]
    assert json.loads(backend.attributes["gen_ai.output.messages"]) == [
        {"role": "assistant", "parts": [{"type": "text", "content": "an answer"}], "finish_reason": "stop"}
    ]


@pytest.mark.parametrize(
    ("value", "captures"),
    [
        (None, False),
        ("", False),
        ("NO_CONTENT", False),
        ("false", False),
        ("SPAN_ONLY", True),
        ("span_and_event", True),
        ("true", True),
    ],
)
def test_the_conventions_variable_turns_content_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, value: str | None, captures: bool
) -> None:
    monkeypatch.delenv(CAPTURE_VARIABLE, raising=False)
    if value is not None:
        monkeypatch.setenv(CAPTURE_VARIABLE, value)
    assert OpenTelemetryObserver().wants_content is captures
    assert OpenTelemetryObserver(capture_content=not captures).wants_content is not captures
    assert caplog.records == []


def test_a_value_that_spans_have_no_answer_to_is_said_and_captures_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(CAPTURE_VARIABLE, "EVENT_ONLY")
    assert not OpenTelemetryObserver().wants_content
    assert CAPTURE_VARIABLE in caplog.records[0].getMessage()


def test_the_endpoint_is_told_the_span_only_where_it_is_asked_for(backend: Backend) -> None:
    for propagate in (False, True):
        backend.exporter.clear()
        observer, call = backend.observer(propagate=propagate), a_call()
        assert observer.request_headers(call) == {}  # not begun
        observer.on_start(call)
        headers = Observers([observer]).request_headers(call)
        observer.on_end(call, an_outcome())
        context = backend.span.get_span_context()
        expected = {"traceparent": f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"}
        assert headers == (expected if propagate else {})


def test_an_end_without_a_start_is_passed_over(backend: Backend) -> None:
    backend.observer().on_end(a_call(), an_outcome())
    backend.observer().on_retry(a_call(), ERROR, 0.1)
    assert backend.exporter.get_finished_spans() == ()


def test_a_span_ends_even_if_what_it_should_bear_can_t_be_told(backend: Backend) -> None:
    observer, call = backend.observer(capture_content=True), a_call(params={"messages": [{"tool_calls": [None]}]})
    with pytest.raises(AttributeError):
        observer.on_start(call)
    observer.on_end(call, an_outcome())
    assert backend.span.end_time is not None


def test_only_listed_attributes_are_used(backend: Backend) -> None:
    params = dict.fromkeys(("temperature", "top_p", "top_k", "frequency_penalty", "presence_penalty", "seed"), 3)
    params |= {"max_tokens": 3, "n": 3, "dimensions": 3}
    rest = {"stop": "x", "response_format": {"type": "text"}, "service_tier": "flex", "conversation": "c"}
    call = a_call(params=params | rest | {"encoding_format": "float", "instructions": "i", "messages": []})
    observer = backend.observer(capture_content=True)
    observer.on_start(call)
    observer.on_retry(call, ERROR, 1.0)
    usage = msgspec.structs.replace(USAGE, estimated=True)
    observer.on_end(call, a_failure(usage=usage, model="m", response_id="r", finish_reasons=("stop",), text="t"))
    assert set(backend.attributes) == set(SPAN_ATTRIBUTES)


def test_an_sdk_set_up_after_the_first_call_is_used() -> None:
    """In a process of its own: OpenTelemetry's global providers are set once."""
    code = """
import json
from hub.observe import default_observers
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from tests.hub.observe.samples import a_call, an_outcome

def observe():
    call = a_call()
    for observer in default_observers():
        observer.on_start(call)
        observer.on_end(call, an_outcome())

observe()
spans, reader, provider = InMemorySpanExporter(), InMemoryMetricReader(), TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(spans))
trace.set_tracer_provider(provider)
metrics.set_meter_provider(MeterProvider([reader]))
observe()
scopes = [scope for resource in reader.get_metrics_data().resource_metrics for scope in resource.scope_metrics]
names = sorted(metric.name for scope in scopes for metric in scope.metrics)
print(json.dumps([len(spans.get_finished_spans()), names]))
"""
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60)
    assert json.loads(run.stdout) == [1, sorted(metric.name for metric in METRICS.values())]
