"""Profiles: as classes, as instances, and by their names."""

from __future__ import annotations

import copy
import dataclasses
import json
import pickle
import subprocess
import sys
import warnings
from datetime import date
from typing import Any

import pytest

from hub.errors import InvalidRequestError
from hub.models.catalog import GPT5, GPT5Mini, GPT5Point1, TextEmbedding3Small
from hub.models.pricing import UsageCosts
from hub.models.profile import ModelDeprecationWarning, ModelProfile, RateLimits, as_profile
from hub.result import TokenUsage

OWN_COSTS = UsageCosts(input=1e-6, output=2e-6)


class Mine(ModelProfile):
    """A profile as users write them."""

    key = "mine"
    model_name = "org/mine-7b"
    context_window = 32_768
    usage_costs = OWN_COSTS


class Keyless(ModelProfile):
    """A profile without a key of its own."""

    model_name = "org/keyless"


class Longer(Mine):
    """A profile made from another one, with a field of its own and a method."""

    model_name = "org/mine-7b-long"
    context_window = 131_072
    region: str = "eu"

    def describe(self) -> str:
        return f"{self.model_name} in {self.region}"


def test_a_class_body_gives_its_instances_their_facts() -> None:
    assert (Mine().key, Mine().model_name, Mine().context_window) == ("mine", "org/mine-7b", 32_768)
    assert (Mine.key, Mine.context_window, Mine.max_output) == ("mine", 32_768, None)
    assert Mine(context_window=4_096).context_window == 4_096


def test_without_a_key_the_model_s_name_is_the_key() -> None:
    assert (Keyless.key, Keyless().key) == ("org/keyless", "org/keyless")
    assert ModelProfile(model_name="llama3.2", allows_missing_finish_reason=True).key == "llama3.2"
    assert (Longer.key, Longer().key) == ("org/mine-7b-long", "org/mine-7b-long")


def test_a_subclass_inherits_facts_and_may_add_fields_and_methods() -> None:
    longer = Longer(region="us")
    assert (longer.usage_costs, longer.context_window) == (OWN_COSTS, 131_072)
    assert longer.describe() == "org/mine-7b-long in us"


def test_fields_of_one_s_own_may_have_no_default_or_a_made_one() -> None:
    class Tagged(Mine):
        team: str
        tags: list[str] = dataclasses.field(default_factory=list)

    class Later(Tagged):
        max_output = 7

    with pytest.raises(TypeError, match="Later needs team"):
        Later()
    later = Later(team="a")
    assert (later.team, later.tags, later.max_output, later.context_window) == ("a", [], 7, 32_768)
    assert later.tags is not Later(team="a").tags
    assert later == Later(team="a") != Later(team="b")


def test_a_profile_can_be_copied_and_sent() -> None:
    for profile in (GPT5(), ModelProfile(model_name="llama3.2", max_output=9), Longer(region="us")):
        assert pickle.loads(pickle.dumps(profile)) == profile == copy.deepcopy(profile)
        assert dataclasses.replace(profile) == profile


def test_a_misspelt_fact_is_an_error_that_lists_the_facts() -> None:
    with pytest.raises(TypeError, match=r"^Wrong.contextwindow: .* context_window,"):
        type("Wrong", (ModelProfile,), {"model_name": "wrong", "contextwindow": 3})
    with pytest.raises(TypeError, match=r"^ModelProfile.contextwindow: .* context_window,"):
        ModelProfile(model_name="wrong", contextwindow=3)  # type: ignore[call-arg]


def test_a_profile_can_be_defined_where_there_is_no_module() -> None:
    scope: dict[str, Any] = {"ModelProfile": ModelProfile, "__name__": "nowhere"}
    exec("class Typed(ModelProfile):\n    model_name = 'typed'\n    max_output = 10", scope)
    assert scope["Typed"]().max_output == 10


@pytest.mark.parametrize("facts", [{}, {"model_name": ""}, {"model_name": 3}], ids=str)
def test_a_profile_needs_a_name(facts: Any) -> None:
    with pytest.raises(InvalidRequestError, match="ModelProfile needs a model_name"):
        ModelProfile(**facts)


@pytest.mark.parametrize("facts", [{"api": "response"}, {"category": "chat"}], ids=str)
def test_a_word_that_is_none_of_the_known_ones_is_refused(facts: Any) -> None:
    with pytest.raises(InvalidRequestError, match="must be one of"):
        ModelProfile(model_name="wrong", **facts)


def test_a_profile_can_t_be_changed_but_replaced() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Mine().key = "other"
    replaced = dataclasses.replace(GPT5(), model_name="prod")
    assert (replaced.key, replaced.model_name, replaced.encoding) == ("gpt-5", "prod", "o200k_base")


def test_profiles_with_the_same_facts_are_equal_and_hashable() -> None:
    assert {GPT5(), GPT5(), GPT5Mini()} == {GPT5(), GPT5Mini()}


def test_methods_work_on_the_class_as_on_an_instance() -> None:
    usage = {"prompt_tokens": 10, "completion_tokens": 4}
    assert Mine.count_tokens("x" * 40) == Mine().count_tokens("x" * 40) == 10
    assert Mine.parse_usage(usage) == Mine().parse_usage(usage)
    assert Mine.price(TokenUsage(input_tokens=10)).cost_usd == pytest.approx(1e-5)
    assert "texts" in (Mine.count_tokens.__doc__ or "")
    with pytest.raises(InvalidRequestError, match="needs a model_name"):
        ModelProfile.count_tokens("hi")


@pytest.mark.parametrize(
    ("name", "facts_of", "key"),
    [
        ("mine", Mine, "mine"),
        ("gpt-5", GPT5, "gpt-5"),
        ("gpt-5.1-2025-11-13", GPT5Point1, "gpt-5.1"),
        ("openai/gpt-5-mini", GPT5Mini, "gpt-5-mini"),
        ("openai/gpt-5.1-20251113", GPT5Point1, "gpt-5.1"),
        ("org/mine-7b-2026-01-31", Mine, "mine"),
    ],
)
def test_a_known_name_gets_the_model_s_facts(name: str, facts_of: type[ModelProfile], key: str) -> None:
    profile = ModelProfile.get(name)
    assert type(profile) is facts_of
    assert (profile.key, profile.context_window) == (key, facts_of.context_window)
    assert profile.model_name == ("org/mine-7b" if name == "mine" else name)


@pytest.mark.parametrize(
    "name", ["GPT-5", "gpt-5-chat-latest", "other/gpt-5", "openai/mine", "gpt-5-2025-13-45", "gpt-5-", "/", "openai/"]
)
def test_an_unknown_name_gets_a_profile_that_has_only_the_name(name: str) -> None:
    assert ModelProfile.get(name) == ModelProfile(model_name=name)


@pytest.mark.parametrize("name", ["", None, 7], ids=repr)
def test_what_is_no_name_is_refused(name: Any) -> None:
    with pytest.raises(InvalidRequestError, match="must be a text"):
        ModelProfile.get(name)


def test_a_key_goes_before_a_model_s_name_and_the_catalog_before_one_s_own() -> None:
    class Rival(ModelProfile):
        key = "org/keyless"
        model_name = "gpt-5"

    assert type(ModelProfile.get("gpt-5")) is GPT5
    assert type(ModelProfile.get("org/keyless")) is Keyless  # both have that key: the first one defined
    assert as_profile(Rival).model_name == "gpt-5"


def test_the_catalog_is_known_whatever_was_imported() -> None:
    script = (
        "import json, sys; from hub.models.profile import ModelProfile\n"
        "heavy = [name for name in ('genai_prices', 'rs_bpe', 'pydantic', 'openai', 'httpx2') if name in sys.modules]\n"
        "print(json.dumps([ModelProfile.get('gpt-5').context_window, heavy]))"
    )
    run = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True, timeout=60)
    assert json.loads(run.stdout) == [400_000, []], "the price data and the vocabularies load on first use"


def test_a_name_a_class_and_an_instance_all_serve_as_a_profile() -> None:
    instance = ModelProfile(model_name="llama3.2")
    assert as_profile(instance) is instance
    assert as_profile(Mine) == Mine() == as_profile("mine")


@pytest.mark.parametrize(("odd", "said"), [("", "''"), (None, "None"), (3, "3"), ([1], "list"), (dict, "type")])
def test_anything_else_is_no_profile(odd: Any, said: str) -> None:
    with pytest.raises(InvalidRequestError, match=f"model must be a name or a ModelProfile, not {said}."):
        as_profile(odd)


def test_a_model_past_its_day_warns_once() -> None:
    profile = ModelProfile(model_name="old-1", deprecated_at=date(2026, 3, 1))
    profile.warn_if_deprecated(date(2026, 2, 28))
    with pytest.warns(ModelDeprecationWarning, match="old-1 is deprecated since 2026-03-01") as caught:
        profile.warn_if_deprecated(date(2026, 3, 1))
    assert [warning.filename for warning in caught] == [__file__]
    profile.warn_if_deprecated(date(2026, 3, 2))  # a second warning would be an error here


def test_a_class_past_its_day_warns_where_it_is_used() -> None:
    class Old(ModelProfile):
        model_name = "old-2"
        deprecated_at = date(2020, 1, 1)

    with pytest.warns(ModelDeprecationWarning) as caught:
        Old.warn_if_deprecated()
    assert len(caught) == 1


def test_a_model_without_a_day_never_warns() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        TextEmbedding3Small.warn_if_deprecated(date(2999, 1, 1))


def test_rate_limits_are_unknown_unless_given() -> None:
    assert (RateLimits().tkn_per_min, RateLimits().req_per_min, Mine.rate_limits) == (None, None, None)
