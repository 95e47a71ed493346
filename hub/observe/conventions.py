"""The names that telemetry bears: OpenTelemetry's conventions for generative AI, and our own beside them.

The conventions are those of release 1.41.0 (2026-04), the last that was published and the one that OpenTelemetry's
own Python packages emit (opentelemetry-util-genai 1.3b0, read 2026-11-21). They are "in development": the repository
they have moved to (open-telemetry/semantic-conventions-genai) has since renamed the metrics, without a release. They
are written out here because the package that has them as constants changes its names with each release.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

__all__ = ("METRICS", "SCHEMA_URL", "SPAN_ATTRIBUTES", "Metric")

SCHEMA_URL = "https://opentelemetry.io/schemas/1.41.0"

SPAN_ATTRIBUTES = (
    "gen_ai.operation.name",
    "gen_ai.provider.name",
    "gen_ai.request.model",
    "server.address",
    "server.port",
    "openai.api.type",
    "openai.request.service_tier",
    "gen_ai.conversation.id",
    "gen_ai.output.type",
    "gen_ai.request.stream",
    "gen_ai.request.max_tokens",
    "gen_ai.request.temperature",
    "gen_ai.request.top_p",
    "gen_ai.request.top_k",
    "gen_ai.request.frequency_penalty",
    "gen_ai.request.presence_penalty",
    "gen_ai.request.seed",
    "gen_ai.request.stop_sequences",
    "gen_ai.request.choice.count",
    "gen_ai.request.encoding_formats",
    "gen_ai.embeddings.dimension.count",
    "gen_ai.response.id",
    "gen_ai.response.model",
    "gen_ai.response.finish_reasons",
    "gen_ai.response.time_to_first_chunk",
    "gen_ai.usage.input_tokens",
    "gen_ai.usage.output_tokens",
    "gen_ai.usage.cache_read.input_tokens",
    "gen_ai.usage.reasoning.output_tokens",
    "error.type",
    "http.response.status_code",
    "hub.stream_id",
    "hub.identifier",
    "hub.request_id",
    "hub.status",
    "hub.attempts",
    "hub.rate_limit_seconds",
    "hub.retried_errors",
    "hub.usage.cost_usd",
    "hub.usage.estimated",
    "gen_ai.system_instructions",
    "gen_ai.input.messages",
    "gen_ai.output.messages",
)
"""Every attribute a span may have; the last three only where content is captured."""


class Metric(NamedTuple):
    """One instrument; `buckets` are the boundaries that the conventions advise, empty for a counter."""

    name: str
    instrument: Literal["histogram", "counter"]
    unit: str
    description: str
    buckets: tuple[float, ...] = ()


_SECONDS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
_TOKENS = tuple(float(4**power) for power in range(14))

METRICS = {
    "duration": Metric(
        "gen_ai.client.operation.duration",
        "histogram",
        "s",
        "From the start of a call to its end, all tries included.",
        _SECONDS,
    ),
    "first_chunk": Metric(
        "gen_ai.client.operation.time_to_first_chunk",
        "histogram",
        "s",
        "From the start of a call to its first content.",
        _SECONDS,
    ),
    "tokens": Metric(
        "gen_ai.client.token.usage",
        "histogram",
        "{token}",
        "Input and output tokens of a call, as the endpoint reported them.",
        _TOKENS,
    ),
    "cost": Metric("hub.client.operation.cost", "counter", "{USD}", "What calls cost, where that is known."),
}
"""The instruments by what they are called here."""
