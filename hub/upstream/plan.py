"""How to go about an answer: how long to wait, when to try again, and where."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from hub.config import EndpointSettings
from hub.errors import InvalidRequestError
from hub.upstream.clocks import Timeouts
from hub.upstream.request import check_seconds, check_type
from hub.upstream.retry import RetryPolicy

__all__ = ("Plan",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How to go about an answer.

    Attributes:
        timeouts: The four clocks.
        retry: When to try again. Its `attempts` bound all tries together, at whatever endpoint; each has one at least.
        restart: Go on with another try also after content has gone out, which makes that content void.
        hedge_delay: Seconds without content after which a second try begins beside the first; None for none.
    """

    timeouts: Timeouts
    retry: RetryPolicy
    restart: bool = False
    hedge_delay: float | None = None

    @classmethod
    def of(cls, settings: EndpointSettings) -> Plan:
        """The plan that the environment says."""
        return cls(
            timeouts=Timeouts(
                connect_timeout=settings.connect_timeout,
                first_token_timeout=settings.first_token_timeout,
                stall_timeout=settings.stall_timeout,
                total_timeout=settings.total_timeout,
            ),
            retry=RetryPolicy(attempts=settings.attempts),
            restart=settings.restart,
            hedge_delay=settings.hedge_delay,
        )

    def changed(
        self,
        *,
        timeouts: Timeouts | None = None,
        retry: RetryPolicy | None = None,
        restart: bool | None = None,
        hedge_delay: float | None = None,
    ) -> Plan:
        """The plan with these in the place of its own; None leaves each as it is.

        Raises:
            InvalidRequestError: One makes no sense.
        """
        check_type("timeouts", timeouts, Timeouts)
        check_type("retry", retry, RetryPolicy)
        check_type("restart", restart, bool)
        return Plan(
            timeouts=self.timeouts if timeouts is None else timeouts,
            retry=self.retry if retry is None else retry,
            restart=self.restart if restart is None else restart,
            hedge_delay=self.hedge_delay if hedge_delay is None else check_seconds("hedge_delay", hedge_delay),
        )

    def limited(self, *, attempts: int | None, backoff: float | None, total_timeout: float | None) -> Plan:
        """The plan with other limits; None leaves each as it is.

        Raises:
            InvalidRequestError: One makes no sense.
        """
        try:
            retry = replace(self.retry, **_given(attempts=attempts, backoff=backoff))
            timeouts = replace(self.timeouts, **_given(total_timeout=total_timeout))
        except (TypeError, ValueError) as exc:
            raise InvalidRequestError(f"{exc}.") from None
        return replace(self, retry=retry, timeouts=timeouts)


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
