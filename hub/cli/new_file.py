"""A file that is there under its name whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from hub.errors import HubError, InvalidRequestError

__all__ = ("new_file",)


@contextmanager
def new_file(path: Path, *, overwrite: bool) -> Iterator[BinaryIO]:
    """A file to write to. It gets its name when the block ends well; else nothing is left of it.

    Only its owner may read it. Where the path is a link, the file that it leads to is replaced.

    Args:
        path: The name.
        overwrite: Replace a file that has it.

    Raises:
        InvalidRequestError: There is a file already, or something else.
        HubError: It can't be written.
    """
    target = Path(os.path.realpath(path))
    try:
        _require_free(target, overwrite=overwrite)
        descriptor, name = tempfile.mkstemp(prefix=".hub-", suffix=".new", dir=target.parent)
        temporary = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                yield file
                file.flush()
                os.fsync(file)
            _require_free(target, overwrite=overwrite)  # one may have come while this one was written
            temporary.replace(target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as exc:
        raise HubError(f"{path} can't be written: {exc.strerror or type(exc).__name__}.") from exc


def _require_free(path: Path, *, overwrite: bool) -> None:
    if not path.exists():
        return
    if not path.is_file():
        raise InvalidRequestError(f"{path} is no ordinary file: name another, or - for standard output.")
    if not overwrite:
        raise InvalidRequestError(f"{path} is there already: name another file, or pass --force to replace it.")
