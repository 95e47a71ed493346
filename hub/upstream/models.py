"""Which models an endpoint says it has."""

from __future__ import annotations

import openai
from openai import AsyncOpenAI

from hub.upstream import failures
from hub.upstream.endpoint import safe_url

__all__ = ("list_models",)


async def list_models(sdk: AsyncOpenAI, *, timeout: float = 5.0) -> list[str]:
    """The names under the endpoint's `/models`, in its order.

    Args:
        sdk: The SDK's client for the endpoint.
        timeout: Seconds to wait.

    Raises:
        EndpointError: It can't be reached, or doesn't say.
    """
    try:
        page = await sdk.models.list(timeout=openai.Timeout(timeout))
        return [model.id for model in page.data or ()]
    except Exception as exc:
        raise failures.from_exception(exc, url=safe_url(str(sdk.base_url))) from exc
