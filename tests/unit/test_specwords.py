from __future__ import annotations

from pathlib import Path

import pytest
from spec_cases import SMALL, only

from harness.specwords import at, describe, looks_secret, show, suggest


@pytest.mark.parametrize(
    ("key", "words"),
    [
        (("seed",), "a whole number from 0 on"),
        (("data", "split", "seeds"), "a whole number from 1 on"),
        (("filters", "consistency", "folds"), "a whole number from 2 to 10"),
        (("generate", "sampling", "temperature"), "a number from 0 to 5"),
        (("stop", "target"), "a number from 0 to 1 or null"),
        (("budget", "usd"), "a number above 0 or null"),
        (("runtime", "threads"), "a whole number from 1 on or 'auto'"),
        (("runtime", "store"), "a path"),
        (("filters", "judge", "enabled"), "true or false"),
        (("llm", "judge", "style"), "one of 'auto', 'chat', 'completion'"),
        (("task", "labels"), "a mapping with `name: value` lines (at least 1), each value text"),
        (("matrix", "label_weights", "any"), "a number above 0"),
        (("budget",), "a mapping with the keys 'calls', 'tokens', 'usd', 'minutes'"),
    ],
)
def test_describe_says_what_the_models_allow(key: tuple[str, ...], words: str):
    assert describe(at(key)) == words


def test_every_value_of_a_spec_can_be_described():
    pending = [at(())]
    count = 0
    while pending:
        for inner in pending.pop().get("properties", {}).values():
            assert describe(inner)
            count += 1
            if "$ref" in inner:
                pending.append(at_ref(inner["$ref"]))
    assert count > 80


def at_ref(ref: str) -> dict[str, object]:
    from harness.spec import Spec

    return Spec.model_json_schema()["$defs"][ref.rsplit("/", 1)[-1]]


@pytest.mark.parametrize(
    "text", ["sk-proj-4Tz", "hf_abcDEF", "AIzaSyA", "Bearer x", "0f3c" * 10, "ghp_0123456789", "xoxb-1"]
)
def test_keys_look_secret(text: str):
    assert looks_secret(text)
    assert text not in show(text)


@pytest.mark.parametrize(
    "text", ["OPENAI_API_KEY", "MY_COMPANY_PRODUCTION_OPENAI_API_KEY_2", "gpt-4o", "skip", "a/b.csv"]
)
def test_names_do_not_look_secret(text: str):
    assert not looks_secret(text)
    assert show(text) == repr(text)


@pytest.mark.parametrize(
    ("value", "raw", "shown"),
    [
        (True, "yes", "yes (in YAML: true)"),
        (False, "false", "false"),
        (None, "", "an empty value"),
        (None, "~", "an empty value (~)"),
        (2.0, "2.0", "2.0"),
        ([1], None, "a list"),
        ({"a": 1}, None, "a mapping"),
        ("x" * 200, None, repr("x" * 77 + "…")),
    ],
)
def test_show(value: object, raw: str | None, shown: str):
    assert show(value, raw) == shown


def test_suggest_ignores_case_and_says_nothing_where_nothing_is_near():
    assert suggest("Styel", ["model", "style"]) == "; did you mean 'style'?"
    assert suggest("zzz", ["model", "style"]) == ""


def test_a_mistake_in_a_section_that_may_be_null_stands_at_its_own_key(tmp_path: Path):
    """It was "a mapping is not a mapping with the keys … or null", which helps nobody."""
    wrong = only(tmp_path, f"{SMALL}causal: {{lora: {{rnk: 3}}}}\n")
    assert wrong.where == "causal.lora.rnk"
    assert wrong.message.startswith("unknown key 'rnk'; did you mean 'rank'?")
    assert only(tmp_path, f"{SMALL}causal: {{lora: {{rank: 0}}}}\n").where == "causal.lora.rank"
    assert "or null" in only(tmp_path, f"{SMALL}causal: {{lora: 3}}\n").message
