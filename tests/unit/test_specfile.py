from __future__ import annotations

import json
from pathlib import Path

import pytest
from spec_cases import SMALL, only, refused, write

from harness.errors import SpecError
from harness.spec import Evaluate, Llm, Spec
from harness.specfile import base_folder, dump, load, resolved
from harness.store import digest

BAD = """\
# a comment
name: -x
seed: yes
task:
  nuon: item
  labels: {yay: good, nay: 1, NO: no news}
data:
  source: {kind: csv, path: x.csv}
  split:
    seeds: "12"
    dev: ten
    anchor: 4.0
    near_duplicate: 92
matrix:
  dimensions:
    - {name: Tone, values: [a, b]}
    - values: {x: 0}
    - {name: fine, values: [a, yes, a], use: shot}
  forbid:
    - {yay: [1, ok]}
llm:
  generator: {style: Chat, api_key: sk-secret}
  citic: {}
generate:
  max_candidates: None
  shots:
filters: []
evaluate: {arms: [seeds, mixd]}
runtime:
  threads: many
  limits: {genrator: {}, judge: {concurrency: 0}}
  shots: 3
"""


def test_all_problems_come_at_once_in_the_order_of_the_file(tmp_path: Path):
    found = [(problem.line, problem.where) for problem in refused(tmp_path, BAD)]
    assert (
        found
        == [
            (2, "name"),
            (3, "seed"),
            (5, "task.nuon"),
            (6, "task.labels.NO"),
            (6, "task.labels.nay"),
            (8, "data.source.kind"),
            (10, "data.split.seeds"),
            (11, "data.split.dev"),
            (12, "data.split.anchor"),
            (13, "data.split.near_duplicate"),
            (16, "matrix.dimensions[0].name"),
            (17, "matrix.dimensions[1].name"),
            (17, "matrix.dimensions[1].values.x"),
            (18, "matrix.dimensions[2].values[1]"),
            (18, "matrix.dimensions[2].values[2]"),
            (18, "matrix.dimensions[2].use"),
            (20, "matrix.forbid[0].yay[0]"),
            (22, "llm.generator.style"),
            (22, "llm.generator.api_key"),
            (23, "llm.citic"),
            (25, "generate.max_candidates"),
            (26, "generate.shots"),
            (27, "filters"),
            (28, "evaluate.arms[1]"),
            (30, "runtime.threads"),
            (31, "runtime.limits.genrator"),
            (31, "runtime.limits.judge.concurrency"),
            (32, "runtime.shots"),
        ]
        or sorted(found, key=lambda item: item[0] or 0) != found
    )


def test_messages_show_the_value_and_what_is_allowed(tmp_path: Path):
    text = {problem.where: problem.message for problem in refused(tmp_path, BAD)}
    assert text["seed"] == "yes (in YAML: true) is not a whole number from 0 on"
    assert text["task.nuon"] == "unknown key 'nuon'; did you mean 'noun'? Allowed: 'noun', 'labels', 'answer'"
    assert text["task.labels.nay"] == "1 is not text; if it is meant as text, put it in quotes: '1'"
    assert "put it in quotes: 'NO'" in text["task.labels.NO"]
    assert text["data.source.kind"] == "'csv' is not one of 'datasets', 'file', 'hub', 'packaged'"
    assert text["data.split.seeds"].startswith("'12' is not a whole number from 1 on; it is text because of its quotes")
    assert text["data.split.dev"] == "'ten' is not a whole number from 1 on"
    assert text["data.split.anchor"] == "4.0 is not a whole number from 1 on; write 4"
    assert text["data.split.near_duplicate"] == "92 is not a number from 0 to 1; 92 % is written 0.92"
    assert "small letters, digits and '_'" in text["matrix.dimensions[0].name"]
    assert text["matrix.dimensions[1].name"].startswith("is missing; write a name of small letters")
    assert (
        "true is not text" not in text["matrix.dimensions[2].values[1]"]
        or "quotes" in text["matrix.dimensions[2].values[1]"]
    )
    assert "'a' stands twice" in text["matrix.dimensions[2].values[2]"]
    assert text["matrix.forbid[0].yay[0]"] == "1 is not text; if it is meant as text, put it in quotes: '1'"
    assert text["llm.generator.style"].endswith("did you mean 'chat'?")
    assert text["llm.citic"] == "unknown key 'citic'; did you mean 'critic'? Allowed: 'generator', 'judge', 'critic'"
    assert text["generate.max_candidates"].endswith("to leave it open, write null")
    assert text["generate.shots"] == "an empty value is not a whole number from 0 on"
    assert text["filters"].startswith("a list is not a mapping with the keys 'format',")
    assert text["evaluate.arms[1]"].endswith("'real', 'all_real'; did you mean 'mixed'?")
    assert text["runtime.threads"] == "'many' is not a whole number from 1 on or 'auto'"
    assert text["runtime.limits.genrator"].startswith("unknown key 'genrator'; did you mean 'generator'?")
    assert text["runtime.shots"].startswith("unknown key 'shots'; did you mean 'generate.shots'? Allowed: 'store',")


def test_the_rendered_error_names_file_line_and_key(tmp_path: Path):
    with pytest.raises(SpecError) as caught:
        load(write(tmp_path, SMALL + "sedd: 1\n"))
    assert str(caught.value).startswith(f"{tmp_path}/small.yaml:6: sedd: unknown key 'sedd'; did you mean 'seed'?")


def test_no_word_of_pydantic_reaches_the_user(tmp_path: Path):
    text = " ".join(problem.message for problem in refused(tmp_path, BAD)).lower()
    for jargon in ("input", "validation", "pydantic", "valid integer", "_type", "object at", "extra_forbidden", "dict"):
        assert jargon not in text


def test_a_small_file_gives_the_defaults(tmp_path: Path):
    spec = load(write(tmp_path))
    expected = Spec.model_validate(
        {
            "name": "small",
            "task": {"labels": {"yay": "good news", "nay": "bad news"}},
            "data": {"source": {"kind": "packaged", "name": "sentiment"}},
            "evaluate": {"arms": ["base", "seeds", "synthetic", "mixed"]},
        }
    )
    assert spec == expected


def test_arms_that_need_a_pool_are_in_the_default_where_there_is_one(tmp_path: Path):
    assert load(write(tmp_path), ["data.split.pool=10"]).evaluate == Evaluate()


def test_sections_whose_keys_are_all_commented_out_are_defaults(tmp_path: Path):
    spec = load(write(tmp_path, SMALL + "budget:\n  # usd: 1\nllm:\n  judge:\nevaluate:\n"))
    assert spec == load(write(tmp_path))


def test_a_section_written_in_part_keeps_the_other_defaults_of_its_place(tmp_path: Path):
    for spec in (
        load(write(tmp_path, SMALL + "llm: {judge: {api_key_env: MY_KEY}}\n")),
        load(write(tmp_path), ["llm.judge.api_key_env=MY_KEY"]),
    ):
        assert spec.llm.judge == Llm().judge.model_copy(update={"api_key_env": "MY_KEY"})
        assert spec.llm.judge.style == "chat"


def test_a_windows_file_reads_the_same(tmp_path: Path):
    assert load(write(tmp_path, SMALL.replace("\n", "\r\n"))) == load(write(tmp_path))


@pytest.mark.parametrize(
    ("text", "where", "line", "words"),
    [
        ("", "", 1, "is empty"),
        ("# only a comment\n", "", 1, "is empty"),
        ("- a\n- b\n", "", 1, "holds no `key: value` lines"),
        ("just text\n", "", 1, "holds no `key: value` lines"),
        (b"\xef\xbb\xbf" + SMALL.encode(), "", 1, "byte-order mark"),
        (SMALL.encode() + b"# caf\xe9\n", "", 6, "is not UTF-8"),
        (SMALL + "\tseed: 1\n", "", 6, "a tab stands"),
        (SMALL + "seed: !!python/object/apply:os.getcwd []\n", "seed", 6, "!!python/object/apply:os.getcwd"),
        (SMALL + "seed: 1\nseed: 2\n", "seed", 7, "stands twice"),
        (SMALL + "seed: 010\n", "seed", 6, "the number 8"),
        (SMALL + 'seed: "\\ud800"\n', "seed", 6, "half a character"),
        (SMALL + "data:\n", "data", 6, "stands twice"),
    ],
)
def test_files_with_one_problem(tmp_path: Path, text: str | bytes, where: str, line: int, words: str):
    problem = only(tmp_path, text)
    assert (problem.where, problem.line) == (where, line)
    assert words in problem.message


def test_missing_keys_point_at_the_section_that_lacks_them(tmp_path: Path):
    found = refused(tmp_path, "# note\nname: x\ndata:\n  columns: {}\n")
    assert [(p.where, p.line, p.message.split(";")[0]) for p in found] == [
        ("task", 2, "is missing"),
        ("data.source", 3, "is missing"),
    ]
    assert "a mapping with the keys 'noun', 'labels', 'answer'" in found[0].message


@pytest.mark.parametrize(
    ("source", "where", "words"),
    [
        ("{}", "data.source.kind", "is missing; write one of 'datasets', 'file', 'hub', 'packaged'"),
        ("{kind: packagd, name: trec}", "data.source.kind", "did you mean 'packaged'?"),
        ("{kind: [file]}", "data.source.kind", "a list is not one of"),
        ("my.csv", "data.source", "'my.csv' is not a mapping with `kind:`"),
        ("", "data.source", "an empty value is not a mapping"),
        ("{kind: packaged, name: trecc}", "data.source.name", "did you mean 'trec'?"),
        ("{kind: packaged}", "data.source.name", "is missing; write one of 'trec', 'sentiment'"),
        ("{kind: hub, name: x, splt: y}", "data.source.splt", "did you mean 'split'?"),
        ("{kind: file}", "data.source.path", "is missing; write a path"),
    ],
)
def test_the_kind_of_a_source_in_plain_words(tmp_path: Path, source: str, where: str, words: str):
    text = SMALL.replace("{kind: packaged, name: sentiment}", source)
    problem = only(tmp_path, text)
    assert (problem.where, problem.line) == (where, 5)
    assert words in problem.message


def test_a_broken_section_does_not_hide_what_is_wrong_elsewhere(tmp_path: Path):
    text = SMALL + "train: {steps: many}\nmatrix: {label_weights: {yey: 2}}\nfilters: {format: {min_words: 99}}\n"
    assert [problem.where for problem in refused(tmp_path, text)] == [
        "train.steps",
        "matrix.label_weights.yey",
        "filters.format.min_words",
    ]


def test_overrides_replace_and_add_values(tmp_path: Path):
    overrides = [
        "seed=7",
        "stop.target=0.9",
        "evaluate.arms=[seeds, mixed]",
        'matrix.label_weights."yay"=2',
        'task.labels."not sure, x=y"="a=b"',
        "llm.judge={style: completion}",
        "budget.calls=null",
        "feedback.policies=[]",
        "train.learning_rate=2e-4",
        "seed=8",
    ]
    spec = load(write(tmp_path), overrides)
    assert spec.seed == 8
    assert spec.stop.target == 0.9
    assert spec.evaluate.arms == ["seeds", "mixed"]
    assert spec.matrix.label_weights == {"yay": 2}
    assert spec.task.labels["not sure, x=y"] == "a=b"
    assert spec.llm.judge.style == "completion"
    assert spec.budget.calls is None
    assert spec.feedback.policies == []
    assert spec.train.learning_rate == 2e-4


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("stop.targte=0.9", "unknown key 'targte'; did you mean 'target'?"),
        ("stpo.target=0.9", "unknown key 'stpo'; did you mean 'stop'?"),
        ("stop.target=90", "90 is not a number from 0 to 1 or null; 90 % is written 0.9"),
        ('seed="1"', "it is text because of its quotes"),
        ("stop.target=", "has no value; to leave a key open write null"),
        ("stop.target=[1", "not valid YAML"),
        ("stop.target=2024-01-01", "as a date"),
        ("stop.target", "is not of the form a.b=value"),
        ("stop .target=1", "is not of the form a.b=value"),
        ("=1", "is not of the form a.b=value"),
        ("stop..target=1", "is not of the form a.b=value"),
        ("evaluate.arms.0=seeds", "a mapping is not a list"),
        ("seed.x=1", "seed holds no keys; set it as a whole"),
        ("llm.judge={stlye: chat}", "llm.judge.stlye unknown key 'stlye'; did you mean 'style'?"),
        ("filters.format.min_words=99", "99 is above max_words (60)"),
        ("nam\udcffe=1", "unknown key 'nam?e'; did you mean 'name'?"),
    ],
)
def test_a_problem_of_an_override_names_the_override(tmp_path: Path, override: str, words: str):
    problem = only(tmp_path, SMALL + "seed: 1\n", [override])
    assert problem.where == f"--set {override}".replace("\udcff", "?")
    assert problem.line is None
    assert words in problem.message


def test_lists_are_set_as_a_whole(tmp_path: Path):
    problem = only(tmp_path, SMALL + "evaluate: {arms: [seeds, mixed]}\n", ["evaluate.arms.0=base"])
    assert "evaluate.arms holds no keys; set it as a whole" in problem.message


def test_an_override_that_opens_a_section_is_not_blamed_for_what_the_section_lacks(tmp_path: Path):
    text = "name: x\ntask: {labels: {a: one, b: two}}\n"
    assert [(p.where, p.line) for p in refused(tmp_path, text, ["data.split.dev=9"])] == [("data.source", 1)]


@pytest.mark.parametrize(
    "override",
    [
        "llm.judge.api_key=hunter2",
        "llm.judge.api_key_env=sk-proj-hunter2",
        "llm.judge.base_url=http://me:hunter2@host/v1",
        "llm.judge.style=sk-proj-hunter2",
        "llm.judge.api_key_env=[hunter2]",
    ],
)
def test_what_may_be_a_key_is_never_repeated(tmp_path: Path, override: str):
    name, _, value = override.partition("=")
    for problem in (*refused(tmp_path, SMALL, [override]), *refused(tmp_path, SMALL + nested(name, value))):
        assert "hunter2" not in problem.where + problem.message


def nested(name: str, value: str) -> str:
    a, b, c = name.split(".")
    return f"{a}:\n  {b}:\n    {c}: {value}\n"


def test_a_merge_key_shares_an_endpoint(tmp_path: Path):
    text = SMALL + (
        "llm:\n  generator: &mine {base_url: http://127.0.0.1:8000/v1, model: m, style: chat}\n"
        "  judge: *mine\n  critic: {<<: *mine, model: n}\n"
    )
    spec = load(write(tmp_path, text))
    assert spec.llm.judge == spec.llm.generator
    assert (spec.llm.critic.model, spec.llm.critic.style) == ("n", "chat")


def test_dump_is_read_back_to_an_equal_spec(tmp_path: Path):
    text = SMALL.replace("yay: good news", "'2e-3': 'NO', '1': \"a: b # c\", 'ü': 'it''s'")
    spec = load(write(tmp_path, text), ["generate.sampling.temperature=1.0e-05", "runtime.threads=2"])
    again = tmp_path / "again.yaml"
    again.write_text(dump(spec), encoding="utf-8")
    assert load(again) == spec
    assert "threads: 2" in dump(spec)
    assert "max_rounds: 2" in dump(spec)


def test_resolved_is_json_without_runtime_and_does_not_depend_on_the_folder(tmp_path: Path):
    ids: list[str] = []
    for folder in (tmp_path / "one", tmp_path / "two" / "deep"):
        folder.mkdir(parents=True)
        (folder / "x.csv").write_text("text,label\n")
        text = SMALL.replace("{kind: packaged, name: sentiment}", "{kind: file, path: x.csv}")
        spec = load(write(folder, text), ["runtime.threads=2"] if ids else [])
        values = resolved(spec)
        assert json.loads(json.dumps(values)) == values
        assert set(values) == set(Spec.model_fields) - {"runtime"}
        assert str(tmp_path) not in json.dumps(values)
        ids.append(digest(values))
        absolute = load(write(folder, text.replace("x.csv", str(folder / "x.csv"))), [f"train.model={folder}/m"])
        assert resolved(absolute)["data"]["source"]["path"] == "x.csv"
        assert resolved(absolute)["train"]["model"] == "m"
    assert ids[0] == ids[1]


def test_base_folder_is_the_folder_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert base_folder(Path("small.yaml")) == tmp_path.resolve()
    assert base_folder(tmp_path / "a" / "small.yaml") == tmp_path.resolve() / "a"
