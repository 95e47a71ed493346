"""An application that takes its worker with it."""

from __future__ import annotations

import os
from typing import Any, NoReturn

__all__ = ("Poison",)


class Poison:
    """A generator that ends its process where it is asked for poison."""

    def __init__(self, settings: Any) -> None:
        pass

    def stream(self, *, stream_id: str, messages: Any, **params: Any) -> NoReturn:
        """Die."""
        os._exit(1)
