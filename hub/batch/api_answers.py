"""The lines of a batch's output and error files as the dictionaries that `get_response` gives. Pure.

The form of the lines: https://platform.openai.com/docs/api-reference/batch/request-output
(as third parties describe it; not read there).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from hub.batch.requests import Url
from hub.completion import Completion
from hub.embeddings import Embeddings
from hub.errors import EndpointError, ErrorCode, endpoint_error
from hub.models.profile import ModelProfile
from hub.response import as_response, embeddings_response, failed_response
from hub.result import LLMResult, TokenUsage
from hub.upstream import failures
from hub.upstream.embedding.body import decode_embeddings
from hub.upstream.wire.chat import ChatDecoder
from hub.upstream.wire.responses import ResponsesDecoder

__all__ = ("AnswerReader", "OutputLine", "output_line")

_CODES: dict[str, ErrorCode] = {"batch_expired": "total_timeout", "batch_cancelled": "interrupted"}
"""What the API calls requests that it did not come to."""


class _Response(msgspec.Struct):
    body: msgspec.Raw = msgspec.Raw(b"null")
    status_code: int = 200


class OutputLine(msgspec.Struct):
    """A line of either file."""

    custom_id: str
    response: _Response | None = None
    error: Any = None


def output_line(line: bytes) -> OutputLine:
    """The line's content.

    Raises:
        EndpointError: It is none.
    """
    try:
        return msgspec.json.decode(line, type=OutputLine)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise failures.malformed("a line of a batch's results") from exc


class AnswerReader:
    """Makes dictionaries of the lines of one batch.

    Args:
        profile: The model that was asked.
        url: What of the API was asked.
        base_url: Where, for the prices.
        price_factor: What of the usual price is paid.
    """

    def __init__(self, profile: ModelProfile, url: Url, *, base_url: str, price_factor: float) -> None:
        self._profile = profile
        self._url = url
        self._base_url = base_url
        self._price_factor = price_factor

    def read(self, line: OutputLine) -> dict[str, Any]:
        """The answer, or the dictionary that says why there is none."""
        try:
            response = self._answer(line)
        except EndpointError as exc:
            return self.failed(exc, line.custom_id)
        del response["params"]  # they stand in the input
        return {**response, "price_factor": self._price_factor}

    def failed(self, error: EndpointError, custom_id: str) -> dict[str, Any]:
        """The dictionary for a request that gave nothing."""
        response = failed_response(error, params={}, identifier=custom_id, stream_id="")
        del response["params"]
        return {**response, "stream_id": None}

    def _answer(self, line: OutputLine) -> dict[str, Any]:
        response = line.response
        if line.error or response is None:
            raise _refused(line.error)
        if response.status_code >= 300:
            raise failures.from_payload(_value(response.body), status=response.status_code)
        named: dict[str, Any] = {"params": {}, "identifier": line.custom_id}
        body = bytes(response.body)
        if self._url == "/v1/embeddings":
            return {**embeddings_response(self._embeddings(body), stream_id="", **named), "stream_id": None}
        return {**as_response(self._result(body, line.custom_id), **named), "stream_id": None}

    def _result(self, body: bytes, custom_id: str) -> LLMResult:
        kind: type[ChatDecoder | ResponsesDecoder] = (
            ChatDecoder if self._url == "/v1/chat/completions" else ResponsesDecoder
        )
        decoder = kind(stream_id="", model=self._profile.model_name, identifier=custom_id)
        completion = Completion()
        for event in [*decoder.feed(body), *decoder.finish(), *decoder.open()]:
            completion.add(event)
        if decoder.failure is not None:
            raise decoder.failure
        usage = decoder.usage
        if usage is not None:
            usage = self._profile.parse_usage(decoder.usage_report, base_url=self._base_url, service_tier="default")
        return msgspec.structs.replace(
            completion.result(),
            status="completed",
            finish_reason=decoder.finish_reasons.reason(is_whole=True),
            usage=self._reduced(usage, decoder.usage),
        )

    def _embeddings(self, body: bytes) -> Embeddings:
        value = _value(msgspec.Raw(body))
        data = value.get("data") if isinstance(value, Mapping) else None
        found = decode_embeddings(body, len(data) if isinstance(data, list) else 1)
        usage = found.usage or TokenUsage(estimated=True)
        priced = self._profile.price(usage, base_url=self._base_url)
        return Embeddings(
            model=found.model or self._profile.model_name,
            usage=self._reduced(priced, usage) or usage,
            dimensions=len(found.buffers[0]) // 4,
            buffers=tuple(found.buffers),
        )

    def _reduced(self, usage: TokenUsage | None, reported: TokenUsage | None) -> TokenUsage | None:
        """The usage at a batch's price, unless the endpoint said itself what it cost."""
        said = reported is not None and reported.cost_usd is not None
        if usage is None or usage.cost_usd is None or said:
            return usage
        return msgspec.structs.replace(usage, cost_usd=usage.cost_usd * self._price_factor)


def _refused(error: Any) -> EndpointError:
    found = failures.from_payload({"error": error} if error else None)
    word = error.get("code") if isinstance(error, Mapping) else None
    if word in _CODES:
        return endpoint_error(found.message, code=_CODES[word], retryable=True)
    return found


def _value(raw: msgspec.Raw) -> Any:
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
