"""What is known of a model: its name at the endpoint, its limits and prices, and where it departs from the rule.

    class MyModel(ModelProfile):
        model_name = "org/mine-7b"
        context_window = 32_768

A profile is such a class or an instance: `MyModel`, `MyModel()` and `ModelProfile(model_name="org/mine-7b")` all serve.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import Field, dataclass, replace
from datetime import date, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, Literal, dataclass_transform, get_args

from msgspec import structs

from hub.errors import InvalidRequestError
from hub.models.definition import complete_profile_class, fill_in, is_complete, on_class_too, profile_dataclass
from hub.models.pricing import UsageCosts, cost_usd
from hub.models.tokens import TokenCount, count_tokens
from hub.models.usage import billing_details, parse_usage, reported_service_tier
from hub.result import TokenUsage

__all__ = ("ModelDeprecationWarning", "ModelProfile", "RateLimits", "as_profile")

Category = Literal["completions", "embeddings"]
Api = Literal["chat", "responses"]

_SNAPSHOT = re.compile(r"(?P<model>.+)-20\d\d(?P<dash>-?)(?:0[1-9]|1[0-2])(?P=dash)(?:0[1-9]|[12]\d|3[01])")
"""`gpt-5.1-2025-11-13`, and as some gateways write it, `gpt-5.1-20251113`."""


class ModelDeprecationWarning(FutureWarning):
    """A model is used on or after the day from which its provider may no longer answer for it.

    A `FutureWarning`, since Python hides deprecation warnings from those who run a program.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimits:
    """How much an endpoint lets one account do; values to start with, which its answers correct.

    Attributes:
        tkn_per_min: Tokens a minute, of input and output; None where unknown.
        req_per_min: Requests a minute; None where unknown.
    """

    tkn_per_min: int | None = None
    req_per_min: int | None = None


@dataclass_transform(kw_only_default=True)
@profile_dataclass
class ModelProfile:
    """Facts about one model.

    Attributes:
        model_name: The name the endpoint knows it by.
        key: A name for the profile that stays when the model's name changes; by default the model's name.
        category: What the model is for.
        context_window: Tokens of input and output together; None where unknown.
        max_output: Tokens of an answer, at most; None where unknown.
        max_input: Tokens of the input, at most, where that is less than the window; None where it isn't, or unknown.
        output_dimensions: The length of an embedding; None where unknown, and for models that make none.
        rate_limits: What to start with; None where unknown.
        usage_costs: Prices per token; None to look them up by the model's name.
        deprecated_at: The day from which the provider may no longer answer for it; None where no day is set.
        api: The API to ask for it by.
        encoding: How its input is split into tokens ("o200k_base", "cl100k_base"); None where unknown, and then
            counts are estimates.
        allows_missing_finish_reason: A stream that just ends is whole, as with some releases of Ollama; without
            it such a stream is reported as `truncated`.
        echoes_reasoning: The endpoint wants the reasoning of a message that calls tools sent back with it (DeepSeek).
        takes_max_completion_tokens: Chat Completions knows the limit of an answer only as `max_completion_tokens`.
        takes_temperature: A request may have a temperature of its own.

    Raises:
        InvalidRequestError: `model_name` is missing, or `category` or `api` is none of the known ones.
    """

    if TYPE_CHECKING:  # so that `dataclasses.replace` takes it
        __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    model_name: str = ""  # a default only for type checkers, which don't see that a subclass gives one
    key: str = ""
    category: Category = "completions"
    context_window: int | None = None
    max_output: int | None = None
    max_input: int | None = None
    output_dimensions: int | None = None
    rate_limits: RateLimits | None = None
    usage_costs: UsageCosts | None = None
    deprecated_at: date | None = None
    api: Api = "chat"
    encoding: str | None = None
    allows_missing_finish_reason: bool = False
    echoes_reasoning: bool = False
    takes_max_completion_tokens: bool = False
    takes_temperature: bool = True

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        complete_profile_class(cls)

    if not TYPE_CHECKING:  # they go by the fields

        def __init__(self, **facts: Any) -> None:
            fill_in(self, facts)
            self._check()

    def _check(self) -> None:
        if not _is_name(self.model_name):
            raise InvalidRequestError(f"{type(self).__name__} needs a model_name: the name the endpoint knows it by.")
        for name, value, known in (("category", self.category, Category), ("api", self.api, Api)):
            if value not in get_args(known):
                raise InvalidRequestError(f"{name} must be one of {', '.join(get_args(known))}, not {value!r}.")
        if not self.key:
            vars(self)["key"] = self.model_name

    @classmethod
    def get(cls, name: str) -> ModelProfile:
        """The profile of that key, else of that model; of a model nobody knows, a profile that has only its name.

        Names are case-sensitive. A dated snapshot ("gpt-5.1-2025-11-13") and the name with its provider before it
        ("openai/gpt-5.1") get the model's facts under the name given. Where several classes have the same key or
        name, the catalog's goes before your own, and the one defined first before later ones.

        Raises:
            InvalidRequestError: `name` is no text, or empty.
        """
        if not _is_name(name):
            raise InvalidRequestError(f"A model's name must be a text that is not empty, not {_kind(name)}.")
        return _known(name) or _known_snapshot(name) or _known_at_provider(name) or ModelProfile(model_name=name)

    @on_class_too
    def count_tokens(self, context: Any, tools: Iterable[Any] | None = None) -> TokenCount:
        """How many tokens a text, a list of texts, a message or a list of messages has, with the tools offered.

        A text is counted exactly where the profile's `encoding` is known and its vocabulary at hand; then the
        result's `estimated` is false. Messages and tools are an estimate, since what surrounds their texts isn't
        published. Images, sound and files are not counted. The first exact count loads the vocabulary, 70 ms.

        Raises:
            InvalidRequestError: `context` is nothing of that.
        """
        return count_tokens(context, tools, encoding=self.encoding)

    @on_class_too
    def parse_usage(
        self,
        usage: Any,
        *,
        base_url: str | None = None,
        service_tier: str | None = None,
        at: datetime | None = None,
    ) -> TokenUsage | None:
        """The counts and the cost of a `usage` object as the endpoint sent it; None where it has no counts.

        Tokens written to the endpoint's cache, and those of sound, are billed at their own prices. The arguments
        are those of `price`; without `service_tier` it is the one the object names.
        """
        counts = parse_usage(usage)
        if counts is None:
            return None
        tier = reported_service_tier(usage) if service_tier is None else service_tier
        return self._priced(counts, base_url=base_url, service_tier=tier, at=at, details=billing_details(usage))

    @on_class_too
    def price(
        self,
        usage: TokenUsage,
        *,
        base_url: str | None = None,
        service_tier: str | None = None,
        at: datetime | None = None,
    ) -> TokenUsage:
        """The same usage with its `cost_usd`: what the endpoint reported, else by prices, else None.

        Prices are the profile's own `usage_costs`, else the list prices of who sells at `base_url`.

        Args:
            usage: The counts.
            base_url: Where the endpoint is. At an address of nobody who publishes prices, as that of a server of your
                own, only prices of your own hold. None where it isn't known; then the model's name decides.
            service_tier: The tier the endpoint says it used; at one whose prices are unknown the cost is.
            at: When the call was made; None for now. Without a time zone it is UTC.
        """
        return self._priced(usage, base_url=base_url, service_tier=service_tier, at=at, details={})

    @on_class_too
    def warn_if_deprecated(self, today: date | None = None) -> None:
        """Warn by a `ModelDeprecationWarning`, once a process and model, from the day `deprecated_at` on.

        Args:
            today: The day; None for today's.
        """
        if self.deprecated_at is not None and (today or date.today()) >= self.deprecated_at:
            _warn_once(self.model_name, self.deprecated_at)

    def _priced(
        self,
        usage: TokenUsage,
        *,
        base_url: str | None,
        service_tier: str | None,
        at: datetime | None,
        details: Mapping[str, int],
    ) -> TokenUsage:
        if usage.cost_usd is not None:
            return usage
        cost = cost_usd(
            usage,
            model_name=self.model_name,
            usage_costs=self.usage_costs,
            base_url=base_url,
            service_tier=service_tier,
            details=details,
            at=at,
        )
        return structs.replace(usage, cost_usd=cost)


def as_profile(model: Any) -> ModelProfile:
    """What is known of a model that is given by its name, as a profile, or as a profile's class.

    Raises:
        InvalidRequestError: It is none of these.
    """
    if isinstance(model, ModelProfile):
        return model
    if isinstance(model, type) and issubclass(model, ModelProfile):
        return model()
    if _is_name(model):
        return ModelProfile.get(model)
    raise InvalidRequestError(f"model must be a name or a ModelProfile, not {_kind(model)}.")


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _kind(value: Any) -> str:
    """What a wrong value is; itself only where it is empty or a number: a text may be anything."""
    return repr(value) if not value or isinstance(value, int | float) else type(value).__name__


def _classes(base: type[ModelProfile] = ModelProfile) -> Iterator[type[ModelProfile]]:
    """Every class that names a model, those defined first first."""
    for cls in base.__subclasses__():
        if cls.model_name:
            yield cls
        yield from _classes(cls)


def _known(name: str) -> ModelProfile | None:
    found = None
    for cls in _classes():
        if not is_complete(cls):  # it has facts of its own that only its user knows
            continue
        if cls.key == name:
            return cls()
        if found is None and cls.model_name == name:
            found = cls
    return None if found is None else found()


def _known_snapshot(name: str) -> ModelProfile | None:
    snapshot = _SNAPSHOT.fullmatch(name)
    profile = _known(snapshot["model"]) if snapshot else None
    return None if profile is None else replace(profile, model_name=name)


def _known_at_provider(name: str) -> ModelProfile | None:
    provider, _, model = name.partition("/")
    profile = (_known(model) or _known_snapshot(model)) if model else None
    # The prices say whose model it is; "other/gpt-5" may be anything.
    if profile is None or profile.usage_costs is None or profile.usage_costs.provider != provider:
        return None
    return replace(profile, model_name=name)


@lru_cache(maxsize=1024)
def _warn_once(model_name: str, deprecated_at: date) -> None:
    message = f"{model_name} is deprecated since {deprecated_at}: its endpoint may refuse it. Choose another model."
    warnings.warn(message, ModelDeprecationWarning, stacklevel=3)
