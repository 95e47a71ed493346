"""The input of `hub batch`, checked before anything is sent, and its output, replaced only where it is its own."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

from hub.batch.answer_file import LINE_BEGINNING, Summary, write_answers
from hub.batch.checkpoint import Checkpoint
from hub.batch.journal import in_thread
from hub.batch.request_file import RequestFile
from hub.cli.new_file import new_file
from hub.errors import CheckpointError, HubError, InvalidRequestError

__all__ = ("Output", "check_input", "counting")

_CHECK_SECONDS = 0.25
"""Between two looks whether the check is to end, and two counts of what is checked."""


async def check_input(
    requests: RequestFile, show: Callable[[int], None], *, clock: Callable[[], float] = time.monotonic
) -> None:
    """Pass over an input whose every line is a request. Cancelled, it ends within a quarter of a second.

    Args:
        requests: The input.
        show: Is told four times a second how many requests there are so far; a short check tells nothing.
        clock: Seconds.

    Raises:
        InvalidRequestError: A line is no request, or the file can't be read.
    """
    with closing(requests.check()) as counts:
        while (count := await in_thread(partial(_last, counts, clock, clock() + _CHECK_SECONDS))) is not None:
            show(count)


def _last(counts: Iterator[int], clock: Callable[[], float], deadline: float) -> int | None:
    """The count at the deadline; None where the end came first."""
    return next((count for count in counts if clock() >= deadline), None)


@contextmanager
def counting(path: Path) -> Iterator[Callable[[int], None]]:
    """Shows on standard error how far a check is: a count in a terminal, gone at the end; else one line."""
    is_terminal = sys.stderr.isatty()
    is_told = False

    def show(count: int) -> None:
        nonlocal is_told
        if is_terminal:
            print(f"\r· {count:,} requests checked ", end="", flush=True, file=sys.stderr)
        elif not is_told:
            print(f"· checking every line of {path} before the first is sent", flush=True, file=sys.stderr)
        is_told = True

    try:
        yield show
    finally:
        if is_terminal and is_told:
            print("\r\x1b[K", end="", flush=True, file=sys.stderr)


class Output:
    """The file of answers, with its checkpoint and its job beside it.

    Args:
        path: The file.
        force: Replace it whoever wrote it.
    """

    def __init__(self, path: Path, *, force: bool) -> None:
        self.path = path
        self.checkpoint_path = Path(f"{path}.checkpoint")
        self.job_path = Path(f"{path}.batch")
        self._force = force
        self._may_replace = force

    def claim(self) -> None:
        """Pass over an output that may be written: one that is missing, is empty, or is an earlier run's.

        Raises:
            InvalidRequestError: It is somebody else's, or no file.
        """
        if not self.path.exists():
            return
        if not self.path.is_file():
            raise InvalidRequestError(f"{self.path} is no ordinary file: name another.")
        if not (self._force or self._is_ours()):
            raise InvalidRequestError(
                f"{self.path} is there already, and not as an earlier run with its checkpoint beside it wrote it: name "
                "another file, or pass --force to replace it."
            )
        self._may_replace = True

    def write(self, checkpoint: Checkpoint, requests: RequestFile) -> Summary:
        """The output is there anew, whole. Where it is a link, what it leads to is replaced. Blocks.

        Raises:
            InvalidRequestError: Somebody put a file there meanwhile.
            CheckpointError: It can't be written; the checkpoint has the answers.
        """
        try:
            with new_file(self.path, overwrite=self._may_replace) as file:
                return write_answers(file, checkpoint, requests)
        except InvalidRequestError:
            raise
        except HubError as exc:
            raise CheckpointError(f"{exc} {checkpoint.path} has the answers.") from exc

    def _is_ours(self) -> bool:
        with self.path.open("rb") as file:
            beginning = file.read(len(LINE_BEGINNING))
        has_run = any(path.is_file() and path.stat().st_size for path in (self.checkpoint_path, self.job_path))
        return not beginning or (has_run and beginning == LINE_BEGINNING)
