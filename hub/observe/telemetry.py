"""A span and metrics for each call, by OpenTelemetry's conventions for generative AI; needs `opentelemetry-api`."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version

from hub.errors import EndpointError, MissingExtraError
from hub.observe.attributes import (
    Attributes,
    common_attributes,
    error_type,
    outcome_attributes,
    request_attributes,
)
from hub.observe.base import Call, Observer, Outcome
from hub.observe.content import input_content, output_content
from hub.observe.conventions import METRICS, SCHEMA_URL, Metric

try:
    from opentelemetry import metrics, trace
    from opentelemetry.context import Context
    from opentelemetry.metrics import Counter, Histogram, Meter, MeterProvider
    from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer, TracerProvider
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
except ImportError as exc:
    raise MissingExtraError("OpenTelemetryObserver", "otel") from exc

__all__ = ("CAPTURE_VARIABLE", "OpenTelemetryObserver")

log = logging.getLogger(__name__)

CAPTURE_VARIABLE = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"

_CAPTURE = {"": False, "no_content": False, "false": False, "span_only": True, "span_and_event": True, "true": True}
"""Values of the variable, in any case, and whether spans then get content (opentelemetry-util-genai 1.3b0, and `true`
of earlier instrumentations; read 2026-11-21)."""


class OpenTelemetryObserver(Observer):
    """Reports each call as a span of kind CLIENT and in four metrics; docs/observability.md lists what they bear.

    The span is a child of the one that is current where the call begins, and covers all tries. A call that was
    cancelled is no error: its `hub.status` says `cancelled`.

    Args:
        tracer_provider: Where spans go; by default the global one, also when it is set up later.
        meter_provider: Where metrics go; by default the global one, likewise.
        capture_content: Whether spans hold prompts and answers; by default as the environment variable
            `OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT` says, else not.
        propagate: Whether the endpoint is told the span's id (`traceparent`), so that a server of one's own can add
            its spans to the trace.
    """

    def __init__(
        self,
        *,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        capture_content: bool | None = None,
        propagate: bool = False,
    ) -> None:
        self.wants_content = _captures_content() if capture_content is None else capture_content
        self._tracer_provider = tracer_provider
        self._meter_provider = meter_provider
        self._propagate = propagate
        self._running: dict[Call, _Running] = {}

    def on_start(self, call: Call) -> None:
        """Start the span, under the one that is current."""
        # It is not made the current one: the call is an async generator, and what such a generator sets in its
        # context is seen by whoever reads it, between its yields, and can't be taken back from another task.
        span = self._tracer.start_span(
            f"{call.operation} {call.model}", kind=SpanKind.CLIENT, attributes=common_attributes(call)
        )
        self._running[call] = _Running(span)
        if span.is_recording():
            span.set_attributes(request_attributes(call))
            if self.wants_content and call.operation == "chat":
                span.set_attributes(input_content(call.params))

    def request_headers(self, call: Call) -> dict[str, str]:
        """`traceparent` and `tracestate` of the call's span where they are to be sent, else nothing."""
        headers: dict[str, str] = {}
        if self._propagate and (running := self._running.get(call)) is not None:
            _PROPAGATOR.inject(headers, running.context)
        return headers

    def on_retry(self, call: Call, error: EndpointError, delay: float) -> None:
        """Remember why a try failed, for the span."""
        if (running := self._running.get(call)) is not None:
            running.errors.append(error.code)

    def on_end(self, call: Call, outcome: Outcome) -> None:
        """Record the metrics, and end the span."""
        if (running := self._running.pop(call, None)) is None:
            return
        span = running.span
        try:
            common = common_attributes(call)  # again: a fallback may have answered from another endpoint
            self._metrics.record(call, outcome, common, running.context)
            if span.is_recording():
                span.set_attributes(common | outcome_attributes(call, outcome, running.errors))
                if self.wants_content:
                    span.set_attributes(output_content(outcome))
            if outcome.status == "failed":
                span.set_status(Status(StatusCode.ERROR, outcome.failure.message if outcome.failure else None))
        finally:
            span.end()

    # Looked up at the first call and not before: the program may set up its SDK after it made the client. Where
    # there is none even then, OpenTelemetry gives stand-ins that turn into the real ones once it is set up.

    @cached_property
    def _tracer(self) -> Tracer:
        return trace.get_tracer(__package__, _version(), self._tracer_provider, SCHEMA_URL)

    @cached_property
    def _metrics(self) -> _Metrics:
        return _Metrics(metrics.get_meter(__package__, _version(), self._meter_provider, SCHEMA_URL))


@dataclass(slots=True)
class _Running:
    """A call's span, and the error codes of the tries that failed so far."""

    span: Span
    errors: list[str] = field(default_factory=list)

    @property
    def context(self) -> Context:
        return trace.set_span_in_context(self.span)


class _Metrics:
    """The instruments, and what goes into them."""

    def __init__(self, meter: Meter) -> None:
        self._duration = _histogram(meter, METRICS["duration"])
        self._first_chunk = _histogram(meter, METRICS["first_chunk"])
        self._tokens = _histogram(meter, METRICS["tokens"])
        self._cost = _counter(meter, METRICS["cost"])

    def record(self, call: Call, outcome: Outcome, common: Attributes, context: Context) -> None:
        """Record a call that is over; `context` ties the figures to its span (as exemplars)."""
        if outcome.model is not None:
            common = common | {"gen_ai.response.model": outcome.model}
        ended: Attributes = common | {"hub.status": outcome.status}
        if (error := error_type(outcome)) is not None:
            ended["error.type"] = error
        self._duration.record(outcome.seconds, ended, context)
        if call.operation == "chat" and call.first_content_seconds is not None:
            self._first_chunk.record(call.first_content_seconds, common, context)
        usage = outcome.usage
        if usage is None:
            return
        # What was counted here is no report of the endpoint's, and a call that nobody answered used none.
        if usage.total_tokens and not usage.estimated:
            self._tokens.record(usage.input_tokens, common | {"gen_ai.token.type": "input"}, context)
            if call.operation == "chat":
                self._tokens.record(usage.output_tokens, common | {"gen_ai.token.type": "output"}, context)
        if usage.cost_usd:
            self._cost.add(usage.cost_usd, common, context)


_PROPAGATOR = TraceContextTextMapPropagator()


def _histogram(meter: Meter, metric: Metric) -> Histogram:
    return meter.create_histogram(
        metric.name, metric.unit, metric.description, explicit_bucket_boundaries_advisory=list(metric.buckets)
    )


def _counter(meter: Meter, metric: Metric) -> Counter:
    return meter.create_counter(metric.name, metric.unit, metric.description)


def _captures_content() -> bool:
    value = os.environ.get(CAPTURE_VARIABLE, "").strip()
    if value.lower() not in _CAPTURE:
        log.warning("%s is %r; spans hold content where it is SPAN_ONLY or SPAN_AND_EVENT.", CAPTURE_VARIABLE, value)
    return _CAPTURE.get(value.lower(), False)


def _version() -> str:
    try:
        return version("llm-stream-hub")
    except PackageNotFoundError:  # run from a copy of the files
        return ""
