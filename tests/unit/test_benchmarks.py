"""What the benchmarks make of their measurements; the measurements themselves are for `scripts/bench`."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from causal_cases import TEXTS
from run_cases import finish

from harness.llm.cache import CallCache
from harness.records import Cost
from harness.store import Store
from harness.train.tiny import Tiny, tiny_base

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


@pytest.fixture(autouse=True)
def scripts_on_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS))


def module(name: str) -> ModuleType:
    return importlib.import_module(f"benchmarks.{name}")


def test_every_benchmark_of_the_table_has_options_and_says_what_it_is() -> None:
    main = module("__main__")
    text = main.parser().format_help()
    assert {"training", "overhead", "collapse"} <= set(main.TABLE)
    for name, one in main.TABLE.items():
        assert name in text
        assert one.__doc__.partition("\n")[0] in " ".join(text.split())


def test_the_options_of_training(capsys: pytest.CaptureFixture[str]) -> None:
    parser = module("__main__").parser()
    plain = parser.parse_args(["training"])
    assert (plain.repeats, plain.threads, plain.quick) == (3, 1, False)
    assert plain.contenders == ["trainer-longest", "ours-all", "ours-upper-3", "trainer-128"]
    some = parser.parse_args(["training", "--contenders", "ours-all,trainer-longest", "--quick", "--repeats", "1"])
    assert some.contenders == ["trainer-longest", "ours-all"]
    for wrong in (["--contenders", "ours-all,mine"], ["--repeats", "0"]):
        with pytest.raises(SystemExit):
            parser.parse_args(["training", *wrong])
    said = capsys.readouterr().err
    assert "['mine'] unknown; choose from trainer-longest, ours-all" in said
    assert "'0' is not 1 or more" in said


def test_runs_are_compared_with_the_run_of_the_same_seed() -> None:
    training, result = module("training"), module("contenders").Result
    runs = [
        result("trainer-longest", 0, 10, 100, wall=10.0, cpu=8.0, right=90, tested=100),
        result("ours-all", 0, 10, 100, wall=2.0, cpu=1.0, right=91, tested=100),
        result("trainer-longest", 1, 10, 100, wall=30.0, cpu=8.0, right=88, tested=100),
        result("ours-all", 1, 10, 100, wall=5.0, cpu=2.0, right=87, tested=100),
        result("trainer-128", 0, 2, 20, wall=10.0, cpu=10.0, right=0, tested=0),
    ]
    first, second = training.ratios(runs)
    assert (first.theirs, first.wall, first.cpu) == ("trainer-longest", [5.0, 6.0], [8.0, 4.0])
    assert (second.theirs, second.wall) == ("trainer-128", [25.0])
    text = "\n".join(training.report(runs))
    assert "ours-all     against trainer-longest  wall 5.50 (5.00–6.00)×, cpu 6.00 (4.00–8.00)×" in text
    assert "trainer-longest  0.8900 [" in text
    assert "2 × 100" in text
    assert "trainer-128      0" not in text
    assert "accuracy 0.900 [0.826, 0.945] of 100 (10 steps in 10 s, 8 s cpu)" in training.line(runs[0])


def test_the_questions_are_distinct_and_those_of_the_test_are_others() -> None:
    contenders = module("contenders")
    task = contenders.trec(contenders.Size(train=600, test=2000, epochs=5), seed=0)
    train, test = ({text for text, _ in part} for part in (task.train, task.test))
    assert (len(train), len(test), task.labels) == (600, 2000, 6)
    assert not train & test
    assert {label for _, label in task.train} == set(range(6))
    assert contenders.trec(contenders.Size(600, 2000, 5), seed=0) == task
    assert contenders.trec(contenders.Size(600, 2000, 5), seed=1) != task


def test_collapse_rules_see_the_same_sequences_and_are_counted() -> None:
    collapse, sequences, rules = module("collapse"), module("sequences"), module("rules")
    toys = [one for one in sequences.TOYS if one.name in ("stable", "sharpening")]
    cells = dict(collapse.compare(toys, rules.RULES, sequences=4, generations=4, seed=0))
    assert list(cells) == ["stable (healthy)", "sharpening"]
    ours = cells["sharpening"]["nnR or log RKE twice"]
    assert len(ours.first) == 4
    assert all(one is not None and 2 <= one <= 4 for one in ours.first)
    again = dict(collapse.compare(toys, rules.RULES, sequences=2, generations=4, seed=0))
    assert again["sharpening"]["energy distance"].first == cells["sharpening"]["energy distance"].first[:2]
    lines = list(collapse.table(rules.RULES, cells.items()))
    assert len(lines) == 4
    assert all(line.count("|") == len(rules.RULES) + 2 for line in lines)


def test_kinds_and_rules_of_the_collapse_benchmark_are_chosen_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    parser = module("__main__").parser()
    some = parser.parse_args(["collapse", "--kinds", "stable; steering, probe", "--rules", "coverage"])
    assert [one.name for one in some.kinds] == ["stable", "steering, probe"]
    assert list(some.rules) == ["coverage"]
    with pytest.raises(SystemExit):
        parser.parse_args(["collapse", "--kinds", "stabel"])
    assert "['stabel'] unknown; choose from stable; " in capsys.readouterr().err


def test_the_collapse_benchmark_says_what_it_cannot_do(capsys: pytest.CaptureFixture[str]) -> None:
    main = module("__main__").main
    for words, said in (
        (["--items", "10"], "--items from 50"),
        (["--corpus", "trek"], "corpus 'trek' is not known; choose from trec, sentiment, sentiment:DOMAIN, disfl_qa"),
        (["--kinds", "replace, neighbours"], "['replace, neighbours'] needs a --corpus"),
    ):
        assert main(["collapse", "--sequences", "1", "--part", "rules", *words]) == 2
        assert said in capsys.readouterr().err


def test_the_lead_is_how_much_later_the_loss_speaks() -> None:
    lead = module("lead")
    arms = [("replace", 4, 2), ("replace", 2, 3), ("replace", None, 2), ("retrained", None, None)]
    found = [lead.Found(seed, arm, verdict, loss, loss, (4.4, 4.5)) for seed, (arm, verdict, loss) in enumerate(arms)]
    first, second = lead.summary(found)
    assert first.startswith(
        "replace: verdict 0.67 [0.21, 0.94] of 3 (median generation 3), loss 1.00 [0.44, 1.00] of 3"
    )
    assert first.endswith("lead of the verdict over the loss where both alarm (2 of 3): median -0.5, -2 to 1")
    assert second.startswith("retrained: verdict 0.00 [0.00, 0.79] of 1 (none), loss 0.00")
    assert str(found[0]) == "seed 0 replace: verdict 4, loss 2 (once 2), nats per token by generation 4.40, 4.50"


def test_the_loss_speaks_once_before_it_speaks_twice() -> None:
    rng = np.random.default_rng(0)
    batches = [rng.normal(size=(60, 8)) for _ in range(11)]
    rows = [one / np.linalg.norm(one, axis=1, keepdims=True) for one in batches]
    collapse = importlib.import_module("eval.collapse")
    baseline = collapse.Baseline.of(rows[:6], rows[10])
    nll = rng.normal(4.0, 0.01, size=(60, 5)) + np.array([0.0, 0.0, 0.5, 0.0, 0.0])
    nll[:, 3:] += 0.5
    later = [collapse.measure(one, rows[10], baseline.size) for one in rows[6:10]]
    found = module("lead").found_of(7, "replace", collapse.judge(baseline, later, nll=nll))
    assert (found.seed, found.loss_once, found.loss) == (7, 2, 3)


def test_a_cell_shows_rate_interval_and_median_of_the_first_alarm() -> None:
    cell = module("collapse").Cell
    assert str(cell((2, 3, 4, None))) == ".750 [.301, .954] / 3.5"
    assert str(cell((2, None, None, None))) == ".250 [.046, .699] / –"
    assert str(cell((1, 1))) == "1.000 [.342, 1.000] / 1"


def test_the_speed_of_a_check_is_measured_on_a_whole_one() -> None:
    said = module("collapse").speed(60, generations=3, anchors=30)
    assert said.startswith("3 generations × 60 items (8 batches of generation 0) × 30 anchors: ")
    assert said.endswith("verdict ok")


def test_permutation_rules_keep_their_level_and_see_a_shift() -> None:
    sequences, rules = module("sequences"), module("rules")
    toy = sequences.TOYS[0]
    rng = np.random.default_rng(0)
    drawn = [toy.draw(np.random.default_rng(number), 2) for number in range(30)]
    for rule in (rules.energy, rules.coverage):
        assert sum(rule(one, rng) is not None for one in drawn) <= 5
    other = sequences.TOYS[0].draw(np.random.default_rng(99), 2)
    moved = sequences.Drawn(drawn[0].anchors, drawn[0].baseline, other.generations)
    assert rules.energy(moved, rng) == 1
    assert rules.coverage(moved, rng) == 1


def test_duplicates_says_what_is_not_installed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    main = module("__main__")
    monkeypatch.setitem(sys.modules, "semhash", None)
    assert main.main(["duplicates", "--contenders", "ours,semhash"]) == 2
    assert "pip install semhash" in capsys.readouterr().err


def test_all_time_that_is_no_models_counts_as_overhead() -> None:
    lines = module("overhead").table({"calls": 60.0, "training": 30.0, "filtering": 1.0, "other": 1.0}, 100.0)
    assert lines[-1] == "outside models: 10.00 % of 100.0 s"
    assert "start, page, tracking" in "\n".join(lines)
    assert [line.endswith("models") for line in lines[:-1]] == [True, True, False, False, False]


def test_a_finished_run_is_read_from_its_store(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = finish(Store(tmp_path), 1, {"seeds": 60, "mixed": 70})
    main = module("__main__")
    assert main.main(["overhead", "--run", report.id, "--store", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert report.id in said
    assert "outside models: 100.00 % of 346.5 s" in said
    assert main.main(["overhead", "--run", report.id]) == 2
    assert "--run and --store go together" in capsys.readouterr().err


def pair(ours: float, bare: float, served: int = 30, **more: object) -> dict[str, dict[str, object]]:
    one = {"cpu": 0.5, "served": 30, "rows": 30}
    return {
        "ours": {**one, "wall": ours, "seconds": {"generation": 0.25, "filtering": 0.125}, **more},
        "bare": {**one, "wall": bare, "served": served},
    }


def test_generation_is_compared_with_the_bare_script_of_its_own_round_and_with_the_ideal() -> None:
    generation = module("generation")
    assert generation.ideal(1000, 64, 50) == pytest.approx(0.78125)
    lines = generation.report([pair(1.0, 2.0), pair(3.0, 3.0), pair(1.5, 2.0)], 0.5)
    assert lines == [
        "wall time of ours, times that of the bare script: 0.75 (0.50–1.00)",
        "processor time of ours, times that of the bare script: 1.00 (1.00–1.00)",
        "  ours  1.50 (1.00–3.00) s, 3.00 (2.00–6.00) times the ideal; 0.50 (0.50–0.50) s cpu",
        "  bare  2.00 (2.00–3.00) s, 4.00 (4.00–6.00) times the ideal; 0.50 (0.50–0.50) s cpu",
        "  of ours: filtering 0.12 s, generation 0.25 s",
    ]
    assert generation.line(pair(1.0, 2.0)).endswith("bare 2.00 s (0.50 s cpu, 30 calls, 30 rows): 0.50×")


def test_generation_refuses_to_compare_unequal_work() -> None:
    with pytest.raises(SystemExit, match=r"not equal: \[29, 30\]"):
        module("generation").report([pair(1.0, 2.0), pair(1.0, 2.0, served=29)], 0.5)


def test_memory_that_does_not_grow_shows_as_such() -> None:
    def run(rows: int, peak: float) -> dict[str, object]:
        return {"rows": rows, "peaks": {f"filter {rows} candidates": peak, "end": 2 * peak}}

    growth = module("generation").growth
    assert growth(run(1000, 10e6), run(21_000, 30e6))[1:] == [
        "  filter candidates                    10 MB      30 MB    10.0",
        "  end                                  20 MB      60 MB    20.0",
    ]
    assert [line.split()[-1] for line in growth(run(1000, 10e6), run(21_000, 10e6))[1:]] == ["0.0", "0.0"]


def test_tokens_of_both_are_set_against_their_own_time() -> None:
    embedded = module("embedded")
    one = {
        "server": {"wall": 2.0, "cpu": 1.0},
        "transformers": {"wall": 4.0, "cpu": 4.0, "tokens": {"server": 400, "transformers": 320}, "prompt": 130.0},
    }
    assert embedded.line(one) == (
        "server 200 tokens/s (400 in 2.0 s, 1.0 s cpu), transformers 80 tokens/s (320 in 4.0 s, 4.0 s cpu): "
        "2.50×, by cpu 5.00×"
    )
    wall, cpu = (line for line in embedded.report([one]) if "times those of transformers.generate" in line)
    assert wall.endswith(": 2.50 (2.50–2.50)")
    assert cpu.endswith(": 5.00 (5.00–5.00)")


def test_generate_answers_every_prompt_as_often_as_the_server_and_up_to_the_end_of_the_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real `generate` with a model of a few thousand parameters in place of the embedded one."""
    base = tiny_base([f"{text}\n" for text in TEXTS], Tiny(320, width=32, layers=2, heads=2, context=2048), seed=0)
    monkeypatch.setattr("harness.train.causal_base.load_base", lambda _: base)
    embedded, callers = module("embedded"), module("callers")
    callers.write_items(tmp_path)
    (tmp_path / embedded.TEXTS).write_text('["Who wrote Emma ?", ""]')
    found = embedded.transformers(callers.Job("embedded", 2, embedded.SAMPLES, 1, str(tmp_path)))
    assert found["answers"] == 2 * embedded.SAMPLES
    assert found["tokens"]["server"] == len(base.tokenizer("Who wrote Emma ?")["input_ids"])
    assert found["tokens"]["transformers"] > 0
    assert found["wall"] > 0


def test_with_tokens_no_answer_ends_at_the_end_of_the_line(tmp_path: Path) -> None:
    embedded, callers = module("embedded"), module("callers")
    callers.write_items(tmp_path)
    plain, longer = (embedded.asked(callers.Job("embedded", 2, 8, 1, str(tmp_path), tokens)) for tokens in (0, 7))
    assert [one.prompt for one in plain] == [one.prompt for one in longer]
    assert {(one.max_tokens, one.stop) for one in longer} == {(7, ())}
    assert {one.stop for one in plain} == {("\n",)}


def test_the_options_of_generation(capsys: pytest.CaptureFixture[str]) -> None:
    parser = module("__main__").parser()
    plain = parser.parse_args(["generation"])
    assert (plain.calls, plain.concurrency, plain.latency_ms, plain.samples) == (1000, 64, 50.0, 1)
    assert (plain.rows, plain.embedded) == (None, False)
    for wrong in (["--calls", "0"], ["--concurrency", "-1"], ["--rows", "many"]):
        with pytest.raises(SystemExit):
            parser.parse_args(["generation", *wrong])
    assert "'many' is not 1 or more" in capsys.readouterr().err
    assert module("__main__").main(["generation", "--rows", "10"]) == 2
    assert "--rows from 160, not 10" in capsys.readouterr().err


def test_the_stub_answers_as_many_texts_as_are_asked_for() -> None:
    stub = module("stub")
    chat = stub.body({"model": "m", "messages": [], "n": 3}, 1)
    texts = [choice["message"]["content"] for choice in chat["choices"]]
    assert len(set(texts)) == 3
    assert all(len(text.split()) == stub.WORDS_OF_A_TEXT for text in texts)
    assert texts[0] != stub.body({"model": "m", "messages": []}, 2)["choices"][0]["message"]["content"]
    assert "text" in stub.body({"model": "m", "prompt": "x"}, 1)["choices"][0]


def test_a_suite_on_two_engines_is_compared_by_time_artefacts_and_calls(tmp_path: Path) -> None:
    engine = module("engine")
    local = engine.Measured("local", 10.0, ("a", "b"), paid=30, needed=20)
    ray = engine.Measured("ray", 11.0, ("a", "b"), paid=30, needed=20)
    assert "1.100×; the same artefacts (2); calls paid 30 and 30, one variant needs 20" in engine.line(local, ray)
    assert "NOT the same" in engine.line(local, engine.Measured("ray", 11.0, ("a",), paid=0, needed=20))
    assert engine.report([(local, ray)]) == [
        "wall time of ray, times that of local: 1.10 (1.10–1.10)",
        "calls paid, times those of the most expensive variant alone: 1.50 (1.50–1.50)",
    ]
    source = tmp_path / "source"
    source.mkdir()
    with CallCache(source / "calls.sqlite") as cache:
        cache.put("k", {"q": 1}, {"a": 2}, "scope", Cost(calls=1))
        engine.copy_calls(source, tmp_path / "copy")
    with CallCache(tmp_path / "copy" / "calls.sqlite") as copy:
        assert copy.answer_of("k") == {"a": 2}
        assert copy.spent("scope") == Cost()
