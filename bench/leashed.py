"""The `hub` command, which ends at once when standard input does: with whoever began it, however that one ended."""

from __future__ import annotations

import os
import sys
from threading import Thread

from hub.__main__ import main

__all__: tuple[str, ...] = ()


def _end_with_parent() -> None:
    while os.read(0, 1024):
        pass
    os._exit(1)


if __name__ == "__main__":
    Thread(target=_end_with_parent, daemon=True).start()
    sys.exit(main())
