"""What the client does with a call's arguments: the endpoints' requests, the stream, an object asked for again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from hub.cache.core import CacheCore
from hub.caching import Asking, Caching
from hub.errors import InvalidRequestError, OutputValidationError
from hub.events import new_stream_id
from hub.models.profile import ModelProfile, as_profile
from hub.object_stream import ObjectStream
from hub.observe import Observers
from hub.structured import ResponseModel
from hub.upstream.connections import Connections
from hub.upstream.forms.translate import to_chat
from hub.upstream.plan import Plan
from hub.upstream.request import (
    Api,
    Request,
    check_api,
    check_max_tokens,
    check_temperature,
    check_type,
    model_request,
)
from hub.upstream.stream import EventStream

__all__ = ("Asker", "Defaults", "listed")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Defaults:
    """What a call uses that doesn't say otherwise."""

    profile: ModelProfile
    api: Api | None
    max_tokens: int | None
    temperature: float | None
    plan: Plan


class Asker:
    """Asks the endpoints of one client.

    Args:
        connections: The endpoints.
        observers: Are told of each call.
        cache: Stands before them; None for none.
    """

    def __init__(self, connections: Connections, observers: Observers, cache: CacheCore | None) -> None:
        self._connections = connections
        self._observers = observers
        self._cache = cache

    def stream(
        self,
        defaults: Defaults,
        *,
        response_model: Any,
        model: Any,
        api: Any,
        max_tokens: Any,
        temperature: Any,
        stream_id: str | None,
        plan: Mapping[str, Any],
        caching: Caching,
        params: Mapping[str, Any],
    ) -> EventStream:
        """The stream of an answer that nothing has been sent for yet; arguments as for the client's `stream`.

        Raises:
            InvalidRequestError: An argument is missing or wrong.
        """
        check_type("stream_id", stream_id, str)
        check_max_tokens(max_tokens)
        check_temperature(temperature)
        # Read once: a fallback gets the same.
        given = {name: listed(value) for name, value in params.items()}
        given["messages"] = _with_listed_contents(given.get("messages"))
        shape = None if response_model is None else ResponseModel.of(response_model)
        if shape is not None:
            if params.keys() & {"response_format", "text"}:
                raise InvalidRequestError("response_model and response_format exclude each other: pass one.")
            given["response_format"] = shape.response_format()
        profile = defaults.profile if model is None else as_profile(model)
        profile.warn_if_deprecated()

        def request(asked: ModelProfile, api: Api | None) -> Request:
            warmth = defaults.temperature if temperature is None else temperature
            # A model that takes none gets none; but who asks it for one gets its answer to that.
            is_meant = asked.takes_temperature or (asked is profile and temperature is not None)
            return model_request(
                profile=asked,
                api=api,
                max_tokens=defaults.max_tokens if max_tokens is None else max_tokens,
                temperature=warmth if is_meant else None,
                params=given,
            )

        stream_id = stream_id or new_stream_id()
        targets = self._connections.targets(profile, check_api(api) or defaults.api, request)
        asking = Asking(
            targets=targets,
            plan=defaults.plan.changed(**plan),
            stream_id=stream_id,
            name=caching.name(targets[0]),
            observers=self._observers,
            shape=shape,
            # The default is about the endpoint's failures; who says it at the call can't take back what has gone out.
            can_restart=plan.get("restart") is not False,
        )
        source = caching.source(self._cache, asking)
        return EventStream(source, stream_id) if shape is None else ObjectStream(source, stream_id, shape)

    async def validated(self, stream: Any, response_model: type[T], max_reasks: int, params: dict[str, Any]) -> T:
        """The object of an answer; one that isn't valid is told what is wrong with it and asked for again.

        What is asked again under the caller's own name is asked anew, whatever the cache has under it.

        Args:
            stream: The client's `stream`.
            response_model: What the answer is to be.
            max_reasks: How often it is asked for again, at most.
            params: The call.

        Raises:
            EndpointError: The endpoint gave no whole answer.
            StructuredOutputError: The answer is no such object.
        """
        check_type("max_reasks", max_reasks, int)
        shape: ResponseModel[T] = ResponseModel.of(response_model)
        params |= {name: listed(params[name]) for name in ("messages", "input") if name in params}
        while True:
            result = (await stream(response_model=response_model, **params).result()).raise_for_status()
            try:
                return shape.parse(result)
            except OutputValidationError as exc:
                if max_reasks < 1:
                    raise
                max_reasks -= 1
                params = _with_messages(params, shape.ask_again(result, exc))


def listed(value: Any) -> Any:
    """What can be read only once, as a list; anything else as it is."""
    return list(value) if isinstance(value, Iterator) else value


def _with_listed_contents(messages: Any) -> Any:
    """The same messages; contents that can be read only once, as lists."""
    if not isinstance(messages, list | tuple):
        return messages
    return [
        {**each, "content": list(each["content"])}
        if isinstance(each, Mapping) and isinstance(each.get("content"), Iterator)
        else each
        for each in messages
    ]


def _with_messages(params: dict[str, Any], more: Iterable[Any]) -> dict[str, Any]:
    """The call with these messages at its end, whichever form it was in."""
    if params.get("messages") is None:
        translated = to_chat({"input": params.get("input"), "instructions": params.get("instructions")})
        params = {name: value for name, value in params.items() if name not in ("input", "instructions")}
        params["messages"] = translated["messages"]
    # The try's own id would name two different requests; the answer asked for last bears a fresh one.
    params = {name: value for name, value in params.items() if name != "stream_id"}
    if params.get("identifier") is not None:
        # Under the same name the cache would tell the answer that was wrong.
        params["regen_cache"] = True
    return {**params, "messages": [*params["messages"], *more]}
