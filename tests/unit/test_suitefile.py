from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import Problem, SpecError
from harness.specfile import load
from harness.suitefile import LoadedSuite, chosen, load_suite

BASE = """\
name: small
task:
  labels: {yay: good news, nay: bad news}
data:
  source: {kind: packaged, name: sentiment}
matrix:
  dimensions:
    - {name: topic, values: [any, money]}
evaluate: {test: true}
"""


def write(folder: Path, suite: str, base: str = BASE) -> Path:
    (folder / "suites").mkdir(exist_ok=True)
    (folder / "base.yaml").write_text(base)
    path = folder / "suites" / "trial.yaml"
    path.write_text(suite)
    return path


def loaded(folder: Path, suite: str, *overrides: str) -> LoadedSuite:
    return load_suite(write(folder, suite), overrides)


def refused(folder: Path, suite: str, base: str = BASE) -> tuple[Problem, ...]:
    with pytest.raises(SpecError) as caught:
        load_suite(write(folder, suite, base))
    return caught.value.problems


def only(folder: Path, suite: str) -> Problem:
    [problem] = refused(folder, suite)
    return problem


HEAD = "base: ../base.yaml\n"


def test_variants_are_the_base_with_some_keys_replaced(tmp_path: Path) -> None:
    suite = loaded(
        tmp_path,
        HEAD + "set: {stop.max_rounds: 1}\n"
        "variants:\n"
        "  dotted: {filters.consistency.enabled: false}\n"
        "  nested: {filters: {consistency: {enabled: false}, judge: {enabled: false}}}\n"
        "  listed: {feedback.policies: [quotas]}\n"
        "seeds: [3, 5]\n",
    )
    assert suite.name == "trial"
    assert suite.folder == tmp_path
    assert [one.name for one in suite.variants] == ["base", "dotted", "nested", "listed"]
    assert [dict(one.changes) for one in suite.variants] == [
        {},
        {"filters.consistency.enabled": "false"},
        {"filters.consistency.enabled": "false", "filters.judge.enabled": "false"},
        {"feedback.policies": "[quotas]"},
    ]
    specs = [spec for one in suite.variants for spec in one.specs.values()]
    assert {spec.stop.max_rounds for spec in specs} == {1}
    assert [spec.seed for spec in suite.base.specs.values()] == [3, 5]
    assert {spec.name for spec in specs} == {"small"}


def test_variants_keep_their_test_sealed_whatever_the_base_says(tmp_path: Path) -> None:
    suite = loaded(tmp_path, HEAD + "variants: {a: {train.steps: 7}}\n")
    assert [spec.evaluate.test for one in suite.variants for spec in one.specs.values()] == [False, False]


def test_a_list_is_replaced_and_not_merged(tmp_path: Path) -> None:
    suite = loaded(tmp_path, HEAD + "variants: {a: {matrix.dimensions: [{name: tone, values: [plain, polite]}]}}\n")
    assert [one.name for one in suite.variants[1].specs[0].matrix.dimensions] == ["tone"]


def test_a_grid_makes_a_variant_of_every_combination_and_names_it(tmp_path: Path) -> None:
    suite = loaded(
        tmp_path,
        HEAD + "grid:\n  generate.over_generation: [2, 3.0, 8]\n  feedback.policies: [[], [quotas, shots]]\n",
    )
    assert [one.name for one in suite.variants[1:]] == [
        f"over_generation={size},policies={policies}"
        for size in ("2", "3.0", "8")
        for policies in ("none", "quotas+shots")
    ]
    assert suite.variants[-1].changes == {"generate.over_generation": "8.0", "feedback.policies": "[quotas, shots]"}


def test_a_value_of_a_grid_that_is_a_mapping_sets_all_its_keys(tmp_path: Path) -> None:
    suite = loaded(
        tmp_path,
        HEAD + "grid: {filters.difficulty: [{low: 0.3, high: 0.9}, {low: 0.3, high: 0.6}], train.steps: [7]}\n",
    )
    bands = [(one.specs[0].filters.difficulty.low, one.specs[0].filters.difficulty.high) for one in suite.variants[1:]]
    assert bands == [(0.3, 0.9), (0.3, 0.6)]
    assert suite.notes == ()
    assert suite.variants[1].changes == {
        "filters.difficulty.low": "0.3", "filters.difficulty.high": "0.9", "train.steps": "7",
    }  # fmt: skip


def test_ends_of_keys_that_would_be_one_name_are_longer(tmp_path: Path) -> None:
    suite = loaded(tmp_path, HEAD + "grid: {filters.judge.enabled: [false], filters.format.enabled: [false, true]}\n")
    assert [one.name for one in suite.variants[1:]] == [
        "judge.enabled=false,format.enabled=false",
        "judge.enabled=false,format.enabled=true",
    ]


def test_the_point_of_a_grid_that_is_the_base_is_not_run_twice(tmp_path: Path) -> None:
    suite = loaded(tmp_path, HEAD + "grid: {generate.over_generation: [3, 4]}\n")
    assert [one.name for one in suite.variants] == ["base", "over_generation=4"]
    assert suite.notes == ("over_generation=3 of the grid is the same as base and is not run twice.",)


def test_a_suite_and_an_experiment_are_told_apart(tmp_path: Path) -> None:
    suite = loaded(tmp_path, HEAD + "variants: {a: {train.steps: 7}}\n")
    with pytest.raises(SpecError, match="is a suite of variants; run it with `harness compare`"):
        load(suite.path)
    base = next(path for path in tmp_path.glob("*.yaml") if path != suite.path)
    with pytest.raises(SpecError, match="is an experiment and no suite; run it with `harness run`"):
        load_suite(base)


def test_overrides_go_to_all(tmp_path: Path) -> None:
    suite = loaded(tmp_path, HEAD + "variants: {a: {train.steps: 7}}\n", "runtime.store=elsewhere", "stop.max_rounds=9")
    assert {spec.runtime.store for one in suite.variants for spec in one.specs.values()} == {Path("elsewhere")}
    assert {spec.stop.max_rounds for one in suite.variants for spec in one.specs.values()} == {9}


@pytest.mark.parametrize("override", ["seed=3", "evaluate.test=true"])
def test_what_the_suite_itself_sets_cannot_be_overridden(tmp_path: Path, override: str) -> None:
    with pytest.raises(SpecError, match=r"--set (seed|evaluate\.test): is the suite's"):
        loaded(tmp_path, HEAD + "variants: {a: {train.steps: 7}}\n", override)


def test_only_the_chosen_variants_stay_and_the_base_always(tmp_path: Path) -> None:
    suite = loaded(tmp_path, HEAD + "variants: {alpha: {train.steps: 7}, beta: {train.steps: 8}}\n")
    assert [one.name for one in chosen(suite, ["beta"]).variants] == ["base", "beta"]
    assert chosen(suite, []) == suite
    with pytest.raises(SpecError, match="--only 'btea': there is no such variant; did you mean 'beta'"):
        chosen(suite, ["btea"])


@pytest.mark.parametrize(
    ("suite", "line", "where", "says"),
    [
        ("variants: {}\nbase: ../base.yaml\n", 1, "variants", "nothing to compare"),
        ("variants: {a: {train.steps: 7}}\n", None, "base", "is missing; write the path"),
        ("base: ../gone.yaml\nvariants: {a: {train.steps: 7}}\n", 1, "base", "'../gone.yaml' is no file"),
        (HEAD + "variant: {a: {}}\n", 2, "variant", "unknown key 'variant'; did you mean 'variants'?"),
        (HEAD + "variants: {base: {train.steps: 7}}\n", 2, "variants.base", "stands for the base itself"),
        (HEAD + "variants: {'a b': {train.steps: 7}}\n", 2, 'variants."a b"', "'a b' is not allowed here"),
        (HEAD + "variants: {a: [1]}\n", 2, "variants.a", "a list is not allowed here"),
        (HEAD + "variants: {a: {train.steps: 7}}\nseeds: [1, 1]\n", 3, "seeds", "holds a number twice"),
        (HEAD + "variants: {a: {train.steps: 7}}\nseeds: []\n", 3, "seeds", "write a list of different whole numbers"),
        (HEAD + "variants: {a: {train.steps: 7}}\nseeds: [x]\n", 3, "seeds[0]", "'x' is not allowed here"),
        (HEAD + "variants: {a: {train.steps: 7}}\narm: all\n", 3, "arm", "one of 'base', 'seeds'"),
        (
            HEAD + "variants:\n  a:\n    filters.consistencey.enabled: false\n",
            4,
            'variants.a."filters.consistencey.enabled"',
            "unknown key 'consistencey'; did you mean 'consistency'?",
        ),
        (
            HEAD + "variants:\n  a:\n    filters:\n      judge:\n        enabled: 3\n",
            6,
            "variants.a.filters.judge.enabled",
            "3 is not true or false",
        ),
        (HEAD + "variants:\n  a: {'x..y': 1}\n", 3, 'variants.a."x..y"', "'x..y' is no key"),
        (
            HEAD + "variants:\n  a: {train.steps: 7, train: {steps: 8}}\n",
            3,
            "variants.a.train.steps",
            "train.steps is set twice here",
        ),
        (HEAD + "variants:\n  a: {seed: 3}\n", 3, "variants.a.seed", "seed is the suite's"),
        (HEAD + "variants:\n  a: {data: {split: {dev: 9}}}\n", 3, "variants.a.data.split.dev", "same real items"),
        (HEAD + "variants:\n  a: {evaluate.test: true}\n", 3, 'variants.a."evaluate.test"', "--open-test"),
        (HEAD + "variants:\n  a: {budget.calls: 9}\n", 3, 'variants.a."budget.calls"', "cuts a run short"),
        (
            HEAD + "set: {evaluate.test: true}\nvariants: {a: {train.steps: 7}}\n",
            2,
            'set."evaluate.test"',
            "--open-test",
        ),
        (
            HEAD + "grid:\n  train.steps: [7, seven]\n",
            3,
            'grid."train.steps"[1]',
            "'seven' is not a whole number from 1 on",
        ),
        (HEAD + "grid: {train.steps: []}\n", 2, 'grid."train.steps"', "is not allowed here"),
        (HEAD + "grid: {train.steps: [7, 7]}\n", 2, "grid", "two of its combinations are the same"),
        (HEAD + "variants: {a: {stop.max_rounds: 2}}\n", 2, "variants.a", "changes nothing: it is the base"),
        (HEAD + "variants: {a: {name: other}}\n", 2, "variants.a.name", "is the same for all variants"),
        (
            HEAD + "variants:\n  a: {train.steps: 7}\n  b: {train: {steps: 7}}\n",
            4,
            "variants.b",
            "is the same as 'a'",
        ),
        (
            HEAD + "variants:\n  a: {evaluate.arms: [seeds, real]}\n",
            3,
            'variants.a."evaluate.arms"',
            "",
        ),
        ("- a\n", 1, "", "a suite begins with `base: …`"),
    ],
)
def test_bad_suites_are_refused_with_their_place(
    tmp_path: Path, suite: str, line: int | None, where: str, says: str
) -> None:
    found = refused(tmp_path, suite)
    assert any((one.line, one.where) == (line, where) and says in one.message for one in found), found


def test_all_problems_come_at_once(tmp_path: Path) -> None:
    found = refused(
        tmp_path,
        HEAD + "variants:\n  a: {train.step: 7}\n  b: {filters.judge.enabled: 'no'}\n  c: {stop.max_round: 1}\n",
    )
    assert [one.line for one in found] == [3, 4, 5]
    assert "did you mean 'steps'" in found[0].message


def test_problems_of_the_base_are_told_as_its_own(tmp_path: Path) -> None:
    path = write(tmp_path, HEAD + "variants: {a: {train.steps: 7}}\n", BASE + "trian: {}\n")
    with pytest.raises(SpecError, match=r"base\.yaml:10: trian: unknown key 'trian'; did you mean 'train'"):
        load_suite(path)
