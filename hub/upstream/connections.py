"""The endpoints of one client: the one it is for, and those it falls back to."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import httpx2
from openai import AsyncOpenAI

from hub.config import Settings
from hub.errors import ConfigurationError, InvalidRequestError
from hub.models.profile import ModelProfile, as_profile
from hub.upstream.address import Address, find_address
from hub.upstream.endpoint import Endpoint
from hub.upstream.quota import Quota
from hub.upstream.quotas import Quotas
from hub.upstream.request import Api, Request, check_api
from hub.upstream.route import CoolDown, Target
from hub.upstream.transport import AiohttpTransport, check_redirect

__all__ = ("AskFor", "Connections", "Fallback")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fallback:
    """Where to go when an endpoint fails: another endpoint, another model, or both.

    Attributes:
        model: The model there; None means the one that was asked for.
        api: The API to ask it by; None means what is known of the model, at the client's own endpoint the client's.
        base_url: The endpoint; None means the client's own.
        api_key: Its key, as for a client.
        default_headers: Sent with each request to it.
    """

    model: str | ModelProfile | type[ModelProfile] | None = None
    api: Api | None = None
    base_url: str | None = field(default=None, repr=False)  # may hold a password
    api_key: str | None = field(default=None, repr=False)
    default_headers: Mapping[str, str] | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class _Connection:
    endpoint: Endpoint
    profile: ModelProfile | None
    api: Api | None
    cool_down: CoolDown


AskFor: TypeAlias = Callable[[ModelProfile, Api | None], Request]
"""Gives a call's request as a model and an API take it; raises `InvalidRequestError` where it has no such form."""


class Connections:
    """Several endpoints over one HTTP client.

    Args:
        settings: Where keys are looked up that aren't given.
        base_url: The first endpoint, and its key.
        api_key: The key of the first endpoint.
        default_headers: Sent with each request to the first endpoint.
        fallbacks: The others, in order.
        cool_down: Seconds for which one that failed is asked last.
        http_client: To send with, which stays its owner's to close.
        quotas: What calls keep to; closed together with the connections.

    Attributes:
        sdk: The SDK's client of the first endpoint.
        endpoint: The first endpoint.

    Raises:
        MissingKeyError: An endpoint needs a key and none is known.
        ConfigurationError: Another setting makes no sense.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        base_url: str | None,
        api_key: str | None,
        default_headers: Mapping[str, str] | None,
        fallbacks: Iterable[str | ModelProfile | type[ModelProfile] | Fallback],
        cool_down: float,
        http_client: httpx2.AsyncClient | None,
        quotas: Quotas,
    ) -> None:
        self._owns_http_client = http_client is None
        self._http_client = http_client or _http_client()
        self._quotas = quotas
        address = find_address(settings, base_url, api_key)
        self.sdk = self._sdk(address, default_headers)
        self.endpoint = _endpoint(self.sdk, address, default_headers)
        self._connections = [_Connection(self.endpoint, None, None, CoolDown(cool_down))]
        for number, fallback in enumerate(_checked(fallbacks)):
            profile = None if fallback.model is None else as_profile(fallback.model)
            endpoint = self.endpoint
            if fallback.base_url is not None or fallback.api_key is not None or fallback.default_headers is not None:
                if fallback.base_url is None:
                    own_key = api_key if fallback.api_key is None else fallback.api_key
                    address = find_address(settings, base_url, own_key)
                else:
                    address = find_address(settings, fallback.base_url, fallback.api_key, takes_any_key=False)
                endpoint = _endpoint(self._sdk(address, fallback.default_headers), address, fallback.default_headers)
            elif profile is None:
                raise ConfigurationError(f"fallbacks[{number}] names neither a model nor an endpoint.")
            self._connections.append(_Connection(endpoint, profile, check_api(fallback.api), CoolDown(cool_down)))

    def targets(self, profile: ModelProfile, api: Api | None, request: AskFor) -> Sequence[Target]:
        """Where a call goes, in order. A fallback whose API has no form for the request is left out.

        Args:
            profile: The model asked for.
            api: The API asked by; None for the model's own.
            request: Gives the request as a model and an API take it.

        Raises:
            InvalidRequestError: The first endpoint's API has no form for it.
        """
        first = request(profile, api)
        targets = [Target(self.endpoint, first, self._connections[0].cool_down, quota=self.quota(profile))]
        for number, each in enumerate(self._connections[1:], 2):
            is_elsewhere = each.endpoint is not self.endpoint
            own_api = each.api or (None if is_elsewhere and each.profile is not None else api)
            try:
                asked = first if each.profile is None and own_api == api else request(each.profile or profile, own_api)
            except InvalidRequestError as exc:
                log.info("fallback %d is left out: %s", number - 1, exc)
                continue
            # What a call adds to its headers and its URL may be a key, and is meant for the first endpoint.
            own = asked.without("extra_headers", "extra_query") if is_elsewhere else asked
            quota = self.quota(own.profile, each.endpoint)
            targets.append(Target(each.endpoint, own, each.cool_down, number, quota))
        return targets

    def quota(self, profile: ModelProfile, endpoint: Endpoint | None = None) -> Quota | None:
        """What calls to that model keep to at an endpoint, by default the first one; None for nothing."""
        endpoint = endpoint or self.endpoint
        return self._quotas.of(endpoint, profile, is_first=endpoint is self.endpoint)

    async def aclose(self) -> None:
        """Close the connections to all endpoints."""
        try:
            await self._quotas.aclose()
        finally:
            if self._owns_http_client:
                await self._http_client.aclose()

    def _sdk(self, address: Address, default_headers: Mapping[str, str] | None) -> AsyncOpenAI:
        headers = {**address.headers, **(default_headers or {})}
        sdk = AsyncOpenAI(
            base_url=address.url,
            api_key=address.api_key,
            max_retries=0,
            http_client=self._http_client,
            default_headers=headers,
        )
        if not address.is_openais:
            # What the SDK reads from OPENAI_ORG_ID, OPENAI_PROJECT_ID and OPENAI_CUSTOM_HEADERS is not this endpoint's.
            sdk.organization = sdk.project = None
            sdk._custom_headers = headers
        return sdk


def _endpoint(sdk: AsyncOpenAI, address: Address, default_headers: Mapping[str, str] | None) -> Endpoint:
    headers = {**address.headers, **(default_headers or {})}
    # Of a header such as "Bearer …", what follows the word is the secret.
    return Endpoint(sdk, secrets=[*address.secrets, *(value.split(" ")[-1] for value in headers.values())])


def _http_client() -> httpx2.AsyncClient:
    hooks: dict[str, Any] = {"request": [check_redirect]}
    return httpx2.AsyncClient(transport=AiohttpTransport(), follow_redirects=True, event_hooks=hooks)


def _checked(fallbacks: Any) -> list[Fallback]:
    if isinstance(fallbacks, str | Fallback | ModelProfile | type) or not isinstance(fallbacks, Iterable):
        raise ConfigurationError("fallbacks must be a list, of models' names, profiles or Fallback(…).")
    return [each if isinstance(each, Fallback) else Fallback(model=each) for each in fallbacks]
