from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from harness import spec as module
from harness.spec import Dimension, Llm, Section, Spec

SMALL: dict[str, Any] = {
    "name": "small",
    "task": {"labels": {"yay": "good news", "nay": "bad news"}},
    "data": {"source": {"kind": "packaged", "name": "trec"}},
}
MODELS = [value for value in vars(module).values() if isinstance(value, type) and issubclass(value, BaseModel)]
SECTIONS = [model for model in MODELS if model is not BaseModel]


@pytest.mark.parametrize("model", SECTIONS)
def test_every_section_is_frozen_and_refuses_unknown_keys(model: type[BaseModel]):
    assert issubclass(model, Section)
    assert model.model_config.get("frozen") is True
    with pytest.raises(ValidationError) as caught:
        model.model_validate({"no_such_key": 1})
    assert ("no_such_key",) in [error["loc"] for error in caught.value.errors() if error["type"] == "extra_forbidden"]


def test_defaults_would_be_accepted_if_written():
    spec = Spec.model_validate(SMALL)
    assert Spec.model_validate_json(spec.model_dump_json(), strict=True) == spec


def test_values_cannot_be_changed_afterwards():
    with pytest.raises(ValidationError, match="frozen"):
        Spec.model_validate(SMALL).seed = 3


def test_a_list_of_values_means_equal_weights():
    drawn = Dimension.model_validate({"name": "tone", "values": ["dry", "warm"]})
    assert drawn.values == {"dry": 1.0, "warm": 1.0}
    assert Dimension.model_validate({"name": "tone", "values": {"dry": 2}}).values == {"dry": 2.0}


def test_only_the_judge_is_asked_in_chat_style_by_default():
    assert (Llm().generator.chat, Llm().judge.chat, Llm().critic.chat) == (False, True, False)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", "a/b"),
        ("name", "x" * 65),
        ("seed", -1),
        ("task", {"labels": {"one": "only"}}),
        ("data", {"source": {"kind": "packaged", "name": "mine"}}),
        ("matrix", {"dimensions": [{"name": f"d{n}", "values": {"a": 1}} for n in range(8)]}),
        ("matrix", {"label_weights": {"yay": 0}}),
        ("filters", {"duplicates": {"threshold": 1.01}}),
        ("runtime", {"limits": {"student": {}}}),
    ],
)
def test_values_outside_their_range(key: str, value: object):
    with pytest.raises(ValidationError) as caught:
        Spec.model_validate({**SMALL, key: value})
    assert caught.value.errors()[0]["loc"][0] == key
