"""Structured output: a type becomes the schema that an endpoint is asked with, and its answer becomes that type.

Pure: nothing here asks an endpoint. `ResponseModel` makes the `response_format`, parses and validates an answer and
says to the model what is wrong with it; `PartialParser` gives unfinished values while the answer comes.
"""

from __future__ import annotations

from hub.structured.partials import PartialParser
from hub.structured.response_model import ResponseModel

__all__ = ("PartialParser", "ResponseModel")
