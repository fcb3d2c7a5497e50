from __future__ import annotations

from pathlib import Path

import pytest
from spec_cases import SMALL, only, refused, write

from harness.specfile import load

OWN = "http://127.0.0.1:8000/v1"
FILE_SOURCE = "{kind: file, path: %s}"


def sourced(source: str) -> str:
    return SMALL.replace("{kind: packaged, name: sentiment}", source)


@pytest.mark.parametrize(
    ("addition", "where", "words"),
    [
        ("seed: 4294967296", "seed", "4294967296 is not a whole number from 0 to 4294967295"),
        ("filters: {format: {min_words: 9, max_words: 8}}", "filters.format.min_words", "9 is above max_words (8)"),
        ("filters: {difficulty: {low: .5, high: .5}}", "filters.difficulty.low", "0.5 has to be below high (0.5)"),
        (
            "filters: {format: {must_match: '(a'}}",
            "filters.format.must_match",
            "'(a' is no regular expression: missing )",
        ),
        ("generate: {max_candidates: 19, accepted_per_round: 20}", "generate.max_candidates", "19 can never give"),
        (
            "generate: {max_candidates: 15, accepted_per_round: 10}",
            "generate.max_candidates",
            "15 is less than one call",
        ),
        ("generate: {samples_per_call: 17}", "generate.samples_per_call", "17 is more than the embedded LLM gives"),
        ("generate: {shots: 61}", "data.split.seeds", "2 labels with 61 each (generate.shots is 61) are 122"),
        ("train: {lora: {targets: []}}", "train.lora.targets", "is empty"),
        ("train: {model: ' '}", "train.model", "is blank"),
        ("evaluate: {arms: [seeds, synthetic]}", "evaluate.arms", "has to hold 'mixed'"),
        ("evaluate: {arms: []}", "evaluate.arms", "has to hold 'seeds' and 'mixed'"),
        ("evaluate: {arms: [seeds, mixed, seeds]}", "evaluate.arms[2]", "'seeds' stands twice"),
        (
            "evaluate: {arms: [seeds, mixed, real]}",
            "evaluate.arms[2]",
            "remove it from evaluate.arms or set data.split.pool",
        ),
        ("matrix: {label_weights: {Yay: 2}}", "matrix.label_weights.Yay", "no label 'Yay'; did you mean 'yay'?"),
        ("matrix: {forbid: [{label: yay}]}", "matrix.forbid[0]", "no cell is left for label 'yay'"),
        ("matrix: {forbid: [{tone: dry}]}", "matrix.forbid[0].tone", "no dimension 'tone'. Allowed: 'label'"),
        (
            "matrix: {dimensions: [{name: label, values: [a]}]}",
            "matrix.dimensions[0].name",
            "'label' is always the first dimension",
        ),
        (
            "runtime: {tracking: {uri: 'postgresql://me:hunter2@db/x'}}",
            "runtime.tracking.uri",
            "holds a password (not shown)",
        ),
    ],
)
def test_what_does_not_fit_together(tmp_path: Path, addition: str, where: str, words: str):
    problem = only(tmp_path, f"{SMALL}{addition}\n")
    assert problem.where == where
    assert problem.line == (6 if where != "data.split.seeds" else 4)
    assert words in problem.message
    assert "hunter2" not in problem.message


@pytest.mark.parametrize(
    "addition",
    [
        "seed: 4294967295",
        "filters: {format: {min_words: 8, max_words: 8, must_match: '\\?$'}, difficulty: {low: .4, high: .5}}",
        "generate: {max_candidates: 16, accepted_per_round: 16, shots: 60}",
        "evaluate: {arms: [mixed, seeds]}",
        "matrix: {label_weights: {yay: 2}, forbid: [{label: yay, t: a}], dimensions: [{name: t, values: [a, b]}]}",
        "matrix: {dimensions: [{name: first_word, values: [who, any], use: shots}]}",
        "runtime: {tracking: {uri: 'http://me@host:5000'}}",
        "data: {source: {kind: packaged, name: trec}, split: {pool: 5}}\nevaluate: {arms: [seeds, mixed, real]}",
    ],
)
def test_what_just_fits(tmp_path: Path, addition: str):
    base = SMALL if "data:" not in addition else SMALL[: SMALL.index("data:")]
    assert load(write(tmp_path, f"{base}{addition}\n")).name == "small"


@pytest.mark.parametrize(
    ("labels", "where", "words"),
    [
        ("{yay: '', nay: x}", "task.labels.yay", "is blank"),
        ("{yay: x, ' ': y}", 'task.labels." "', "is blank"),
        ('{yay: x, "a\\nb": y}', 'task.labels."a\\nb"', "line breaks"),
        ('{yay: "two\\nlines", nay: x}', "task.labels.yay", "`>-` folds lines"),
        ("{yay: x, ' nay': y}", 'task.labels." nay"', "blanks around it"),
    ],
)
def test_labels_are_plain_lines(tmp_path: Path, labels: str, where: str, words: str):
    problem = only(tmp_path, SMALL.replace("{yay: good news, nay: bad news}", labels))
    assert (problem.where, problem.line) == (where, 3)
    assert words in problem.message


ANSWERS = SMALL.replace("labels:", "answer: {about: one word}\n  labels:")


@pytest.mark.parametrize(
    ("text", "where", "words"),
    [
        (f"{SMALL}evaluate: {{judge: {{enabled: true}}}}\n", "evaluate.judge.enabled", "this task gives labels"),
        (f"{ANSWERS}evaluate: {{judge: {{enabled: true, labelled: 300}}}}\n", "evaluate.judge.labelled", "20 to 299"),
        (f"{ANSWERS}evaluate: {{judge: {{enabled: true, arms: [real]}}}}\n", "evaluate.judge.arms[0]", "'real' is not"),
        (f"{ANSWERS}evaluate: {{judge: {{labelled: 19}}}}\n", "evaluate.judge.labelled", "20"),
    ],
)
def test_the_judge_of_answers(tmp_path: Path, text: str, where: str, words: str):
    problem = only(tmp_path, text)
    assert problem.where == where
    assert words in problem.message


def test_the_judge_of_answers_may_be_on(tmp_path: Path):
    assert load(write(tmp_path, f"{ANSWERS}evaluate: {{judge: {{enabled: true}}}}\n")).evaluate.judge.labelled == 100
    assert not load(write(tmp_path)).evaluate.judge.enabled


def test_fewer_seeds_than_two_a_label(tmp_path: Path):
    problem = only(tmp_path, SMALL, ["generate.shots=0", "data.split.seeds=3"])
    assert problem.message == (
        "3 is fewer seeds than the matrix needs: 2 labels with 2 each (training needs two) are 4. "
        "Raise data.split.seeds"
    )
    assert load(write(tmp_path), ["generate.shots=0", "data.split.seeds=4"]).data.split.seeds == 4


def test_a_source_file_starts_at_the_yaml_files_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    (tmp_path / "mine.csv").write_text("text,label\n")
    for path in ("mine.csv", str(tmp_path / "mine.csv"), "elsewhere/../mine.csv"):
        assert load(write(tmp_path, sourced(FILE_SOURCE % path))).name == "small"


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (FILE_SOURCE % "min.csv", "no file '{folder}/min.csv'; did you mean 'mine.csv'? Relative paths start at"),
        (FILE_SOURCE % "none/x.csv", "no file '{folder}/none/x.csv'. Relative paths start at the YAML file's folder"),
        (FILE_SOURCE % "folder.csv", "'{folder}/folder.csv' is a folder; name the file in it"),
        (
            FILE_SOURCE % "mine.xlsx",
            "'mine.xlsx' ends in none of .csv, .tsv, .jsonl, .ndjson, .parquet; say with `format:`",
        ),
        ("{kind: datasets, path: mine.csv}", "'{folder}/mine.csv' is no folder written by `save_to_disk`"),
        ("{kind: datasets, path: none}", "no folder written by `save_to_disk` '{folder}/none'"),
    ],
)
def test_sources_that_are_not_there(tmp_path: Path, source: str, words: str):
    (tmp_path / "mine.csv").write_text("text,label\n")
    (tmp_path / "mine.xlsx").write_text("x")
    (tmp_path / "folder.csv").mkdir()
    problem = only(tmp_path, sourced(source))
    assert (problem.where, problem.line) == ("data.source.path", 5)
    assert words.format(folder=tmp_path) in problem.message


def test_a_format_makes_up_for_an_unknown_ending(tmp_path: Path):
    (tmp_path / "mine.dat").write_text("text,label\n")
    assert load(write(tmp_path, sourced("{kind: file, path: mine.dat, format: csv}"))).name == "small"


def test_columns(tmp_path: Path):
    text = (
        SMALL
        + "  columns: {text: label}\n"
        + "  slices: {columns: [topic, label, topic, length, first_word, cluster], length: false}\n"
    )
    found = [(problem.where, problem.message.split(";")[0]) for problem in refused(tmp_path, text)]
    assert found == [
        ("data.columns.label", "'label' is the text column too"),
        ("data.slices.columns[1]", "'label' is the text column"),
        ("data.slices.columns[2]", "'topic' stands twice"),
        ("data.slices.columns[4]", "'first_word' is the name of a slice that is made anyway"),
        ("data.slices.columns[5]", "'cluster' is the name of a slice that is made anyway"),
    ]


def test_shots_need_a_slice_of_that_name(tmp_path: Path):
    (tmp_path / "x.csv").write_text("text,label\n")
    text = sourced(FILE_SOURCE % "x.csv") + "  slices: {columns: [topic], first_word: false}\n"
    dimension = "matrix: {dimensions: [{name: %s, values: [a], use: shots}]}\n"
    problem = only(tmp_path, text + dimension % "topics")
    assert problem.where == "matrix.dimensions[0].name"
    assert problem.message.endswith("did you mean 'topic'? Slices: topic, length, cluster (see data.slices)")
    for name in ("topic", "length", "cluster"):
        assert load(write(tmp_path, text + dimension % name)).name == "small"


@pytest.mark.parametrize(
    ("endpoint", "key", "words"),
    [
        ("{base_url: ftp://x/v1, model: m}", "base_url", "'ftp://x/v1' is neither `embedded` nor an http(s) URL"),
        ("{base_url: embeded, model: m}", "base_url", "did you mean 'embedded'?"),
        ("{base_url: 'http://', model: m}", "base_url", "is neither"),
        ("{base_url: 'http://x y/v1', model: m}", "base_url", "is neither"),
        ("{base_url: 'http://[x/v1', model: m}", "base_url", "is no URL"),
        ("{base_url: 'http://x:99999/v1', model: m}", "base_url", "is no URL"),
        ("{base_url: 'http://x:0/v1', model: m}", "base_url", "is neither"),
        (f"{{base_url: {OWN}/chat/completions, model: m}}", "base_url", "leave '/chat/completions' off"),
        ("{base_url: 'http://me:hunter2@h/v1', model: m}", "base_url", "holds credentials (not shown)"),
        ("{base_url: 'http://hunter2@h/v1', model: m}", "base_url", "holds credentials (not shown)"),
        ("{base_url: 'http://h/v1?api-key=hunter2', model: m}", "base_url", "holds credentials (not shown)"),
        (f"{{base_url: {OWN}}}", "model", "is missing; an endpoint other than `embedded`"),
        (f"{{base_url: {OWN}, model: ' '}}", "model", "is blank"),
        ("{model: gpt-4o}", "model", "'gpt-4o' is not what `embedded` carries (SmolLM2-135M-Instruct)"),
        ("{api_key_env: sk-hunter2}", "api_key_env", "is not the name of an environment variable"),
        ("{api_key_env: sk_live_hunter2}", "api_key_env", "the value is not shown"),
        ("{api_key_env: hunter2 and more}", "api_key_env", "the value is not shown"),
        ("{api_key_env: 0hunter2}", "api_key_env", "OPENAI_API_KEY"),
    ],
)
def test_endpoints(tmp_path: Path, endpoint: str, key: str, words: str):
    problem = only(tmp_path, f"{SMALL}llm:\n  judge: {endpoint}\n")
    assert problem.where == f"llm.judge.{key}"
    assert problem.line == 7
    assert words in problem.message
    assert "hunter2" not in problem.message


@pytest.mark.parametrize(
    "endpoint",
    [
        f"{{base_url: {OWN}, model: m}}",
        "{base_url: 'https://x.example/openai/v1?api-version=2024', model: m, api_key_env: MY_KEY}",
        "{base_url: 'http://[::1]:8000/v1', model: m, style: completion}",
        "{base_url: embedded}",
    ],
)
def test_endpoints_that_are_fine(tmp_path: Path, endpoint: str):
    assert load(write(tmp_path, f"{SMALL}llm:\n  judge: {endpoint}\n")).name == "small"


def test_a_budget_in_dollars_needs_prices_of_the_endpoints_in_use(tmp_path: Path):
    text = SMALL + f"llm:\n  generator: &x {{base_url: '{OWN}', model: m}}\n  judge: *x\n  critic: *x\n"
    text += "feedback: {policies: [critic]}\n"
    assert load(write(tmp_path, text)).name == "small"
    with_budget = text + "budget: {usd: 1}\n"
    assert [p.where for p in refused(tmp_path, with_budget)] == [
        f"llm.{r}.price" for r in ("generator", "judge", "critic")
    ]
    with_budget = with_budget.replace("[critic]", "[quotas]")
    unused = "filters: {judge: {enabled: false}}\n"
    problem = only(tmp_path, with_budget + unused)
    assert "budget.usd could never stop the run" in problem.message
    tagging = "matrix: {dimensions: [{name: topic, values: [a, b]}]}\n"
    assert [p.where for p in refused(tmp_path, with_budget + unused + tagging)] == [
        f"llm.{r}.price" for r in ("generator", "judge")
    ]
    assert load(write(tmp_path, with_budget.replace("model: m", "model: m, price: {input: 0}"))).name == "small"
    assert load(write(tmp_path, SMALL + "budget: {usd: 1}\n")).name == "small"


def test_policies_that_work_through_a_filter_need_it(tmp_path: Path):
    text = SMALL + "feedback: {policies: [quotas, relabel]}\n"
    assert load(write(tmp_path, text)).feedback.policies == ["quotas", "relabel"]
    problem = only(tmp_path, text + "filters: {consistency: {enabled: false}}\n")
    assert problem.where == "feedback.policies[1]"
    assert "'relabel' works through filters.consistency, which is off" in problem.message
    twice = only(tmp_path, SMALL + "feedback: {policies: [quotas, quotas]}\n")
    assert (twice.where, twice.message.startswith("'quotas' stands twice")) == ("feedback.policies[1]", True)
    again = only(tmp_path, SMALL + "evaluate: {controls: [static, static]}\n")
    assert again.where == "evaluate.controls[1]"


def test_what_is_scored_each_round_is_an_arm(tmp_path: Path):
    text = SMALL + "evaluate: {arms: [seeds, mixed, synthetic], each_round: [mixed, real]}\n"
    problem = only(tmp_path, text)
    assert problem.where == "evaluate.each_round[1]"
    assert problem.message.startswith("'real' is not among evaluate.arms (seeds, mixed, synthetic)")
