"""A type that a model's answer is asked and parsed into."""

from __future__ import annotations

import copy
import inspect
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Generic, TypeVar, overload

from pydantic import PydanticSchemaGenerationError, PydanticUserError, TypeAdapter, ValidationError
from pydantic_core import to_json

from hub.errors import (
    InvalidRequestError,
    OutputTruncatedError,
    OutputValidationError,
    RefusalError,
    StructuredOutputError,
)
from hub.result import LLMResult
from hub.structured.extract import NoJSONError, find_json, is_whole
from hub.structured.nulls import branches, drop_nulls
from hub.structured.objects import Shapes
from hub.structured.scan import ABSENT, Scanner
from hub.structured.schema import WRAPPED, loose_schema, object_schema, obstacle, strict_schema

__all__ = ("ResponseModel",)

T = TypeVar("T")

_CACHED_TYPES = 128
_NAME_CHARS = 64
_MESSAGE_CHARS = 200
_MAX_TOLD_ERRORS = 10


class ResponseModel(Generic[T]):
    """What is made of one type, once: its schema for the endpoint, its parser, its unfinished values.

    Get one by `ResponseModel.of(…)`, which keeps the last 128 types asked for.

    Attributes:
        name: The type's name as endpoints allow it: letters, digits, `_` and `-`, at most 64.
    """

    def __init__(self, annotation: Any) -> None:
        if inspect.isroutine(annotation):  # pydantic would take it for what validates its arguments
            raise InvalidRequestError("response_model must be a type, not a function.")
        try:
            self._adapter: TypeAdapter[T] = TypeAdapter(annotation)
            self._schema = self._adapter.json_schema()
        except (PydanticUserError, PydanticSchemaGenerationError, NameError, TypeError) as exc:
            raise InvalidRequestError(
                f"response_model must be a type that pydantic can describe as JSON, which {annotation!r} is not: "
                f"{_first_line(exc)}"
            ) from exc
        self.name = _name(annotation)
        self._object_schema, self._is_wrapped = object_schema(self._schema)
        self._takes_array = self._is_wrapped and any(
            branch.get("type") in ("array", None) for branch in branches(self._schema, self._schema.get("$defs", {}))
        )
        self._shape = Shapes().of(annotation)

    def __repr__(self) -> str:
        return f"ResponseModel({self.name!r})"

    @overload
    @classmethod
    def of(cls, annotation: type[T]) -> ResponseModel[T]: ...

    @overload
    @classmethod
    def of(cls, annotation: Any) -> ResponseModel[Any]: ...

    @classmethod
    def of(cls, annotation: Any) -> ResponseModel[Any]:
        """The response model of a type: a pydantic model, a dataclass, a `TypedDict`, or any annotation.

        Raises:
            InvalidRequestError: Pydantic can't make a JSON Schema of it.
        """
        if isinstance(annotation, Mapping):
            raise InvalidRequestError(
                "response_model is a type, not a schema: for a JSON Schema of your own pass response_format=…, "
                "and read the text."
            )
        try:
            # int | str and str | int are equal, yet not the same to validation.
            return _made(annotation, repr(annotation))
        except TypeError:  # an annotation that has no hash
            return ResponseModel(annotation)

    def response_format(self, *, strict: bool | None = None) -> dict[str, Any]:
        """Chat Completions' `response_format` for the type.

        Args:
            strict: Whether the endpoint must keep to the schema. None: wherever the type has a strict form, which one
                with open objects, tuples or `Any` has not.

        Raises:
            InvalidRequestError: `strict` is True, and the type has no strict form.
        """
        found = None if strict is False else obstacle(self._object_schema)
        if strict and found is not None:
            raise InvalidRequestError(
                f"The type {self.name} has no strict schema: {found}. Leave strict out, or describe that part."
            )
        strict = strict is not False and found is None
        schema = (strict_schema if strict else loose_schema)(copy.deepcopy(self._object_schema))
        description = schema.pop("description", None)
        described = {} if description is None else {"description": description}
        return {
            "type": "json_schema",
            "json_schema": {"name": self.name, **described, "schema": schema, "strict": strict},
        }

    def parse(self, result: LLMResult) -> T:
        """The validated value that the answer holds; of several choices, the first.

        The text may be the JSON value, or hold it in a fenced block or as the only one among words. Nulls for members
        that have a default and know no null count as left out.

        Raises:
            EndpointError: The stream failed.
            RefusalError: The model refused, or a filter stopped it.
            OutputTruncatedError: It was cut off by a limit or a cancellation.
            OutputValidationError: What it said is not of the type; `ask_again` can say so to it.
            StructuredOutputError: It said nothing, or called a tool.
        """
        result.raise_for_status()
        self._check_answered(result)
        try:
            value = self._unwrap(find_json(result.text, arrays=self._takes_array))
        except NoJSONError as exc:
            error = {"loc": (), "msg": str(exc), "type": "json_invalid"}
            raise self._invalid(f"{exc} It begins with {result.text[:80]!r}.", result, [error]) from exc
        value = drop_nulls(value, self._schema, self._schema.get("$defs", {}))
        try:
            # As JSON again: pydantic takes a date or an enum from a JSON string even where the type is strict.
            return self._adapter.validate_json(to_json(value, inf_nan_mode="constants"))
        except ValidationError as exc:
            errors = [
                {"loc": each["loc"], "msg": each["msg"], "type": each["type"]}
                for each in exc.errors(include_url=False, include_context=False, include_input=False)
            ]
            others = f", and {len(errors) - 1} more" if len(errors) > 1 else ""
            raise self._invalid(f"{_say(errors[0])[:_MESSAGE_CHARS]}{others}.", result, errors) from exc

    def partial(self, text: str) -> T | None:
        """What there is of the value in the beginning of an answer, no validator run; None before there is anything.

        The cost is that of the whole text: for a stream, use a `PartialParser`.
        """
        scanner = self.scanner()
        scanner.feed(text)
        return self.unfinished(scanner.value(), scanner)

    def scanner(self) -> Scanner:
        """A new scanner for this type's text."""
        return Scanner(arrays=self._takes_array)

    def unfinished(self, value: Any, scanner: Scanner) -> T | None:
        """The value so far, as `scanner` has it, made into the type as far as it goes."""
        if value is ABSENT or (value == {} and not scanner.is_closed):
            return None
        built = self._shape.build(self._unwrap(value), scanner.is_in_value)
        return None if built is ABSENT else built

    def ask_again(self, result: LLMResult, error: OutputValidationError) -> list[dict[str, Any]]:
        """The messages to append to the conversation for another try: the answer, and what is wrong with it.

        Args:
            result: The answer that failed.
            error: What `parse` raised; the model is told its first ten errors.
        """
        root = (WRAPPED,) if self._is_wrapped else ()
        told = [f"- {_say({**each, 'loc': (*root, *each['loc'])})}" for each in error.errors[:_MAX_TOLD_ERRORS]]
        if len(error.errors) > _MAX_TOLD_ERRORS:
            told.append(f"- and {len(error.errors) - _MAX_TOLD_ERRORS} more")
        complaint = "\n".join(
            ["That answer is not valid:", *told, "Answer again with the whole corrected JSON value and nothing else."]
        )
        said = [{"role": "assistant", "content": result.text}] if result.text else []
        return [*said, {"role": "user", "content": complaint}]

    def _unwrap(self, value: Any) -> Any:
        """The value itself where it came in the object that the schema puts round it; it may have come bare."""
        return value[WRAPPED] if self._is_wrapped and isinstance(value, dict) and value.keys() == {WRAPPED} else value

    def _check_answered(self, result: LLMResult) -> None:
        text = result.text
        if result.refusal:
            raise RefusalError(
                f"The model refused to answer with {self.name}: {result.refusal[:_MESSAGE_CHARS]}",
                text=text,
                result=result,
                refusal=result.refusal,
            )
        if result.finish_reason == "content_filter":
            raise RefusalError(
                f"A content filter stopped the answer with {self.name}.", text=text, result=result, refusal=""
            )
        is_cut = result.status != "completed" or result.finish_reason == "length"
        if is_cut and not is_whole(text):
            why = f"its status is {result.status}" if result.status != "completed" else "it reached its limit of tokens"
            raise OutputTruncatedError(f"The answer with {self.name} is not whole: {why}.", text=text, result=result)
        if not text.strip():
            raise StructuredOutputError(self._silence(result), text=text, result=result)

    def _silence(self, result: LLMResult) -> str:
        if result.tool_calls:
            return f"The model called the tool {result.tool_calls[0].name!r} instead of answering with {self.name}."
        if result.reasoning:
            return f"The model reasoned and then said nothing where {self.name} was asked for."
        return f"The model said nothing where {self.name} was asked for."

    def _invalid(self, why: str, result: LLMResult, errors: list[dict[str, Any]]) -> OutputValidationError:
        return OutputValidationError(
            f"The answer is no valid {self.name}: {why}", text=result.text, result=result, errors=errors
        )


@lru_cache(maxsize=_CACHED_TYPES)
def _made(annotation: Any, _: str) -> ResponseModel[Any]:
    return ResponseModel(annotation)


def _name(annotation: Any) -> str:
    is_class = isinstance(annotation, type) and not hasattr(annotation, "__origin__")
    named = annotation.__name__ if is_class else re.sub(r"[\w.<>]*\.", "", repr(annotation))
    return re.sub(r"[^a-zA-Z0-9-]+", "_", named).strip("_")[:_NAME_CHARS] or "response"


def _say(error: Any) -> str:
    place = ".".join(map(str, error["loc"]))
    return f"{place}: {error['msg']}" if place else str(error["msg"])


def _first_line(exc: BaseException) -> str:
    return str(exc).partition("\n")[0]
