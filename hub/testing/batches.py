"""OpenAI's files and batches without a model: a handler for a scripted endpoint that works batches off.

    async with ScriptedEndpoint(handler=BatchHandler()) as endpoint:
        ...

A batch takes one step at each look at it: validating, in_progress, finalizing, completed. The lines of its output come
in another order than those of its input, as they do from OpenAI.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, TypeAlias

import msgspec

from hub.testing.echo import EchoHandler
from hub.testing.replies import Reply, json_reply, raw_reply, status_reply
from hub.testing.request import RecordedRequest

__all__ = ("BatchHandler", "Ending")

Ending: TypeAlias = Literal["completed", "failed", "expired", "cancelled"]
"""How a batch ends."""

CREATED = 1_700_000_000
_STEPS = ("validating", "in_progress", "finalizing")
_FILE = re.compile(r"/v1/files/(?P<id>[^/]+)(?P<content>/content)?")
_BATCH = re.compile(r"/v1/batches/(?P<id>[^/]+)(?P<cancel>/cancel)?")


class _Line(msgspec.Struct):
    custom_id: str
    method: str
    url: str
    body: dict[str, Any]


class BatchHandler:
    """Serves `/v1/files` and `/v1/batches`; every other request goes to `handler`.

    Args:
        handler: Answers other requests, and the lines of batches as if each were a request of its own. By default an
            `EchoHandler`.
        ending: How batches end. One that expires or is cancelled has answered every second line.

    Attributes:
        files: The bytes of each file, by its id.
        batches: Each batch as the API tells it, by its id.
    """

    def __init__(
        self, handler: Callable[[RecordedRequest], Reply] | None = None, *, ending: Ending = "completed"
    ) -> None:
        self._handler = EchoHandler(word_delay=0) if handler is None else handler
        self._ending: Ending = ending
        self.files: dict[str, bytes] = {}
        self.batches: dict[str, dict[str, Any]] = {}

    def __call__(self, request: RecordedRequest) -> Reply:
        """The reply to one request."""
        path = request.path.partition("?")[0]
        match request.method, path:
            case "POST", "/v1/files":
                return self._upload(request)
            case "POST", "/v1/batches":
                return self._create(request)
            case "GET", "/v1/batches":
                found = [*self.batches.values()][::-1]
                return json_reply({"object": "list", "data": found, "has_more": False})
        if (named := _FILE.fullmatch(path)) and request.method == "GET":
            return self._file(named["id"], is_content=named["content"] is not None)
        if named := _BATCH.fullmatch(path):
            return self._batch(request, named["id"], is_cancel=named["cancel"] is not None)
        return self._handler(request)

    def _upload(self, request: RecordedRequest) -> Reply:
        data = _form_file(request)
        if data is None:
            return status_reply(400, "The body is no form with a file.", param="file")
        return json_reply(_file_object(self._store(data), data, "batch"))

    def _file(self, file_id: str, *, is_content: bool) -> Reply:
        data = self.files.get(file_id)
        if data is None:
            return status_reply(404, f"No such File object: {file_id}", param="id")
        if is_content:
            return raw_reply(data, content_type="application/octet-stream", framing="length")
        return json_reply(_file_object(file_id, data, "batch"))

    def _create(self, request: RecordedRequest) -> Reply:
        asked = request.json()
        file_id = asked.get("input_file_id")
        if file_id not in self.files:
            return status_reply(400, f"No such File object: {file_id}", param="input_file_id")
        batch: dict[str, Any] = {
            "id": f"batch_{len(self.batches) + 1}",
            "object": "batch",
            "endpoint": asked["endpoint"],
            "errors": None,
            "input_file_id": file_id,
            "completion_window": asked["completion_window"],
            "status": _STEPS[0],
            "output_file_id": None,
            "error_file_id": None,
            "created_at": CREATED,
            "request_counts": {"total": 0, "completed": 0, "failed": 0},
            "metadata": asked.get("metadata"),
        }
        self.batches[batch["id"]] = batch
        return json_reply(batch)

    def _batch(self, request: RecordedRequest, batch_id: str, *, is_cancel: bool) -> Reply:
        batch = self.batches.get(batch_id)
        if batch is None:
            return status_reply(404, f"No batch found with id '{batch_id}'.")
        if is_cancel:
            if batch["status"] in _STEPS:
                batch["status"] = "cancelling"
        elif batch["status"] == "cancelling":
            self._end(batch, request, "cancelled")
        elif batch["status"] in _STEPS:
            self._step(batch, request)
        return json_reply(batch)

    def _step(self, batch: dict[str, Any], request: RecordedRequest) -> None:
        lines, errors = _checked(self.files[batch["input_file_id"]], batch["endpoint"])
        if errors or (self._ending == "failed" and batch["status"] == _STEPS[0]):
            batch["status"] = "failed"
            batch["errors"] = {"object": "list", "data": errors or [_error("scripted", "The script says so.", None)]}
            return
        batch["request_counts"]["total"] = len(lines)
        step = _STEPS.index(batch["status"]) + 1
        if step < len(_STEPS):
            batch["status"] = _STEPS[step]
        else:
            self._end(batch, request, self._ending)

    def _end(self, batch: dict[str, Any], request: RecordedRequest, ending: Ending) -> None:
        lines, _ = _checked(self.files[batch["input_file_id"]], batch["endpoint"])
        good: list[dict[str, Any]] = []
        bad: list[dict[str, Any]] = []
        for number, line in enumerate(lines):
            if ending != "completed" and number % 2:
                told = _error(f"batch_{ending}", f"This request was not executed: the batch was {ending}.", None)
                error = {"code": told["code"], "message": told["message"]}
                bad.append(_output(line, number, None, error))
                continue
            status, body = self._answer(line, request)
            response = {"status_code": status, "request_id": f"req_{number}", "body": body}
            (good if status < 300 else bad).append(_output(line, number, response, None))
        batch["status"] = ending
        batch["request_counts"] = {"total": len(lines), "completed": len(good), "failed": len(bad)}
        batch["output_file_id"] = self._store(_jsonl(_shuffled(good))) if good else None
        batch["error_file_id"] = self._store(_jsonl(_shuffled(bad))) if bad else None

    def _answer(self, line: _Line, request: RecordedRequest) -> tuple[int, Any]:
        reply = self._handler(replace(request, method="POST", path=line.url, body=msgspec.json.encode(line.body)))
        return reply.status, msgspec.json.decode(b"".join(step for step in reply.steps if isinstance(step, bytes)))

    def _store(self, data: bytes) -> str:
        file_id = f"file-{len(self.files) + 1}"
        self.files[file_id] = data
        return file_id


def _form_file(request: RecordedRequest) -> bytes | None:
    """The file of a `multipart/form-data` body."""
    boundary = re.search(r'boundary="?([^";]+)', request.headers.get("content-type", ""))
    if boundary is None:
        return None
    for part in request.body.split(b"--" + boundary[1].encode()):
        head, _, data = part.partition(b"\r\n\r\n")
        if b'name="file"' in head:
            return data.removesuffix(b"\r\n")
    return None


def _checked(data: bytes, url: str) -> tuple[list[_Line], list[dict[str, Any]]]:
    """The lines of an input file, and what is wrong with it."""
    lines: list[_Line] = []
    errors: list[dict[str, Any]] = []
    seen: set[str] = set()
    for number, text in enumerate(data.splitlines(), 1):
        try:
            line = msgspec.json.decode(text, type=_Line)
        except (msgspec.DecodeError, UnicodeDecodeError):
            errors.append(_error("invalid_json_line", "This line is not parseable as valid JSON.", number))
            continue
        if line.custom_id in seen:
            errors.append(_error("duplicate_custom_id", "The custom_id was used before.", number))
        if line.url != url:
            errors.append(_error("mismatched_url", "The URL is not that of the batch.", number))
        if lines and line.body.get("model") != lines[0].body.get("model"):
            errors.append(_error("mismatched_model", "The model is not that of the first line.", number))
        seen.add(line.custom_id)
        lines.append(line)
    if not lines and not errors:
        errors.append(_error("empty_file", "The file has no lines.", None))
    return lines, errors


def _error(code: str, message: str, line: int | None) -> dict[str, Any]:
    return {"code": code, "message": message, "param": None, "line": line}


def _output(
    line: _Line, number: int, response: Mapping[str, Any] | None, error: Mapping[str, Any] | None
) -> dict[str, Any]:
    return {"id": f"batch_req_{number}", "custom_id": line.custom_id, "response": response, "error": error}


def _shuffled(lines: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same lines in another order, always the same one."""
    return [*lines[1::2][::-1], *lines[::2]]


def _jsonl(lines: Sequence[dict[str, Any]]) -> bytes:
    return b"".join(msgspec.json.encode(line) + b"\n" for line in lines)


def _file_object(file_id: str, data: bytes, purpose: str) -> dict[str, Any]:
    return {
        "id": file_id,
        "object": "file",
        "bytes": len(data),
        "created_at": CREATED,
        "filename": "requests.jsonl",
        "purpose": purpose,
        "status": "processed",
    }
