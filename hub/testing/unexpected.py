"""What a test is told when the code under test asks for something the test did not provide for."""

from __future__ import annotations

__all__ = ("NotRecordedError", "RealCallError", "UnexpectedCallError")


class UnexpectedCallError(BaseException):
    """The code under test made a call that the test has no answer for.

    Not an `Exception`: code that handles a failing endpoint (retries, a fallback, an `except Exception`) would
    handle this as well, and the test would pass or fail for another reason than it says.
    """


class NotRecordedError(UnexpectedCallError):
    """A request that the recording doesn't have."""


class RealCallError(UnexpectedCallError):
    """A call that would have left this machine.

    Attributes:
        attempts: What was tried, each as a few words: `connect to 192.0.2.1 port 443`.
    """

    def __init__(self, message: str, *, attempts: tuple[str, ...]) -> None:
        super().__init__(message)
        self.attempts = attempts
