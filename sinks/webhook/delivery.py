"""One batch to its URL: signed, sent, and sent again while that makes sense."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable
from contextlib import suppress
from email.utils import parsedate_to_datetime
from io import BytesIO

import aiohttp
from yarl import URL

from hub.errors import SinkError, SinkRejectedError, SinkUnavailableError
from sinks.webhook.payload import Batch
from sinks.webhook.signature import Signer

__all__ = ("Delivery", "backoff", "parse_retry_after")

log = logging.getLogger(__name__)

_MAX_ANSWER_BYTES = 65_536
_ANSWER_TIMEOUT = 1.0
_RETRIED_BELOW_500 = (408, 425, 429)
_AGENT = "llm-stream-hub"

_MAX_WRITTEN_AT_ONCE = 65_536
"""Of a larger body, aiohttp writes a piece at a time."""


class Delivery:
    """Brings batches to one URL, one at a time.

    Attributes:
        name: What is named in messages.
        trouble: What the last attempt failed with; None where it went well, or there was none.

    Args:
        url: Where to.
        signer: Signs each attempt.
        request_timeout: Seconds that one attempt may take.
        give_up_after: Seconds after which a batch is not sent again.
        min_delay: Seconds before the second attempt, half of it at least; each further one doubles them.
        max_delay: Seconds between two attempts, at most, unless the receiver asks for more.
        now: The time in Unix seconds.
        jitter: Numbers from 0 to 1.
    """

    def __init__(
        self,
        url: URL,
        signer: Signer,
        *,
        request_timeout: float,
        give_up_after: float,
        min_delay: float = 0.5,
        max_delay: float = 30.0,
        now: Callable[[], float] = time.time,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.name = f"The webhook of {url.host}"  # the path of a URL is often its password
        self.trouble: str | None = None
        self._url = url
        self._signer = signer
        self._request_timeout = request_timeout
        self._give_up_after = give_up_after
        self._min_delay = min_delay
        self._max_delay = max_delay
        self._now = now
        self._jitter = jitter

    async def deliver(self, session: aiohttp.ClientSession, batch: Batch) -> None:
        """Return once the receiver has answered with a 2xx.

        Raises:
            SinkRejectedError: It refuses, and would again.
            SinkUnavailableError: It did not for as long as it is tried.
            SinkError: It can't be asked at all.
        """
        clock = asyncio.get_running_loop().time
        began = clock()
        attempt = 0
        while True:
            attempt += 1
            left = began + self._give_up_after - clock()
            try:
                await self._attempt(session, batch, min(self._request_timeout, left))
            except SinkUnavailableError as exc:
                self.trouble = f"it{str(exc).removeprefix(self.name).rstrip('.')}"
                delay = backoff(attempt, self._min_delay, self._max_delay, self._jitter())
                delay = max(delay, exc.retry_after or 0.0)
                if clock() - began + delay >= self._give_up_after:
                    raise self._given_up(exc, attempt, clock() - began) from exc
                log.info("%s It was attempt %d; the next is in %.1f s.", exc, attempt, delay)
                await asyncio.sleep(delay)
            else:
                self.trouble = None
                return

    async def _attempt(self, session: aiohttp.ClientSession, batch: Batch, timeout: float) -> None:
        headers = {"Content-Type": "application/json", "User-Agent": _AGENT}
        headers |= self._signer.headers(batch, self._now())
        body = BytesIO(batch.body) if len(batch.body) > _MAX_WRITTEN_AT_ONCE else batch.body
        try:
            async with asyncio.timeout(timeout):
                response = await session.post(self._url, data=body, headers=headers, allow_redirects=False)
            async with response:
                status, wanted = response.status, response.headers.get("Retry-After")
                await _read_off(response)
        except TimeoutError as exc:
            raise SinkUnavailableError(f"{self.name} did not answer within {timeout:g} s.") from exc
        except aiohttp.ClientResponseError:
            # Without its cause, which names the whole URL.
            raise SinkUnavailableError(f"{self.name} answered with something that is no HTTP.") from None
        except (aiohttp.ClientError, OSError) as exc:
            raise SinkUnavailableError(f"{self.name} can't be reached: {_reason(exc)}.") from exc
        except (ValueError, RuntimeError) as exc:  # a host that no look-up takes, a lent session that is closed
            raise SinkError(f"{self.name} can't be asked: {_said(exc, self._url)}.") from None
        if not 200 <= status < 300:
            raise self._refusal(status, parse_retry_after(wanted, self._now()))

    def _refusal(self, status: int, retry_after: float | None) -> SinkRejectedError | SinkUnavailableError:
        if status >= 500 or status in _RETRIED_BELOW_500:
            return SinkUnavailableError(f"{self.name} answered {status}.", status=status, retry_after=retry_after)
        if status == 410:
            return SinkRejectedError(
                f"{self.name} answered 410: it wants no more. Send there no longer.", status=status
            )
        if 300 <= status < 400:
            return SinkRejectedError(
                f"{self.name} answered {status}: redirects are not followed. Give the URL that it leads to.",
                status=status,
            )
        return SinkRejectedError(f"{self.name} answered {status}: it refuses the events.", status=status)

    def _given_up(self, last: SinkUnavailableError, attempts: int, seconds: float) -> SinkUnavailableError:
        asked = "" if last.retry_after is None else f", the last of which asked to wait {last.retry_after:g} s"
        return SinkUnavailableError(
            f"{last} It was tried {attempts} times in {seconds:.1f} s{asked}.",
            status=last.status,
            retry_after=last.retry_after,
        )


def backoff(attempt: int, min_delay: float, max_delay: float, jitter: float) -> float:
    """Seconds to wait after the attempt of that number, from 1: doubled each time, up to a half of it off."""
    return min(min_delay * 2.0 ** min(attempt - 1, 60), max_delay) * (1 - jitter / 2)


def parse_retry_after(value: str | None, now: float) -> float | None:
    """Seconds that a `Retry-After` header asks to wait: a number of them, or a date. None where it says neither."""
    if value is None:
        return None
    value = value.strip()
    if value.isascii() and value.isdecimal() and len(value) <= 9:
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - now)
    except (ValueError, OverflowError):
        return None


def _reason(exc: Exception) -> str:
    return (exc.strerror if isinstance(exc, OSError) else None) or type(exc).__name__


def _said(exc: Exception, url: URL) -> str:
    """What an exception says, unless it names the URL."""
    text = str(exc).rstrip(".")
    return type(exc).__name__ if not text or url.path in text else text


async def _read_off(response: aiohttp.ClientResponse) -> None:
    """Read what the connection needs to be used again, and no more; what it says doesn't matter."""
    size = 0
    with suppress(aiohttp.ClientError, TimeoutError):
        async with asyncio.timeout(_ANSWER_TIMEOUT):
            async for piece in response.content.iter_any():
                size += len(piece)
                if size > _MAX_ANSWER_BYTES:
                    break
