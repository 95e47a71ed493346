"""What is known of a model: its name at the endpoint, and how its endpoint departs from the rule."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ("ModelProfile",)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelProfile:
    """Facts about one model.

    Attributes:
        model_name: The name the endpoint knows it by.
        allows_missing_finish_reason: A stream that just ends is whole, as with some releases of Ollama; without
            it such a stream is reported as `truncated`.
    """

    model_name: str
    allows_missing_finish_reason: bool = False
